// The live view of a group: one store for each model, which all of its views in the page draw.
import { element } from "./dom.js";
import { askKernel } from "./live_ask.js";
import { createStore } from "./live_store.js";
import { barParts, bestElements, failureElements, headOf, place, plural, progressText, runningRow, timeText } from "./live_view.js";
import { createFigures } from "./live_figures.js";

export default () => {
  const store = createStore();
  const answers = new Set();
  // What a view had before it was drawn anew, as JupyterLab does when the output is updated: questions, and the focus.
  const memory = { asking: new Map(), asked: new Map(), choice: null, focus: null, told: "" };
  return {
    initialize({ model }) {
      const takeWhole = () => {
        const state = model.get("_state");
        if (state?.parts) store.take(state.parts, state.bytes ?? []);
      };
      const onMessage = (content, buffers) => {
        if (content.answer) {
          for (const resolve of answers) resolve(content.answer);
          answers.clear();
        } else if (content.delta && store.take(content.delta, buffers ?? [])) {
          askKernel(model, { view: store.parts.view, verb: "all" }, answers);
        }
      };
      takeWhole();
      model.on("change:_state", takeWhole);
      model.on("msg:custom", onMessage);
      return () => {
        model.off("change:_state", takeWhole);
        model.off("msg:custom", onMessage);
      };
    },
    render({ model, el }) {
      return drawn(store, memory, el, (run) => askKernel(model, { view: store.parts.view, verb: "stop", run }, answers));
    },
  };
};

function drawn(store, memory, el, stop) {
  const root = element("section", { class: "mlx mlx-live" });
  el.append(root);
  el.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own keys would act on the notebook
  if (!store.parts.about) {
    root.append(element("p", { class: "mlx-live-muted" }, "Nothing of this group is known here: run %attach in a cell to see how it stands."));
    return () => root.remove();
  }
  root.setAttribute("aria-label", `Group ${store.parts.about.name}`);
  const parts = makeParts(store, memory, stop, () => schedule());
  root.append(...parts.elements);
  let frame = 0;
  const schedule = () => {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      parts.show();
    });
  };
  parts.show();
  const silent = store.onChange(schedule);
  const clock = setInterval(() => parts.tick(), 1000);
  const sized = new ResizeObserver(() => parts.figures.draw());
  sized.observe(root);
  keepFocus(root, memory);
  return () => {
    silent();
    clearInterval(clock);
    cancelAnimationFrame(frame);
    sized.disconnect();
    parts.figures.dispose();
    root.remove();
  };
}

