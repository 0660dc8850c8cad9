// The usage chart: live lines, or bars stacked by class; numbers as a table for who cannot see it.
"use strict";
(() => {
  const LIVE_SECONDS = 600;
  const UNITS_OCTETS = ["B", "kB", "MB", "GB", "TB", "PB"];
  const UNITS_RATE = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function scaled(value, units) {
    let size = Math.abs(value), index = 0;
    while (index < units.length - 1 && size >= 999.5) { size /= 1000; index += 1; }
    const decimals = index === 0 || size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
    return `${value < 0 ? "−" : ""}${size.toFixed(decimals)}\u00a0${units[index]}`;
  }

  function axisText(values, units) {
    const most = Math.max(...values.map(Math.abs), 0);
    let index = 0, size = most;
    while (index < units.length - 1 && size >= 1000) { size /= 1000; index += 1; }
    const divisor = 1000 ** index;
    return values.map((v) => v === 0 ? "0" : `${+(v / divisor).toFixed(2)} ${units[index]}`);
  }

  function formatter(options) {
    const format = new Intl.DateTimeFormat("en-GB", { timeZone: window.flowrate.timezone, ...options });
    return (seconds) => format.format(seconds * 1000);
  }

  // A list of amounts becomes one span each; a number with a unit keeps the unit small.
  function showFigure(element, value) {
    const key = JSON.stringify(value);
    if (element.dataset.shown === key) return;
    element.dataset.shown = key;
    if (Array.isArray(value)) {
      const spans = value.map((text) => {
        const span = document.createElement("span");
        span.textContent = text;
        return span;
      });
      element.replaceChildren(...(spans.length ? spans : ["–"]));
      return;
    }
    const [number, unit] = value.split("\u00a0");
    element.textContent = number;
    if (unit) {
      const small = document.createElement("small");
      small.textContent = unit;
      element.append(" ", small);
    }
  }

  class UsageChart {
    constructor(card) {
      this.card = card;
      this.plotElement = card.querySelector("[data-plot]");
      this.legend = card.querySelector("[data-legend]");
      this.note = card.querySelector("[data-note]");
      this.table = card.querySelector("[data-table]");
      this.split = card.querySelector("[data-split]");
      this.live = { times: [], down: [], up: [] };
      this.plot = null;
      this.mode = card.querySelector('[data-mode][aria-pressed="true"]').dataset.mode;
      this.by = "class";
      for (const button of card.querySelectorAll("button")) {
        button.addEventListener("click", () => this.choose(button));
      }
      new ResizeObserver(() => this.resize()).observe(this.plotElement);
      document.addEventListener("flowrate:theme", () => this.show());
      window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.show());
      card.querySelector("details").addEventListener("toggle", () => this.fillTable());
      this.show();
      setInterval(() => this.refresh(), 2000);
    }

    choose(button) {
      for (const other of button.parentElement.querySelectorAll("button")) {
        other.setAttribute("aria-pressed", String(other === button));
      }
      if (button.dataset.mode) this.mode = button.dataset.mode;
      if (button.dataset.by) this.by = button.dataset.by;
      this.show();
    }

    async show() {
      this.asked = 0;
      this.split.hidden = this.mode === "live";
      if (this.plot) { this.plot.destroy(); this.plot = null; }
      this.data = null;
      await this.refresh();
    }

    async refresh() {
      if (document.hidden && this.data) return;
      const mode = this.mode, by = this.by;
      try {
        if (this.card.dataset.subscriber === undefined) await this.fetchLive();
        if (mode === "live") { this.data = this.live; this.drawLive(); this.say(""); return; }
        const wait = mode === "hour" ? 5000 : 30000;
        if (this.plot && Date.now() - this.asked < wait) return;
        const query = new URLSearchParams({ span: mode, by_class: String(by === "class") });
        if (this.card.dataset.subscriber) query.set("subscriber_id", this.card.dataset.subscriber);
        const response = await fetch(`/charts/usage.json?${query}`);
        if (!response.ok) throw new Error(String(response.status));
        const data = await response.json();
        if (mode !== this.mode || by !== this.by) return;
        this.asked = Date.now();
        this.data = data;
        this.drawBars();
        const empty = data.series.every((one) => one.values.every((v) => v === 0));
        this.say(empty ? "No usage in this time yet." : "");
      } catch {
        this.say("The numbers did not arrive; trying again.");
      }
    }

    async fetchLive() {
      const last = this.live.times.at(-1) || 0;
      const response = await fetch(`/live.json?after=${last}`);
      if (response.status === 401) { window.location.assign("/login"); return; }
      if (!response.ok) throw new Error(String(response.status));
      const fresh = await response.json();
      window.flowrate.setNow(fresh.now);
      for (const name of ["times", "down", "up"]) this.live[name].push(...fresh[name]);
      const oldest = fresh.now / 1000 - LIVE_SECONDS;
      while (this.live.times.length && this.live.times[0] < oldest) {
        for (const name of ["times", "down", "up"]) this.live[name].shift();
      }
      for (const [name, value] of Object.entries(fresh.figures)) {
        const element = document.querySelector(`[data-figure="${name}"]`);
        if (element) showFigure(element, value);
      }
    }

    size() {
      return { width: Math.max(200, this.plotElement.clientWidth), height: this.plotElement.clientHeight };
    }

    resize() { if (this.plot) this.plot.setSize(this.size()); }

    say(text) { if (this.note.textContent !== text) this.note.textContent = text; }

    axes(units, timeText) {
      const ink = css("--ink-3"), line = css("--line-soft");
      const font = `12px ${css("--font")}`;
      const axis = { stroke: ink, font, ticks: { show: false }, grid: { stroke: line, width: 1 } };
      return [
        { ...axis, grid: { show: false }, size: 34, space: 84, values: (_, splits, __, ___, step) => splits.map(timeText(step)) },
        { ...axis, size: 78, gap: 8, space: 44, values: (_, splits) => axisText(splits, units) },
      ];
    }

    options(series, units, timeText, extra) {
      return {
        ...this.size(),
        legend: { show: false },
        cursor: { y: false, points: { size: 7 }, drag: { x: false, y: false } },
        padding: [12, 8, 0, 0],
        axes: this.axes(units, timeText),
        series: [{}, ...series],
        hooks: { setCursor: [(plot) => this.showLegend(plot.cursor.idx)] },
        ...extra,
      };
    }

    drawLive() {
      const columns = [this.live.times, this.live.down, this.live.up];
      this.names = ["Download", "Upload"];
      this.colours = [css("--series-1"), css("--series-2")];
      this.units = UNITS_RATE;
      this.columns = columns;
      this.timeText = formatter({ hour: "2-digit", minute: "2-digit", second: "2-digit" });
      if (!this.plot) {
        const line = (index) => ({
          stroke: this.colours[index], width: 2, points: { show: false }, spanGaps: true,
          fill: this.colours[index] + (index ? "14" : "1f"),
          paths: uPlot.paths.spline(),
        });
        const minutes = formatter({ hour: "2-digit", minute: "2-digit" });
        const timeText = (step) => step < 60 ? this.timeText : minutes;
        this.plot = new uPlot(this.options([line(0), line(1)], UNITS_RATE, timeText, {
          scales: {
            x: { range: () => this.liveRange() },
            y: { range: (_, __, most) => [0, Math.max(most || 0, 1000) * 1.12] },
          },
        }), columns, this.plotElement);
      } else {
        this.plot.setData(columns);
      }
      this.showLegend(this.plot.cursor.idx);
    }

    liveRange() {
      const last = this.live.times.at(-1) || window.flowrate.now() / 1000;
      const first = this.live.times[0] ?? last;
      return [Math.min(Math.max(first, last - LIVE_SECONDS), last - 60), last];
    }

    drawBars() {
      const { times, series, step } = this.data;
      this.names = series.map((one) => one.label);
      const palette = [1, 2, 3, 4, 5, 6, 7].map((n) => css(`--series-${n}`));
      this.colours = series.map((_, index) => palette[index % palette.length]);
      this.units = UNITS_OCTETS;
      this.columns = [times, ...series.map((one) => one.values)];
      const options = {
        minute: { hour: "2-digit", minute: "2-digit" },
        hour: { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" },
        day: { day: "numeric", month: "short" },
      };
      this.timeText = formatter(options[step]);
      const axisTime = formatter(step === "hour" ? options.minute : options[step]);
      const stacked = [times];
      const sums = times.map(() => 0);
      for (const one of series) {
        one.values.forEach((value, index) => { sums[index] += value; });
        stacked.push([...sums]);
      }
      // The tallest stack is drawn first, each lower one over it.
      const order = series.map((_, index) => index).reverse();
      const columns = [times, ...order.map((index) => stacked[index + 1])];
      const bars = uPlot.paths.bars({ size: [0.72, 34], radius: 0 });
      const drawn = order.map((index) => ({
        fill: this.colours[index], stroke: this.colours[index], width: 0,
        paths: bars, points: { show: false },
      }));
      const width = times.length > 1 ? times[1] - times[0] : 60;
      if (this.plot) this.plot.destroy();
      this.plot = new uPlot(this.options(drawn, UNITS_OCTETS, () => axisTime, {
        cursor: {
          y: false, points: { show: false }, drag: { x: false, y: false },
          move: (plot, left, top) => left < 0 ? [left, top]
            : [plot.valToPos(plot.data[0][plot.posToIdx(left)], "x"), top],
        },
        scales: {
          x: { range: () => [times[0] - width / 2, times.at(-1) + width / 2] },
          y: { range: (_, __, most) => [0, Math.max(most || 0, 1000) * 1.08] },
        },
      }), columns, this.plotElement);
      this.showLegend(null);
    }

    showLegend(index) {
      if (!this.columns) return;
      const shown = index === null || index === undefined;
      const at = shown && this.mode === "live" ? this.columns[0].length - 1 : index;
      const items = [];
      const stamp = document.createElement("span");
      stamp.className = "legend-time num";
      const unknown = at === null || at === undefined;
      stamp.textContent = unknown ? "in all"
        : this.columns[0][at] === undefined ? "" : this.timeText(this.columns[0][at]);
      this.names.forEach((name, number) => {
        const values = this.columns[number + 1];
        const value = unknown ? values.reduce((sum, v) => sum + v, 0) : values[at];
        const item = document.createElement("span");
        item.className = "legend-item";
        const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        mark.setAttribute("viewBox", "0 0 10 10");
        const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
        for (const [key, text] of [["width", 10], ["height", 10], ["rx", 3], ["fill", this.colours[number]]]) {
          rect.setAttribute(key, String(text));
        }
        mark.append(rect);
        const strong = document.createElement("strong");
        strong.className = "num";
        strong.textContent = value === undefined ? "–" : scaled(value, this.units);
        item.append(mark, document.createTextNode(name), strong);
        items.push(item);
      });
      this.legend.replaceChildren(...items, stamp);
      if (this.card.querySelector("details").open) this.fillTable();
    }

    fillTable() {
      if (!this.card.querySelector("details").open || !this.columns) return;
      const table = document.createElement("table");
      table.className = "table";
      const head = table.createTHead().insertRow();
      for (const text of ["Time", ...this.names]) {
        const cell = document.createElement("th");
        cell.scope = "col";
        cell.textContent = text;
        head.append(cell);
      }
      const rows = table.createTBody();
      const last = this.columns[0].length - 1;
      for (let index = last; index >= Math.max(0, last - 99); index -= 1) {
        const row = rows.insertRow();
        row.insertCell().textContent = this.timeText(this.columns[0][index]);
        this.names.forEach((_, n) => {
          row.insertCell().textContent = scaled(this.columns[n + 1][index], this.units);
        });
      }
      this.table.replaceChildren(table);
    }
  }

  document.addEventListener("DOMContentLoaded", () => {
    for (const card of document.querySelectorAll('[data-chart="usage"]')) new UsageChart(card);
  });
})();
