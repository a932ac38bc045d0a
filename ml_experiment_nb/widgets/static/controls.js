// The choices above a plot.
import { element } from "./dom.js";

// A labelled choice among columns, by their groups.
export function columnChoice(label, columns, chosen, onChange, { none = null } = {}) {
  const select = element("select", { "aria-label": label, onchange: () => onChange(select.value) });
  if (none !== null) select.append(element("option", { value: "" }, none));
  for (const [group, title] of [["params", "Parameters"], ["metrics", "Metrics"], ["run", "Run"], ["autologged", "Autologged"], ["tags", "Tags"]]) {
    const mine = columns.filter((column) => column.group === group);
    if (mine.length) select.append(element("optgroup", { label: title }, ...mine.map((column) => element("option", { value: column.key }, column.name))));
  }
  select.value = chosen ?? "";
  return element("label", { class: "mlx-choice" }, `${label} `, select);
}

// `name` is what it is called where there is no label to see.
export function plainChoice(label, options, chosen, onChange, name = "") {
  const select = element("select", { "aria-label": label || name, onchange: () => onChange(select.value) }, ...options.map(([value, text]) => element("option", { value }, text)));
  select.value = chosen;
  return element("label", { class: "mlx-choice" }, `${label} `, select);
}

export function checkChoice(label, isChecked, onChange) {
  const box = element("input", { type: "checkbox", onchange: () => onChange(box.checked) });
  box.checked = isChecked;
  return element("label", { class: "mlx-choice" }, box, ` ${label}`);
}

// What stands in a plot's place: a state with what to do about it.
export function notice(text, kind = "status") {
  return element("div", { class: `mlx-notice${kind === "alert" ? " mlx-error" : ""}`, role: kind }, text);
}

// The columns that are worth drawing: those whose values are not all the same.
export function variedColumns(runs, groups) {
  return runs.columns.filter((column) => groups.includes(column.group) && isVaried(column));
}

export function isVaried(column) {
  let first = null;
  for (let row = 0; row < column.length; row += 1) {
    if (column.isMissing(row)) continue;
    if (first === null) first = column.values[row];
    else if (column.values[row] !== first) return true;
  }
  return false;
}

// The metric that a comparison is about: its goal, else the first that varies, else the first.
export function mainMetric(runs) {
  const goal = runs.goals.length ? `metrics.${runs.goals[0][0]}` : null;
  const metrics = runs.columns.filter((column) => column.group === "metrics");
  return metrics.find((column) => column.key === goal) ?? metrics.find((column) => !column.hidden && isVaried(column)) ?? metrics[0] ?? null;
}

// What is said of a run beside the pointer: its name, and its values in some columns.
export function describeRun(runs, row, columns) {
  const lines = columns.map((column) => element("div", {}, element("span", { class: "mlx-muted" }, `${column.name} `), column.text(row) || "—"));
  return [element("b", {}, runs.name(row)), ...lines];
}
