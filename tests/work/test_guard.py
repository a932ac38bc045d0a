"""A process that may not write into a folder."""

import subprocess
import sys

import pytest

WRITES = {
    "open": "open(p, 'w')",
    "append": "open(p, 'a')",
    "update": "open(p, 'r+')",
    "path": "pathlib.Path(p).write_text('x')",
    "remove": "os.remove(p)",
    "rename": "os.rename(p, p + '2')",
    "rename into it": "open(spared + '/y', 'w').close(); os.rename(spared + '/y', p)",
    "truncate": "os.truncate(p, 0)",
    "new file": "open(p + '.new', 'x')",
    "new folder": "os.makedirs(p + '.d/e')",
    "tree": "shutil.rmtree(os.path.dirname(p))",
    "database": "sqlite3.connect(p + '.db')",
    "through a link": "os.symlink(p, spared + '/link'); open(spared + '/link', 'w')",
    "relative": "os.chdir(os.path.dirname(p)); open('kept.txt', 'w')",
    "numpy": "import numpy; numpy.save(p, numpy.zeros(2))",
}


@pytest.fixture
def perform(tmp_path):
    """Run code in a process that may not write into a folder, but into one in it; return its last line of error."""
    folder = tmp_path / "project"
    (folder / "spared").mkdir(parents=True)
    kept = folder / "kept.txt"
    kept.write_text("kept")

    def run(code):
        text = (
            "import os, pathlib, shutil, sqlite3\nfrom ml_experiment_nb.work.guard import protect\nprotect()\n"
            f"p, spared, outside = {str(kept)!r}, {str(folder / 'spared')!r}, {str(tmp_path)!r}\n{code}"
        )
        env = {"ML_EXPERIMENT_PROTECTED": str(folder), "ML_EXPERIMENT_SPARED": str(folder / "spared"), "PATH": ""}
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, env=env, cwd=tmp_path)
        assert kept.read_text() == "kept"
        assert {one.name for one in folder.iterdir()} - {"spared", ".cache"} == {"kept.txt"}
        return done.stderr.strip().splitlines()[-1:]

    return run


@pytest.mark.parametrize("code", WRITES.values(), ids=WRITES.keys())
def test_what_would_be_written_fails(perform, code):
    [last] = perform(code)
    assert last.startswith("PermissionError: a proof changes no files of the project")


@pytest.mark.parametrize(
    "code",
    [
        "open(p).read()",
        "open(spared + '/x', 'w').close(); os.remove(spared + '/x')",
        "open(outside + '/x', 'w').close()",
        "os.listdir(os.path.dirname(p))",
    ],
)
def test_what_reads_or_writes_elsewhere_does_not(perform, code):
    assert perform(code) == []
