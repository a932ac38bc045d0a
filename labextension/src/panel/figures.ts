/** Numbers, times and sizes as people read them. */
import type { Curve, Value } from '../api';

const NARROW = { style: 'narrow', numeric: 'auto' } as const;
const AGES: [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 31_557_600],
  ['month', 2_629_800],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60]
];
const SIZES = ['byte', 'kilobyte', 'megabyte', 'gigabyte', 'terabyte'];

/** A metric's value with four digits. */
export function figure(value: Value): string {
  return typeof value === 'number' ? String(Number(value.toPrecision(4))) : value;
}

/** A parameter's value: a text as it is. */
export function valueText(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
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

/** How long something took, such as `1:05:03` h, `3:20` min or `4.2 s`. */
export function duration(seconds: number): string {
  if (seconds < 60) {
    return `${seconds < 10 ? Number(seconds.toPrecision(2)) : Math.round(seconds)} s`;
  }
  const whole = Math.round(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const shown = parts[0] === 0 ? parts.slice(1) : parts;
  return shown.map((part, index) => (index === 0 ? String(part) : String(part).padStart(2, '0'))).join(':');
}

export function size(bytes: number, language?: string): string {
  const power = Math.min(Math.floor(Math.log(Math.max(bytes, 1)) / Math.log(1000)), SIZES.length - 1);
  const options = { style: 'unit', unit: SIZES[power], unitDisplay: 'short', maximumSignificantDigits: 3 } as const;
  return new Intl.NumberFormat(language, options).format(bytes / 1000 ** power);
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
