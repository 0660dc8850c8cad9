// Small behaviours of every page: relative times, the clock, the theme, confirmations.
"use strict";
(() => {
  const body = document.body;
  const timezone = body.dataset.timezone || "UTC";
  // The server's clock may be shifted (the demo); what counts is its distance from this one's.
  let skew = Number(body.dataset.now) - Date.now();
  const now = () => Date.now() + skew;
  window.flowrate = { now, timezone, setNow: (at) => { skew = at - Date.now(); } };

  const clock = new Intl.DateTimeFormat("en-GB", {
    timeZone: timezone, hour: "2-digit", minute: "2-digit", second: "2-digit",
  });

  function ago(milliseconds) {
    const s = Math.max(0, Math.floor(milliseconds / 1000));
    if (s < 1) return "just now";
    if (s < 60) return `${s} s ago`;
    if (s < 3600) return `${Math.floor(s / 60)} min ago`;
    if (s < 86400) return `${Math.floor(s / 3600)} h ago`;
    return `${Math.floor(s / 86400)} d ago`;
  }

  function tick() {
    for (const element of document.querySelectorAll("[data-ago]")) {
      const text = ago(now() - Number(element.dataset.ago));
      if (element.textContent !== text) element.textContent = text;
    }
    for (const element of document.querySelectorAll("[data-clock]")) {
      element.textContent = clock.format(now());
    }
  }
  tick();
  setInterval(tick, 1000);
  document.addEventListener("htmx:afterSwap", tick);

  // A page in the background asks for nothing.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (document.hidden) event.preventDefault();
  });

  document.addEventListener("submit", (event) => {
    const question = event.target.dataset.confirm;
    if (question && !window.confirm(question)) event.preventDefault();
  });

  document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : window.matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    try { localStorage.setItem("flowrate-theme", root.dataset.theme); } catch { /* not kept */ }
    document.dispatchEvent(new CustomEvent("flowrate:theme"));
  });
})();
