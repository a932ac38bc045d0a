/** What is known of one run: its parameters, metrics, files and log, each asked for when it is looked at. */
import type { TranslationBundle } from '@jupyterlab/translation';
import React from 'react';

import type { Artifact, Artifacts, Curves, Failure, Job, Log, Progress, Project, Run } from '../api';
import { Renewal } from '../renewal';
import { duration, figure, line, parts, size, valueText } from './figures';
import { whenSeen } from './seen';
import { StatusSign, statusText } from './status';

const SETTLED = 150; // ms after which a run is asked about: the keys may only pass it
const RENEWED = 3000; // ms between two looks at the log and the curves of what runs
const PICTURES = /\.(png|jpe?g|gif|svg|webp)$/i;
const SMALL = 2_000_000; // bytes of a picture that is shown at once
const WIDTH = 72; // px of a curve
const TALL = 16;

interface Props {
  project: Project;
  run: Run;
  trans: TranslationBundle;
  language: string | undefined;
  seconds: number;
  /** What has it run without the browser, if anything does. */
  job: Job | undefined;
  /** The parts that are open; a part notes there whether it is. */
  sections: Set<string>;
  /** Show another run's details. */
  open: (id: string) => void;
}

/** The details; with another `key` for each run. */
export function Details({ mounted, ...props }: Props & { mounted: () => void }): React.JSX.Element {
  const { project, trans, sections } = props;
  const full = useAnswer<Run>(() => project.run(props.run.run_id), project, props.run, false);
  React.useEffect(mounted, []);
  const run = { ...props.run, ...(full.answer === null ? {} : withoutState(full.answer)) };
  return (
    <div className="mlx-Run" role="group" tabIndex={-1} aria-label={run.name} data-run={run.run_id}>
      <Head {...props} run={run} />
      {run.notes.map((note) => (
        <p className="mlx-Run-note" key={note}>
          {note}
        </p>
      ))}
      <Section name="params" sections={sections} title={trans.__('Parameters')} count={Object.keys(run.params).length}>
        <Pairs pairs={run.params} trans={trans} />
      </Section>
      <Metrics {...props} run={run} />
      {Object.keys(run.autologged).length > 0 && (
        <Section name="autologged" sections={sections} title={trans.__('Parameters of Libraries')} count={Object.keys(run.autologged).length}>
          <Pairs pairs={run.autologged} trans={trans} />
        </Section>
      )}
      <Section name="artifacts" sections={sections} title={trans.__('Artifacts')}>
        <Files {...props} />
      </Section>
      <Section name="log" sections={sections} title={trans.__('Log')}>
        <LogText {...props} />
      </Section>
      <Section name="record" sections={sections} title={trans.__('Record')} count={Object.keys(run.tags).length}>
        <Pairs pairs={{ run: run.run_id, ...run.tags }} trans={trans} />
      </Section>
    </div>
  );
}

/** The full answer has more tags; how the run stands now, the list knows best. */
function withoutState({ params, tags, notes, autologged }: Run): Partial<Run> {
  return { params, tags, notes, autologged };
}

function Head({ run, job, trans, language, seconds, open }: Props): React.JSX.Element {
  const best = run.tags['mlexp.best_run'];
  const { parent_id: group } = run;
  return (
    <div className="mlx-Run-head">
      <h3>{run.name}</h3>
      <div>
        <StatusSign status={run.status} trans={trans} /> {statusText(run.status, trans)} · {duration(seconds)} ·{' '}
        <time dateTime={run.started}>{new Date(run.started).toLocaleString(language)}</time>
      </div>
      {run.status === 'running' && job?.progress && <Bar progress={job.progress} trans={trans} />}
      {run.failure !== null && <Why failure={run.failure} />}
      {best !== undefined && <Other id={best} text={trans.__('Best Trial')} open={open} />}
      {group !== null && <Other id={group} text={trans.__('Its Group')} open={open} />}
    </div>
  );
}

/** Why it has failed, and where in its code if that is known. */
function Why({ failure: { type, message, traceback } }: { failure: Failure }): React.JSX.Element {
  const text = message === '' ? type : `${type}: ${message}`;
  return traceback === '' ? (
    <p className="mlx-Run-failure">{text}</p>
  ) : (
    <details className="mlx-Run-failure">
      <summary>{text}</summary>
      <pre>{traceback}</pre>
    </details>
  );
}

