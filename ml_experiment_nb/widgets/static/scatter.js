// Points of rows over two axes, with lines through some of them, on a ground of colours where there is one.
import { colourBar, fitted, prepared } from "./canvas.js";
import { rampColour } from "./palette.js";

const MARGIN = { left: 66, right: 16, top: 12, bottom: 40 };
const REACH = 8; // pixels from a point at which it is meant

// Draws on a canvas and returns the layout that the functions below ask.
// data: { x, y: { label, scale, number(row) }, colour: same | null, rows, selected: Set | null,
//         ringed: Set of rows with a ring, marked: row with a star | -1,
//         lines: [{ colour, points: [[x, y]], width, dash, step }], ground: (context, box) => void | null, points: false hides them }
export function drawScatter(canvas, data, { width, height, ratio, colours }) {
  const context = prepared(canvas, width, height, ratio);
  const box = {
    left: MARGIN.left,
    right: width - (data.colour ? 74 : MARGIN.right),
    top: MARGIN.top,
    bottom: height - MARGIN.bottom,
  };
  const layout = scatterLayout(data, box);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top, box.right - box.left, box.bottom - box.top);
  context.clip();
  if (data.ground) data.ground(context, box);
  context.restore();
  drawGrid(context, data, box, colours);
  context.save();
  context.beginPath();
  context.rect(box.left - 5, box.top - 5, box.right - box.left + 10, box.bottom - box.top + 10);
  context.clip();
  if (data.points !== false) drawPoints(context, layout, data, colours);
  for (const line of data.lines ?? []) drawLine(context, line, data, box);
  context.restore();
  if (data.colour) colourBar(context, data.colour, { x: width - 62, y: box.top, height: box.bottom - box.top }, colours, rampColour);
  return layout;
}

// Draws one row's point, large, over what is there.
export function drawScatterRow(context, layout, row, colours) {
  const k = layout.index.get(row);
  if (k === undefined || Number.isNaN(layout.xs[k] + layout.ys[k])) return;
  context.beginPath();
  context.arc(layout.xs[k], layout.ys[k], 6, 0, 2 * Math.PI);
  context.strokeStyle = colours.text;
  context.lineWidth = 2;
  context.stroke();
}

// The row whose point is nearest to a place, or -1.
export function scatterRowAt(layout, x, y) {
  let best = REACH ** 2;
  let found = -1;
  for (let k = 0; k < layout.xs.length; k += 1) {
    const far = (layout.xs[k] - x) ** 2 + (layout.ys[k] - y) ** 2;
    if (far <= best && layout.isIn(layout.xs[k], layout.ys[k])) [best, found] = [far, layout.rows[k]];
  }
  return found;
}

// The rows whose points are in a rectangle of the canvas.
export function scatterRowsIn(layout, x0, y0, x1, y1) {
  const [left, right] = [Math.min(x0, x1), Math.max(x0, x1)];
  const [top, bottom] = [Math.min(y0, y1), Math.max(y0, y1)];
  return layout.rows.filter((_, k) => {
    const [x, y] = [layout.xs[k], layout.ys[k]];
    return x >= left && x <= right && y >= top && y <= bottom && layout.isIn(x, y);
  });
}

// The shares of both axes, 0 to 1, at a place of the canvas.
export function scatterSharesAt(layout, x, y) {
  const { box } = layout;
  return [(x - box.left) / (box.right - box.left), (box.bottom - y) / (box.bottom - box.top)];
}

function scatterLayout(data, box) {
  const count = data.rows.length;
  const [xs, ys] = [new Float32Array(count), new Float32Array(count)];
  const [wide, high] = [box.right - box.left, box.bottom - box.top];
  const [roomX, roomY] = [spreadOf(data.x, wide), spreadOf(data.y, high)];
  for (let k = 0; k < count; k += 1) {
    const row = data.rows[k];
    xs[k] = box.left + data.x.scale.at(data.x.number(row)) * wide + wobble(row) * roomX;
    ys[k] = box.bottom - data.y.scale.at(data.y.number(row)) * high + wobble(row + 7) * roomY;
  }
  const isIn = (x, y) => x >= box.left - 1 && x <= box.right + 1 && y >= box.top - 1 && y <= box.bottom + 1;
  return { box, xs, ys, rows: data.rows, index: new Map(data.rows.map((row, k) => [row, k])), isIn };
}

// Points of a category are spread a little, always the same way, so that they don't hide each other.
function spreadOf(axis, room) {
  return axis.scale.kind === "category" ? (0.5 * room) / Math.max(1, axis.scale.ticks(Infinity).length) : 0;
}

function wobble(row) {
  return (Math.imul(row + 1, 2654435761) >>> 0) / 2 ** 32 - 0.5;
}

