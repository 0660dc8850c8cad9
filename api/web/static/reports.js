// The chart of a report: one bar per day or month, in the currency's own units.
"use strict";
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function draw(card) {
    const { days, values, decimals } = JSON.parse(card.dataset.series);
    const element = card.querySelector("[data-plot]"), legend = card.querySelector("[data-legend]");
    const amounts = values.map((value) => value === null ? 0 : value / 10 ** decimals);
    const money = new Intl.NumberFormat("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
    const short = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });
    const day = new Intl.DateTimeFormat("en-GB", { timeZone: "UTC", day: "numeric", month: "short" });
    const colour = css("--series-1");
    const width = Math.min(...days.slice(1).map((at, index) => at - days[index]), 86400 * 31);
    const axis = { stroke: css("--ink-3"), grid: { stroke: css("--line-soft"), width: 1 }, ticks: { show: false } };
    const plot = new uPlot({
      width: element.clientWidth, height: Math.max(element.clientHeight, 200), legend: { show: false }, tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: {
        x: { range: () => [days[0] - width / 2, days.at(-1) + width / 2] },
        y: { range: (_, least, most) => [Math.min(0, least) * 1.08, Math.max(most, 1) * 1.08] },
      },
      axes: [
        { ...axis, ...(days.length <= 12 && { splits: () => days }), values: (_, at) => at.map((second) => day.format(second * 1000)) },
        { ...axis, size: 60, values: (_, at) => at.map((value) => short.format(value)) },
      ],
      series: [{}, { fill: colour, stroke: colour, width: 0, paths: uPlot.paths.bars({ size: [0.72, 34] }), points: { show: false } }],
      hooks: { setCursor: [(shown) => say(shown.cursor.idx)] },
    }, [days, amounts], element);
    function say(index) {
      const known = index !== null && index !== undefined;
      legend.textContent = known ? `${day.format(days[index] * 1000)}: ${money.format(amounts[index])}` : "";
    }
    new ResizeObserver(() => plot.setSize({ width: element.clientWidth, height: Math.max(element.clientHeight, 200) })).observe(element);
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const card of document.querySelectorAll('[data-chart="report"]')) draw(card);
  });
})();
