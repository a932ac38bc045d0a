// Metrics over their steps, read from the kernel when somebody looks: of the runs that are selected, else of the first.
import { numberScale } from "./axes.js";
import { checkChoice, mainMetric, notice, plainChoice } from "./controls.js";
import { element } from "./dom.js";
import { formatNumber } from "./format.js";
import { seriesColour, themeColours } from "./palette.js";
import { plotHost } from "./plot.js";
import { drawScatter } from "./scatter.js";

const MOST_CURVES = 20; // runs that are drawn when they are selected
const FIRST_CURVES = 6; // runs that are drawn when none is

export function curvesPanel(runs, host, ask) {
  const metrics = runs.columns.filter((column) => column.group === "metrics");
  const state = { metric: mainMetric(runs)?.name ?? "", smoothing: 0, over: "steps", isLog: false, rows: [], known: new Map(), asked: 0, hovered: -1 };
  const area = element("div", {});
  const legend = element("ul", { class: "mlx-legend", "aria-label": "Runs" });
  const plot = plotHost("Curves", curvesDrawing(runs, state));
  const show = () => {
    const rows = state.rows.filter((row) => curveOf(state, row)?.values.length);
    if (!rows.length) area.replaceChildren(notice(`None of these runs has ${state.metric || "a metric"} over steps: select others in the table, or choose another metric.`));
    else if (!area.contains(plot.element)) area.replaceChildren(plot.element, legend);
    const single = rows.length && rows.every((row) => curveOf(state, row).values.length === 1);
    hint.textContent = single ? "Each run has reported this metric once: there is no curve, only points." : runs.selected.size ? "" : `The first ${rows.length}; select runs in the table to see theirs.`;
    plot.say(`${state.metric} over ${state.over === "steps" ? "steps" : "time"} of ${rows.length} runs: ${rows.map(runs.name).join(", ")}.`);
    const { isDark } = themeColours(host);
    legend.replaceChildren(...rows.map((row) => legendEntry(runs, state, row, isDark)));
    plot.redraw();
  };
  const refresh = () => fetchCurves(runs, state, ask, { area, show });
  const hint = element("span", { class: "mlx-muted mlx-hint", role: "status" });
  const smoothing = element("input", { type: "range", min: "0", max: "0.99", step: "0.01", value: "0", oninput: () => {
    state.smoothing = Number(smoothing.value);
    amount.textContent = smoothing.value;
    plot.redraw();
  } });
  const amount = element("output", {}, "0");
  const bar = element("div", { class: "mlx-bar" },
    plainChoice("Metric", metrics.map((column) => [column.name, column.name]), state.metric, (name) => ((state.metric = name), refresh())),
    element("label", { class: "mlx-choice" }, "Smoothing ", smoothing, amount),
    plainChoice("X", [["steps", "step"], ["seconds", "time since the start"]], "steps", (over) => ((state.over = over), show())),
    checkChoice("log Y", false, (is) => ((state.isLog = is), plot.redraw())), hint);
  let due = null;
  const later = () => {
    clearTimeout(due);
    due = setTimeout(() => bar.isConnected && bar.offsetWidth && refresh(), 120);
  };
  runs.on("selection", later);
  runs.on("rows", later);
  runs.on("hover", plot.redraw);
  if (metrics.length) refresh();
  else area.replaceChildren(notice("None of these runs has a metric."));
  return { element: element("div", {}, bar, area), close: plot.close, shown: refresh };
}

function curveOf(state, row) {
  return state.known.get(`${state.metric}/${row}`);
}

async function fetchCurves(runs, state, ask, { area, show }) {
  state.rows = runs.few(runs.selected.size ? MOST_CURVES : FIRST_CURVES);
  const missing = state.rows.filter((row) => !curveOf(state, row));
  if (!missing.length) return show();
  const mine = (state.asked += 1);
  const { metric } = state;
  const isMine = () => mine === state.asked;
  if (!area.childElementCount) area.replaceChildren(notice("Reading the curves …"));
  try {
    const { curves, buffers } = await ask("curves", { rows: missing, metric }, { onWait: (text) => isMine() && area.replaceChildren(notice(text)) });
    curves.forEach(({ row, count }, k) => {
      const numbers = new Float64Array(buffers[k].buffer.slice(buffers[k].byteOffset, buffers[k].byteOffset + buffers[k].byteLength));
      state.known.set(`${metric}/${row}`, { steps: numbers.slice(0, count), seconds: numbers.slice(count, 2 * count), values: numbers.slice(2 * count) });
    });
    if (isMine()) show();
  } catch (error) {
    if (isMine()) area.replaceChildren(notice(error.message, "alert"));
  }
  return null;
}

function legendEntry(runs, state, row, isDark) {
  const curve = curveOf(state, row);
  return element("li", { onpointerenter: () => runs.hover(row), onpointerleave: () => runs.hover(-1) },
    element("span", { class: "mlx-swatch", style: `background:${seriesColour(state.rows.indexOf(row), isDark)}` }), runs.name(row),
    element("span", { class: "mlx-muted" }, formatNumber(curve.values[curve.values.length - 1])));
}

function curvesDrawing(runs, state) {
  return {
    height: 320,
    draw(canvas, size) {
      const curves = state.rows.map((row, k) => ({ row, colour: seriesColour(k, size.colours.isDark), ...curveOf(state, row) })).filter((one) => one.values?.length);
      const axis = (name) => curves.flatMap((one) => [...one[name]]);
      const lines = [];
      for (const one of curves) {
        const xs = one[state.over];
        const points = (values) => Array.from(xs, (x, k) => [x, values[k]]);
        const isOther = runs.hovered >= 0 && runs.hovered !== one.row && state.rows.includes(runs.hovered);
        const alpha = isOther ? 0.2 : 1;
        if (state.smoothing) lines.push({ colour: one.colour, width: 1, alpha: 0.25 * alpha, points: points(one.values) });
        lines.push({ colour: one.colour, width: 2, alpha, points: points(smoothed(one.values, state.smoothing)) });
      }
      const [x, y] = [extentOfValues(axis(state.over)), extentOfValues(axis("values"))];
      return drawScatter(canvas, {
        x: { label: state.over === "steps" ? "step" : "seconds since the start", scale: numberScale(x, { log: false, pad: 0.01 }), number: (k) => pointAt(curves, k, state.over) },
        y: { label: state.metric, scale: numberScale(y, { log: state.isLog, pad: 0.04 }), number: (k) => pointAt(curves, k, "values") },
        colour: null, selected: null, lines, marked: -1,
        rows: curves.every((one) => one.values.length === 1) ? curves.map((_, k) => k) : [],
      }, size);
    },
  };
}

function pointAt(curves, k, name) {
  return curves[k][name][0];
}

function extentOfValues(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return { low, high };
}

// Smoothed exponentially, without a bias towards the first values: as `view.smooth` in Python, and as MLflow's page.
export function smoothed(values, weight) {
  let [last, count] = [0, 0];
  return Array.from(values, (value) => {
    if (!Number.isFinite(value)) return value;
    last = weight * last + (1 - weight) * value;
    count += 1;
    return last / (1 - weight ** count);
  });
}
