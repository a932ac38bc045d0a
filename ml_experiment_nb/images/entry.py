"""What a container of an image begins with: a headless run of its program, or JupyterLab.

``docker run IMAGE -p C 0.5`` is ``ml-experiment run PROGRAM -p C 0.5``; ``docker run IMAGE lab`` opens JupyterLab.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import quote

from ml_experiment_nb.errors import ImageError

LAB: Final = "lab"
_KEPT: Final = ("MLFLOW_TRACKING_URI", "ML_EXPERIMENT_ROOT")
_NO_OUTPUT: Final = re.compile(r"\w+")  # a notebook that is written has a suffix, or lies in a folder
_HOW: Final = 'docker run -v "$PWD:$PWD" -e ML_EXPERIMENT_ROOT="$PWD" --user "$(id -u):$(id -g)" …'


def main() -> None:
    """Become the process that is asked for."""
    program, *words = sys.argv[1:]
    try:
        command = command_of(program, words, os.environ)
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    os.environ.update(_environment(os.environ))
    os.execv(command[0], command)


def command_of(program: str, words: Sequence[str], env: Mapping[str, str]) -> list[str]:
    """Return the command of a container.

    Args:
        program: What the image runs.
        words: What ``docker run`` was given behind the image.
        env: The container's environment.

    Raises:
        ImageError: JupyterLab isn't in the image, or the record's folder can't be written.
    """
    is_lab, first = list(words[:1]) == [LAB], "".join(words[:1])
    if is_lab and find_spec("jupyterlab") is None:
        raise ImageError("JupyterLab isn't in this image: make it with --lab")
    if not is_lab and _NO_OUTPUT.fullmatch(first):
        raise ImageError(
            f"{first!r} is no option of a run, nor a notebook to write: `lab` opens JupyterLab, and "
            "`docker run -it --entrypoint sh IMAGE` a shell"
        )
    root = env.get("ML_EXPERIMENT_ROOT")
    if root and not (os.path.isdir(root) and os.access(root, os.W_OK)):
        raise ImageError(f"ML_EXPERIMENT_ROOT={root} is no folder that user {os.getuid()} may write to: {_HOW}")
    if not any(env.get(name) for name in _KEPT) and not {"--help", "-h", "--plan"} & set(words):
        print(
            f"note: the record stays in this container: set MLFLOW_TRACKING_URI, or mount the project's folder, {_HOW}",
            file=sys.stderr,
        )
    return (
        _lab(program, words[1:])
        if is_lab
        else [sys.executable, "-P", "-m", "ml_experiment_nb.cli", "run", program, *words]
    )


def _lab(program: str, words: Sequence[str]) -> list[str]:
    """Return the command that opens JupyterLab on a program, with the options that it is given."""
    ours = {"ip": "0.0.0.0", "port": "8888"}
    if not program.startswith(".."):  # it serves the folder that it is started in
        ours["LabApp.default_url"] = f"/lab/tree/{quote(program)}"
    given = {word.partition("=")[0].lstrip("-").removeprefix("ServerApp.") for word in words}
    options = [f"--{name}={value}" for name, value in ours.items() if name not in given]  # it takes none twice
    return [sys.executable, "-P", "-m", "jupyterlab", "--no-browser", *options, *words]


def _environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return what is changed of the environment: a home that its user can write to."""
    home = env.get("HOME", "")
    if home and os.access(home, os.W_OK):
        return {}
    return {"HOME": str(Path(tempfile.mkdtemp(prefix="home-")))}


if __name__ == "__main__":
    main()
