// Parallel coordinates of the runs that are shown; what is brushed is selected.
import { element } from "./dom.js";
import { columnChoice, describeRun, mainMetric, notice, variedColumns } from "./controls.js";
import { brushedRows, drawParallel, drawParallelRow, parallelAxisAt, parallelRowAt, parallelShareAt } from "./parallel.js";
import { plotHost } from "./plot.js";
import { openPopup } from "./popup.js";
import { scaleOf } from "./axes.js";

const AXES = 8; // that are drawn until others are asked for
const AT_ONCE = 2000; // rows that are selected while a brush is moved, and not only after that

export function parallelPanel(runs, host) {
  const metric = mainMetric(runs);
  const params = variedColumns(runs, ["params"]).filter((column) => !column.hidden);
  const goals = runs.goals.map(([name]) => runs.byKey.get(`metrics.${name}`)).filter((column) => column && column !== metric);
  const state = {
    keys: [...params.slice(0, AXES), ...goals, ...(metric ? [metric] : [])].map((column) => column.key),
    colour: metric?.key ?? "",
    brushes: new Map(),
    data: null,
    isDragged: false, // then rows and scales stay, though a selection may change what is shown
  };
  const choices = runs.columns.filter((column) => column.key !== "run_id" && column.key !== "name");
  const area = element("div", {});
  const refresh = () => {
    if (state.isDragged) return;
    state.data = dataOf(runs, state);
    plot.say(`Parallel coordinates of ${runs.rows.length} runs: ${state.data.axes.map((axis) => axis.label).join(", ")}. The table's filters do what brushes do here.`);
    area.replaceChildren(state.data.axes.length > 1 ? plot.element : notice("Two axes are needed: choose parameters and metrics with “Axes”."));
    plot.redraw();
  };
  const apply = () => runs.select(state.brushes.size ? brushedRows(state.data, state.brushes) : []);
  const plot = plotHost("Parallel coordinates", {
    height: 340,
    isLarge: () => runs.rows.length > AT_ONCE,
    draw: (canvas, size) => drawParallel(canvas, { ...state.data, selected: runs.selected }, size),
    over: (context, layout, { colours }) => runs.hovered >= 0 && drawParallelRow(context, layout, state.data, runs.hovered, colours),
    rowAt: (layout, x, y) => (parallelAxisAt(layout, x, y) >= 0 ? -1 : parallelRowAt(layout, { ...state.data, selected: runs.selected }, x, y)),
    describe: (row) => describeRun(runs, row, state.keys.map((key) => runs.byKey.get(key))),
    pick: (row) => runs.toggle(row),
    hover: runs.hover,
    drag: brushing(runs, state, { apply, refresh, redraw: () => plot.redraw() }),
    clear: () => (state.brushes.clear(), apply()),
  });
  runs.on("shown", refresh);
  runs.on("selection", () => {
    if (!runs.selected.size && !state.isDragged) state.brushes.clear();
    plot.redraw();
  });
  runs.on("hover", plot.refresh);
  const axes = element("button", { "aria-haspopup": "true", "aria-expanded": "false" }, "Axes");
  axes.addEventListener("click", () => openPopup(axes, host, () => axisChoices(choices, state, refresh), { label: "Axes" }));
  const bar = element("div", { class: "mlx-bar" }, axes,
    columnChoice("Colour", choices, state.colour, (key) => ((state.colour = key), refresh()), { none: "one for all" }),
    element("span", { class: "mlx-muted mlx-hint" }, "Drag along an axis to select runs; a click on the axis takes that back."));
  refresh();
  return { element: element("div", {}, bar, area), close: plot.close };
}

function dataOf(runs, state) {
  const axisOf = (key) => {
    const column = runs.byKey.get(key);
    return { label: column.name, scale: scaleOf(column, runs.rows), number: column.number };
  };
  return {
    axes: state.keys.map(axisOf),
    rows: runs.rows,
    colour: state.colour ? axisOf(state.colour) : null,
    brushes: state.brushes,
  };
}

function axisChoices(columns, state, refresh) {
  return columns.map((column) => {
    const box = element("input", {
      type: "checkbox",
      onchange: () => {
        state.brushes.clear();
        state.keys = box.checked ? [...state.keys, column.key] : state.keys.filter((key) => key !== column.key);
        refresh();
      },
    });
    box.checked = state.keys.includes(column.key);
    return element("label", { class: "mlx-choice" }, box, ` ${column.name}`);
  });
}

function brushing(runs, state, { apply, refresh, redraw }) {
  const end = () => {
    apply();
    state.isDragged = false;
    if (runs.isOnlySelected || !runs.selected.size) state.brushes.clear(); // nothing but what was brushed is left to see
    refresh();
  };
  return {
    cursor: (layout, x, y) => (parallelAxisAt(layout, x, y) >= 0 ? "ns-resize" : "default"),
    start(layout, x, y) {
      const axis = parallelAxisAt(layout, x, y);
      return axis < 0 ? null : { axis, from: parallelShareAt(layout, y) };
    },
    move({ axis, from }, x, y, layout) {
      state.isDragged = true;
      const to = parallelShareAt(layout, y);
      state.brushes.set(axis, [Math.min(from, to), Math.max(from, to)]);
      if (runs.rows.length <= AT_ONCE) apply();
      else redraw();
    },
    end,
    cancel: end,
    click({ axis }) {
      if (state.brushes.delete(axis)) apply();
    },
  };
}
