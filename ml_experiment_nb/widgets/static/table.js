// The table of runs: only the rows in sight are in the page, so that ten thousand scroll as ten do.
import { element } from "./dom.js";
import { openPopup } from "./popup.js";

const ROW = 28; // pixels
const HIGHEST = 330; // pixels of the table, unless somebody draws it higher
const AROUND = 3 * ROW + 16; // pixels of its head, its border and a scroll bar
const MORE = 6; // rows that are drawn above and below those in sight
const SELECT = 34; // pixels of the column of checkboxes
const GROUPS = { run: "Run", params: "Parameters", metrics: "Metrics", autologged: "Autologged", tags: "Tags" };
const HELP =
  "Arrow keys move, Space selects a run, P pins it. On a column's name Enter sorts, with Shift beside other columns, " +
  "and Alt with the down arrow opens its menu. On a filter Enter edits it, and Escape goes back.";
let _tables = 0;

// Returns { element }: the table keeps itself as the runs are.
export function runsTable(runs, host) {
  const id = `mlx-t${(_tables += 1)}`;
  const head = element("div", { class: "mlx-head", role: "rowgroup" });
  const body = element("div", { class: "mlx-body", role: "rowgroup" });
  const empty = element("div", { class: "mlx-empty", hidden: true, role: "status" });
  const grid = element(
    "div",
    { class: "mlx-grid", role: "grid", tabindex: "0", "aria-label": "Runs", "aria-multiselectable": "true", "aria-describedby": `${id}-help` },
    head,
    body,
  );
  const help = element("div", { class: "mlx-hidden", id: `${id}-help` }, HELP);
  const table = { id, runs, host, grid, head, body, empty, slots: [], columns: [], active: { line: 0, column: 1 }, version: 0, last: -1 };
  grid.style.height = `${Math.min(HIGHEST, AROUND + Math.max(runs.count, 1) * ROW)}px`;
  layColumns(table);
  runs.on("rows", () => (markHead(table), redraw(table)));
  runs.on("selection", () => redraw(table));
  runs.on("hover", () => markHovered(table));
  runs.on("columns", () => (layColumns(table), redraw(table)));
  let isDue = false;
  grid.addEventListener("scroll", () => {
    if (isDue) return;
    isDue = true;
    requestAnimationFrame(() => {
      isDue = false;
      fillRows(table);
    });
  });
  grid.addEventListener("keydown", (event) => onKey(table, event));
  grid.addEventListener("focus", () => markActive(table));
  body.addEventListener("click", (event) => onClick(table, event));
  body.addEventListener("pointerover", (event) => runs.hover(Number(event.target.closest("[data-row]")?.dataset.row ?? -1)));
  body.addEventListener("pointerleave", () => runs.hover(-1));
  new ResizeObserver(() => fillRows(table)).observe(grid);
  redraw(table);
  return { element: element("div", { class: "mlx-table" }, help, grid, empty) };
}

// --- columns and their heads ---

function layColumns(table) {
  const { runs } = table;
  const shown = runs.shownColumns.map((key) => runs.byKey.get(key));
  const columns = [...shown.filter((one) => runs.fixedColumns.has(one.key)), ...shown.filter((one) => !runs.fixedColumns.has(one.key))];
  let left = SELECT;
  table.columns = columns.map((column) => {
    const isFixed = runs.fixedColumns.has(column.key);
    const made = { column, width: widthOf(table, column), left: isFixed ? left : null };
    if (isFixed) left += made.width;
    return made;
  });
  table.active.column = Math.min(table.active.column, table.columns.length);
  const width = SELECT + table.columns.reduce((sum, one) => sum + one.width, 0);
  table.head.style.width = table.body.style.width = `${width}px`;
  table.head.replaceChildren(groupLine(table), headLine(table), filterLine(table));
  table.grid.setAttribute("aria-colcount", table.columns.length + 1);
  table.body.replaceChildren();
  table.slots = [];
  markHead(table);
}

let _ruler = null;

function widthOf({ runs }, column) {
  _ruler ??= document.createElement("canvas").getContext("2d");
  _ruler.font = "13px system-ui, sans-serif";
  const measure = (text) => _ruler.measureText(text).width * 1.08;
  let most = measure(`${column.name} ▼1`) * 1.1 + 24;
  const step = Math.max(1, Math.floor(runs.count / 60));
  for (let row = 0; row < runs.count; row += step) most = Math.max(most, measure(column.text(row)) + 22);
  if (column.key === "name") most += 44;
  if (column.kind === "status") most += 16;
  return Math.round(Math.min(column.key === "name" ? 260 : 220, Math.max(72, most)));
}

