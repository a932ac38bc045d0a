"""What an image of a notebook costs, beside a plain Dockerfile of `pip freeze`: ``image.py [BASE]``.

Both are made of one environment, which has scikit-learn, JupyterLab, this package and the project that the notebook is
in, as an editable package. They begin with the same base image (BASE, by default one that is made of this interpreter)
and are built with nothing kept of an earlier build: the time from the command to the image, once cold and once more
after a cell was changed (and of that, the processor's seconds that the command took, which grow little with what else
the machine does), and the image's size, also as a share of the plain one's. The engine is one of the benchmark's own,
and ``pip`` in the plain build asks the same index, over the machine's network.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))

import engine  # noqa: E402 - the engine that the tests start

PLAIN = """\
FROM {base}
COPY wheels/ /tmp/wheels/
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m pip install --find-links /tmp/wheels -r /tmp/requirements.txt
COPY train.ipynb /project/train.ipynb
WORKDIR /project
CMD ["ml-experiment", "run", "train.ipynb"]
"""
PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "bench-project"
version = "1.0"
"""
CODE = """\
from bench_project import SIZE
from sklearn.datasets import load_digits
from sklearn.svm import SVC
X, y = load_digits(return_X_y=True)
SVC(C=C).fit(X[:SIZE], y[:SIZE])"""


def main() -> None:
    """Print a line for each image."""
    with tempfile.TemporaryDirectory(prefix="mlexp-bench-") as folder, engine.engine() as running:
        os.environ.update(running.environment)
        base = sys.argv[1] if len(sys.argv) > 1 else engine.import_base(running)
        root = Path(folder)
        python = environment(root)
        book = notebook(root, python)
        print(f"{'image':<34} {'cold':>8} {'changed cell':>13} {'CPU':>7} {'size':>9} {'share':>6}")
        first = plain(root, base, python, book)
        show("plain", *first, first[-1])
        for words in ((), ("--only-imports",)):
            os.environ["XDG_CACHE_HOME"] = str(root / "cache")
            shutil.rmtree(root / "cache", ignore_errors=True)
            show(f"ml-experiment image {' '.join(words)}".strip(), *ours(base, book, words), first[-1])


def environment(root: Path) -> Path:
    """Make the kernel's environment, and return its interpreter."""
    python = root / "venv/bin/python"
    os.environ["ML_EXPERIMENT_NB_SKIP_LABEXTENSION"] = "1"
    call("uv", "venv", "-q", "--seed", "--python", sys.executable, root / "venv")
    (root / "project/bench_project").mkdir(parents=True)
    (root / "project/bench_project/__init__.py").write_text("SIZE = 1000\n")
    (root / "project/pyproject.toml").write_text(PROJECT)
    both = ("-e", f"{REPOSITORY}[examples,lab,docker]", "-e", root / "project")
    call("uv", "pip", "install", "-q", "--python", python, *both)
    return python


def notebook(root: Path, python: Path) -> Path:
    """Write the notebook and its kernelspec."""
    kernel = root / "share/jupyter/kernels/bench/kernel.json"
    kernel.parent.mkdir(parents=True)
    command = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    kernel.write_text(json.dumps({"argv": command, "language": "python", "display_name": "bench"}))
    os.environ["JUPYTER_PATH"] = str(root / "share/jupyter")
    nb = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "bench", "display_name": "", "language": "python"}})
    nb.cells = [
        nbformat.v4.new_code_cell("C = 1.0", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(CODE),
    ]
    nbformat.write(nb, root / "project/train.ipynb")
    return root / "project/train.ipynb"


def plain(root: Path, base: str, python: Path, book: Path) -> tuple[float, float, float, int]:
    """Build what a `pip freeze` gives: this package as a wheel, for its line there names a folder."""
    context = root / "plain"
    context.mkdir()
    frozen = subprocess.check_output([python, "-m", "pip", "freeze", "--exclude-editable"], text=True)
    for source in (REPOSITORY, book.parent):
        call("uv", "build", "-q", "--wheel", "-o", context / "wheels", source)
    (context / "requirements.txt").write_text(f"{frozen}ml-experiment-nb\nbench-project\n")
    (context / "Dockerfile").write_text(PLAIN.format(base=base))
    shutil.copy(book, context)
    build = ("docker", "build", "-q", "--network", "host", "--no-cache", "-t", "plain:1", context)
    cold = call(*build)
    change(context / "train.ipynb")
    begun = processor()
    changed = call(*(word for word in build if word != "--no-cache"))
    return cold, changed, processor() - begun, size("plain:1")


def ours(base: str, book: Path, words: tuple[str, ...]) -> tuple[float, float, float, int]:
    """Build ours, with no wheel kept and no layer."""
    call("docker", "builder", "prune", "-af")
    command = (
        sys.executable,
        "-m",
        "ml_experiment_nb.cli",
        "image",
        book,
        "-q",
        "-t",
        "ours:1",
        "--base",
        base,
        *words,
    )
    cold = call(*command)
    change(book)
    begun = processor()
    return cold, call(*command), processor() - begun, size("ours:1")


def change(book: Path) -> None:
    """Change a cell of a notebook."""
    nb = nbformat.read(book, 4)
    nb.cells[-1].source += "\n# changed"
    nbformat.write(nb, book)


def call(*words: object) -> float:
    """Run a command, and return the seconds that it took."""
    begun = time.perf_counter()
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{words}: {done.stderr[-3000:]}")
    return time.perf_counter() - begun


def processor() -> float:
    """Return the processor's seconds that all commands so far have taken; the engine's own are not among them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def size(name: str) -> int:
    """Return an image's bytes."""
    return int(subprocess.check_output(["docker", "image", "inspect", "-f", "{{.Size}}", name]))


def show(name: str, cold: float, changed: float, cpu: float, amount: int, of: int) -> None:
    """Print an image's line."""
    times = f"{cold:>7.1f}s {changed:>12.1f}s {cpu:>6.1f}s"
    print(f"{name:<34} {times} {amount / 1e6:>6.0f} MB {amount / of:>5.2f}x", flush=True)


if __name__ == "__main__":
    main()
