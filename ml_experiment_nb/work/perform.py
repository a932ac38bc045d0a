"""What a child does: one function for each kind of target, and one place where its end becomes an `Outcome`."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import pickle
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from functools import singledispatch
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_experiment_nb import events, reports, secrecy
from ml_experiment_nb.distribution import asked_here
from ml_experiment_nb.errors import SpecError, TaskDiedError
from ml_experiment_nb.failures import failure_of
from ml_experiment_nb.observing import observed
from ml_experiment_nb.plans import Step
from ml_experiment_nb.records import Failure, Outcome, Status
from ml_experiment_nb.script_options import Option, command_line, read_options, word_of
from ml_experiment_nb.targets import Cell, Command, Function, Notebook, Script
from ml_experiment_nb.work.payload import DEFINED, read_payload

held: dict[str, dict[str, Any]] = {}
"""Payloads that this process's fork server had read before it forked, by path."""

_WRITES_NOTHING = {"HistoryManager": {"enabled": False}}


@dataclass(frozen=True)
class Request:
    """What a child is asked to perform; it lies pickled in the task's folder."""

    step: Step
    payload: str | None
    output: str | None

    @classmethod
    def read(cls, path: Path) -> Request:
        """Read what the slot has written."""
        request: Request = pickle.loads(path.read_bytes())
        return request


def perform(request: Request, sink: reports.Sink) -> Outcome:
    """Do what is asked, in this process, and say what came of it. Never raises."""
    sys.path[:0] = [os.getcwd()] if os.getcwd() not in sys.path else []
    secrecy.learn_those_given()
    here = not isinstance(request.step.target, Notebook | Command)  # a notebook's cells run in its kernel
    try:
        with observed(sink) if here else nullcontext():
            _perform(request.step.target, request, sink)
    except reports.Pruned:
        return Outcome(Status.PRUNED)
    except KeyboardInterrupt:
        return Outcome(Status.KILLED, Failure("KeyboardInterrupt", "interrupted"))
    except SystemExit as error:
        if error.code in (None, 0):
            return Outcome(Status.FINISHED)
        if not isinstance(error.code, int):
            _print_error(str(error.code))
        return Outcome(Status.FAILED, Failure("SystemExit", str(error.code)))
    except BaseException as error:
        return failed(error)
    return Outcome(Status.FINISHED)


def failed(error: BaseException) -> Outcome:
    """Return the outcome of user code that raised `error`, and print its traceback where the user looks."""
    if type(error).__name__ == "TrialPruned" and type(error).__module__.startswith("optuna"):
        return Outcome(Status.PRUNED)
    failure = failure_of(error)
    _print_error(failure.traceback)
    return Outcome(Status.FAILED, failure)


def _print_error(text: str) -> None:
    with suppress(Exception):  # the task may have closed it, or put anything in its place
        print(text, file=sys.stderr)


@singledispatch
def _perform(target: Any, request: Request, sink: reports.Sink) -> None:
    raise SpecError(f"don't know how to run a {type(target).__name__}")


@_perform.register
def _script(target: Script, request: Request, sink: reports.Sink) -> None:
    path = Path(target.path).absolute()
    params = secrecy.resolved(dict(request.step.params))
    reports.assigned = params
    _answer_to_the_papers_name()
    sys.argv = [str(path), *command_line(params, _options(path) if params else {})]
    sys.path[0:0] = [str(path.parent)]
    main = _fresh_main()
    main.__dict__.update(__file__=str(path), __builtins__=__builtins__)
    exec(compile(path.read_bytes(), str(path), "exec"), main.__dict__)


def _options(path: Path) -> Mapping[str, Option]:
    with suppress(SyntaxError, ValueError):  # it says so itself, when it is run
        return read_options(ast.parse(path.read_bytes())).by_name
    return {}


@_perform.register
def _command(target: Command, request: Request, sink: reports.Sink) -> None:
    asked, params = request.step.params, secrecy.resolved(dict(request.step.params))
    sink.send(events.Params(dict(params)))
    command, env = target.command, {}
    for name, value in params.items():
        if any(secrecy.names_in(asked[name])):  # others can read a command line, and not an environment
            variable = f"ML_EXPERIMENT_SECRET_{name}"
            env[variable] = word_of(value)
            command = with_variable(command, "{" + name + "}", variable)
        else:
            command = command.replace("{" + name + "}", shlex.quote(word_of(value)))
    env["ML_EXPERIMENT_PARAMS"] = json.dumps(params, default=str)
    ended = subprocess.run(["/bin/sh", "-c", command], env=os.environ | env)
    if ended.returncode:
        raise TaskDiedError(f"the command ended with exit code {ended.returncode}")


@_perform.register
def _function(target: Function, request: Request, sink: reports.Sink) -> None:
    function = _values(request, _fresh_main())["function"] if request.payload else target.function
    params = secrecy.resolved(dict(request.step.params))
    with reports.local_sink(sink):
        if (asked := asked_here()) is None:
            reports.call(function, params, sink)
        else:
            from ml_experiment_nb.work import distributed

            distributed.call(function, params, sink, asked)


@_perform.register
def _cell(target: Cell, request: Request, sink: reports.Sink) -> None:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    from ml_experiment_nb.observing.displays import shown_by
    from ml_experiment_nb.work.shell import calling_secrets, run_source, show_value

    main = _fresh_main()
    shell: Any = InteractiveShell.instance(config=Config(_WRITES_NOTHING), user_module=main)
    shell.enable_gui = _no_windows  # there is nobody to show windows to, but %matplotlib asks for it
    shell.user_ns.update(_values(request, main))
    with reports.local_sink(sink), calling_secrets(shell.user_ns, request.step.params), shown_by(shell):
        value = run_source(shell, target.source, above=target.above)
        reports.send_result(value, sink)
        show_value(shell, value, target.source)


def _no_windows(gui: str | None = None) -> None:
    """Do nothing."""


@_perform.register
def _notebook(target: Notebook, request: Request, sink: reports.Sink) -> None:
    from ml_experiment_nb.work.notebook import run_notebook

    run_notebook(target, request.step.params, sink, output=request.output)


def _values(request: Request, main: ModuleType) -> dict[str, Any]:
    """Return the values that were sent, and have `main` hold what they were made with: plain pickle looks there."""
    if request.payload is None:
        return {}
    values = held[request.payload] if request.payload in held else read_payload(Path(request.payload))
    main.__dict__.update(values.get(DEFINED, {}))
    return {name: value for name, value in values.items() if name != DEFINED}


def _fresh_main() -> ModuleType:
    """Give the user's code a ``__main__`` of its own, without the names of this process's."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    return main


def with_variable(command: str, place: str, variable: str) -> str:
    """Return a shell command with a variable's value in each place of that name, however it is quoted there."""
    made, quote, at = "", "", 0
    while at < len(command):
        if command.startswith(place, at):
            made += {"": f'"${{{variable}}}"', '"': f"${{{variable}}}", "'": f"'\"${{{variable}}}\"'"}[quote]
            at += len(place)
            continue
        if command[at] == "\\" and quote != "'":
            made += command[at : at + 2]
            at += 2
            continue
        if command[at] in "'\"" and quote in ("", command[at]):
            quote = "" if quote else command[at]
        made += command[at]
        at += 1
    return made


def _answer_to_the_papers_name() -> None:
    """Let ``from ml_experiment import job`` mean this package, unless something of that name is installed."""
    if importlib.util.find_spec("ml_experiment") is None:
        sys.modules["ml_experiment"] = sys.modules["ml_experiment_nb"]