function groupLine({ columns }) {
  const line = element("div", { class: "mlx-line mlx-groups", role: "presentation" }, element("div", { class: "mlx-cell mlx-fixed", style: `width:${SELECT}px;left:0` }));
  let before = null;
  for (const one of columns) {
    const label = GROUPS[one.column.group];
    const isNew = one.column.group !== before;
    line.append(cellOf("div", one, { class: `mlx-cell${isNew && label ? " mlx-group" : ""}`, "aria-hidden": "true" }, isNew ? label : ""));
    before = one.column.group;
  }
  return line;
}

function cellOf(tag, { width, left }, attributes, ...children) {
  const cell = element(tag, attributes, ...children);
  cell.style.width = `${width}px`;
  if (left !== null) {
    cell.classList.add("mlx-fixed");
    cell.style.left = `${left}px`;
  }
  return cell;
}

function headLine(table) {
  const { runs } = table;
  const all = element("input", { type: "checkbox", "aria-label": "Select all runs that are shown", tabindex: "-1", class: "mlx-all", onclick: () => selectAll(table) });
  const line = element("div", { class: "mlx-line", role: "row", "aria-rowindex": "1" });
  line.append(element("div", { class: "mlx-cell mlx-fixed mlx-check", role: "columnheader", id: `${table.id}-h0`, style: `width:${SELECT}px;left:0` }, all));
  table.columns.forEach((one, k) => {
    const { column } = one;
    const menu = element("button", { class: "mlx-more", tabindex: "-1", "aria-haspopup": "menu", "aria-label": `Menu of ${column.name}`, title: "Sort, pin or hide" }, "⋮");
    menu.addEventListener("click", (event) => (event.stopPropagation(), openMenu(table, column, menu)));
    const cell = cellOf("div", one, { class: "mlx-cell mlx-name", role: "columnheader", id: `${table.id}-h${k + 1}`, title: `${column.key}: click to sort, Shift and click to sort by more` },
      element("span", { class: "mlx-label" }, column.name), element("span", { class: "mlx-arrow", "aria-hidden": "true" }), menu);
    if (column.isNumeric) cell.classList.add("mlx-number");
    cell.dataset.key = column.key;
    cell.addEventListener("click", (event) => runs.sort(column.key, { isMore: event.shiftKey }));
    line.append(cell);
  });
  return line;
}

function filterLine(table) {
  const { runs } = table;
  const line = element("div", { class: "mlx-line mlx-filters", role: "row", "aria-rowindex": "2" });
  line.append(element("div", { class: "mlx-cell mlx-fixed", role: "gridcell", id: `${table.id}-f0`, style: `width:${SELECT}px;left:0` }));
  table.columns.forEach((one, k) => {
    const { column } = one;
    const hint = column.isNumeric ? "> 0.5" : "filter";
    const input = element("input", { type: "text", tabindex: "-1", "aria-label": `Filter ${column.name}`, spellcheck: "false", placeholder: column.kind === "date" ? "> 2026-01-31" : column.kind === "duration" ? "> 5 min" : hint });
    input.dataset.key = column.key;
    input.value = runs.filters.get(column.key) ?? "";
    input.addEventListener("input", () => runs.filter(column.key, input.value));
    line.append(cellOf("div", one, { class: "mlx-cell", role: "gridcell", id: `${table.id}-f${k + 1}` }, input));
  });
  return line;
}

function openMenu(table, column, button) {
  const { runs } = table;
  const isFixed = runs.fixedColumns.has(column.key);
  openPopup(
    button,
    table.host,
    (close) =>
      [
        ["Sort ascending", () => runs.sort(column.key, { descending: false })],
        ["Sort descending", () => runs.sort(column.key, { descending: true })],
        ["Add to the sorting", () => runs.sort(column.key, { isMore: true })],
        [isFixed ? "Unpin column" : "Pin column", () => runs.fix(column.key)],
        ["Hide column", () => runs.showColumns(runs.shownColumns.filter((key) => key !== column.key))],
      ].map(([label, act]) => element("button", { role: "menuitem", onclick: () => (close(), act(), table.grid.focus()) }, label)),
    { role: "menu", label: column.name },
  );
}

function selectAll({ runs }) {
  const isAll = runs.rows.length > 0 && runs.rows.every((row) => runs.selected.has(row));
  runs.select(isAll ? [...runs.selected].filter((row) => !runs.rows.includes(row)) : [...runs.selected, ...runs.rows]);
}

function markHead({ head, runs }) {
  for (const cell of head.querySelectorAll("[role=columnheader][data-key]")) {
    const place = runs.sorts.findIndex((one) => one.key === cell.dataset.key);
    const sort = runs.sorts[place];
    cell.setAttribute("aria-sort", !sort ? "none" : sort.descending ? "descending" : "ascending");
    cell.querySelector(".mlx-arrow").textContent = !sort ? "" : (sort.descending ? "▼" : "▲") + (runs.sorts.length > 1 ? place + 1 : "");
  }
  for (const input of head.querySelectorAll(".mlx-filters input")) {
    const problem = runs.problems.get(input.dataset.key);
    if (!input.matches(":focus")) input.value = runs.filters.get(input.dataset.key) ?? "";
    input.toggleAttribute("aria-invalid", Boolean(problem));
    input.title = problem ?? "";
  }
}

