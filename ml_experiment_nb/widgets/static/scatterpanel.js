// Points of two columns, a metric's contour over two parameters, and the Pareto front: all are points over two axes.
import { scaleOf } from "./axes.js";
import { contourGround } from "./contour.js";
import { checkChoice, columnChoice, describeRun, mainMetric, notice, plainChoice, variedColumns } from "./controls.js";
import { element } from "./dom.js";
import { paretoFront } from "./front.js";
import { plotHost } from "./plot.js";
import { drawScatter, drawScatterRow, scatterRowAt, scatterRowsIn, scatterSharesAt } from "./scatter.js";

const PAD = 0.04; // of an axis is left free at both ends

export function scatterPanel(runs) {
  const [x, metric] = [variedColumns(runs, ["params"])[0], mainMetric(runs)];
  const state = { x: x?.key ?? "started", y: metric?.key ?? "seconds", colour: "", logX: "auto", logY: "auto" };
  const all = runs.columns.filter((column) => column.key !== "run_id" && column.key !== "name");
  return pointsPanel(runs, state, {
    label: "Scatter",
    choices: (refresh) => [
      columnChoice("X", all, state.x, (key) => (Object.assign(state, { x: key, logX: "auto" }), refresh())),
      columnChoice("Y", all, state.y, (key) => (Object.assign(state, { y: key, logY: "auto" }), refresh())),
      columnChoice("Colour", all, state.colour, (key) => ((state.colour = key), refresh()), { none: "one for all" }),
    ],
    shown: () => runs.rows,
    problem: () => "",
  });
}

export function contourPanel(runs) {
  const params = variedColumns(runs, ["params"]).sort((a, b) => b.isNumeric - a.isNumeric);
  const metrics = runs.columns.filter((column) => column.group === "metrics");
  const state = { x: params[0]?.key ?? "", y: params[1]?.key ?? "", colour: mainMetric(runs)?.key ?? "", logX: "auto", logY: "auto", isContour: true };
  const whole = (row) => [state.x, state.y, state.colour].every((key) => Number.isFinite(runs.byKey.get(key).number(row)));
  return pointsPanel(runs, state, {
    label: "Contour",
    choices: (refresh) => [
      columnChoice("X", params, state.x, (key) => (Object.assign(state, { x: key, logX: "auto" }), refresh())),
      columnChoice("Y", params, state.y, (key) => (Object.assign(state, { y: key, logY: "auto" }), refresh())),
      columnChoice("Metric", metrics, state.colour, (key) => ((state.colour = key), refresh())),
    ],
    shown: () => runs.rows.filter(whole),
    problem() {
      if (params.length < 2) return "A contour is drawn over two parameters: fewer than two have more than one value in these runs.";
      if (!state.colour) return "A contour needs a metric, and none of these runs has one.";
      return runs.rows.filter(whole).length < 3 ? "A contour needs three runs that have both parameters and the metric: loosen the filters, or choose others." : "";
    },
  });
}

export function paretoPanel(runs) {
  const metrics = runs.columns.filter((column) => column.group === "metrics" && !column.hidden);
  const names = [...new Set([...runs.goals.map(([name]) => `metrics.${name}`), ...metrics.map((column) => column.key)])];
  const wanted = new Map(runs.goals.map(([name, isMore]) => [`metrics.${name}`, isMore]));
  const third = runs.goals.length > 2 ? names[2] : "";
  const state = { x: names[0] ?? "", y: names[1] ?? "", colour: third, logX: "auto", logY: "auto", isFront: true };
  const isMore = (key) => wanted.get(key) ?? false;
  const status = runs.byKey.get("status");
  const keys = () => [...new Set([state.x, state.y, state.colour].filter(Boolean))];
  const whole = (row) => status.text(row) === "finished" && keys().every((key) => !Number.isNaN(runs.byKey.get(key).number(row)));
  state.front = (rows) => paretoFront(rows, keys().map((key) => ({ number: runs.byKey.get(key).number, isMore: isMore(key) })));
  const direction = (key, refresh) => plainChoice("", [["less", "less is better"], ["more", "more is better"]], isMore(key) ? "more" : "less", (value) => (wanted.set(key, value === "more"), refresh()), `What is better of ${runs.byKey.get(key).name}`);
  return pointsPanel(runs, state, {
    label: "Pareto front",
    choices: (refresh) => [
      columnChoice("X", metrics, state.x, (key) => ((state.x = key), refresh(true))), state.x ? direction(state.x, refresh) : null,
      columnChoice("Y", metrics, state.y, (key) => ((state.y = key), refresh(true))), state.y ? direction(state.y, refresh) : null,
      columnChoice("Third", metrics, state.colour, (key) => ((state.colour = key), refresh(true)), { none: "none" }), state.colour ? direction(state.colour, refresh) : null,
    ],
    shown: () => runs.rows.filter(whole),
    problem: () => (metrics.length < 2 ? "A front lies between two metrics or three: these runs have fewer." : runs.rows.some(whole) ? "" : "No run that is shown has finished with these metrics."),
  });
}

