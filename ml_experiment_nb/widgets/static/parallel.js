// Parallel coordinates: a line for each row through its values, an axis each; parts of axes can be brushed.
import { colourBar, fitted, haloed, prepared } from "./canvas.js";
import { rampColour } from "./palette.js";

const TOP = 34;
const BOTTOM = 14;
const BUCKETS = 32; // colours that are told apart, so that lines are drawn in few goes
const NEAR = 6; // pixels from a line or an axis at which it is meant

// Draws on a canvas and returns the layout that the functions below ask.
// data: { axes: [{ label, scale, number(row) }], rows, colour: { label, scale, number(row) } | null,
//         selected: Set | null, brushes: Map(axis -> [low, high] of 0..1) }
export function drawParallel(canvas, data, { width, height, ratio, colours }) {
  const context = prepared(canvas, width, height, ratio);
  const layout = parallelLayout(data, width, height);
  const chosen = chosenRows(data);
  const dims = chosen !== null;
  const strength = strengthOf(dims ? chosen.size : data.rows.length);
  if (dims) strokeRows(context, layout, data, (row) => !chosen.has(row), () => colours.muted, Math.min(0.12, strengthOf(data.rows.length) / 3));
  const paint = data.colour ? (bucket) => rampColour(bucket / (BUCKETS - 1), colours.isDark) : () => colours.accent;
  strokeRows(context, layout, data, (row) => !dims || chosen.has(row), paint, strength);
  drawAxes(context, layout, data, colours);
  if (layout.hasBar) colourBar(context, data.colour, { x: width - 62, y: layout.top, height: layout.bottom - layout.top }, colours, rampColour);
  return layout;
}

