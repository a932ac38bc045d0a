"""How long a newcomer's first steps take: ``python benchmarks/first_steps.py [--install] [--write]``.

The tutorial's own lines, page after page, in an empty folder: each page's cells in a fresh kernel, its commands in a
shell. All are run, and those that are a first step are told. With ``--install`` an environment is made first, as the
tutorial has it, and measured too; the steps are taken in it then. ``--write`` puts the table into the tutorial's index.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[1]
TUTORIAL = REPOSITORY / "docs/tutorial"
INDEX = TUTORIAL / "index.md"
PAGES = ("first-experiment.md", "first-group.md", "headless.md", "comparing.md", "image.md", "replay.md")
BEGIN, END = "<!-- first steps -->\n", "<!-- end of first steps -->\n"
INSTALL = "`pip install '…[lab,examples,docker]'` in a new environment"
STEPS = {
    "%load_ext ml_experiment_nb\nfrom sklearn": "`%load_ext`, scikit-learn imported, its data loaded",
    '%%experiment "digits" --into first': "the first `%%experiment` of a kernel: MLflow is imported, the store is made",
    '%%experiment "digits" -p C=50': "each one after it, its fit included",
    "ml-experiment ls\n": "`ml-experiment ls`",
    '%%group "digits search"': "the first `%%group` with two slots: Ray is started, six trials",
    "ml-experiment run digits.ipynb": "`ml-experiment run` of a notebook",
    "ml-experiment run search.yaml": "`ml-experiment run` of a search from a file, four trials",
    "view = compare(": "`compare` of all runs",
    "ml-experiment image digits.ipynb -t digits:1 --only-imports --plan": "`ml-experiment image --plan`",
    "ml-experiment image digits.ipynb -t digits:1 --only-imports --context-only": (
        "`ml-experiment image --context-only`: an image's folder, of wheels that are there"
    ),
    "%replay best": "`%replay` of a run: the project is copied, the script run again, the results compared",
    "ml-experiment run train.py --each runs.csv --needed": "`ml-experiment run --needed` of three runs that are there",
}
"""How the block or line of a step begins, and what is told of it. What comes twice is told once, the first time."""


def main() -> None:
    words = sys.argv[1:]
    if "--install" in words:
        with tempfile.TemporaryDirectory(prefix="first-steps-") as folder:
            took, cpu = install(Path(folder) / "env")
            again = [str(Path(folder, "env/bin/python")), __file__, *(one for one in words if one != "--install")]
            env = {**os.environ, "PATH": f"{folder}/env/bin{os.pathsep}{os.environ['PATH']}", "FIRST": f"{took} {cpu}"}
            sys.exit(subprocess.run(again, env=env, check=False).returncode)
    load = os.getloadavg()[0]
    rows = [(INSTALL, *map(float, os.environ["FIRST"].split()))] if "FIRST" in os.environ else []
    with tempfile.TemporaryDirectory(prefix="first-steps-") as folder:
        rows += measured(Path(folder))
    if missing := {*STEPS.values()} - {name for name, *_ in rows}:
        sys.exit(f"the tutorial has no such step any more: {', '.join(sorted(missing))}")
    text = table(rows, load)
    print(text)
    if "--write" in words:
        before, rest = INDEX.read_text().split(BEGIN)
        INDEX.write_text(f"{before}{BEGIN}{text}{END}{rest.split(END)[1]}")


def install(place: Path) -> tuple[float, float]:
    """Make an environment as the tutorial says, and return the seconds that installing took, and the processor's."""
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    began, before = time.monotonic(), used(None)
    words = [place / "bin/pip", "install", "--quiet", f"{REPOSITORY}[lab,examples,docker]"]
    subprocess.run(words, check=True)
    return time.monotonic() - began, used(None) - before


def used(kernel: int | None) -> float:
    """Return the processor's seconds that this process's ended children have used, and a kernel with its own."""
    own = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = own.ru_utime + own.ru_stime
    if kernel is not None:
        tree = [psutil.Process(kernel), *psutil.Process(kernel).children(recursive=True)]
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                spent += times.user + times.system + times.children_user + times.children_system
    return spent


def measured(folder: Path) -> Iterator[tuple[str, float, float]]:
    """Follow the tutorial in a folder, and yield what each first step is called, its seconds and the processor's."""
    from jupyter_client.manager import start_new_kernel

    (folder / ".ml-experiment").mkdir()
    os.environ["ML_EXPERIMENT_ROOT"] = str(folder)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    told: set[str] = set()
    for page in PAGES:
        manager, client = start_new_kernel(kernel_name="python3", cwd=str(folder), stderr=subprocess.DEVNULL)
        try:
            for language, text in blocks(page):
                for one in text.splitlines(keepends=True) if language == "bash" else [text]:
                    began, before = time.monotonic(), used(manager.provisioner.pid)
                    follow(language, one, folder, client)
                    took, cpu = time.monotonic() - began, used(manager.provisioner.pid) - before
                    name = next((name for start, name in STEPS.items() if one.startswith(start)), None)
                    if name is not None and name not in told:
                        told.add(name)
                        yield name, took, cpu
        finally:
            client.stop_channels()
            manager.shutdown_kernel()


def blocks(page: str) -> list[tuple[str, str]]:
    """Return a page's blocks of code, each with its language."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (TUTORIAL / page).read_text(), re.M | re.S)


def follow(language: str, text: str, folder: Path, client: object) -> None:
    """Do what a block of the tutorial says: write a file, run a line, execute a cell."""
    if named := re.match(r"# (\S+\.\w+)\n", text):
        (folder / named[1]).write_text(text.split("\n", 1)[1])
    elif language == "bash":
        done = subprocess.run(text, shell=True, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{text}{done.stdout}{done.stderr}")
    elif language == "python":
        reply = client.execute_interactive(text.strip(), timeout=900, output_hook=lambda message: None)
        if reply["content"]["status"] != "ok":
            sys.exit(f"{text}{reply['content'].get('evalue')}")


def table(rows: list[tuple[str, float, float]], load: float) -> str:
    """Return the steps as a table, with the machine that they were taken on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    names = ", ".join(f"{name} {version(name)}" for name in ("mlflow", "ray", "scikit-learn"))
    lines = ["| Step | Seconds | of the processor's |", "| --- | --- | --- |"]
    lines += [f"| {name} | {_number(took)} | {_number(cpu)} |" for name, took, cpu in rows]
    cores = os.cpu_count() or 1
    on = f"{cores} cores ({platform.machine()}), {memory:.0f} GiB, Python {platform.python_version()}, {names}"
    others = f"Other programs wanted the cores, too (load {load:.0f}): "
    others += "what the processor spent says more than the time that passed.\n"
    busy = others if load > cores else ""
    return "\n".join(
        [
            *lines,
            "",
            f"On {on}.",
            f"{busy}`python benchmarks/first_steps.py` measures it; with `--install`, in an environment of its own.",
            "",
        ]
    )


def _number(seconds: float) -> str:
    return f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


if __name__ == "__main__":
    main()
