"""All benchmarks, one after the other: ``python benchmarks/all.py [FILE]``.

What each prints is written to FILE (build/benchmarks.md), with the machine, its load before and after, and the
versions. One that fails is told, and the next goes on. README.md says what each shows, and what it doesn't.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

HERE = Path(__file__).parent
FIRST = ("start_time.py", "fork_cost.py", "preflight.py", "cell_overhead.py", "listing.py", "needed.py")
PACKAGES = ("ml-experiment-nb", "mlflow", "optuna", "ray", "papermill", "ipykernel", "jupyterlab")
SECONDS = 3600  # that one may take


def main() -> None:
    told = Path(sys.argv[1] if len(sys.argv) > 1 else "build/benchmarks.md")
    told.parent.mkdir(parents=True, exist_ok=True)
    others = sorted(path.name for path in HERE.glob("*.py") if path.name not in (*FIRST, Path(__file__).name))
    failed = []
    with told.open("w") as file:
        print(*_machine(), sep="\n", file=file)
        for name in (*FIRST, *others):
            print(f"{name} ...", file=sys.stderr, flush=True)
            before, began = os.getloadavg()[0], time.monotonic()
            try:
                done = subprocess.run([sys.executable, HERE / name], capture_output=True, text=True, timeout=SECONDS)
                code, text = done.returncode, done.stdout + (done.stderr[-2000:] if done.returncode else "")
            except subprocess.TimeoutExpired:
                code, text = 1, f"it took longer than {SECONDS} s"
            failed += [name] if code else []
            took = f"{time.monotonic() - began:.0f} s, load {before:.1f} before and {os.getloadavg()[0]:.1f} after"
            print(
                f"\n## {name}{' (failed)' if code else ''}\n\n{took}\n\n```\n{text.rstrip()}\n```",
                file=file,
                flush=True,
            )
    print(f"wrote {told}" + (f"; failed: {', '.join(failed)}" if failed else ""))
    sys.exit(bool(failed))


def _machine() -> list[str]:
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    lines = ["# Benchmarks", "", f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, {cores} cores, {memory:.0f} GiB,"]
    return [*lines, f"Python {platform.python_version()}, " + ", ".join(f"{one} {_version(one)}" for one in PACKAGES)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    main()
