// Scales from values to a share of an axis, 0 to 1, and their ticks.
import { formatNumber, formatDuration } from "./format.js";
import { formatDate } from "./columns.js";

const LOG_FROM = 100; // as in Python: how many times the least value the largest is, for a logarithmic axis

// The scale that fits a column, for the rows that are there. `log`: "auto", true or false.
export function scaleOf(column, rows, { log = "auto", pad = 0 } = {}) {
  if (!column.isNumeric) return categoryScale(usedTexts(column, rows), column.texts);
  const kind = column.kind === "number" ? "number" : column.kind;
  return numberScale(extentOf(rows, column.number), { log: kind === "date" ? false : log, pad, kind });
}

// The least and the largest finite value, and the least one above zero.
export function extentOf(rows, number) {
  let low = Infinity;
  let high = -Infinity;
  let positive = Infinity;
  for (const row of rows) {
    const value = number(row);
    if (!Number.isFinite(value)) continue;
    if (value < low) low = value;
    if (value > high) high = value;
    if (value > 0 && value < positive) positive = value;
  }
  return { low, high, positive };
}

export function numberScale({ low, high }, { log = "auto", pad = 0, kind = "number" } = {}) {
  if (low > high) [low, high] = [0, 1];
  const canBeLog = low > 0;
  const isLog = canBeLog && (log === true || (log === "auto" && high / low >= LOG_FROM));
  const to = isLog ? Math.log10 : (value) => value;
  const from = isLog ? (place) => 10 ** place : (place) => place;
  let [first, last] = [to(low), to(high)];
  if (first === last) [first, last] = isLog ? [first - 0.5, last + 0.5] : wider(first);
  const margin = (last - first) * pad;
  return placedScale(first - margin, last + margin, { to, from, isLog, canBeLog, kind });
}

function wider(value) {
  const more = Math.abs(value) / 10 || 1;
  return [value - more, value + more];
}

function placedScale(first, last, made) {
  const { to, from, isLog, canBeLog, kind } = made;
  const at = (value) => {
    const place = (to(value) - first) / (last - first);
    return Number.isFinite(place) ? place : NaN;
  };
  const inverse = (share) => from(first + share * (last - first));
  return {
    kind: isLog ? "log" : kind,
    isLog,
    canBeLog,
    low: from(first),
    high: from(last),
    at,
    inverse,
    ticks: (count) => ticksOf(from(first), from(last), count, isLog ? "log" : kind).map((one) => ({ ...one, at: at(one.value) })),
    label: (share) => labelOf(kind)(inverse(share)),
    zoomed: (a, b) => placedScale(first + a * (last - first), first + b * (last - first), made),
  };
}

export function categoryScale(codes, texts) {
  const place = new Map(codes.map((code, k) => [code, k]));
  return categoryPart(codes, texts, place, 0, 1);
}

function categoryPart(codes, texts, place, first, last) {
  const count = Math.max(1, codes.length);
  const at = (code) => (place.has(code) ? ((place.get(code) + 0.5) / count - first) / (last - first) : NaN);
  return {
    kind: "category",
    isLog: false,
    canBeLog: false,
    at,
    inverse: (share) => codes[Math.max(0, Math.min(count - 1, Math.floor((first + share * (last - first)) * count)))],
    ticks(most) {
      const every = Math.max(1, Math.ceil(codes.length / Math.max(1, most)));
      return codes.filter((_, k) => k % every === 0).map((code) => ({ value: code, at: at(code), label: texts[code] }));
    },
    label(share) {
      return texts[this.inverse(share)] ?? "";
    },
    zoomed: (a, b) => categoryPart(codes, texts, place, first + a * (last - first), first + b * (last - first)),
  };
}

function usedTexts(column, rows) {
  const used = new Set();
  for (const row of rows) if (column.values[row] >= 0) used.add(column.values[row]);
  return [...used].sort((a, b) => a - b);
}

function labelOf(kind) {
  return kind === "date" ? formatDate : kind === "duration" ? formatDuration : formatNumber;
}

function ticksOf(low, high, count, kind) {
  if (kind === "log") return logTicks(low, high, count);
  if (kind === "date") return dateTicks(low, high, count);
  return linearTicks(low, high, count);
}

function linearTicks(low, high, count) {
  const step = niceStep((high - low) / Math.max(1, count));
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9 && found.length < 100; k += 1) {
    found.push({ value: k * step, label: tickLabel(k * step, decimals) });
  }
  return found;
}

function niceStep(rough) {
  const size = 10 ** Math.floor(Math.log10(rough || 1));
  const times = rough / size;
  return size * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
}

function tickLabel(value, decimals) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || (decimals > 5 && size < 1e-3) || decimals > 8)) return shortPower(value);
  return value.toFixed(decimals);
}

function shortPower(value) {
  return String(Number(value.toPrecision(3)).toExponential()).replace("e+", "e");
}

function logTicks(low, high, count) {
  const first = Math.floor(Math.log10(low) + 1e-9);
  const last = Math.ceil(Math.log10(high) - 1e-9);
  const decades = Math.log10(high / low);
  if (decades < 1) return linearTicks(low, high, count);
  const within = decades * 3 <= count ? [1, 2, 5] : [1];
  const every = Math.max(1, Math.ceil(decades / Math.max(1, count)));
  const found = [];
  for (let power = first; power <= last; power += every) {
    for (const times of within) {
      const value = times * 10 ** power;
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) {
        found.push({ value, label: power < -4 || power > 5 ? shortPower(value) : String(Number(value.toPrecision(3))) });
      }
    }
  }
  return found;
}

const SECOND = 1000;
const DAY = 86400 * SECOND;
const DATE_STEPS = [1, 5, 15, 60, 300, 900, 3600, 10800, 21600, 43200].map((s) => s * SECOND).concat([1, 2, 7, 14, 30, 90, 365].map((d) => d * DAY));

function dateTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const step = DATE_STEPS.find((one) => one >= rough) ?? Math.ceil(rough / (365 * DAY)) * 365 * DAY;
  const shift = new Date(low).getTimezoneOffset() * 60 * SECOND; // days begin where the reader is
  const found = [];
  for (let at = Math.ceil((low - shift) / step) * step + shift; at <= high && found.length < 100; at += step) {
    const text = formatDate(at);
    const seconds = String(new Date(at).getSeconds()).padStart(2, "0");
    const isDay = step >= DAY || text.endsWith("00:00");
    found.push({ value: at, label: isDay ? text.slice(0, 10) : step < 60 * SECOND ? `${text.slice(11)}:${seconds}` : text.slice(11) });
  }
  return found;
}
