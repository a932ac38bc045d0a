// The elements of a live view, made once; `show` brings them up to date.
import { element } from "./dom.js";
import { formatDuration, formatNumber } from "./format.js";

const MARKS = { running: "●", finished: "✓", failed: "✕", killed: "■", pruned: "✂" };

export function plural(count, unit) {
  return `${count} ${unit}${count === 1 ? "" : "s"}`;
}

export function formatClock(seconds) {
  return seconds < 60 ? `${Math.floor(seconds)} s` : formatDuration(seconds);
}

// --- the head ---

export function headOf(store) {
  const { about, run, state } = store.parts;
  const [status, why, stopping] = state;
  const counts = store.parts.counts;
  const isStarting = status === "running" && !counts.done && !counts.running;
  const said = stopping && status === "running" ? "stopping" : isStarting ? "starting" : status;
  return { about, run, status, said, why, mark: MARKS[status] ?? "" };
}

export function progressText(store) {
  const { about, counts, state } = store.parts;
  const told = counts.total === null ? plural(counts.done, about.unit) : `${counts.done} of ${plural(counts.total, about.unit)}`;
  const kinds = ["running", "pruned", "failed", "killed"].filter((one) => counts[one]);
  return [told, ...kinds.map((one) => `${counts[one]} ${one === "killed" ? "stopped" : one}`)].join(" · ") + (state[0] === "running" ? "" : "");
}

export function timeText(store) {
  const { took, left, silent } = store.time();
  const isRunning = store.parts.state[0] === "running";
  if (!isRunning) return `took ${formatDuration(took)}`;
  if (silent) return `${formatClock(took)} · not heard from the kernel for ${formatClock(silent)}: %attach shows how it stands`;
  return left === null ? formatClock(took) : `${formatClock(took)} · about ${formatClock(left)} left`;
}

// A bar of parts, one for each kind of end.
export function barParts(store) {
  const { counts } = store.parts;
  const whole = counts.total ?? Math.max(1, counts.done + counts.running);
  return ["finished", "pruned", "failed", "killed", "running"].map((kind) => ({ kind, share: Math.min(1, (counts[kind] ?? 0) / Math.max(1, whole)) }));
}

// --- the best ---

export function bestElements(store) {
  const { about, best, counts, front, state } = store.parts;
  if (about.goals.length > 1) {
    if (!front.length) return [hint("No trial has finished yet: the Pareto front is empty.")];
    const names = front.slice(0, 12).map((n) => (n === null ? "taken over" : `#${n}`)).join(", ");
    return [
      element("div", { class: "mlx-live-label" }, `Pareto front of ${about.goals.map(([n, up]) => `${n} ${up ? "↑" : "↓"}`).join(", ")}`),
      element("div", { class: "mlx-live-value" }, plural(front.length, about.unit)),
      element("div", { class: "mlx-live-muted" }, names + (front.length > 12 ? ", …" : "")),
    ];
  }
  if (!about.goals.length) {
    if (state[0] !== "running" || counts.done) return [hint("No metric is optimised here, so none is the best: --maximize NAME names one, or metric='NAME' in Python.")];
    return [hint("No metric is optimised.")];
  }
  const [name, isMaximised] = about.goals[0];
  if (!best) return [element("div", { class: "mlx-live-label" }, `Best ${name} ${isMaximised ? "↑" : "↓"}`), hint(state[0] === "running" ? `No ${about.unit} has finished with it yet.` : `No ${about.unit} finished with it.`)];
  const chips = best.params.map(([key, text]) => element("span", { class: "mlx-live-chip" }, element("b", {}, key), ` ${text}`));
  return [
    element("div", { class: "mlx-live-label" }, `Best ${name} ${isMaximised ? "↑" : "↓"}`),
    element("div", { class: "mlx-live-value" }, formatNumber(asNumber(best.value)), element("span", { class: "mlx-live-muted" }, best.number === null ? " taken over" : ` #${best.number}`)),
    element("div", { class: "mlx-live-chips" }, ...chips),
  ];
}

export function asNumber(value) {
  const named = { NaN, Infinity, "-Infinity": -Infinity };
  return typeof value === "string" && value in named ? named[value] : value;
}

function hint(text) {
  return element("div", { class: "mlx-live-muted" }, text);
}

// --- what runs ---

// The row of a trial, made once: a button that is drawn anew between press and release gets no click.
export function runningRow(store, { key, name, run, params }, stop) {
  const at = element("td", {});
  const metric = element("td", { class: "mlx-live-number" });
  const time = element("td", { class: "mlx-live-number" });
  const cells = [
    element("th", { scope: "row" }, key === "" ? name : `#${key}`),
    at, metric, time,
    element("td", { class: "mlx-live-params", title: params }, params),
    element("td", { class: "mlx-live-act" }, stop),
  ];
  let since = 0;
  const update = (one) => {
    at.replaceChildren(one.at || "started", ...(one.share === null ? [] : [element("progress", { max: 1, value: one.share, "aria-hidden": "true" })]));
    metric.textContent = one.metric ? `${one.metric[0]} ${formatNumber(asNumber(one.metric[1]))}` : "";
    since = one.since;
    tick();
  };
  const tick = () => {
    time.textContent = formatClock(Math.max(0, store.time().took - since));
  };
  return { row: element("tr", { "data-run": run }, ...cells), stop, update, tick };
}

// Puts elements into a host in their order, and leaves those alone that are where they belong.
export function place(host, wanted) {
  const kept = new Set(wanted);
  for (const one of [...host.children]) if (!kept.has(one)) one.remove();
  wanted.forEach((one, k) => host.children[k] === one || host.insertBefore(one, host.children[k] ?? null));
}

// --- what failed ---

export function failureElements(store) {
  return store.parts.failures.map((kind) =>
    element(
      "li",
      {},
      element("b", {}, `${kind.count} failed`),
      kind.where ? ` at ${kind.where}: ` : ": ",
      element("code", {}, `${kind.error}: ${kind.message}`),
      element("div", { class: "mlx-live-muted" }, kind.trials.map((n) => `#${n}`).join(", ") + (kind.count > kind.trials.length ? ", …" : "")),
      ...kind.apart.map((text) => element("div", { class: "mlx-live-muted" }, text)),
    ),
  );
}
