// The images that runs have left, side by side: a column for each run, a line for each file.
import { notice } from "./controls.js";
import { element } from "./dom.js";

const MOST_IMAGED = 8; // runs that are selected
const FIRST_IMAGED = 3; // runs, where none is

export function imagesPanel(runs, host, ask) {
  const area = element("div", {});
  const hint = element("span", { class: "mlx-muted mlx-hint", role: "status" });
  const known = new Map(); // row -> [{ path, problem | url }]
  let asked = 0;
  const refresh = async () => {
    const rows = runs.few(runs.selected.size ? MOST_IMAGED : FIRST_IMAGED);
    hint.textContent = runs.selected.size > MOST_IMAGED ? `The first ${MOST_IMAGED} of those selected.` : runs.selected.size ? "" : `The first ${rows.length}; select runs in the table to see theirs.`;
    const missing = rows.filter((row) => !known.has(row));
    const mine = (asked += 1);
    if (missing.length) {
      if (!area.childElementCount) area.replaceChildren(notice("Reading the images …"));
      try {
        keepImages(known, missing, await ask("images", { rows: missing }, { onWait: (text) => mine === asked && area.replaceChildren(notice(text)) }));
      } catch (error) {
        if (mine === asked) area.replaceChildren(notice(error.message, "alert"));
        return;
      }
    }
    if (mine === asked) area.replaceChildren(imageTable(runs, rows, known));
  };
  let due = null;
  const later = () => {
    clearTimeout(due);
    due = setTimeout(() => area.offsetWidth && refresh(), 150);
  };
  runs.on("selection", later);
  runs.on("rows", later);
  refresh();
  const close = () => [...known.values()].flat().forEach((one) => one.url && URL.revokeObjectURL(one.url));
  return { element: element("div", {}, element("div", { class: "mlx-bar" }, hint), area), close, shown: refresh };
}

function keepImages(known, rows, { images, buffers }) {
  for (const row of rows) known.set(row, []);
  for (const { row, path, type, buffer, problem } of images) {
    const url = problem ? null : URL.createObjectURL(new Blob([buffers[buffer]], { type }));
    known.get(row).push({ path, url, problem });
  }
}

function imageTable(runs, rows, known) {
  const paths = [...new Set(rows.flatMap((row) => known.get(row).map((one) => one.path)))];
  if (!paths.length) return notice("None of these runs has left an image. What a cell shows, and what is logged as an artifact (png, jpeg, svg, gif, webp), is shown here.");
  const cell = (row, path) => {
    const found = known.get(row).find((one) => one.path === path);
    if (!found) return element("td", { class: "mlx-muted" }, "—");
    if (!found.url) return element("td", { class: "mlx-muted" }, found.problem);
    const image = element("img", { src: found.url, alt: `${path} of ${runs.name(row)}`, loading: "lazy" });
    const button = element("button", { class: "mlx-image", "aria-label": `${path} of ${runs.name(row)}: larger`, "aria-pressed": "false", onclick: () => {
      const isLarge = button.classList.toggle("mlx-large");
      button.setAttribute("aria-pressed", String(isLarge));
    } }, image);
    return element("td", {}, button);
  };
  return element("div", { class: "mlx-scroll" }, element("table", { class: "mlx-images" },
    element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "File"), ...rows.map((row) => element("th", { scope: "col" }, runs.name(row))))),
    element("tbody", {}, ...paths.map((path) => element("tr", {}, element("th", { scope: "row" }, path), ...rows.map((row) => cell(row, path)))))));
}
