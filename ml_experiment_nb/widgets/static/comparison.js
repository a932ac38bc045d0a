// The comparison of runs: a table and plots, with one selection for all of them.
import { asker } from "./asking.js";
import { readColumns } from "./columns.js";
import { checkChoice, isVaried, notice } from "./controls.js";
import { curvesPanel } from "./curvespanel.js";
import { element } from "./dom.js";
import { imagesPanel } from "./imagespanel.js";
import { importancePanel } from "./importancepanel.js";
import { parallelPanel } from "./parallelpanel.js";
import { openPopup } from "./popup.js";
import { sharedRuns } from "./runs.js";
import { contourPanel, paretoPanel, scatterPanel } from "./scatterpanel.js";
import { runsTable } from "./table.js";

const PANELS = [
  ["parallel", "Parallel coordinates", parallelPanel],
  ["scatter", "Scatter", scatterPanel],
  ["contour", "Contour", contourPanel],
  ["curves", "Curves", curvesPanel],
  ["importance", "Importance", importancePanel],
  ["pareto", "Pareto front", paretoPanel],
  ["images", "Images", imagesPanel],
];
const TITLES = { run: "Run", params: "Parameters", metrics: "Metrics", autologged: "Autologged parameters", tags: "Tags" };
let _comparisons = 0;

function render({ model, el }) {
  el.classList.add("mlx", "mlx-comparison");
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own keys would act on the notebook
  el.setAttribute("role", "region");
  el.setAttribute("aria-label", "Comparison of runs");
  const runs = sharedRuns(readColumns(model.get("columns")), { best: model.get("best"), goals: model.get("goals") });
  runs.selected = new Set(model.get("selected"));
  if (!runs.count) {
    el.append(notice("There are no runs to compare: run an experiment, then compare again."));
    return () => {};
  }
  const { ask, close } = asker(model);
  const stop = shareSelection(runs, model);
  const table = runsTable(runs, el);
  el.append(toolbar(runs, el, model.get("note")), table.element);
  const made = new Map();
  const later = requestAnimationFrame(() => el.append(...tabs(runs, el, ask, made)));
  return () => {
    cancelAnimationFrame(later);
    stop();
    close();
    made.forEach((panel) => panel.close?.());
  };
}

// The model's selection is that of Python and of other views of the same output.
function shareSelection(runs, model) {
  const key = (rows) => [...rows].sort((a, b) => a - b).join();
  runs.on("selection", () => {
    if (key(runs.selected) === key(model.get("selected"))) return;
    model.set("selected", [...runs.selected].sort((a, b) => a - b));
    model.save_changes();
  });
  const onChange = () => key(runs.selected) !== key(model.get("selected")) && runs.select(model.get("selected"));
  model.on("change:selected", onChange);
  return () => model.off("change:selected", onChange);
}

// --- above the table ---

function toolbar(runs, host, note) {
  const search = element("input", { type: "search", placeholder: "Search all columns", "aria-label": "Search all columns", oninput: () => runs.find(search.value) });
  search.addEventListener("keydown", (event) => event.key === "Escape" && ((search.value = ""), runs.find("")));
  const columns = element("button", { "aria-haspopup": "true", "aria-expanded": "false" }, "Columns");
  columns.addEventListener("click", () => openPopup(columns, host, () => columnChoices(runs), { label: "Columns" }));
  const clear = element("button", { onclick: () => ((search.value = ""), runs.clearFilters(), say()) }, "Clear filters");
  const none = element("button", { onclick: () => runs.select([]) }, "Clear selection");
  const only = checkChoice("Only selected", false, runs.showOnlySelected);
  const count = element("span", { class: "mlx-count", role: "status" });
  const say = () => {
    const shown = runs.rows.length === runs.count ? `${grouped(runs.count)} ${runs.count === 1 ? "run" : "runs"}` : `${grouped(runs.rows.length)} of ${grouped(runs.count)} runs`;
    count.textContent = `${shown} · ${runs.selected.size ? grouped(runs.selected.size) : "none"} selected${note ? ` · ${note}` : ""}`;
    const isFiltered = runs.filters.size > 0 || runs.search.trim() !== "" || runs.isOnlySelected;
    clear.hidden = !isFiltered;
    none.hidden = !runs.selected.size;
    only.hidden = !runs.selected.size && !runs.isOnlySelected;
    only.querySelector("input").checked = runs.isOnlySelected;
  };
  runs.on("rows", say);
  runs.on("selection", say);
  say();
  return element("div", { class: "mlx-bar mlx-top" }, search, columns, clear, only, none, count);
}

