// The two canvases of a live view, drawn when something is new, and what is under the pointer.
import { element } from "./dom.js";
import { themeColours } from "./palette.js";
import { drawParallel, drawParallelRow, parallelRowAt } from "./parallel.js";
import { drawScatter, drawScatterRow, scatterRowAt } from "./scatter.js";
import { choicesOf, historyOf, parallelOf, trialText } from "./live_plots.js";

const HEIGHT = 250;

export function createFigures(store, memory) {
  const history = { canvas: element("canvas", { role: "img" }), draw: drawScatter, mark: drawScatterRow, at: (data, layout, x, y) => scatterRowAt(layout, x, y) };
  const parallel = { canvas: element("canvas", { role: "img" }), draw: drawParallel, mark: drawParallelRow, at: (data, layout, x, y) => parallelRowAt(layout, data, x, y) };
  const choice = element("select", { "aria-label": "What is drawn", "data-focus": "choice", onchange: () => {
    memory.choice = choice.value;
    update();
  } });
  const title = element("span", {});
  const under = element("div", { class: "mlx-live-under", "aria-hidden": "true" });
  const empty = element("p", { class: "mlx-live-muted mlx-live-empty" });
  const left = element("figure", {}, element("figcaption", {}, title, choice), history.canvas);
  const right = element("figure", {}, element("figcaption", {}, "Parameters"), parallel.canvas);
  const host = element("div", { class: "mlx-live-figures" }, left, right, under, empty);
  let hovered = -1;

  function update() {
    const choices = choicesOf(store);
    const keys = choices.map((one) => one.key);
    const key = keys.includes(memory.choice) ? memory.choice : keys[0];
    choice.hidden = choices.length < 2;
    title.textContent = choices.length < 2 ? choices[0]?.label ?? "" : "";
    title.hidden = !title.textContent;
    const options = choices.map((one) => element("option", { value: one.key, selected: one.key === key }, one.label));
    if (options.map((one) => one.label).join("\n") !== [...choice.options].map((one) => one.label).join("\n")) choice.replaceChildren(...options);
    history.data = key === undefined ? null : historyOf(store, key);
    parallel.data = parallelOf(store, key);
    history.canvas.setAttribute("aria-label", history.data ? `${choices[keys.indexOf(key)].label}: ${history.data.rows.length} points` : "");
    parallel.canvas.setAttribute("aria-label", parallel.data ? `Parallel coordinates of ${parallel.data.axes.map((one) => one.label).join(", ")}` : "");
    left.hidden = !history.data;
    right.hidden = !parallel.data;
    const { unit } = store.parts.about;
    empty.textContent = history.data || parallel.data ? "" : store.count ? `No ${unit} has reported a metric: return {"name": value} as the last expression, or call report(name=value).` : "The plots fill in as trials end.";
    empty.hidden = !empty.textContent;
    draw();
  }

  function draw() {
    const colours = themeColours(host);
    for (const one of [history, parallel]) drawOne(one, colours);
  }

  function drawOne(one, colours) {
    if (!one.data || one.canvas.parentElement.hidden) return;
    const width = one.canvas.parentElement.clientWidth;
    if (!width) return;
    const lines = one.data.lines?.map((line) => ({ ...line, colour: colours[line.colour] ?? line.colour }));
    one.layout = one.draw(one.canvas, { ...one.data, lines }, { width, height: HEIGHT, ratio: window.devicePixelRatio || 1, colours });
    if (hovered >= 0 && one.layout.index.has(hovered)) one.mark(one.canvas.getContext("2d"), one.layout, one.data, hovered, colours);
  }

  function hover(row) {
    if (row === hovered) return;
    hovered = row;
    under.textContent = row < 0 ? "" : trialText(store, row);
    draw();
  }

  history.mark = (context, layout, data, row, colours) => drawScatterRow(context, layout, row, colours);
  for (const one of [history, parallel]) {
    one.canvas.addEventListener("pointermove", (event) => one.layout && hover(one.at(one.data, one.layout, event.offsetX, event.offsetY)));
    one.canvas.addEventListener("pointerleave", () => hover(-1));
  }
  const themed = new MutationObserver(() => draw());
  themed.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light", "data-jp-theme-name", "class"] });
  return { element: host, update, draw, dispose: () => themed.disconnect() };
}