function pointsPanel(runs, state, { label, choices, shown, problem }) {
  Object.assign(state, { zoom: null, isZooming: false, data: null, box: null, front: state.front ?? null });
  const area = element("div", {});
  const bar = element("div", { class: "mlx-bar" });
  const plot = plotHost(label, pointsDrawing(runs, state, () => plot, () => apply()));
  const apply = () => {
    const wrong = problem();
    if (wrong) return area.replaceChildren(notice(wrong));
    state.data = pointsData(runs, state, shown());
    const count = state.data.rows.length;
    plot.say(`${label} of ${count} runs: ${state.data.y.label} over ${state.data.x.label}.${state.isFront ? ` ${state.data.ringed.size} are on the front.` : ""} The table has the values.`);
    if (!area.contains(plot.element)) area.replaceChildren(plot.element);
    said.textContent = state.isFront ? `${state.data.ringed.size} of ${count} runs are on the front` : "";
    plot.redraw();
    return null;
  };
  const said = element("span", { class: "mlx-muted", role: "status" });
  const rebuild = () => {
    const chosen = choices((isOther) => ((state.zoom = null), isOther ? rebuild() : (rebuild(), null)));
    bar.replaceChildren(...chosen.filter(Boolean), ...tools(runs, state, apply, rebuild), said);
    apply();
  };
  runs.on("shown", apply);
  runs.on("selection", plot.redraw);
  runs.on("hover", plot.refresh);
  rebuild();
  return { element: element("div", {}, bar, area), close: plot.close };
}

function tools(runs, state, apply, rebuild) {
  const logs = [["x", "logX", "log X"], ["y", "logY", "log Y"]].map(([axis, key, text]) => {
    const column = runs.byKey.get(state[axis]);
    const scale = column && column.kind === "number" ? scaleOf(column, runs.rows) : null;
    return scale?.canBeLog ? checkChoice(text, state[key] === "auto" ? scale.isLog : state[key], (is) => ((state[key] = is), (state.zoom = null), apply())) : null;
  });
  const mode = element("button", { "aria-pressed": String(state.isZooming), title: "Whether dragging zooms in, or selects runs", onclick: () => ((state.isZooming = !state.isZooming), rebuild()) }, "Drag to zoom");
  const closer = (factor) => () => {
    const [a, b, c, d] = state.zoom ?? [0, 1, 0, 1];
    const around = (low, high) => [(low + high) / 2 - ((high - low) * factor) / 2, (low + high) / 2 + ((high - low) * factor) / 2];
    state.zoom = [...around(a, b), ...around(c, d)];
    apply();
  };
  const onFront = state.isFront ? element("button", { onclick: () => runs.select(state.data?.ringed ?? []) }, "Select the front") : null;
  return [
    ...logs.filter(Boolean), mode,
    element("button", { "aria-label": "Zoom in", onclick: closer(0.6) }, "+"), element("button", { "aria-label": "Zoom out", onclick: closer(1 / 0.6) }, "−"),
    element("button", { onclick: () => ((state.zoom = null), apply()) }, "Reset"), ...(onFront ? [onFront] : []),
  ];
}

function pointsData(runs, state, rows) {
  const axisOf = (key, log) => {
    const column = runs.byKey.get(key);
    return { label: column.name, scale: scaleOf(column, rows, { log, pad: column.isNumeric ? PAD : 0 }), number: column.number };
  };
  const [x, y] = [axisOf(state.x, state.logX), axisOf(state.y, state.logY)];
  if (state.zoom) [x.scale, y.scale] = [x.scale.zoomed(state.zoom[0], state.zoom[1]), y.scale.zoomed(state.zoom[2], state.zoom[3])];
  const colour = state.colour ? { ...axisOf(state.colour, "auto"), scale: scaleOf(runs.byKey.get(state.colour), rows) } : null;
  const front = state.isFront ? state.front(rows) : [];
  return { x, y, colour, rows, ringed: new Set(front), front, marked: state.isFront ? -1 : runs.best };
}

function pointsDrawing(runs, state, plotOf, apply) {
  return {
    height: 360,
    isLarge: () => runs.rows.length > 4000,
    draw(canvas, size) {
      const data = { ...state.data, selected: runs.selected };
      if (state.isContour) {
        const points = data.rows.map((row) => [data.x.scale.at(data.x.number(row)), data.y.scale.at(data.y.number(row)), data.colour.scale.at(data.colour.number(row))]);
        data.ground = contourGround(points.filter((point) => point.every(Number.isFinite)), size.colours);
      }
      if (state.isFront && !state.colour) data.lines = [{ colour: size.colours.accent, width: 1.5, alpha: 0.8, points: frontLine(state.data) }];
      return drawScatter(canvas, data, size);
    },
    over(context, layout, { colours }) {
      if (runs.hovered >= 0) drawScatterRow(context, layout, runs.hovered, colours);
      if (state.box) drawBox(context, state.box, colours);
    },
    rowAt: scatterRowAt,
    describe: (row) => describeRun(runs, row, [...new Set([state.x, state.y, state.colour].filter(Boolean))].map((key) => runs.byKey.get(key))),
    pick: (row) => runs.toggle(row),
    hover: runs.hover,
    clear: () => ((state.zoom = null), runs.select([]), apply()),
    drag: {
      cursor: () => "crosshair",
      start: (layout, x, y) => ({ x, y }),
      move(from, x, y) {
        state.box = [from.x, from.y, x, y];
        plotOf().refresh();
      },
      end(from, layout) {
        const box = state.box;
        state.box = null;
        if (state.isZooming) {
          const [a, b] = [scatterSharesAt(layout, box[0], box[1]), scatterSharesAt(layout, box[2], box[3])];
          const [w, x, y, z] = state.zoom ?? [0, 1, 0, 1];
          const inner = (low, high, one, other) => [low + (high - low) * Math.min(one, other), low + (high - low) * Math.max(one, other)];
          state.zoom = [...inner(w, x, a[0], b[0]), ...inner(y, z, a[1], b[1])];
          apply();
        } else runs.select(scatterRowsIn(layout, ...box));
        plotOf().refresh();
      },
    },
  };
}

function drawBox(context, [x0, y0, x1, y1], colours) {
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.15;
  context.fillRect(x0, y0, x1 - x0, y1 - y0);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.strokeRect(x0, y0, x1 - x0, y1 - y0);
}

function frontLine({ front, x, y }) {
  return front.map((row) => [x.number(row), y.number(row)]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
}
