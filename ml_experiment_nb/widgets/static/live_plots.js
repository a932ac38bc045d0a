// The plots of a live view: a metric over the trials with the best so far, two metrics against each other, and parallel
// coordinates. They read a store's columns as the functions that draw want them.
import { numberScale, categoryScale, extentOf } from "./axes.js";
import { formatNumber } from "./format.js";

const MOST_AXES = 8;
const MOST_TEXTS = 24; // values of an axis that are told apart

// What can be drawn on the left: each metric over the trials, goals first; of two goals both against each other.
export function choicesOf(store) {
  const goals = store.parts.about.goals.map(([name]) => name);
  const others = store.of("metrics").map((one) => one.name).filter((name) => !goals.includes(name));
  const found = [...goals, ...others].map((name) => ({ key: name, label: `${name} over ${store.parts.about.unit}s` }));
  const pair = goals.length > 1 ? [{ key: "", label: `${goals[0]} and ${goals[1]}` }] : [];
  return [...pair, ...found];
}

// The data of `drawScatter` for a choice; null while there is nothing to draw.
export function historyOf(store, key) {
  if (key === "") return pairOf(store);
  const metric = store.column("metrics", key);
  const rows = rowsWith(store, [metric]);
  if (!rows.length) return null;
  const numbers = placesOf(store);
  const { about } = store.parts;
  const line = bestSoFar(store, rows, metric, numbers, about.goals.find(([name]) => name === key));
  const finished = rows.filter((row) => isFinished(store, row));
  return {
    x: { label: about.unit, number: numbers, scale: wholeScale(extentOf(rows, numbers)) },
    y: { label: key, number: metric.number, scale: numberScale(extentOf(rows, metric.number), { pad: 0.08 }) },
    rows,
    colour: null,
    selected: finished.length < rows.length && finished.length ? new Set(finished) : null,
    marked: line.best,
    lines: line.points.length > 1 ? [{ points: line.points, colour: "good", width: 1.8, step: true }] : [],
  };
}

function pairOf(store) {
  const { about, front } = store.parts;
  const [x, y] = about.goals.map(([name]) => store.column("metrics", name));
  const rows = rowsWith(store, [x, y]);
  if (!rows.length) return null;
  const places = store.column("trial", "number");
  const best = new Set(front);
  const axis = (one) => ({ label: one.name, number: one.number, scale: numberScale(extentOf(rows, one.number), { pad: 0.08 }) });
  const onFront = rows.filter((row) => best.has(places.values[row]));
  return { x: axis(x), y: axis(y), rows, colour: null, selected: onFront.length ? new Set(onFront) : null, ringed: new Set(onFront), marked: -1, lines: [] };
}

// The data of `drawParallel`; null where there are not two axes to draw.
export function parallelOf(store, key) {
  const { about } = store.parts;
  const goal = key || about.goals[0]?.[0] || "";
  const metric = store.column("metrics", goal);
  const rows = metric ? rowsWith(store, [metric]) : [...Array(store.count).keys()];
  const axes = store.of("params").map((one) => axisOf(one, rows, about.logs.includes(one.name))).filter(Boolean).slice(0, MOST_AXES);
  if (!rows.length || axes.length + Boolean(metric) < 2) return null;
  if (!metric) return { axes, rows, colour: null, selected: null, brushes: new Map() };
  const last = { label: goal, number: metric.number, scale: numberScale(extentOf(rows, metric.number)) };
  return { axes: [...axes, last], rows, colour: last, selected: null, brushes: new Map() };
}

function axisOf(column, rows, log) {
  if (!rows.some((row) => !Number.isNaN(column.number(row)))) return null;
  if (column.kind === "number") {
    return { label: column.name, number: column.number, scale: numberScale(extentOf(rows, column.number), { log: log || "auto" }) };
  }
  const used = [...new Set(rows.map((row) => column.values[row]).filter((code) => code >= 0))].sort((a, b) => a - b);
  return used.length > MOST_TEXTS ? null : { label: column.name, number: column.number, scale: categoryScale(used, column.texts) };
}

// The line of the best value so far, and the row that has it.
function bestSoFar(store, rows, metric, numbers, goal) {
  if (!goal) return { points: [], best: -1 };
  const isBetter = goal[1] ? (a, b) => a > b : (a, b) => a < b;
  const points = [];
  let best = -1;
  const inOrder = rows.filter((row) => isFinished(store, row)).sort((a, b) => numbers(a) - numbers(b));
  for (const row of inOrder) {
    if (best < 0 || isBetter(metric.values[row], metric.values[best])) best = row;
    points.push([numbers(row), metric.values[best]]);
  }
  const last = Math.max(...rows.map(numbers));
  if (points.length && last > points.at(-1)[0]) points.push([last, points.at(-1)[1]]);
  return { points, best };
}

// Where a trial stands on the axis: its number; one that another group has run, before all others.
function placesOf(store) {
  const { values } = store.column("trial", "number");
  return (row) => values[row];
}

function wholeScale({ low, high }) {
  const scale = numberScale({ low: low - 0.5, high: Math.max(high, low + 1) + 0.5 }, { log: false });
  return { ...scale, ticks: (count) => scale.ticks(count).filter((tick) => Number.isInteger(tick.value)).map((tick) => ({ ...tick, label: String(tick.value) })) };
}

function isFinished(store, row) {
  return store.parts.about.statuses[store.column("trial", "status").values[row]] === "finished";
}

function rowsWith(store, columns) {
  const found = [];
  if (columns.some((one) => one === undefined)) return found;
  for (let row = 0; row < store.count; row += 1) {
    if (columns.every((one) => Number.isFinite(one.values[row]))) found.push(row);
  }
  return found;
}

// A trial in words.
export function trialText(store, row) {
  const { about } = store.parts;
  const number = store.column("trial", "number").values[row];
  const status = about.statuses[store.column("trial", "status").values[row]];
  const said = (one) => (one.kind === "text" ? one.texts[one.values[row]] : formatNumber(one.values[row]));
  const has = (one) => !Number.isNaN(one.number(row));
  const metrics = store.of("metrics").filter(has).slice(0, 4).map((one) => `${one.name} ${said(one)}`);
  const params = store.of("params").filter(has).slice(0, 8).map((one) => `${one.name}=${said(one)}`);
  const name = number < 0 ? "taken over" : `#${number}`;
  return [`${name} ${status}`, metrics.join(", "), params.join(", ")].filter(Boolean).join(" · ");
}
