"""The process that performs one step of a task: ``python -m ml_experiment_nb.work.child REQUEST``."""

from __future__ import annotations

import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ml_experiment_nb import events, reports, wire
from ml_experiment_nb.work.perform import Request, perform
from ml_experiment_nb.work.tree import MARK, end_tree


def main() -> None:
    """Perform what the request says and send `Done` as the last word."""
    sink = reports.active_sink()
    if sink is None:
        sys.exit("this module is started by a slot, not by hand")
    with suppress(OSError):  # in need of memory, the task goes before those that look after it
        Path("/proc/self/oom_score_adj").write_text("500")
    threading.Thread(target=_die_with_owner, name="owner", daemon=True).start()
    process = os.getpid()
    outcome = perform(Request.read(Path(sys.argv[1])), sink)
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the task may have closed it, or put anything in its place
            stream.flush()
    if os.getpid() == process:  # a process that the task forked may come along here too
        sink.send(events.Done(outcome))


def _die_with_owner() -> None:
    """End this process and what it started when the slot that owns it is gone, however it went."""
    path, mark = os.environ[wire.SOCKET], os.environ[MARK]
    with suppress(OSError), socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.recv(1)
    end_tree(os.getpid(), mark, spare=True)
    os._exit(1)


if __name__ == "__main__":
    main()
