"""What is done in an image with the packages that were installed: a file that is run in it, of Python's own modules.

``settle.py spare LIST`` removes the files and folders of a list. Their packages' ``RECORD`` stays as it is: by it, a
run in the image and one elsewhere are known to have had the same packages. ``settle.py bytecode LIST`` compiles what a
list names; the bytecode is trusted, not compared with its source, which nobody changes in an image.
"""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

_ASKED = """
import contextlib, importlib, json, os, sys
out, sys.stdout = sys.stdout, sys.stderr
for name in sys.argv[1:]:
    with contextlib.suppress(BaseException):
        importlib.import_module(name)
found = [getattr(one, "__file__", None) for one in list(sys.modules.values())]
print(json.dumps([one for one in found if isinstance(one, str) and one.endswith(".py")]), file=out, flush=True)
os._exit(0)
"""


def spare(places: list[str], site: Path) -> None:
    """Remove files and folders of packages; one that isn't there is no mistake."""
    for place in places:
        path = site / place
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def bytecode(lines: list[str], site: Path) -> None:
    """Compile modules and packages, by their places, and behind ``import`` all that is loaded by importing a module."""
    names = [line.removeprefix("import ") for line in lines if line.startswith("import ")]
    places = [site / line for line in lines if not line.startswith("import ")]
    files = {str(file) for place in places for file in _modules(place)} | set(_imported(names))
    _divided(sorted(one for one in files if not os.path.exists(_compiled(one))))


def _modules(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from place.rglob("*.py")
    elif place.suffix == ".py" and place.exists():
        yield place


def _imported(names: list[str]) -> list[str]:
    """Return the files of the modules that are loaded by importing some; what can't be imported is passed over."""
    if not names:
        return []
    command = [sys.executable, "-I", "-B", "-c", _ASKED, *names]
    env = {**os.environ, "HOME": "/tmp", "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0"}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=env, cwd="/tmp")
    found: list[str] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else []
    return found


def _compiled(file: str) -> str:
    folder, name = os.path.split(file)
    return os.path.join(folder, "__pycache__", f"{name[:-3]}.{sys.implementation.cache_tag}.pyc")


def _divided(files: list[str]) -> None:
    """Compile files in as many processes as there are processors."""
    count = max(1, len(os.sched_getaffinity(0)))
    children = []
    for number in range(count):
        if (pid := os.fork()) == 0:
            _compile(files[number::count])
            os._exit(0)
        children.append(pid)
    for pid in children:
        if os.waitpid(pid, 0)[1] != 0:
            sys.exit("the bytecode can't be written: is the disk full?")


def _compile(files: list[str]) -> None:
    for one in files:
        try:
            py_compile.compile(
                one, doraise=True, quiet=2, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
            )
        except (py_compile.PyCompileError, SyntaxError, UnicodeError, ValueError):
            continue  # templates, and modules for other versions of Python
        except OSError:
            os._exit(1)


_WORKS: dict[str, Callable[[list[str], Path], None]] = {"spare": spare, "bytecode": bytecode}

if __name__ == "__main__":
    _WORKS[sys.argv[1]](Path(sys.argv[2]).read_text(encoding="utf-8").splitlines(), Path(sysconfig.get_path("purelib")))
