/** Whose runs are shown: those of the project of the document that is open, or of the folder in the file browser. */
import type { JupyterFrontEnd } from '@jupyterlab/application';
import { PathExt } from '@jupyterlab/coreutils';
import type { IDocumentManager } from '@jupyterlab/docmanager';
import type { IDefaultFileBrowser } from '@jupyterlab/filebrowser';

/** Tell which folder is looked at, now and whenever that changes. */
export function followFolder(
  app: JupyterFrontEnd,
  documents: IDocumentManager,
  browser: IDefaultFileBrowser | null,
  tell: (folder: string) => void
): void {
  const current = (): string | null => {
    const { currentWidget } = app.shell;
    const path = currentWidget === null ? undefined : documents.contextForWidget(currentWidget)?.path;
    return path === undefined ? null : folderOf(app, path);
  };
  const renew = (): void => {
    const folder = current();
    if (folder !== null) {
      tell(folder);
    }
  };
  app.shell.currentChanged?.connect(renew);
  browser?.model.pathChanged.connect(() => {
    if (current() === null) {
      tell(app.serviceManager.contents.localPath(browser.model.path));
    }
  });
  void app.restored.then(() => {
    const path = browser?.model.path ?? '';
    tell(current() ?? app.serviceManager.contents.localPath(path));
  });
}

/** The folder of a document on this server's disk; null for one of another place. */
function folderOf(app: JupyterFrontEnd, path: string): string | null {
  const { contents } = app.serviceManager;
  const drive = contents.driveName(path);
  return drive === '' || drive === 'RTC' ? PathExt.dirname(contents.localPath(path)) : null;
}
