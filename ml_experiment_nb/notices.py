"""Telling people that a run has ended: by a webhook and on the desktop. Neither takes long, and neither breaks it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.notify import Notify
from ml_experiment_nb.records import Record, Records, Status, as_json, duration, pairs

SECONDS = 5.0  # that telling somebody may take
_TEXT = 300  # characters


def tell(notify: Notify, message: dict[str, Any]) -> list[str]:
    """Tell all that are to be told, and return a sentence for each that couldn't be.

    Args:
        notify: Who they are.
        message: What `message_of` gives.
    """
    if message["seconds"] < notify.after:
        return []
    problems = []
    try:
        address = notify.address
        problem = _in_time(lambda: _post(address, message)) if address is not None else None
    except SpecError as error:
        problem = str(error)
    if problem is not None:
        problems.append(f"the webhook was not told: {problem}")
    if notify.desktop and (problem := _in_time(lambda: _show(message["name"], message["text"]))) is not None:
        problems.append(f"the desktop was not told: {problem}")
    return problems


def message_of(last: Record, done: Records, drawn: Collection[str] = ()) -> dict[str, Any]:
    """Return what is told of a run: no fixed parameter, no message of an error, nothing that it printed.

    Args:
        last: The run that has ended; of a group its own.
        done: The group's trials.
        drawn: The parameters whose values the best trial is told with.
    """
    counts = {status.value: count for status, count in sorted(Counter(one.status for one in done).items())}
    best = done.best
    shown = {name: value for name, value in best.params.items() if name in drawn} if best is not None else {}
    said = f"{last.name} {last.status} in {duration(last.seconds)}"
    if len(counts) > 1 or sum(counts.values()) > 1:
        said += ": " + ", ".join(f"{count} {status}" for status, count in counts.items())
    if best is not None and done.metric is not None:
        value = {done.metric: best.metrics[done.metric]}
        said += f"; best {pairs(value)}" + (f" with {pairs(shown)}" if shown else "")
    elif last.failure is not None and last.status is not Status.FINISHED:
        said += f": {last.failure.type}"
    message = {
        "text": said[:_TEXT],
        "name": last.name,
        "experiment": last.experiment,
        "kind": last.kind,
        "run_id": last.run_id,
        "status": last.status.value,
        "seconds": round(last.seconds, 3),
        "counts": counts,
        "best": {"run_id": best.run_id, "name": best.name, "params": shown, "metrics": best.metrics} if best else None,
        "error": last.failure.type if last.failure else None,
    }
    return {name: as_json(value) for name, value in message.items()}


def _in_time(work: Callable[[], str | None]) -> str | None:
    """Do something that may take too long, and return what is wrong with it; then its thread is left to itself."""
    found: list[str | None] = []

    def do() -> None:
        try:
            found.append(work())
        except Exception as error:  # its text may have the address, which is as good as a password
            found.append(f"it failed: {type(error).__name__}")

    thread = threading.Thread(target=do, name="ml-experiment-notice", daemon=True)
    thread.start()
    thread.join(SECONDS + 1)
    return found[0] if found else f"it took longer than {SECONDS:g} s"


def _post(address: str, message: dict[str, Any]) -> str | None:
    body = json.dumps(message, allow_nan=False).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"}, method="POST")
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        return f"it answers {error.code}"
    except (ValueError, http.client.HTTPException) as error:
        return type(error).__name__  # its text may have the address, which is as good as a password
    except OSError as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


class _Stay(urllib.request.HTTPRedirectHandler):
    """Doesn't send the message on to wherever an answer points."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _show(title: str, text: str) -> str | None:
    """Show it on this machine's desktop, else ring its terminal's bell."""
    if (command := _desktop(title, text)) is not None:
        try:
            ended = subprocess.run(command, capture_output=True, timeout=SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{command[0]} failed: {type(error).__name__}"
        return None if ended.returncode == 0 else f"{command[0]} failed with exit code {ended.returncode}"
    if sys.stderr is not None and sys.stderr.isatty():
        print("\a", end="", file=sys.stderr, flush=True)
        return None
    return "there is none here: no notify-send, no osascript and no terminal"


def _desktop(title: str, text: str) -> list[str] | None:
    if sys.platform == "darwin" and shutil.which("osascript"):
        script = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")
        return ["osascript", *(word for line in script for word in ("-e", line)), title, text]
    has_one = any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"))
    can = has_one and shutil.which("notify-send") is not None
    return ["notify-send", "--app-name=ml-experiment", "--", title, text] if can else None
