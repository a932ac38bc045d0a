// A panel that opens below a button, and closes by Escape or a click elsewhere.
import { element } from "./dom.js";

// `fill(close)` gives the panel's children when it opens. `host` is what it is placed in, and may not be left by it. A
// button whose panel is open closes that.
export function openPopup(button, host, fill, { role = null, label = "" } = {}) {
  const before = host.querySelector(":scope > .mlx-popup");
  before?.closePopup();
  if (before?.ofButton === button) return;
  const close = () => {
    panel.remove();
    document.removeEventListener("pointerdown", outside, true);
    button.setAttribute("aria-expanded", "false");
  };
  const outside = (event) => {
    const path = event.composedPath();
    if (!path.includes(panel) && !path.includes(button)) close();
  };
  const panel = element("div", { class: "mlx-popup", role, "aria-label": label || null });
  Object.assign(panel, { closePopup: close, ofButton: button });
  panel.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      close();
      button.focus();
    }
    if (role === "menu" && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const items = [...panel.querySelectorAll("button")];
      const next = items.indexOf(panel.getRootNode().activeElement) + (event.key === "ArrowDown" ? 1 : -1);
      items[(next + items.length) % items.length].focus();
    }
  });
  panel.append(...fill(close));
  host.append(panel);
  placePopup(panel, button, host);
  button.setAttribute("aria-expanded", "true");
  document.addEventListener("pointerdown", outside, true);
  panel.querySelector("input, button")?.focus({ preventScroll: true });
}

function placePopup(panel, button, host) {
  const [at, around] = [button.getBoundingClientRect(), host.getBoundingClientRect()];
  const left = Math.min(at.left - around.left, around.width - panel.offsetWidth - 4);
  panel.style.left = `${Math.max(4, left)}px`;
  panel.style.top = `${at.bottom - around.top + 4}px`;
}
