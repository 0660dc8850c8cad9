// Runs before the first paint, so that a chosen theme never flashes in the other one.
"use strict";
(() => {
  let chosen = null;
  try { chosen = localStorage.getItem("flowrate-theme"); } catch { /* storage is off: follow the system */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
