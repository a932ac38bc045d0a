// A canvas in the page with what all plots need: its size, the theme, what is under the pointer, and dragging.
import { element } from "./dom.js";
import { prepared } from "./canvas.js";
import { themeColours } from "./palette.js";

const LATER = 120; // milliseconds until what takes long to draw is drawn, so that typing goes on

// isLarge() says that drawing takes long. draw(canvas, size) draws it all and returns a layout; over(context, layout, size) draws what changes quickly.
// rowAt(layout, x, y) is the row that is meant, describe(row) what is said of it; pick(row, event) is a click on it.
// drag: { start(layout, x, y) -> a thing | null, move(thing, x, y, layout), end(thing, layout), cancel(thing), cursor(layout, x, y) };
// clear() is a double click.
export function plotHost(label, { height = 360, draw, over, rowAt, describe, pick, hover, drag, clear, isLarge = () => false }) {
  const canvas = element("canvas", { role: "img", "aria-label": label });
  const top = element("canvas", { class: "mlx-over", "aria-hidden": "true" });
  const tip = element("div", { class: "mlx-tip", hidden: true, "aria-hidden": "true" });
  const host = element("div", { class: "mlx-plot", style: `height:${height}px` }, canvas, top, tip);
  const plot = { element: host, canvas, layout: null, size: null };
  let isDue = false;

  const drawNow = () => {
    isDue = false;
    if (!host.clientWidth) return;
    plot.size = { width: host.clientWidth, height: host.clientHeight, ratio: window.devicePixelRatio || 1, colours: themeColours(host) };
    plot.layout = draw(canvas, plot.size);
    plot.refresh();
  };
  plot.redraw = () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => setTimeout(drawNow, isLarge() ? LATER : 0)); // the table is painted first
  };
  plot.refresh = () => {
    if (!plot.layout || !plot.size) return;
    const context = prepared(top, plot.size.width, plot.size.height, plot.size.ratio);
    over?.(context, plot.layout, plot.size);
  };
  plot.say = (text) => canvas.setAttribute("aria-label", text);

  listenToPointer(plot, { host, top, tip, rowAt, describe, pick, hover, drag, clear });
  const sizes = new ResizeObserver(plot.redraw);
  sizes.observe(host);
  const themes = new MutationObserver(plot.redraw);
  themes.observe(document.body, { attributes: true, attributeFilter: ["class", "data-jp-theme-light", "data-jp-theme-name"] });
  const scheme = window.matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", plot.redraw);
  plot.close = () => {
    sizes.disconnect();
    themes.disconnect();
    scheme.removeEventListener("change", plot.redraw);
  };
  return plot;
}

function listenToPointer(plot, { host, top, tip, rowAt, describe, pick, hover, drag, clear }) {
  let thing = null;
  let moved = false;
  let from = null;
  const placeOf = (event) => {
    const box = top.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const leave = () => {
    tip.hidden = true;
    hover?.(-1);
  };
  top.addEventListener("pointerdown", (event) => {
    if (!plot.layout || event.button !== 0) return;
    const [x, y] = placeOf(event);
    [from, moved] = [[x, y], false];
    thing = drag?.start(plot.layout, x, y) ?? null;
    if (thing) top.setPointerCapture(event.pointerId);
    leave();
  });
  top.addEventListener("pointermove", (event) => {
    if (!plot.layout) return;
    const [x, y] = placeOf(event);
    if (from && Math.hypot(x - from[0], y - from[1]) > 3) moved = true;
    if (thing) {
      if (moved) drag.move(thing, x, y, plot.layout);
      return;
    }
    top.style.cursor = drag?.cursor?.(plot.layout, x, y) ?? "default";
    const row = rowAt?.(plot.layout, x, y) ?? -1;
    hover?.(row);
    tip.hidden = row < 0;
    if (row < 0) return;
    top.style.cursor = "pointer";
    tip.replaceChildren(...[describe(row)].flat());
    const isRight = x > host.clientWidth / 2;
    tip.style.left = isRight ? "" : `${x + 14}px`;
    tip.style.right = isRight ? `${host.clientWidth - x + 14}px` : "";
    tip.style.top = `${Math.max(0, Math.min(host.clientHeight - tip.offsetHeight, y - 10))}px`;
  });
  top.addEventListener("pointerup", (event) => {
    const [x, y] = placeOf(event);
    const [was, row] = [thing, plot.layout && !moved ? (rowAt?.(plot.layout, x, y) ?? -1) : -1];
    [thing, from] = [null, null];
    if (was && moved) drag.end(was, plot.layout);
    else if (row >= 0) pick?.(row, event);
    else if (was) drag.click?.(was, plot.layout);
  });
  top.addEventListener("pointercancel", () => {
    if (thing && moved) drag.cancel?.(thing);
    [thing, from] = [null, null];
  });
  top.addEventListener("pointerleave", () => thing || leave());
  top.addEventListener("dblclick", () => clear?.());
}
