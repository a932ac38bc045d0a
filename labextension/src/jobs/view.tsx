/** A job as it is seen in its tab: how it stands, what it prints, and what came of it. */
import { ReactWidget, UseSignal } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { Message } from '@lumino/messaging';
import React from 'react';

import type { Job, Log } from '../api';
import { Result } from '../images/result';
import type { JobModel } from './model';
import { stateText } from './words';

export class JobView extends ReactWidget {
  constructor(
    readonly model: JobModel,
    private readonly trans: TranslationBundle
  ) {
    super();
    this.addClass('mlx-Job');
  }

  override dispose(): void {
    this.model.dispose();
    super.dispose();
  }

  protected override render(): React.ReactElement {
    const { model, trans } = this;
    return <UseSignal signal={model.stateChanged}>{() => <Whole model={model} trans={trans} />}</UseSignal>;
  }

  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.model.see(true);
  }

  protected override onAfterAttach(message: Message): void {
    super.onAfterAttach(message);
    this.model.see(this.isVisible);
  }

  protected override onBeforeHide(message: Message): void {
    super.onBeforeHide(message);
    this.model.see(false);
  }

  protected override onActivateRequest(message: Message): void {
    super.onActivateRequest(message);
    this.node.querySelector<HTMLElement>('.mlx-Job-log')?.focus();
  }
}

interface Props {
  model: JobModel;
  trans: TranslationBundle;
}

function Whole({ model, trans }: Props): React.ReactElement {
  const { job, log, made, problem } = model;
  const wrong = [model.refusal, problem].flatMap((one) => one ?? []);
  return (
    <>
      {wrong.map((one) => (
        <p className="mlx-Form-wrong" role="alert" key={one}>
          {one}
        </p>
      ))}
      {job !== null && <Head job={job} trans={trans} />}
      {made !== null && <Result made={made} trans={trans} />}
      {log === null ? problem === null && <p>{trans.__('Loading…')}</p> : <LogText log={log} trans={trans} />}
    </>
  );
}

function Head({ job, trans }: { job: Job; trans: TranslationBundle }): React.ReactElement {
  const { progress } = job;
  return (
    <div className="mlx-Job-head" data-state={job.state}>
      <h2>{job.name}</h2>
      <div role="status">
        <span className="mlx-Job-state">{stateText(job, trans)}</span>
        {job.ended === null && progress !== null && (
          <>
            <progress
              aria-label={trans.__('Progress')}
              max={progress.total ?? undefined}
              value={progress.total === null ? undefined : progress.done}
            />
            <span>{progress.text}</span>
          </>
        )}
      </div>
      {job.message !== null && job.state !== 'stopped' && <p className="mlx-Form-wrong">{job.message}</p>}
    </div>
  );
}

/** The log; it follows its end as long as that is looked at. */
function LogText({ log, trans }: { log: Log; trans: TranslationBundle }): React.ReactElement {
  const box = React.useRef<HTMLPreElement>(null);
  const [isAtEnd, setAtEnd] = React.useState(true);
  React.useEffect(() => {
    if (box.current !== null && isAtEnd) {
      box.current.scrollTop = box.current.scrollHeight;
    }
  }, [log.text]);
  return (
    <>
      {!log.whole && <p className="mlx-Form-note">{trans.__('Only the end is shown.')}</p>}
      <pre
        ref={box}
        className="mlx-Job-log"
        role="region"
        tabIndex={0}
        aria-label={trans.__('Log')}
        onScroll={({ currentTarget: node }) => {
          setAtEnd(node.scrollTop + node.clientHeight >= node.scrollHeight - 4);
        }}
      >
        {log.text}
      </pre>
    </>
  );
}
