// What is typed to filter a column, or to search all: "> 0.5", "0.1..0.5", "= rbf", "!= rbf", "rbf | linear", "empty".
import { formatDate } from "./columns.js";

const UNITS = { s: 1, sec: 1, min: 60, m: 60, h: 3600, d: 86400 };

// A test of rows for what is typed, and what is wrong with it: { test(row) | null, problem | "" }.
export function filterOf(column, typed) {
  const text = typed.trim();
  if (!text) return { test: null, problem: "" };
  const parts = text.split("|").map((part) => alternative(column, part.trim()));
  const wrong = parts.find((part) => part.problem);
  if (wrong) return { test: null, problem: wrong.problem };
  const tests = parts.map((part) => part.test);
  return { test: tests.length === 1 ? tests[0] : (row) => tests.some((test) => test(row)), problem: "" };
}

function alternative(column, text) {
  if (/^!\s*empty$/i.test(text)) return { test: (row) => !column.isMissing(row) };
  if (/^empty$/i.test(text)) return { test: (row) => column.isMissing(row) && !column.nans.has(row) };
  if (!text) return { test: () => false };
  return column.isNumeric ? numberFilter(column, text) : textFilter(column, text);
}

function numberFilter(column, text) {
  if (/^nan$/i.test(text)) return { test: (row) => column.nans.has(row) };
  const range = text.match(/^(.+?)\s*\.\.\s*(.+)$/);
  if (range) {
    const [low, high] = [valueOf(column, range[1]), valueOf(column, range[2])];
    if (Number.isNaN(low + high)) return { problem: `a range is written ${example(column)[0]}..${example(column)[1]}` };
    return { test: (row) => column.values[row] >= low && column.values[row] <= high };
  }
  const bounds = [...text.matchAll(/(>=|<=|!=|==|>|<|=|≥|≤)\s*([^<>=!≥≤]+)/g)];
  if (bounds.length && bounds.map((one) => one[0]).join("").length === text.length) {
    const tests = bounds.map(([, sign, value]) => bound(column, sign, valueOf(column, value.replace(/,|\band\b/g, " ").trim())));
    if (tests.includes(null)) return { problem: `after ${bounds[0][1]} comes a ${column.kind}, such as ${example(column)[0]}` };
    return { test: (row) => tests.every((test) => test(column.values[row])) };
  }
  if (/[<>=]/.test(text)) return { problem: `write > ${example(column)[0]}, or ${example(column)[0]}..${example(column)[1]}` };
  const word = text.toLowerCase();
  return { test: (row) => column.text(row).toLowerCase().includes(word) };
}

function bound(column, sign, value) {
  if (Number.isNaN(value)) return null;
  if (sign === ">") return (one) => one > value;
  if (sign === "<") return (one) => one < value;
  if (sign === ">=" || sign === "≥") return (one) => one >= value;
  if (sign === "<=" || sign === "≤") return (one) => one <= value;
  const isSame = (one) => one === value || Math.abs(one - value) <= Math.abs(value) * 1e-12;
  return sign === "!=" ? (one) => !Number.isNaN(one) && !isSame(one) : isSame;
}

function valueOf(column, text) {
  if (column.kind === "date") return new Date(/^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00` : text.replace(" ", "T")).getTime();
  const match = text.match(/^([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?inf(?:inity)?)\s*([a-z]*)$/i);
  if (!match) return NaN;
  const unit = column.kind === "duration" ? UNITS[match[2].toLowerCase() || "s"] : match[2] ? NaN : 1;
  const number = /inf/i.test(match[1]) ? (match[1].startsWith("-") ? -Infinity : Infinity) : Number(match[1]);
  return number * (unit ?? NaN);
}

function example(column) {
  if (column.kind === "date") return [formatDate(Date.now() - 864e5).slice(0, 10), formatDate(Date.now()).slice(0, 10)];
  return column.kind === "duration" ? ["10 s", "5 min"] : ["0.1", "0.5"];
}

function textFilter(column, text) {
  const match = text.match(/^(!=|==|=|!)\s*(.*)$/);
  const [sign, word] = match ? [match[1], match[2].toLowerCase()] : ["", text.toLowerCase()];
  if (sign && !word) return { problem: `after ${sign} comes a text` };
  const isExact = sign === "=" || sign === "==" || sign === "!=";
  const matches = column.texts.map((one) => (isExact ? one.toLowerCase() === word : one.toLowerCase().includes(word)));
  const isNot = sign.startsWith("!");
  return { test: (row) => (column.values[row] >= 0 && matches[column.values[row]]) !== isNot };
}

// A test of rows for words, each of which has to be in one of the columns as people read them; null for none.
export function searchOf(columns, typed) {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return null;
  const tests = words.map((word) => {
    const each = columns.map((column) => wordTest(column, word));
    return (row) => each.some((test) => test(row));
  });
  return (row) => tests.every((test) => test(row));
}

function wordTest(column, word) {
  if (!column.isNumeric) {
    const matches = column.texts.map((text) => text.toLowerCase().includes(word));
    return (row) => column.values[row] >= 0 && matches[column.values[row]];
  }
  if (!/[\d:]|^(-?inf|nan|e[+-]|min|s|h)/.test(word)) return () => false;
  const texts = shownTexts(column);
  return (row) => texts[row].includes(word);
}

const _shown = new WeakMap();

// A numeric column's texts; they take a while, and are kept.
export function shownTexts(column) {
  let texts = _shown.get(column);
  if (!texts) {
    texts = Array.from({ length: column.length }, (_, row) => column.text(row).toLowerCase());
    _shown.set(column, texts);
  }
  return texts;
}