function Bar({ progress, trans }: { progress: Progress; trans: TranslationBundle }): React.JSX.Element {
  const { done, total, text } = progress;
  return (
    <div className="mlx-Run-progress">
      <progress aria-label={trans.__('Progress')} max={total ?? undefined} value={total === null ? undefined : done} />
      <span>{text}</span>
    </div>
  );
}

function Other({ id, text, open }: { id: string; text: string; open: (id: string) => void }): React.JSX.Element {
  return (
    <button
      className="mlx-Run-link"
      onClick={() => {
        open(id);
      }}
    >
      {text}
    </button>
  );
}

interface SectionProps {
  name: string;
  title: string;
  sections: Set<string>;
  count?: number;
  children: React.ReactNode;
}

/** A part that is asked for when it is opened. */
function Section({ name, title, sections, count, children }: SectionProps): React.JSX.Element {
  const [shown, setShown] = React.useState(sections.has(name));
  return (
    <details
      className="mlx-Run-section"
      open={shown}
      onToggle={(event) => {
        const { open } = event.currentTarget;
        sections[open ? 'add' : 'delete'](name);
        setShown(open);
      }}
    >
      <summary>
        {title}
        {count !== undefined && <span className="mlx-Run-count">{count}</span>}
      </summary>
      {shown && children}
    </details>
  );
}

interface PairsProps {
  pairs: Record<string, unknown>;
  trans: TranslationBundle;
}