function makeParts(store, memory, stop, again) {
  const mark = element("span", { class: "mlx-live-mark", "aria-hidden": "true" });
  const name = element("strong", { class: "mlx-live-name" });
  const state = element("span", { class: "mlx-live-state" });
  const run = element("code", { class: "mlx-live-run", title: "The group's run" });
  const act = element("span", { class: "mlx-live-act" });
  const bar = element("div", { class: "mlx-live-bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": "0" });
  const told = element("span", {});
  const time = element("span", { class: "mlx-live-muted" });
  const why = element("p", { class: "mlx-live-why", role: "alert" });
  const live = element("div", { class: "mlx-hidden", role: "status", "aria-live": "polite" });
  const best = element("div", { class: "mlx-live-best" });
  const rows = new Map();
  const body = element("tbody", {});
  const table = element("table", {}, element("caption", { class: "mlx-hidden" }, "What runs now"), body);
  const idle = element("p", { class: "mlx-live-muted" });
  const running = element("div", { class: "mlx-live-running" }, element("h4", {}, "Running now"), table, idle);
  const failures = element("ul", { class: "mlx-live-failures", "aria-label": "Failures by cause" });
  const notes = element("details", { class: "mlx-live-notes" }, element("summary", {}), element("ul", {}));
  const figures = createFigures(store, memory);
  let spoken = 0;
  const elements = [
    element("header", { class: "mlx-live-head" }, mark, name, state, run, element("span", { class: "mlx-live-gap" }), act),
    bar,
    element("div", { class: "mlx-live-told" }, told, time),
    why, live, best, figures.element, running, failures, notes,
  ];

  function show() {
    const head = headOf(store);
    const { counts } = store.parts;
    mark.textContent = head.mark;
    mark.dataset.status = state.dataset.status = head.status;
    name.textContent = head.about.name;
    state.textContent = head.said;
    run.textContent = head.run.slice(0, 8);
    why.textContent = head.status === "finished" ? "" : head.why;
    why.hidden = !why.textContent;
    bar.replaceChildren(...barParts(store).map(({ kind, share }) => element("span", { "data-status": kind, style: `width: ${share * 100}%` })));
    for (const [name, value] of [["aria-valuemax", counts.total], ["aria-valuenow", counts.done]]) {
      if (counts.total === null) bar.removeAttribute(name); // nobody knows how far it is
      else bar.setAttribute(name, value);
    }
    told.textContent = progressText(store);
    replaceIfChanged(best, bestElements(store));
    replaceIfChanged(failures, failureElements(store));
    failures.hidden = !store.parts.failures.length;
    showNotes(notes, store);
    showActs();
    figures.update();
    tick();
    speak();
  }

  function showActs() {
    const head = headOf(store);
    const isRunning = head.status === "running";
    const canStop = isRunning && !store.parts.time.still;
    showStopper(act, head.run, "Stop group", "Stop the group and close its runs?", canStop ? stopState(head.run, store.parts.state[2]) : "none");
    const shown = isRunning ? store.parts.running : [];
    const ids = new Set(shown.map(rowId));
    for (const id of [...rows.keys()]) if (!ids.has(id)) rows.delete(id);
    for (const one of shown) {
      if (!rows.has(rowId(one))) rows.set(rowId(one), runningRow(store, one, element("span", {})));
      const row = rows.get(rowId(one));
      row.update(one);
      showStopper(row.stop, one.run, "Stop", `Stop #${one.key}?`, canStop ? stopState(one.run, one.stopping) : "none");
    }
    place(body, shown.map((one) => rows.get(rowId(one)).row));
    running.hidden = !isRunning;
    table.hidden = !shown.length;
    idle.hidden = !isRunning || shown.length > 0;
    idle.textContent = idle.hidden ? "" : store.parts.counts.done ? "No trial runs just now." : `Starting: ${startingText(head.about)}`;
  }

  // Which of its forms the button has that stops a run.
  function stopState(run, isStopping) {
    if (isStopping) return "stopping";
    if (memory.asked.get(run) === null) return "asked";
    return memory.asking.has(run) ? "asking" : "idle";
  }

  function showStopper(host, run, label, question, state) {
    const form = [state, run, state === "idle" ? memory.asked.get(run) : ""].join(" ");
    if (host.mlxForm === form) return;
    host.mlxForm = form;
    keepingFocus(host, () => host.replaceChildren(...stopper(run, label, question, state)));
  }

  // A button, and in its place a question once it was pressed: nothing is blocked meanwhile.
  function stopper(run, label, question, state) {
    const said = memory.asked.get(run);
    if (state === "none") return [];
    if (state === "stopping" || state === "asked") return [element("span", { class: "mlx-live-muted" }, `${state}…`)];
    if (state === "idle") {
      const note = said ? element("span", { class: "mlx-live-bad", role: "alert" }, said) : null;
      return [note, element("button", { type: "button", "data-focus": `stop ${run}`, "aria-label": label === "Stop" ? question.slice(0, -1) : label, onclick: () => ask(run) }, label)].filter(Boolean);
    }
    const keys = { onkeydown: (event) => event.key === "Escape" && (event.stopPropagation(), leave(run)) };
    return [
      element("span", { class: "mlx-live-ask", role: "group", "aria-label": question, ...keys },
        element("span", {}, question),
        element("button", { type: "button", class: "mlx-live-danger", "data-focus": `yes ${run}`, onclick: () => confirm(run) }, "Stop"),
        element("button", { type: "button", "data-focus": `no ${run}`, onclick: () => leave(run) }, "Go on")),
    ];
  }

  function ask(run) {
    memory.asking.set(run, true);
    memory.asked.delete(run);
    showActs();
    focusOn(`yes ${run}`);
  }

  function leave(run) {
    memory.asking.delete(run);
    showActs();
    focusOn(`stop ${run}`);
  }

  async function confirm(run) {
    memory.asking.delete(run);
    memory.asked.set(run, null);
    showActs();
    const answer = await stop(run);
    const late = `The kernel doesn't hear this page while the cell runs. In a terminal: ml-experiment stop ${run.slice(0, 8)}`;
    if (answer === null) memory.asked.set(run, late);
    else if (answer.status === "error") memory.asked.set(run, answer.message);
    again();
  }

  function focusOn(key) {
    for (const one of elements) {
      const found = one.querySelector(`[data-focus="${key}"]`);
      if (found) return found.focus();
    }
    return undefined;
  }

  function tick() {
    time.textContent = timeText(store);
    for (const one of rows.values()) one.tick();
  }

  // A screen reader is told at most every ten seconds, and of the end at once.
  function speak() {
    const isRunning = store.parts.state[0] === "running";
    if (isRunning && performance.now() - spoken < 10000) return;
    spoken = performance.now();
    const text = `${store.parts.about.name}: ${isRunning ? progressText(store) : `${store.parts.state[0]}, ${progressText(store)}`}`;
    if (live.textContent !== text) live.textContent = text;
  }

  return { elements, show, tick, figures };
}

// A trial that is tried again is another run under the same number.
function rowId(one) {
  return `${one.key} ${one.run}`;
}

function startingText({ executor, slots, unit }) {
  const many = slots === null ? "as many slots as the cluster has" : plural(slots, "slot");
  return executor === "ray" ? `Ray gives ${many}, which takes some seconds.` : `${many}; the first ${unit} is about to run.`;
}

function showNotes(notes, store) {
  const [count, shown] = store.parts.notes;
  notes.hidden = !count;
  notes.firstChild.textContent = plural(count, "note");
  replaceIfChanged(notes.lastChild, shown.map((text) => element("li", {}, text)));
}

function replaceIfChanged(host, made) {
  const next = element("div", {}, ...made);
  if (next.innerHTML !== host.innerHTML) host.replaceChildren(...next.childNodes);
}

// Draws a part anew, and leaves the keyboard where it was in it.
function keepingFocus(host, draw) {
  const key = host.contains(document.activeElement) ? document.activeElement.dataset?.focus : null;
  draw();
  if (key) host.querySelector(`[data-focus="${key}"]`)?.focus();
}

// JupyterLab draws a view anew when its output is updated: the keyboard stays where it was.
function keepFocus(root, memory) {
  root.addEventListener("focusin", (event) => {
    memory.focus = event.target.dataset?.focus ?? null;
  });
  root.addEventListener("focusout", (event) => {
    if (event.relatedTarget !== null && root.isConnected) memory.focus = null;
  });
  const wasHere = memory.focus && (document.activeElement === document.body || document.activeElement === null);
  if (wasHere) queueMicrotask(() => root.querySelector(`[data-focus="${memory.focus}"]`)?.focus());
}
