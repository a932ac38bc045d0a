"""Python in a process that may read a folder and not write it, whoever runs the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager

import pytest

_CHECK = """\
import os, sys
if os.access(sys.argv[1], os.W_OK):
    sys.exit(77)
"""


@contextmanager
def locked(folder):
    """Take from a folder and all in it, within this block, the right to be written."""
    every = [folder, *folder.rglob("*")]
    before = {path: path.stat().st_mode for path in every}
    for path in reversed(every):
        path.chmod(0o500 if path.is_dir() else 0o400)
    try:
        yield
    finally:
        for path in every:
            path.chmod(before[path])


def as_reader(code, folder, *, cwd=None):
    """Run Python code that may not write a locked folder, and return what it prints.

    Root may write whatever it likes, by a capability that is taken from the process.
    """
    words = [sys.executable, "-c", _CHECK + code, str(folder)]
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("root may write anywhere, and there is no setpriv")
        words = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", *words]
    done = subprocess.run(words, cwd=cwd or folder, capture_output=True, text=True, timeout=300)
    if done.returncode == 77 or done.stderr.startswith("setpriv:"):
        pytest.skip("this user may write anywhere")
    assert done.returncode == 0, done.stderr
    return done.stdout