function Pairs({ pairs, trans }: PairsProps): React.JSX.Element {
  const rows = Object.entries(pairs);
  if (rows.length === 0) {
    return <p className="mlx-Run-none">{trans.__('none')}</p>;
  }
  return (
    <table>
      <tbody>
        {rows.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">
              <Name text={name} />
            </th>
            <td>{valueText(value)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** A name, which is broken between its words where it has no room. */
function Name({ text }: { text: string }): React.JSX.Element {
  return (
    <>
      {parts(text).map((part, index) => (
        <React.Fragment key={index}>
          {index > 0 && <wbr />}
          {part}
        </React.Fragment>
      ))}
    </>
  );
}

function Metrics({ project, run, trans, sections }: Props): React.JSX.Element {
  const names = Object.keys(run.metrics);
  const ask = (): Promise<Curves> => project.curves(run.run_id);
  const { answer, problem } = useAnswer(ask, project, run.metrics, false); // of what runs, others are heard of
  const hasCurves = names.some((name) => (answer?.metrics[name]?.count ?? 0) > 1);
  return (
    <Section name="metrics" sections={sections} title={trans.__('Metrics')} count={names.length}>
      {names.length === 0 && <p className="mlx-Run-none">{trans.__('none')}</p>}
      <Problem problem={problem} />
      <table>
        <tbody>
          {names.map((name) => (
            <tr key={name}>
              <th scope="row">
                <Name text={name} />
              </th>
              {hasCurves && (
                <td className="mlx-Run-curve">
                  <Sparkline name={name} curves={answer} trans={trans} />
                </td>
              )}
              <td className="mlx-Run-value" title={String(run.metrics[name])}>
                {figure(run.metrics[name] ?? NaN)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Section>
  );
}

interface SparklineProps {
  name: string;
  curves: Curves | null;
  trans: TranslationBundle;
}

/** A metric's history, as a line; nothing where it has one value. */
function Sparkline({ name, curves, trans }: SparklineProps): React.JSX.Element | null {
  const curve = curves?.metrics[name];
  const points = curve === undefined ? '' : line(curve, WIDTH, TALL);
  if (curve === undefined || points === '') {
    return null;
  }
  const [first, last] = [curve.values[0] ?? NaN, curve.values[curve.values.length - 1] ?? NaN].map(figure);
  const text = trans.__('%1: from %2 to %3 over %4 values', name, first, last, curve.count);
  return (
    <svg className="mlx-Sparkline" role="img" width={WIDTH} height={TALL} viewBox={`-1 -1 ${WIDTH + 2} ${TALL + 2}`}>
      <title>{text}</title>
      <polyline points={points} />
    </svg>
  );
}

function Files({ project, run, trans }: Props): React.JSX.Element {
  const ask = (): Promise<Artifacts> => project.artifacts(run.run_id);
  const { answer, problem } = useAnswer(ask, project, run.status, false);
  if (answer === null) {
    return problem === null ? <Waiting trans={trans} /> : <Problem problem={problem} />;
  }
  return (
    <ul className="mlx-Run-files">
      {answer.artifacts.length === 0 && <li className="mlx-Run-none">{trans.__('none')}</li>}
      {answer.artifacts.map((one) => (
        <li key={one.path}>
          <File address={project.artifactAddress(run.run_id, one.path)} one={one} />
        </li>
      ))}
      {!answer.whole && <li className="mlx-Run-none">{trans.__('and more, which MLflow’s page shows')}</li>}
    </ul>
  );
}

function File({ address, one }: { address: string; one: Artifact }): React.JSX.Element {
  return (
    <a href={address} target="_blank" rel="noopener noreferrer">
      <Name text={one.path} /> <span className="mlx-Run-size">{size(one.size)}</span>
      {PICTURES.test(one.path) && one.size <= SMALL && <img src={address} alt={one.path} loading="lazy" />}
    </a>
  );
}

function LogText({ project, run, trans }: Props): React.JSX.Element {
  const box = React.useRef<HTMLPreElement>(null);
  const isRunning = run.status === 'running';
  const ask = (): Promise<Log> => project.log(run.run_id);
  const { answer, problem } = useAnswer(ask, project, run.status, isRunning);
  const [isAtEnd, setAtEnd] = React.useState(true);
  React.useEffect(() => {
    if (box.current !== null && isAtEnd) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [answer?.text]);
  if (answer === null) {
    return problem === null ? <Waiting trans={trans} /> : <Problem problem={problem} />;
  }
  if (answer.text === '') {
    return <p className="mlx-Run-none">{trans.__('It has printed nothing.')}</p>;
  }
  return (
    <>
      {!answer.whole && <p className="mlx-Run-none">{trans.__('Only the end is shown.')}</p>}
      <Problem problem={problem} />
      <pre
        ref={box}
        className="mlx-Run-log"
        role="region"
        tabIndex={0}
        aria-label={trans.__('Log')}
        onScroll={({ currentTarget: node }) => {
          setAtEnd(node.scrollTop + node.clientHeight >= node.scrollHeight - 4);
        }}
      >
        {answer.text}
      </pre>
    </>
  );
}

function Waiting({ trans }: { trans: TranslationBundle }): React.JSX.Element {
  return <p className="mlx-Run-none">{trans.__('Loading…')}</p>;
}

function Problem({ problem }: { problem: Error | null }): React.JSX.Element | null {
  return problem === null ? null : (
    <p className="mlx-Run-problem" role="alert">
      {problem.message}
    </p>
  );
}

interface Answered<T> {
  answer: T | null;
  problem: Error | null;
}

/** Ask the server, and again when something is new of what is asked about, or every few seconds, as long as the page is seen. */
function useAnswer<T>(ask: () => Promise<T>, project: Project, news: unknown, isLive: boolean): Answered<T> {
  const [state, setState] = React.useState<Answered<T>>({ answer: null, problem: null });
  const latest = React.useRef(ask);
  latest.current = ask;
  const renewal = React.useRef<Renewal<T> | null>(null);
  React.useEffect(() => {
    const made = new Renewal(
      () => latest.current(),
      (answer) => {
        setState({ answer, problem: null });
      },
      (problem) => {
        setState(({ answer }) => ({ answer, problem: problem as Error }));
      }
    );
    renewal.current = made;
    return () => {
      made.end();
    };
  }, [project]);
  React.useEffect(() => {
    let isOver = false;
    let takeBack = (): void => undefined;
    const once = async (): Promise<void> => {
      await renewal.current?.want();
      if (isLive && !isOver) {
        timer = setTimeout(look, RENEWED);
      }
    };
    const look = (): void => {
      takeBack = whenSeen(() => void once());
    };
    let timer = setTimeout(look, state.answer === null ? SETTLED : 0);
    return () => {
      isOver = true;
      clearTimeout(timer);
      takeBack();
    };
  }, [project, news, isLive]);
  return state;
}
