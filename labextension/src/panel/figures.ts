/** Numbers, times and sizes as people read them, in the words of `quantities.py`. */
import type { Curve, Value } from '../api';

const NARROW = { style: 'narrow', numeric: 'auto' } as const;
const AGES: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60]
];
const SMALLER = ['B', 'kB', 'MB']; // than GB

/** A metric's value with four digits; a whole number as it is. */
export function figure(value: Value): string {
  if (typeof value !== 'number' || (Number.isInteger(value) && Math.abs(value) < 1e15)) {
    return String(value);
  }
  const isPlain = Math.abs(value) >= 1e-4 && Math.abs(value) < 1e6;
  const text = isPlain ? value.toPrecision(4) : value.toExponential(3);
  const short = isPlain && text.includes('.') ? text.replace(/\.?0+(?=e|$)/, '') : text;
  return short.replace(/e([+-])(\d)$/, 'e$10$2');
}

/** A parameter's value: a text as it is. */
export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** A name's words, each with what it ends in: where the name may be broken, as `train_`, `loss`. */
export function parts(name: string): string[] {
  return name.split(/(?<=[_./-])(?=[^_./-])|(?<=[a-z])(?=[A-Z])/);
}

/** Parameters in a line; those that are numbers with four digits. */
export function paramsText(params: Record<string, unknown>): string {
  return Object.entries(params)
    .map(([name, value]) => {
      const text = valueText(value);
      return `${name}=${text.trim() !== '' && Number.isFinite(Number(text)) ? figure(Number(text)) : text}`;
    })
    .join(' ');
}

/** How long ago something was, such as `5 min. ago`. */
export function age(started: string, now: number, language?: string): string {
  const seconds = (Date.parse(started) - now) / 1000;
  const [unit, length] = AGES.find(([, one]) => Math.abs(seconds) >= one) ?? ['second', 1];
  return new Intl.RelativeTimeFormat(language, NARROW).format(Math.min(Math.ceil(seconds / length), 0), unit);
}

/** How long something took: `0.52 s`, `1 min 05 s` or `2 h 03 min`. */
export function duration(seconds: number): string {
  if (Math.round(seconds * 100) / 100 < 60) {
    return `${seconds.toFixed(2)} s`;
  }
  const whole = Math.round(seconds);
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes} min ${String(whole % 60).padStart(2, '0')} s`
    : `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`;
}

/** Bytes: `800 B`, `1.6 kB`, `2500 GB`. */
export function size(bytes: number): string {
  let amount = bytes;
  for (const unit of SMALLER) {
    if (amount < 999.5) {
      return `${Number(amount.toPrecision(3))} ${unit}`;
    }
    amount /= 1000;
  }
  return `${amount < 999.5 ? Number(amount.toPrecision(3)) : amount.toFixed()} GB`;
}

/** A curve's finite points, as the `points` of a line in a box; empty where there are fewer than two. */
export function line(curve: Curve, width: number, height: number): string {
  const points = curve.steps.flatMap((step, index) => {
    const value = curve.values[index];
    return typeof value === 'number' ? [[step, value] as const] : [];
  });
  if (points.length < 2) {
    return '';
  }
  const x = scale(points.map(([step]) => step), width);
  const y = scale(points.map(([, value]) => value), height);
  return points.map(([step, value]) => `${x(step).toFixed(1)},${(height - y(value)).toFixed(1)}`).join(' ');
}

/** Return what maps values to places from 0 to a length; the middle where all are the same. */
function scale(values: readonly number[], length: number): (value: number) => number {
  const [low, high] = values.reduce(([a, b], one) => [Math.min(a, one), Math.max(b, one)], [Infinity, -Infinity]);
  return (value) => (high > low ? ((value - low) / (high - low)) * length : length / 2);
}
