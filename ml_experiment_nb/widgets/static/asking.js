// Questions to the kernel, each with its answer: custom messages of the widget's model.

const PATIENCE = 800; // milliseconds until somebody who waits is told why
let _asked = 0;

// Returns ask(what, given, { onWait }) -> Promise of the answer; `onWait(text)` is told why it takes long.
export function asker(model) {
  const waiting = new Map();
  const onMessage = (answer, buffers) => {
    const waiter = waiting.get(answer.answer);
    if (!waiter) return;
    waiting.delete(answer.answer);
    if (answer.error) waiter.reject(new Error(answer.error));
    else waiter.resolve({ ...answer, buffers: buffers ?? [] });
  };
  model.on("msg:custom", onMessage);
  const ask = (what, given, { onWait } = {}) => {
    const id = `${Date.now()}-${Math.random().toString(36).slice(2)}-${(_asked += 1)}`;
    const timers = [
      setTimeout(() => onWait?.("Waiting for the kernel: it answers when the cell that runs has ended."), PATIENCE),
      setTimeout(() => onWait?.("Waiting for the kernel. Where it has been restarted, run the comparison's cell again."), 15 * PATIENCE),
    ];
    return new Promise((resolve, reject) => {
      waiting.set(id, { resolve, reject });
      try {
        model.send({ ask: id, what, ...given });
      } catch (error) {
        waiting.delete(id);
        reject(new Error(`The kernel can't be reached (${error.message}): run the comparison's cell again.`));
      }
    }).finally(() => timers.forEach(clearTimeout));
  };
  return { ask, close: () => model.off("msg:custom", onMessage) };
}