function grouped(value) {
  return value.toLocaleString("en-GB");
}

function columnChoices(runs) {
  const boxes = new Map();
  const show = (keys) => {
    runs.showColumns(keys);
    boxes.forEach((box, key) => (box.checked = runs.shownColumns.includes(key)));
  };
  const find = element("input", { type: "search", placeholder: "Find a column", "aria-label": "Find a column", oninput: () => {
    const word = find.value.toLowerCase();
    boxes.forEach((box, key) => (box.parentElement.hidden = !key.toLowerCase().includes(word)));
  } });
  const differing = () => show(runs.columns.filter((column) => runs.shownColumns.includes(column.key) && (column.group === "run" || isVaried(column))).map((column) => column.key));
  const usual = () => show(runs.columns.filter((column) => !column.hidden).map((column) => column.key));
  const parts = [find, element("div", { class: "mlx-bar" }, element("button", { onclick: differing }, "Only what differs"), element("button", { onclick: usual }, "As at first"))];
  for (const [group, title] of Object.entries(TITLES)) {
    const mine = runs.columns.filter((column) => column.group === group && column.key !== "name");
    if (!mine.length) continue;
    const all = element("button", { "aria-label": `${title}: all or none`, onclick: () => {
      const keys = mine.map((column) => column.key);
      const isAll = keys.every((key) => runs.shownColumns.includes(key));
      show(isAll ? runs.shownColumns.filter((key) => !keys.includes(key)) : [...runs.shownColumns, ...keys]);
    } }, "all / none");
    parts.push(element("div", { class: "mlx-popup-title" }, title, all));
    for (const column of mine) {
      const box = element("input", { type: "checkbox", onchange: () => show(box.checked ? [...runs.shownColumns, column.key] : runs.shownColumns.filter((key) => key !== column.key)) });
      box.checked = runs.shownColumns.includes(column.key);
      boxes.set(column.key, box);
      parts.push(element("label", { class: "mlx-choice" }, box, ` ${column.name}`));
    }
  }
  return parts;
}

// --- below the table ---

function tabs(runs, host, ask, made) {
  const id = `mlx-c${(_comparisons += 1)}`;
  const list = element("div", { class: "mlx-tabs", role: "tablist", "aria-label": "Views" });
  const area = element("div", { class: "mlx-panels" });
  const open = (name, withFocus = false) => {
    for (const tab of list.children) {
      const isOpen = tab.dataset.name === name;
      tab.setAttribute("aria-selected", String(isOpen));
      tab.tabIndex = isOpen ? 0 : -1;
      if (isOpen && withFocus) tab.focus();
    }
    const before = made.get(name);
    if (!before) made.set(name, panelOf(name));
    for (const panel of area.children) panel.hidden = panel.dataset.name !== name;
    if (before) before.shown?.();
  };
  const panelOf = (name) => {
    const [, title, make] = PANELS.find(([one]) => one === name);
    const shell = element("div", { role: "tabpanel", id: `${id}-${name}`, "aria-label": title });
    shell.dataset.name = name;
    area.append(shell);
    const panel = make(runs, host, ask);
    shell.append(panel.element);
    return panel;
  };
  PANELS.forEach(([name, title], k) => {
    const tab = element("button", { role: "tab", "aria-controls": `${id}-${name}`, onclick: () => open(name) }, title);
    tab.dataset.name = name;
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (step) open(PANELS[(k + step + PANELS.length) % PANELS.length][0], true);
    });
    list.append(tab);
  });
  open("parallel");
  return [list, area];
}

export default { render };