function drawGrid(context, data, box, colours) {
  context.font = `11px ${colours.font}`;
  context.lineWidth = 1;
  const [wide, high] = [box.right - box.left, box.bottom - box.top];
  const line = (x0, y0, x1, y1, colour, alpha) => {
    context.globalAlpha = alpha;
    context.strokeStyle = colour;
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1, y1);
    context.stroke();
    context.globalAlpha = 1;
  };
  const seen = (tick) => tick.at >= -0.001 && tick.at <= 1.001;
  const mostX = Math.max(2, Math.floor(wide / 84));
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const tick of data.x.scale.ticks(mostX).filter(seen)) {
    const x = Math.round(box.left + tick.at * wide) + 0.5;
    line(x, box.top, x, box.bottom, colours.line, 0.6);
    context.fillStyle = colours.muted;
    context.fillText(fitted(context, tick.label, wide / mostX), x, box.bottom + 5);
  }
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of data.y.scale.ticks(Math.max(2, Math.floor(high / 40))).filter(seen)) {
    const y = Math.round(box.bottom - tick.at * high) + 0.5;
    line(box.left, y, box.right, y, colours.line, 0.6);
    context.fillStyle = colours.muted;
    context.fillText(fitted(context, tick.label, box.left - 24), box.left - 6, y);
  }
  line(box.left + 0.5, box.top, box.left + 0.5, box.bottom, colours.muted, 1);
  line(box.left, box.bottom + 0.5, box.right, box.bottom + 0.5, colours.muted, 1);
  context.font = `600 12px ${colours.font}`;
  context.fillStyle = colours.text;
  context.textAlign = "center";
  context.textBaseline = "bottom";
  context.fillText(fitted(context, data.x.label, wide), (box.left + box.right) / 2, box.bottom + MARGIN.bottom - 3);
  context.save();
  context.translate(13, (box.top + box.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.textBaseline = "middle";
  context.fillText(fitted(context, data.y.label, high), 0, 0);
  context.restore();
}

function drawPoints(context, layout, data, colours) {
  const chosen = data.selected?.size ? data.selected : null;
  const count = data.rows.length;
  const radius = count > 4000 ? 2 : count > 800 ? 2.6 : count > 150 ? 3.4 : 4.5;
  const strength = count > 4000 ? 0.55 : count > 800 ? 0.7 : 0.85;
  const dots = (isWanted, paint, alpha) => {
    context.globalAlpha = alpha;
    for (let k = 0; k < count; k += 1) {
      if (Number.isNaN(layout.xs[k] + layout.ys[k]) || !isWanted(data.rows[k])) continue;
      context.fillStyle = paint(data.rows[k]);
      context.beginPath();
      context.arc(layout.xs[k], layout.ys[k], radius, 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  };
  const paint = (row) => {
    if (!data.colour) return colours.accent;
    const share = data.colour.scale.at(data.colour.number(row));
    return Number.isNaN(share) ? colours.muted : rampColour(share, colours.isDark);
  };
  if (chosen) dots((row) => !chosen.has(row), () => colours.muted, 0.25);
  dots((row) => !chosen || chosen.has(row), paint, strength);
  context.strokeStyle = colours.text;
  context.lineWidth = 1.5;
  for (const row of data.ringed ?? []) ring(context, layout, row, radius + 2.5);
  if (data.marked >= 0) star(context, layout, data.marked, colours);
}

function ring(context, layout, row, radius) {
  const k = layout.index.get(row);
  if (k === undefined || Number.isNaN(layout.xs[k] + layout.ys[k])) return;
  context.beginPath();
  context.arc(layout.xs[k], layout.ys[k], radius, 0, 2 * Math.PI);
  context.stroke();
}

function star(context, layout, row, colours) {
  const k = layout.index.get(row);
  if (k === undefined || Number.isNaN(layout.xs[k] + layout.ys[k])) return;
  context.beginPath();
  for (let n = 0; n < 10; n += 1) {
    const [far, turn] = [n % 2 ? 4 : 9, (n * Math.PI) / 5 - Math.PI / 2];
    context.lineTo(layout.xs[k] + far * Math.cos(turn), layout.ys[k] + far * Math.sin(turn));
  }
  context.closePath();
  context.fillStyle = colours.warn;
  context.fill();
  context.strokeStyle = colours.ground;
  context.lineWidth = 1;
  context.stroke();
}

function drawLine(context, line, data, box) {
  context.strokeStyle = line.colour;
  context.lineWidth = line.width ?? 1.6;
  context.globalAlpha = line.alpha ?? 1;
  context.setLineDash(line.dash ?? []);
  context.lineJoin = "round";
  context.beginPath();
  let before = null;
  for (const [a, b] of line.points) {
    const x = box.left + data.x.scale.at(a) * (box.right - box.left);
    const y = box.bottom - data.y.scale.at(b) * (box.bottom - box.top);
    if (Number.isNaN(x + y)) before = null;
    else {
      if (before === null) context.moveTo(x, y);
      else if (line.step) context.lineTo(x, before);
      context.lineTo(x, y);
      before = y;
    }
  }
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}
