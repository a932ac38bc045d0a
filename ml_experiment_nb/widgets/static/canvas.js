// Drawing on a canvas in CSS pixels, sharp whatever the screen's.

export function prepared(canvas, width, height, ratio) {
  const [wide, high] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== wide) canvas.width = wide;
  if (canvas.height !== high) canvas.height = high;
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

// A text cut to a width, with an ellipsis.
export function fitted(context, text, width) {
  if (context.measureText(text).width <= width) return text;
  let [low, high] = [0, text.length];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (context.measureText(`${text.slice(0, middle)}…`).width <= width) low = middle;
    else high = middle - 1;
  }
  return low ? `${text.slice(0, low)}…` : "";
}

// A text that can be read over lines.
export function haloed(context, text, x, y, colours, colour = colours.text) {
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeStyle = colours.ground;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

// A legend of a colour's scale: a bar from its least to its largest value, in a box.
export function colourBar(context, colour, { x, y, height }, colours, ramp) {
  const wide = 10;
  for (let k = 0; k < height; k += 1) {
    context.fillStyle = ramp(1 - k / height, colours.isDark);
    context.fillRect(x, y + k, wide, 1.5);
  }
  context.font = `11px ${colours.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillStyle = colours.muted;
  for (const tick of colour.scale.ticks(Math.max(2, Math.floor(height / 40)))) {
    if (tick.at < -0.001 || tick.at > 1.001) continue;
    context.fillText(fitted(context, tick.label, 52), x + wide + 4, y + (1 - tick.at) * height);
  }
}