// --- rows ---

function redraw(table) {
  table.version += 1;
  const { runs, body, grid, empty } = table;
  body.style.height = `${runs.rows.length * ROW}px`;
  grid.setAttribute("aria-rowcount", runs.rows.length + 2);
  const problem = [...runs.problems.values()][0];
  empty.hidden = runs.rows.length > 0 && !problem;
  empty.textContent = problem ? `That filter can't be read: ${problem}.` : runs.count ? "No run meets the filters. Change them, or clear them above." : "There are no runs to compare yet.";
  table.active.line = Math.min(table.active.line, runs.rows.length + 1);
  const all = table.head.querySelector(".mlx-all");
  const chosen = runs.selected.size ? runs.rows.reduce((sum, row) => sum + runs.selected.has(row), 0) : 0;
  all.checked = chosen > 0 && chosen === runs.rows.length;
  all.indeterminate = chosen > 0 && chosen < runs.rows.length;
  fillRows(table);
}

function fillRows(table) {
  const { grid, runs, slots } = table;
  const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - MORE);
  const count = Math.ceil((grid.clientHeight || 320) / ROW) + 2 * MORE;
  while (slots.length < count) slots.push(newSlot(table));
  for (let k = first; k < first + slots.length; k += 1) fillSlot(table, slots[k % slots.length], k, runs.rows[k]);
  markActive(table);
}

function newSlot(table) {
  const box = element("input", { type: "checkbox", tabindex: "-1" });
  const check = element("div", { class: "mlx-cell mlx-fixed mlx-check", role: "gridcell", "aria-colindex": "1", style: `width:${SELECT}px;left:0` }, box);
  const line = element("div", { class: "mlx-line mlx-row", role: "row" }, check);
  const cells = table.columns.map((one, k) => {
    const cell = cellOf("div", one, { class: "mlx-cell", role: "gridcell", "aria-colindex": String(k + 2) });
    if (one.column.isNumeric) cell.classList.add("mlx-number");
    line.append(cell);
    return cell;
  });
  const name = table.columns.findIndex((one) => one.column.key === "name");
  const slot = { line, box, cells: [check, ...cells], name, index: -1, version: -1 };
  if (name >= 0) dressName(slot, cells[name]);
  table.body.append(line);
  return slot;
}

function dressName(slot, cell) {
  slot.best = element("span", { class: "mlx-star", title: "The best run" }, "★", element("span", { class: "mlx-hidden" }, "best run: "));
  slot.label = element("span", { class: "mlx-label" });
  slot.pin = element("button", { class: "mlx-pin", tabindex: "-1" }, "📌");
  cell.append(slot.best, slot.label, slot.pin);
}

function fillSlot(table, slot, index, row) {
  const { line } = slot;
  if (slot.index === index && slot.version === table.version) return;
  Object.assign(slot, { index, version: table.version });
  line.hidden = row === undefined;
  if (row === undefined) return;
  const { runs } = table;
  line.style.transform = `translateY(${index * ROW}px)`;
  line.dataset.row = row;
  line.setAttribute("aria-rowindex", index + 3);
  const isSelected = runs.selected.has(row);
  line.setAttribute("aria-selected", isSelected);
  line.classList.toggle("mlx-best", row === runs.best);
  line.classList.toggle("mlx-hover", row === runs.hovered);
  line.classList.toggle("mlx-odd", index % 2 === 1);
  slot.box.checked = isSelected;
  slot.box.setAttribute("aria-label", `Select ${runs.name(row)}`);
  slot.cells[0].id = `${table.id}-r${row}-0`;
  table.columns.forEach(({ column }, k) => fillCell(table, slot, slot.cells[k + 1], column, row, k));
}

function fillCell(table, slot, cell, column, row, k) {
  const { runs } = table;
  const text = column.text(row);
  cell.id = `${table.id}-r${row}-${k + 1}`;
  if (column.kind === "status") {
    cell.replaceChildren(element("span", { class: `mlx-status mlx-${text}` }, text));
  } else if (k === slot.name) {
    slot.label.textContent = text;
    slot.best.hidden = row !== runs.best;
    const isPinned = runs.pinned.has(row);
    slot.pin.setAttribute("aria-pressed", isPinned);
    slot.pin.setAttribute("aria-label", `${isPinned ? "Unpin" : "Pin"} ${text}`);
    slot.pin.title = isPinned ? "Unpin this run" : "Keep this run on top";
    cell.title = `${text}\n${runs.byKey.get("run_id")?.text(row) ?? ""}`;
  } else {
    cell.textContent = text;
    cell.title = column.isNumeric && column.kind === "number" ? (column.isMissing(row) ? "" : String(column.values[row])) : text;
  }
}

