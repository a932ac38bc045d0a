/** The list of runs: a tree of which only those rows are drawn that are seen, used by keys as by the mouse. */
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import { age, duration, figure, paramsText } from './figures';
import type { RunsModel } from './model';
import type { ExperimentRow, Row, RunRow } from './rows';
import { StatusSign, statusText } from './status';

const HEIGHT = 24; // px of a row; the style sheet knows it, too
const BESIDE = 10; // rows that are drawn above and below
const TICK = 1000; // ms between two looks at how long what runs has run

interface Props {
  model: RunsModel;
  trans: TranslationBundle;
  language: string | undefined;
  /** Show the details of the row that the keys are at. */
  enter: () => void;
}

interface ListProps extends Props {
  mounted: () => void;
  /** It goes, and had the keys. */
  left: () => void;
}

export function RunList({ model, trans, language, enter, mounted, left }: ListProps): React.JSX.Element {
  const box = React.useRef<HTMLDivElement>(null);
  const now = useNow(model.rows.some((row) => row.kind === 'run' && row.run.status === 'running'));
  const { view, look } = useView(box);
  React.useEffect(mounted, []);
  React.useLayoutEffect(() => {
    const node = box.current;
    return () => {
      if (node === document.activeElement) {
        left();
      }
    };
  }, []);
  const { rows } = model;
  const index = rows.findIndex((row) => row.key === model.current);
  React.useEffect(() => {
    keepInView(box.current, index);
  }, [model.current]);
  const first = Math.max(Math.floor(view.top / HEIGHT) - BESIDE, 0);
  const last = Math.min(Math.ceil((view.top + view.height) / HEIGHT) + BESIDE, rows.length);
  // What the keys are at is drawn wherever it is: for who is told of it.
  const drawn = [...rows.entries()].filter(([place]) => (place >= first && place < last) || place === index);
  return (
    <div
      ref={box}
      className="mlx-Runs-list"
      role="tree"
      tabIndex={0}
      aria-label={trans.__('Runs')}
      aria-multiselectable
      aria-activedescendant={index >= 0 ? rowId(index) : undefined}
      onScroll={look}
      onFocus={() => {
        const [top] = model.rows; // as they are now: a run may just have been selected
        if (top !== undefined && !model.rows.some((row) => row.key === model.current)) {
          model.select(top.key, 'not');
        }
      }}
      onKeyDown={(event) => {
        if (onKey(event, model, enter)) {
          event.preventDefault();
          event.stopPropagation();
        }
      }}
    >
      <div role="presentation" style={{ height: rows.length * HEIGHT, position: 'relative' }}>
        {drawn.map(([place, row]) => (
          <Line key={row.key} {...{ row, place, model, trans, language, now, enter }} />
        ))}
      </div>
    </div>
  );
}

interface LineProps extends Props {
  row: Row;
  place: number;
  now: number;
}

function Line({ row, place, model, trans, language, now, enter }: LineProps): React.JSX.Element {
  const isCurrent = row.key === model.current;
  const isSelected = model.isSelected(row.key);
  const classes = ['mlx-Runs-row', isSelected ? 'mlx-mod-selected' : '', isCurrent ? 'mlx-mod-current' : ''];
  return (
    <div
      id={rowId(place)}
      className={classes.filter(Boolean).join(' ')}
      role="treeitem"
      aria-level={row.level}
      aria-posinset={row.position}
      aria-setsize={row.size}
      aria-selected={isSelected}
      aria-expanded={row.isOpen ?? undefined}
      style={{ top: place * HEIGHT, paddingLeft: 4 + 12 * (row.level - 1) }}
      data-key={row.key}
      onClick={(event) => {
        model.select(row.key, event.shiftKey ? 'range' : event.ctrlKey || event.metaKey ? 'beside' : 'alone');
      }}
      onDoubleClick={() => {
        act(model, row, enter);
      }}
      onContextMenu={() => {
        if (!isSelected) {
          model.select(row.key);
        }
      }}
    >
      <span
        className="mlx-Runs-twisty"
        aria-hidden
        onClick={(event) => {
          if (row.isOpen !== null) {
            event.stopPropagation();
            void model.toggle(row.key);
          }
        }}
      >
        {row.isOpen === null ? '' : row.isOpen ? '▾' : '▸'}
      </span>
      {row.kind === 'experiment' ? (
        <Experiment row={row} trans={trans} />
      ) : (
        <One row={row} trans={trans} language={language} now={now} seconds={model.feed.known.seconds(row.run, now)} />
      )}
    </div>
  );
}

function Experiment({ row, trans }: { row: ExperimentRow; trans: TranslationBundle }): React.JSX.Element {
  const running = row.running > 0 ? trans._n('%1 running', '%1 running', row.running) : '';
  return (
    <>
      <span className="mlx-Runs-name mlx-Runs-experiment" title={row.name}>
        {row.name}
      </span>
      <span className="mlx-Runs-running">{running}</span>
      <span className="mlx-Runs-count" title={trans._n('%1 run', '%1 runs', row.count)}>
        {row.count}
      </span>
    </>
  );
}

