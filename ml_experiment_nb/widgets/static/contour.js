// A ground of colours over two axes, from the values of points: what lies between is weighed by distance.
import { rampParts } from "./palette.js";

const CELLS = 56; // of the grid, each way
const BANDS = 10;
const MOST_POINTS = 1500; // points that are weighed; of more, evenly picked ones

// Returns a function that draws the ground in a box; points: [[x, y, value]], all shares from 0 to 1.
export function contourGround(points, colours) {
  const few = points.length > MOST_POINTS ? points.filter((_, k) => k % Math.ceil(points.length / MOST_POINTS) === 0) : points;
  const grid = new Float32Array((CELLS + 1) ** 2);
  for (let j = 0; j <= CELLS; j += 1) {
    for (let i = 0; i <= CELLS; i += 1) grid[j * (CELLS + 1) + i] = weighed(few, i / CELLS, j / CELLS);
  }
  return (context, box) => {
    drawBands(context, box, grid, colours);
    for (let band = 1; band < BANDS; band += 1) drawLevel(context, box, grid, band / BANDS, colours);
  };
}

function weighed(points, x, y) {
  let [sum, weights] = [0, 0];
  for (const [a, b, value] of points) {
    const weight = 1 / (((a - x) ** 2 + (b - y) ** 2) ** 1.5 + 1e-7);
    sum += weight * value;
    weights += weight;
  }
  return sum / weights;
}

function drawBands(context, box, grid, colours) {
  const fine = 4 * CELLS;
  const image = new ImageData(fine, fine);
  for (let j = 0; j < fine; j += 1) {
    for (let i = 0; i < fine; i += 1) {
      const value = between(grid, ((i + 0.5) / fine) * CELLS, (1 - (j + 0.5) / fine) * CELLS);
      const share = Math.min(BANDS - 1, Math.floor(value * BANDS)) / (BANDS - 1);
      image.data.set([...rampParts(share, colours.isDark), colours.isDark ? 150 : 130], (j * fine + i) * 4);
    }
  }
  const picture = document.createElement("canvas");
  picture.width = picture.height = fine;
  picture.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(picture, box.left, box.top, box.right - box.left, box.bottom - box.top);
}

function between(grid, x, y) {
  const [i, j] = [Math.min(CELLS - 1, Math.floor(x)), Math.min(CELLS - 1, Math.floor(y))];
  const [a, b] = [x - i, y - j];
  const at = (m, n) => grid[(j + n) * (CELLS + 1) + i + m];
  return at(0, 0) * (1 - a) * (1 - b) + at(1, 0) * a * (1 - b) + at(0, 1) * (1 - a) * b + at(1, 1) * a * b;
}

// Marching squares: the line along which the ground has a level.
function drawLevel(context, box, grid, level, colours) {
  const [wide, high] = [(box.right - box.left) / CELLS, (box.bottom - box.top) / CELLS];
  context.beginPath();
  for (let j = 0; j < CELLS; j += 1) {
    for (let i = 0; i < CELLS; i += 1) {
      const at = (m, n) => grid[(j + n) * (CELLS + 1) + i + m] - level;
      const corners = [[0, 0], [1, 0], [1, 1], [0, 1]];
      const cuts = [];
      corners.forEach(([m, n], k) => {
        const [p, q] = corners[(k + 1) % 4];
        const [one, other] = [at(m, n), at(p, q)];
        if (one > 0 === other > 0) return;
        const share = one / (one - other);
        cuts.push([box.left + (i + m + (p - m) * share) * wide, box.bottom - (j + n + (q - n) * share) * high]);
      });
      for (let k = 0; k + 1 < cuts.length; k += 2) {
        context.moveTo(...cuts[k]);
        context.lineTo(...cuts[k + 1]);
      }
    }
  }
  context.strokeStyle = colours.ground;
  context.globalAlpha = 0.7;
  context.lineWidth = 1;
  context.stroke();
  context.globalAlpha = 1;
}
