// The runs that all views of a comparison share: which are shown and in what order, and which are selected.
import { filterOf, searchOf } from "./filters.js";

// Events: "rows" (others are shown, or in another order), "shown" (others are shown), "selection", "hover", "columns" (others are shown).
export function sharedRuns(columns, { best = -1, goals = [] } = {}) {
  const byKey = new Map(columns.map((column) => [column.key, column]));
  const count = columns.length ? columns[0].length : 0;
  const listeners = [];
  const runs = {
    columns,
    byKey,
    count,
    best,
    goals,
    rows: Array.from({ length: count }, (_, row) => row),
    shownColumns: columns.filter((column) => !column.hidden).map((column) => column.key),
    fixedColumns: new Set(["name"]),
    sorts: [],
    filters: new Map(),
    problems: new Map(),
    search: "",
    isOnlySelected: false,
    selected: new Set(),
    pinned: new Set(),
    hovered: -1,
    on: (event, listener) => listeners.push([event, listener]),
    emit: (event) => listeners.filter(([one]) => one === event).forEach(([, listener]) => listener()),
  };
  return Object.assign(runs, actionsOf(runs));
}

function actionsOf(runs) {
  const again = ({ isOnlyOrder = false } = {}) => {
    runs.rows = arrangedRows(runs);
    runs.emit("rows");
    if (!isOnlyOrder) runs.emit("shown");
  };
  return {
    again,
    filter(key, text) {
      if (text.trim()) runs.filters.set(key, text);
      else runs.filters.delete(key);
      again();
    },
    find(text) {
      runs.search = text;
      again();
    },
    clearFilters() {
      runs.filters.clear();
      runs.search = "";
      runs.isOnlySelected = false;
      again();
    },
    // Sorts by a column: ascending, then descending, then as the runs came; with `isMore` the others are kept.
    sort(key, { isMore = false, descending = null } = {}) {
      const before = runs.sorts.find((one) => one.key === key);
      const next = descending !== null ? { key, descending } : !before ? { key, descending: false } : !before.descending ? { key, descending: true } : null;
      if (isMore && before && next) before.descending = next.descending;
      else runs.sorts = [...(isMore ? runs.sorts.filter((one) => one.key !== key) : []), ...(next ? [next] : [])];
      again({ isOnlyOrder: true });
    },
    select(rows) {
      runs.selected = new Set(rows);
      if (runs.isOnlySelected) again();
      runs.emit("selection");
    },
    toggle(row) {
      const next = new Set(runs.selected);
      if (!next.delete(row)) next.add(row);
      runs.select(next);
    },
    pin(row) {
      if (!runs.pinned.delete(row)) runs.pinned.add(row);
      again({ isOnlyOrder: true });
    },
    hover(row) {
      if (row === runs.hovered) return;
      runs.hovered = row;
      runs.emit("hover");
    },
    showOnlySelected(isOnly) {
      runs.isOnlySelected = isOnly;
      again();
    },
    showColumns(keys) {
      const wanted = new Set(keys);
      runs.shownColumns = runs.columns.filter((column) => wanted.has(column.key)).map((column) => column.key);
      runs.emit("columns");
      if (runs.search) again();
    },
    fix(key) {
      if (!runs.fixedColumns.delete(key)) runs.fixedColumns.add(key);
      runs.emit("columns");
    },
    name: (row) => runs.byKey.get("name")?.text(row) ?? String(row),
    // The runs that are drawn where there is room for some: those selected, else the first that are shown.
    few: (most) => (runs.selected.size ? runs.rows.filter((row) => runs.selected.has(row)) : runs.rows).slice(0, most),
  };
}

function arrangedRows(runs) {
  const tests = [];
  runs.problems.clear();
  for (const [key, text] of runs.filters) {
    const { test, problem } = filterOf(runs.byKey.get(key), text);
    if (problem) runs.problems.set(key, problem);
    if (test) tests.push(test);
  }
  const wanted = new Set([...runs.shownColumns, "run_id"]);
  const found = searchOf(runs.columns.filter((column) => wanted.has(column.key)), runs.search);
  if (found) tests.push(found);
  if (runs.isOnlySelected) tests.push((row) => runs.selected.has(row));
  const rows = [];
  for (let row = 0; row < runs.count; row += 1) if (tests.every((test) => test(row))) rows.push(row);
  const order = sortedRows(rows, runs.sorts.map((one) => ({ ...one, column: runs.byKey.get(one.key) })));
  if (!runs.pinned.size) return order;
  return [...order.filter((row) => runs.pinned.has(row)), ...order.filter((row) => !runs.pinned.has(row))];
}

// What is missing comes last, whichever way it is sorted; equal ones stay as they came.
export function sortedRows(rows, sorts) {
  if (!sorts.length) return rows;
  const keys = sorts.map(({ column, descending }) => {
    const values = new Float64Array(column.length);
    for (const row of rows) {
      const value = column.number(row);
      values[row] = Number.isNaN(value) ? Infinity : descending ? -value : value;
    }
    return values;
  });
  const lost = sorts.map(({ column }) => column.number);
  return rows.sort((a, b) => {
    for (let k = 0; k < keys.length; k += 1) {
      const [one, other] = [keys[k][a], keys[k][b]];
      if (one < other) return -1;
      if (one > other) return 1;
      if (one === Infinity) {
        const far = Number.isNaN(lost[k](a)) - Number.isNaN(lost[k](b));
        if (far) return far;
      }
    }
    return a - b;
  });
}
