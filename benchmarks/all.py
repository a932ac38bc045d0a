"""All benchmarks, one after the other: ``python benchmarks/all.py [--quick] [--write] [FILE]``.

What each prints is written to FILE (build/benchmarks.md), with the machine, its load before and after, and the
versions; above it stands a table of ratios against the peers. One that fails is told, and the next goes on.
``--quick`` makes some of them with few repetitions, in a few minutes: its ratios are rough. ``--write`` puts the table
into README.md, which says what each shows, and what it doesn't.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import ratios

HERE = Path(__file__).parent
README = HERE / "README.md"
BEGIN, END = "<!-- ratios -->\n", "<!-- end of ratios -->\n"
NONE = (Path(__file__).name, "ratios.py")
FIRST = ("start_time.py", "fork_cost.py", "preflight.py", "cell_overhead.py", "listing.py", "needed.py")
QUICK = {
    "fork_cost.py": ("2",),
    "cell_overhead.py": ("5",),
    "listing.py": ("1000", "3"),
    "trial_overhead.py": ("20",),
    "notebooks_per_minute.py": ("8",),
    "model_logging.py": ("2", "sklearn"),
}
"""The benchmarks of a quick round, and the words that make them so."""
PACKAGES = ("ml-experiment-nb", "mlflow", "optuna", "ray", "papermill", "ipykernel", "jupyterlab")
SECONDS = 3600  # that one may take


def main() -> None:
    words = sys.argv[1:]
    quick = "--quick" in words
    told = Path(next((one for one in words if not one.startswith("--")), "build/benchmarks.md"))
    told.parent.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in HERE.glob("*.py") if path.name not in (*FIRST, *NONE))
    names = tuple(QUICK) if quick else (*FIRST, *others)
    began, load = time.monotonic(), os.getloadavg()[0]
    parts, printed, failed = [], {}, []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        code, text, heading = run(name, QUICK[name] if quick else ())
        if code:
            failed.append(name)
        else:
            printed[name] = text
        parts.append(f"{heading}\n\n```\n{text.rstrip()}\n```\n")
        found = [*ratios.table(printed), "", *machine(load, began, quick)]
        told.write_text("\n".join(["# Benchmarks", "", *found, "", *parts]))
    if "--write" in words:
        before, rest = README.read_text().split(BEGIN)
        README.write_text("\n".join([f"{before}{BEGIN}", *found, "", f"{END}{rest.split(END)[1]}"]))
    print("\n".join(found))
    print(f"wrote {told}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


def run(name: str, words: tuple[str, ...]) -> tuple[int, str, str]:
    """Run a benchmark, and return its exit code, what it printed, and a heading for that."""
    before, began = os.getloadavg()[0], time.monotonic()
    try:
        command = [sys.executable, str(HERE / name), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        code, text = done.returncode, done.stdout + (done.stderr[-2000:] if done.returncode else "")
    except subprocess.TimeoutExpired:
        code, text = 1, f"it took longer than {SECONDS} s"
    took = f"{time.monotonic() - began:.0f} s, load {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    return code, text, f"## {' '.join((name, *words))}{' (failed)' if code else ''}\n\n{took}"


def machine(load: float, began: float, quick: bool) -> list[str]:
    """Return what the table was made by and on, in a few lines."""
    cores, minutes = os.cpu_count() or 1, (time.monotonic() - began) / 60
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    busy = f"; other processes wanted the cores, too: load {load:.0f} at the start, {os.getloadavg()[0]:.0f} at the end"
    by = f"By `python benchmarks/all.py{' --quick' if quick else ''}` in {minutes:.0f} minutes"
    on = f"{platform.machine()}, {cores} cores, {memory:.0f} GiB, Python {platform.python_version()}"
    return [
        f"{by} on {on}{busy if load > cores else ''};",
        ", ".join(f"{one} {_version(one)}" for one in PACKAGES) + ".",
    ]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
