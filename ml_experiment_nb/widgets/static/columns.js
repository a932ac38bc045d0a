// Columns as `columns.py` sends them: numbers as doubles, all else as the numbers of its texts.
import { formatNumber, formatDuration } from "./format.js";

export function readColumns(states) {
  return states.map(readColumn);
}

// A column: `values[row]` is a number, or the number of a text; `sortable[row]` sorts, NaN last; `text(row)` is for people.
export function readColumn(state) {
  const isNumeric = state.kind === "number" || state.kind === "date" || state.kind === "duration";
  const values = isNumeric ? doubles(state.data) : integers(state.data);
  const nans = new Set(state.nans);
  const isMissing = isNumeric ? (row) => Number.isNaN(values[row]) : (row) => values[row] < 0;
  const show = shown(state);
  return {
    ...state,
    data: null,
    values,
    isNumeric,
    nans,
    length: values.length,
    isMissing,
    number: isNumeric ? (row) => values[row] : (row) => (values[row] < 0 ? NaN : values[row]),
    text: (row) => (isMissing(row) ? (nans.has(row) ? "nan" : "") : show(values[row])),
  };
}

function shown(state) {
  if (state.kind === "number") return formatNumber;
  if (state.kind === "date") return formatDate;
  if (state.kind === "duration") return formatDuration;
  return (code) => state.texts[code];
}

// A moment in the reader's own time zone: 2026-01-31 14:05.
export function formatDate(milliseconds) {
  const date = new Date(milliseconds);
  if (Number.isNaN(date.getTime())) return "";
  const two = (value) => String(value).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

// The bytes may begin anywhere in what arrived: they are copied, for typed arrays begin at multiples of their size.
function bytes(data) {
  if (data instanceof ArrayBuffer) return data;
  return data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
}

function doubles(data) {
  return new Float64Array(bytes(data));
}

function integers(data) {
  return new Int32Array(bytes(data));
}
