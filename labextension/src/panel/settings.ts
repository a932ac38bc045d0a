/** The user's settings of the panel; what each means, `schema/panel.json` says. */
import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import type { Run } from '../api';
import type { RunsModel } from './model';
import { STATUSES } from './status';

export interface Settings {
  follows: boolean;
  /** Whether the user wants to hear of a run's end; of a job's, whoever has started it tells. */
  tells: (run: Run, model: RunsModel) => boolean;
}

/** Bring the settings to the panel, now and whenever they change. */
export function applySettings(registry: ISettingRegistry | null, id: string, model: RunsModel): Settings {
  let isTold = true;
  let longest = 60;
  let isFirst = true;
  const settings: Settings = {
    follows: true,
    tells: (run, { feed: { jobs } }) => isTold && run.kind !== 'trial' && run.seconds >= longest && !jobs.has(run.run_id)
  };
  const apply = ({ composite }: ISettingRegistry.ISettings): void => {
    settings.follows = composite.follow !== false;
    isTold = composite.notify !== false;
    longest = typeof composite.notifyAfter === 'number' ? composite.notifyAfter : longest;
    if (typeof composite.limit === 'number') {
      model.feed.setLimit(composite.limit);
    }
    model.setByExperiment(composite.byExperiment !== false);
    if (isFirst) {
      isFirst = false;
      model.feed.want({
        text: typeof composite.filter === 'string' ? composite.filter : '',
        status: STATUSES.find((one) => one === composite.status) ?? ''
      });
    }
  };
  registry
    ?.load(id)
    .then((found) => {
      apply(found);
      found.changed.connect(apply);
    })
    .catch((problem: unknown) => {
      console.warn('The settings of the panel of runs could not be read:', problem);
    });
  return settings;
}
