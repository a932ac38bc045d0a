// Numbers as people read them, the same as `quantities.number` and `quantities.duration` in Python.

export function formatNumber(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return String(value);
  const size = Math.abs(value);
  const isPlain = size >= 1e-4 && size < 1e6;
  const text = isPlain ? value.toPrecision(4) : value.toExponential(3);
  const short = isPlain && text.includes(".") ? text.replace(/\.?0+(?=e|$)/, "") : text;
  return short.replace(/e([+-])(\d)$/, "e$10$2");
}

export function formatDuration(seconds) {
  if (Math.round(seconds * 100) / 100 < 60) return `${seconds.toFixed(2)} s`;
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} min`;
}
