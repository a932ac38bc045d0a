// How much of a metric each parameter explains, as Optuna reckons it in the kernel.
import { mainMetric, notice, plainChoice } from "./controls.js";
import { element } from "./dom.js";

export function importancePanel(runs, host, ask) {
  const metrics = runs.columns.filter((column) => column.group === "metrics");
  const known = new Map();
  let metric = mainMetric(runs)?.name ?? "";
  const area = element("div", { class: "mlx-bars" });
  const show = async () => {
    const mine = metric;
    const say = (text, kind) => mine === metric && area.replaceChildren(notice(text, kind));
    if (!known.has(mine)) {
      say("Reckoning the importances …");
      try {
        known.set(mine, await ask("importances", { metric: mine }, { onWait: say }));
      } catch (error) {
        say(error.message, "alert");
        return;
      }
    }
    if (mine === metric) area.replaceChildren(barsOf(known.get(mine), mine));
  };
  const bar = element("div", { class: "mlx-bar" },
    plainChoice("Metric", metrics.map((column) => [column.name, column.name]), metric, (name) => ((metric = name), show())),
    element("span", { class: "mlx-muted mlx-hint" }, "The share of the metric's variance that each parameter explains, in all finished runs of the comparison."));
  if (metrics.length) show();
  else area.replaceChildren(notice("None of these runs has a metric."));
  return { element: element("div", {}, bar, area) };
}

function barsOf({ importances, note }, metric) {
  if (!importances.length) return notice(`No parameter makes a difference to ${metric}: none that all of its runs have varies, or all have the same value of it.`);
  const most = importances[0][1] || 1;
  const said = note ? element("caption", { class: "mlx-muted" }, note) : null;
  return element("table", { class: "mlx-importances", "aria-label": `Importance of parameters for ${metric}` }, said,
    element("tbody", {}, ...importances.map(([name, share]) =>
      element("tr", {}, element("th", { scope: "row" }, name),
        element("td", {}, element("div", { class: "mlx-share", style: `width:${(share / most) * 100}%` })), element("td", { class: "mlx-number" }, share.toFixed(2))))));
}