interface OneProps {
  row: RunRow;
  trans: TranslationBundle;
  language: string | undefined;
  now: number;
  seconds: number;
}

function One({ row: { run, metric, isTrial }, trans, language, now, seconds }: OneProps): React.JSX.Element {
  const value = metric === undefined ? undefined : run.metrics[metric];
  const when = run.status === 'running' ? duration(seconds) : age(run.started, now, language);
  const about = [run.name, statusText(run.status, trans), new Date(run.started).toLocaleString(language)];
  return (
    <>
      <StatusSign status={run.status} trans={trans} />
      <span className="mlx-Runs-name" title={about.join('\n')}>
        {isTrial && run.number !== null ? `#${run.number}` : run.name}
        {isTrial && <span className="mlx-Runs-params">{paramsText(run.params)}</span>}
      </span>
      {value !== undefined && (
        <span className="mlx-Runs-metric" title={`${metric} = ${value}`}>
          {figure(value)}
        </span>
      )}
      <span className="mlx-Runs-when">{when}</span>
    </>
  );
}

/** Which part of a box is seen; `look` looks anew. */
function useView(box: React.RefObject<HTMLDivElement>): { view: { top: number; height: number }; look: () => void } {
  const [view, setView] = React.useState({ top: 0, height: 600 });
  const look = (): void => {
    const node = box.current;
    if (node !== null) {
      setView({ top: node.scrollTop, height: node.clientHeight });
    }
  };
  React.useEffect(() => {
    const observer = new ResizeObserver(look);
    if (box.current !== null) {
      observer.observe(box.current);
    }
    return () => {
      observer.disconnect();
    };
  }, []);
  return { view, look };
}

/** The time, told anew each second while something runs, and each half minute else. */
function useNow(isQuick: boolean): number {
  const [now, setNow] = React.useState(Date.now());
  React.useEffect(() => {
    const timer = setInterval(() => {
      setNow(Date.now());
    }, isQuick ? TICK : 30 * TICK);
    return () => {
      clearInterval(timer);
    };
  }, [isQuick]);
  return Math.max(now, Date.now() - TICK);
}

function rowId(place: number): string {
  return `mlx-runs-row-${place}`;
}

function keepInView(box: HTMLDivElement | null, index: number): void {
  if (box !== null && index >= 0) {
    const top = index * HEIGHT;
    if (top < box.scrollTop) {
      box.scrollTop = top;
    } else if (top + HEIGHT > box.scrollTop + box.clientHeight) {
      box.scrollTop = top + HEIGHT - box.clientHeight;
    }
  }
}

/** Do what a key asks for, as in any tree; return whether it was one of ours. */
function onKey(event: React.KeyboardEvent<HTMLDivElement>, model: RunsModel, enter: () => void): boolean {
  const { rows } = model;
  const index = rows.findIndex((row) => row.key === model.current);
  const row = rows[index];
  const page = Math.max(Math.floor(event.currentTarget.clientHeight / HEIGHT) - 1, 1);
  const isAccel = event.ctrlKey || event.metaKey;
  if (event.altKey) {
    return false;
  }
  if (isAccel && event.key === 'a') {
    model.selectAll();
    return true;
  }
  if (row !== undefined) {
    switch (event.key) {
      case 'Enter':
        act(model, row, enter);
        return true;
      case ' ':
        model.select(row.key, 'beside');
        return true;
      case 'ArrowRight':
        return inward(model, row, index);
      case 'ArrowLeft':
        return outward(model, row, index);
    }
  }
  const moves: Record<string, number> = {
    ArrowDown: index + 1,
    ArrowUp: Math.max(index - 1, 0),
    PageDown: index + page,
    PageUp: index - page,
    Home: 0,
    End: rows.length - 1
  };
  const target = moves[event.key];
  const to = target === undefined ? undefined : rows[Math.min(Math.max(target, 0), rows.length - 1)];
  if (to === undefined) {
    return false;
  }
  model.select(to.key, event.shiftKey ? 'range' : isAccel ? 'not' : 'alone');
  return true;
}

/** Show a run's details, or what is in an experiment. */
function act(model: RunsModel, row: Row, enter: () => void): void {
  if (row.kind === 'experiment') {
    void model.toggle(row.key);
  } else {
    enter();
  }
}

function inward(model: RunsModel, row: Row, index: number): boolean {
  const next = model.rows[index + 1];
  if (row.isOpen === false) {
    void model.toggle(row.key);
  } else if (row.isOpen === true && next !== undefined && next.level > row.level) {
    model.select(next.key);
  }
  return true;
}

function outward(model: RunsModel, row: Row, index: number): boolean {
  if (row.isOpen === true) {
    void model.toggle(row.key);
  } else {
    const above = model.rows.slice(0, index).reverse().find((one) => one.level < row.level);
    if (above !== undefined) {
      model.select(above.key);
    }
  }
  return true;
}
