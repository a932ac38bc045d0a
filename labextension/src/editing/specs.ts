/** Has specs checked while they are edited: what the server finds wrong is marked in its line. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import type { CodeMirrorEditor } from '@jupyterlab/codemirror';
import { IEditorTracker } from '@jupyterlab/fileeditor';
import { ITranslator, nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import { type Diagnostic, linter, lintGutter, lintKeymap } from '@codemirror/lint';
import type { Text } from '@codemirror/state';
import { keymap } from '@codemirror/view';

import { type Problem, Project } from '../api';
import { messageOf } from '../problems';
import { isSpec } from './spec-text';

const PAUSE = 600; // ms after a key is pressed
const SPECS = /\.(ya?ml|json)$/i;

export const specs: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:specs',
  description: 'Checks spec files (.yaml, .json) in the file editor.',
  autoStart: true,
  optional: [IEditorTracker, ITranslator],
  activate: (app: JupyterFrontEnd, tracker: IEditorTracker | null, translator: ITranslator | null) => {
    const trans = (translator ?? nullTranslator).load('ml_experiment_nb');
    tracker?.widgetAdded.connect((_, { content, context }) => {
      const pathOf = (): string => app.serviceManager.contents.localPath(context.path);
      if (SPECS.test(pathOf())) {
        const check = checker(pathOf, trans);
        const editor = content.editor as CodeMirrorEditor; // JupyterLab has no other
        editor.injectExtension([
          linter((view) => check(view.state.doc), { delay: PAUSE }),
          lintGutter(),
          keymap.of(lintKeymap)
        ]);
      }
    });
  }
};

/** Return what finds out what is wrong with a file's text. */
function checker(pathOf: () => string, trans: TranslationBundle): (text: Text) => Promise<Diagnostic[]> {
  return async (text) => {
    const file = pathOf();
    const source = text.toString();
    if (!isSpec(source)) {
      return [];
    }
    try {
      const { errors } = await new Project(file.split('/').slice(0, -1).join('/')).check({ text: source, file });
      return errors.map((problem) => marked(problem, text));
    } catch (problem) {
      return [{ ...placeOf(1, null, text), severity: 'info', message: trans.__('This spec could not be checked: %1', messageOf(problem)) }];
    }
  };
}

function marked({ line, key, message }: Problem, text: Text): Diagnostic {
  const said = key === null ? message : `${key}: ${message}`;
  return { ...placeOf(line ?? 1, key, text), severity: 'error', source: 'ml-experiment', message: said };
}

/** Where a problem is: the key's word in its line, else the line. */
function placeOf(line: number, key: string | null, text: Text): { from: number; to: number } {
  const found = text.line(Math.min(Math.max(line, 1), text.lines));
  const word = key?.split(/[.[]/).pop() ?? '';
  const at = word === '' ? -1 : found.text.indexOf(word);
  if (at >= 0) {
    return { from: found.from + at, to: found.from + at + word.length };
  }
  return { from: found.from + (found.text.length - found.text.trimStart().length), to: found.to };
}