function markHovered({ slots, runs }) {
  for (const slot of slots) slot.line.classList.toggle("mlx-hover", Number(slot.line.dataset.row) === runs.hovered && !slot.line.hidden);
}

// --- pointer and keys ---

function onClick(table, event) {
  const row = Number(event.target.closest("[data-row]")?.dataset.row ?? -1);
  if (row < 0) return;
  const { runs } = table;
  const index = runs.rows.indexOf(row);
  table.active = { line: index + 2, column: Math.max(0, [...event.target.closest(".mlx-line").children].indexOf(event.target.closest(".mlx-cell"))) };
  if (event.target.closest(".mlx-pin")) runs.pin(row);
  else choose(table, row, event.shiftKey);
  table.grid.focus({ preventScroll: true });
}

// Selects a run or takes that back, or with `isTo` selects all up to it from the last one, where that is shown.
function choose(table, row, isTo) {
  const { runs } = table;
  const [last, index] = [runs.rows.indexOf(table.last), runs.rows.indexOf(row)];
  table.last = row;
  if (isTo && last >= 0) runs.select([...runs.selected, ...runs.rows.slice(Math.min(last, index), Math.max(last, index) + 1)]);
  else runs.toggle(row);
}

// Lines of the table: 0 the names, 1 the filters, then the runs.
function onKey(table, event) {
  const { active, runs, grid } = table;
  if (event.target !== grid) {
    if (event.key === "Escape" || (event.key === "Enter" && event.target.matches("input"))) {
      event.preventDefault();
      grid.focus();
    }
    return;
  }
  const page = Math.max(1, Math.floor(grid.clientHeight / ROW) - 4);
  const lines = runs.rows.length + 2;
  const moves = {
    ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1], PageUp: [-page, 0], PageDown: [page, 0],
    Home: event.ctrlKey ? [-lines, -1e6] : [0, -1e6], End: event.ctrlKey ? [lines, 1e6] : [0, 1e6],
  };
  if (event.altKey && event.key === "ArrowDown" && active.line === 0) act(table, event, true);
  else if (moves[event.key]) {
    const [down, right] = moves[event.key];
    active.line = Math.max(0, Math.min(lines - 1, active.line + down));
    active.column = Math.max(0, Math.min(table.columns.length, active.column + right));
    reveal(table);
  } else if (event.key === "Enter" || event.key === " ") act(table, event, false);
  else if (event.key === "p" && !event.ctrlKey && active.line >= 2) runs.pin(runs.rows[active.line - 2]);
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) selectAll(table);
  else return;
  event.preventDefault();
}

function act(table, event, isMenu) {
  const { active, runs } = table;
  const one = table.columns[active.column - 1];
  if (active.line >= 2) {
    choose(table, runs.rows[active.line - 2], event.shiftKey);
  } else if (!one) selectAll(table);
  else if (active.line === 1) table.head.querySelectorAll(".mlx-filters input")[active.column - 1].focus();
  else if (isMenu) openMenu(table, one.column, table.head.querySelectorAll(".mlx-more")[active.column - 1]);
  else runs.sort(one.column.key, { isMore: event.shiftKey });
}

function reveal(table) {
  const { active, grid, head } = table;
  if (active.line >= 2) {
    const [top, room] = [(active.line - 2) * ROW, grid.clientHeight - head.offsetHeight];
    if (top < grid.scrollTop) grid.scrollTop = top;
    if (top + ROW > grid.scrollTop + room) grid.scrollTop = top + ROW - room;
  }
  const one = table.columns[active.column - 1];
  if (one && one.left === null) {
    const fixed = table.columns.reduce((sum, column) => sum + (column.left === null ? 0 : column.width), SELECT);
    const left = SELECT + table.columns.slice(0, active.column - 1).reduce((sum, column) => sum + column.width, 0);
    if (left - fixed < grid.scrollLeft) grid.scrollLeft = left - fixed;
    if (left + one.width > grid.scrollLeft + grid.clientWidth) grid.scrollLeft = left + one.width - grid.clientWidth;
  }
  fillRows(table);
}

function markActive(table) {
  const { active, grid, runs, id } = table;
  const name = active.line === 0 ? `${id}-h${active.column}` : active.line === 1 ? `${id}-f${active.column}` : `${id}-r${runs.rows[active.line - 2]}-${active.column}`;
  grid.querySelector(".mlx-active")?.classList.remove("mlx-active");
  grid.setAttribute("aria-activedescendant", name);
  grid.querySelector(`#${name}`)?.classList.add("mlx-active");
}