// Draws one row's line, thick, over what is there.
export function drawParallelRow(context, layout, data, row, colours) {
  const k = layout.index.get(row);
  if (k === undefined) return;
  context.lineJoin = "round";
  for (const [colour, wide] of [[colours.ground, 5], [colours.text, 2.5]]) {
    context.beginPath();
    traceRow(context, layout, k);
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.stroke();
  }
  context.font = `11px ${colours.font}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
}

// The row whose line passes a point, or -1.
export function parallelRowAt(layout, data, x, y) {
  if (y < layout.top - NEAR || y > layout.bottom + NEAR) return -1;
  const right = layout.axes.findIndex((axis) => axis.x >= x);
  if (right <= 0) return -1;
  const [a, b] = [layout.axes[right - 1], layout.axes[right]];
  const share = (x - a.x) / (b.x - a.x);
  let best = NEAR;
  let found = -1;
  for (let k = 0; k < data.rows.length; k += 1) {
    const far = Math.abs(a.y[k] + (b.y[k] - a.y[k]) * share - y);
    if (far < best && (!data.selected?.size || data.selected.has(data.rows[k]) || best === NEAR)) [best, found] = [far, data.rows[k]];
  }
  return found;
}

// The axis whose line is at a point, or -1.
export function parallelAxisAt(layout, x, y) {
  if (y < layout.top - 20 || y > layout.bottom + 8) return -1;
  return layout.axes.findIndex((axis) => Math.abs(axis.x - x) <= 10);
}

// The share, 0 to 1, of an axis at a height.
export function parallelShareAt(layout, y) {
  return Math.min(1, Math.max(0, (layout.bottom - y) / (layout.bottom - layout.top)));
}

// The rows that are within all brushes.
export function brushedRows(data, brushes) {
  const all = [...brushes].map(([axis, [low, high]]) => ({ axis: data.axes[axis], low, high })).filter((one) => one.axis);
  return data.rows.filter((row) =>
    all.every(({ axis, low, high }) => {
      const at = axis.scale.at(axis.number(row));
      return at >= low && at <= high;
    }),
  );
}

function parallelLayout(data, width, height) {
  const isLast = data.colour !== null && data.axes[data.axes.length - 1]?.label === data.colour.label; // the axis is the legend
  const hasBar = data.colour !== null && !isLast;
  const [left, right] = [56, width - (hasBar ? 116 : 64)];
  const [top, bottom] = [TOP, height - BOTTOM];
  const step = (right - left) / Math.max(1, data.axes.length - 1);
  const axes = data.axes.map((axis, k) => {
    const y = new Float32Array(data.rows.length);
    for (let n = 0; n < y.length; n += 1) y[n] = bottom - axis.scale.at(axis.number(data.rows[n])) * (bottom - top);
    return { x: left + k * step, y };
  });
  return { axes, top, bottom, step, isLast, hasBar, index: new Map(data.rows.map((row, k) => [row, k])) };
}

function chosenRows(data) {
  return data.selected?.size ? data.selected : null;
}

function strengthOf(count) {
  return Math.max(0.06, Math.min(0.9, 9 / Math.sqrt(Math.max(1, count))));
}

function strokeRows(context, layout, data, isWanted, paint, alpha) {
  const buckets = Array.from({ length: BUCKETS }, () => []);
  data.rows.forEach((row, k) => {
    if (!isWanted(row)) return;
    const share = data.colour ? data.colour.scale.at(data.colour.number(row)) : 0;
    if (Number.isNaN(share)) return;
    buckets[Math.min(BUCKETS - 1, Math.max(0, Math.round(share * (BUCKETS - 1))))].push(k);
  });
  context.lineWidth = 1.2;
  context.globalAlpha = alpha;
  buckets.forEach((rows, bucket) => {
    context.strokeStyle = paint(bucket);
    for (let from = 0; from < rows.length; from += 40) {
      context.beginPath();
      for (const k of rows.slice(from, from + 40)) traceRow(context, layout, k);
      context.stroke();
    }
  });
  context.globalAlpha = 1;
}

// A value that is missing breaks the line.
function traceRow(context, layout, k) {
  let isDown = false;
  for (const axis of layout.axes) {
    const y = axis.y[k];
    if (Number.isNaN(y)) isDown = false;
    else if (isDown) context.lineTo(axis.x, y);
    else {
      context.moveTo(axis.x, y);
      isDown = true;
    }
  }
}

function drawAxes(context, layout, data, colours) {
  const count = Math.max(2, Math.floor((layout.bottom - layout.top) / 34));
  data.axes.forEach((axis, k) => {
    const { x } = layout.axes[k];
    context.fillStyle = colours.muted;
    context.fillRect(x - 0.5, layout.top, 1, layout.bottom - layout.top);
    if (layout.isLast && k === data.axes.length - 1) {
      for (let y = layout.top; y < layout.bottom; y += 1) {
        context.fillStyle = rampColour((layout.bottom - y) / (layout.bottom - layout.top), colours.isDark);
        context.fillRect(x, y, 8, 1.5);
      }
    }
    const isLast = k === data.axes.length - 1 && k > 0;
    context.textAlign = "center";
    context.textBaseline = "alphabetic";
    context.font = `600 12px ${colours.font}`;
    context.fillStyle = colours.text;
    const room = Math.max(40, layout.step - 12);
    context.fillText(fitted(context, axis.label, k === 0 ? Math.min(room, 108) : room), k === 0 ? Math.max(x, 4) : x, layout.top - 16);
    context.font = `11px ${colours.font}`;
    context.textAlign = isLast ? "left" : "right";
    context.textBaseline = "middle";
    for (const tick of axis.scale.ticks(count)) {
      if (tick.at < -0.001 || tick.at > 1.001) continue;
      const y = layout.bottom - tick.at * (layout.bottom - layout.top);
      context.fillStyle = colours.muted;
      context.fillRect(isLast ? x + (layout.isLast ? 8 : 0) : x - 4, y - 0.5, 4, 1);
      haloed(context, fitted(context, tick.label, Math.min(layout.step - 14, 90)), isLast ? x + (layout.isLast ? 13 : 7) : x - 7, y, colours, colours.muted);
    }
    drawBrush(context, layout, x, data.brushes?.get(k), colours);
  });
}

function drawBrush(context, layout, x, brush, colours) {
  if (!brush) return;
  const [low, high] = brush.map((share) => layout.bottom - share * (layout.bottom - layout.top));
  context.globalAlpha = 0.3;
  context.fillStyle = colours.accent;
  context.fillRect(x - 8, high, 16, low - high);
  context.globalAlpha = 1;
  context.strokeStyle = colours.accent;
  context.lineWidth = 1.5;
  context.strokeRect(x - 8, high, 16, low - high);
}
