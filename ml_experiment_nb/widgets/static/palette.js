// Colours for canvases: the theme's, a scale for numbers, and some for lines that are told apart.

// Colours of the theme as they are just now where an element stands; canvases can't read CSS variables.
export function themeColours(host) {
  const probe = document.createElement("span");
  probe.style.display = "none";
  host.append(probe);
  const read = (name) => {
    probe.style.color = `var(--mlx-${name})`;
    return getComputedStyle(probe).color;
  };
  const names = ["text", "muted", "ground", "raised", "line", "accent", "good", "bad", "warn"];
  const found = Object.fromEntries(names.map((name) => [name, read(name)]));
  probe.remove();
  return { ...found, isDark: lightness(found.ground) < 0.5, font: getComputedStyle(host).fontFamily };
}

function lightness(colour) {
  const [r, g, b] = (colour.match(/[\d.]+/g) ?? [255, 255, 255]).map(Number);
  const most = colour.startsWith("color(") ? 1 : 255;
  return (0.299 * r + 0.587 * g + 0.114 * b) / most;
}

const VIRIDIS = [
  [68, 1, 84], [72, 35, 116], [64, 67, 135], [52, 94, 141], [41, 120, 142],
  [32, 144, 140], [34, 167, 132], [68, 190, 112], [121, 209, 81], [189, 222, 38], [253, 231, 37],
];

// The colour of a share from 0 to 1: viridis, without the end that can't be seen on the ground.
export function rampColour(share, isDark, alpha = 1) {
  const [r, g, b] = rampParts(share, isDark);
  return alpha === 1 ? `rgb(${r}, ${g}, ${b})` : `rgba(${r}, ${g}, ${b}, ${alpha})`;
}

export function rampParts(share, isDark) {
  const [from, to] = isDark ? [0.22, 1] : [0, 0.86];
  const place = (from + (to - from) * Math.min(1, Math.max(0, share))) * (VIRIDIS.length - 1);
  const low = Math.min(VIRIDIS.length - 2, Math.floor(place));
  return VIRIDIS[low].map((part, k) => Math.round(part + (VIRIDIS[low + 1][k] - part) * (place - low)));
}

const SERIES = {
  light: ["#1f6fc4", "#c2410c", "#15803d", "#a21caf", "#b45309", "#0e7490", "#be123c", "#4d7c0f", "#6d28d9", "#57534e"],
  dark: ["#6cb2ff", "#ff9d5c", "#5fd38a", "#e58af0", "#f2c14e", "#56cfe1", "#ff8095", "#a5d65a", "#b79cff", "#c4bcb4"],
};

// The colour of the k-th of several lines.
export function seriesColour(k, isDark) {
  const colours = isDark ? SERIES.dark : SERIES.light;
  return colours[k % colours.length];
}
