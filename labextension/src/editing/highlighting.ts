/** Has cells of `%%experiment` and `%%group` highlighted, indented and folded as the Python that they hold. */
import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { IEditorLanguageRegistry } from '@jupyterlab/codemirror';
import { LanguageSupport } from '@codemirror/language';

import { magicLanguage } from './magic-cells';

const NAMES = ['ipython', 'Python']; // the second is a notebook's until its kernel has said more

export const highlighting: JupyterFrontEndPlugin<void> = {
  id: 'ml-experiment-nb:highlighting',
  description: 'Highlights what stands below %%experiment and %%group as Python.',
  autoStart: true,
  requires: [IEditorLanguageRegistry],
  activate: async (_: JupyterFrontEnd, languages: IEditorLanguageRegistry) => {
    for (const name of NAMES) {
      const language = await languages.getLanguage(name); // now: an editor made before this would not know our magics
      if (language?.support !== undefined) {
        language.support = withMagics(language.support);
      }
    }
  }
};

function withMagics(python: LanguageSupport): LanguageSupport {
  return new LanguageSupport(magicLanguage(python.language), python.support);
}
