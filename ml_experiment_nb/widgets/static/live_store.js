// A group's state in the page, put together from what the kernel sends: parts of it that changed, and columns that grow.

const SILENT = 60; // seconds: a kernel that lives tells all that there is every 20

export function createStore() {
  const columns = new Map();
  const listeners = new Set();
  const store = {
    parts: {},
    columns,
    ids: [],
    count: 0,
    seq: -1,
    received: 0,
    // Takes over what has come; returns whether something is missing that was sent before.
    take(parts, buffers) {
      const isWhole = "about" in parts;
      const isLate = isWhole && parts.seq < store.seq;
      if (isLate) return false;
      const misses = !isWhole && (store.seq < 0 || parts.seq > store.seq + 1);
      (parts.columns ?? []).forEach((head, k) => takeColumn(columns, head, buffers[k]));
      if (parts.ids) store.ids = isWhole ? parts.ids : [...store.ids.slice(0, parts.count - parts.ids.length), ...parts.ids];
      const { columns: _heads, ids: _ids, count, seq, ...rest } = parts;
      Object.assign(store.parts, rest);
      store.count = count ?? store.count;
      store.seq = seq;
      store.received = performance.now();
      for (const listener of listeners) listener();
      return misses;
    },
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    of(group) {
      return [...columns.values()].filter((one) => one.group === group);
    },
    column(group, name) {
      return columns.get(`${group}.${name}`);
    },
    // Seconds since the group began, and until it may end: they go on between two messages, as long as some come.
    time() {
      const { took = 0, left = null, still = false } = store.parts.time ?? {};
      const heard = store.parts.state?.[0] === "running" && !still ? (performance.now() - store.received) / 1000 : 0;
      const since = Math.min(heard, SILENT);
      return { took: took + since, left: left === null ? null : Math.max(0, left - since), silent: heard > SILENT ? heard : 0 };
    },
  };
  return store;
}

function takeColumn(columns, head, data) {
  const key = `${head.group}.${head.name}`;
  let column = columns.get(key);
  if (!column || column.kind !== head.kind) {
    column = { group: head.group, name: head.name, kind: head.kind, values: [], texts: [] };
    columns.set(key, column);
  }
  column.values.length = Math.min(column.values.length, head.from);
  const bytes = data.buffer ? data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength) : data;
  const isText = head.kind === "text";
  for (const value of isText ? new Int32Array(bytes) : new Float64Array(bytes)) column.values.push(value);
  if (isText) {
    if (head.from === 0 && head.textsFrom === 0) column.texts = [];
    column.texts.length = Math.min(column.texts.length, head.textsFrom);
    column.texts.push(...head.texts);
  }
  column.number = isText ? (row) => (column.values[row] < 0 ? NaN : column.values[row]) : (row) => column.values[row];
}
