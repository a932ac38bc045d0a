"""A Python script read as data: its ``@job`` functions and their parameters. The script is never imported."""

from __future__ import annotations

import ast
import enum
import inspect
import tokenize
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.cells import DYNAMIC, OURS, literal
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.script_options import Options, read_options


class _Missing(enum.Enum):
    MISSING = "MISSING"

    def __repr__(self) -> str:
        return self.value


MISSING: Final = _Missing.MISSING
"""Stands for the default of a parameter that has none."""


@dataclass(frozen=True)
class ParamInfo:
    """One parameter of a job.

    Attributes:
        required: Whether a value must be given.
        default: Its default; `MISSING` where it is required, `cells.DYNAMIC` where only running the script
            would tell.
        annotation: Its type, as it is written.
    """

    required: bool
    default: Any = MISSING
    annotation: str | None = None


@dataclass(frozen=True)
class JobSignature:
    """What a job function takes.

    Attributes:
        name: The function's name.
        params: Its parameters, in order.
        accepts_any: Whether it takes any other name too (``**kwargs``).
        line: The line it starts at, its decorators included.
        distributed: What its decorator says of workers, if anything; `cells.DYNAMIC` where only running the script
            would tell.
    """

    name: str
    params: dict[str, ParamInfo]
    accepts_any: bool
    line: int
    distributed: Any = None


@dataclass(frozen=True)
class ScriptSource:
    """A script's text and the jobs that it defines, in the order of their definition.

    `uses_them` says whether any of them is named outside of its definition: else nothing calls it. `options` are those
    of the script's own command line, `constants` the names that it gives a written value at its top level.
    """

    source: str
    jobs: tuple[JobSignature, ...]
    uses_them: bool = True
    options: Options = field(default_factory=lambda: Options({}))
    constants: frozenset[str] = frozenset()

    @property
    def reads_no_words(self) -> bool:
        """Whether nothing in it is seen to read what it is given: no job, no option, no ``sys.argv``."""
        read = ("argv", "ML_EXPERIMENT_PARAMS")
        return not self.jobs and not self.options.by_name and not any(word in self.source for word in read)


def read_script(path: str | Path) -> ScriptSource:
    """Read a script's jobs: the functions at its top level that are decorated with our ``job``.

    A ``job`` that the script imports from another package is not ours.

    Raises:
        SpecError: The file can't be read, or isn't Python; carries the file and the line.
    """
    file = str(path)
    try:
        with tokenize.open(path) as script:  # minds the encoding that the script declares
            source = script.read()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape is told when the script runs
            module = ast.parse(source)
    except FileNotFoundError:
        raise SpecError("there is no such script", file=file) from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}", file=file) from None
    except SyntaxError as error:
        text = (error.text or "").strip()
        problem = f"{error.msg}: {text}" if text else error.msg
        raise SpecError(problem, file=file, line=error.lineno) from None
    except ValueError as error:  # undecodable, or null bytes
        raise SpecError(f"isn't a Python script: {error}", file=file) from None
    jobs = _jobs(module.body)
    uses_them = _names_one({job.name for job in jobs}, module)
    return ScriptSource(source, jobs, uses_them, read_options(module), frozenset(_constants(module.body)))


def _constants(body: Sequence[ast.stmt]) -> Iterator[str]:
    for statement in _top_level(body):
        if isinstance(statement, ast.Assign) and literal(statement.value) is not DYNAMIC:
            yield from (one.id for one in statement.targets if isinstance(one, ast.Name))


def _names_one(names: set[str], module: ast.Module) -> bool:
    found = [node for node in ast.walk(module) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    words = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    dynamic = any(node.id in ("globals", "vars", "locals", "eval", "exec") for node in found)
    return dynamic or any(node.id in names for node in found) or bool(names & words)


def signature_of(function: Callable[..., Any]) -> JobSignature:
    """Return the signature of a function in hand, as `read_script` would read it from its source.

    Raises:
        SpecError: It has no signature that Python can tell, such as some built-ins.
    """
    name = getattr(function, "__name__", repr(function))
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        raise SpecError(f"the parameters of {name} can't be read: wrap it in a function with def") from None
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    params = {
        parameter.name: _param_info(parameter)
        for parameter in signature.parameters.values()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    }
    code = getattr(inspect.unwrap(function), "__code__", None)
    line = code.co_firstlineno if code else 0
    asked = getattr(function, "distributed", None)
    return JobSignature(name, params, inspect.Parameter.VAR_KEYWORD in kinds, line, asked)


def _param_info(parameter: inspect.Parameter) -> ParamInfo:
    annotation = parameter.annotation
    text = None if annotation is parameter.empty else inspect.formatannotation(annotation)
    if isinstance(annotation, str):
        text = annotation
    if parameter.default is parameter.empty:
        return ParamInfo(required=True, annotation=text)
    return ParamInfo(required=False, default=parameter.default, annotation=text)


def job_functions(
    body: Sequence[ast.stmt],
) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.expr]]:
    """Return the functions among statements that are decorated with our ``job``, each with that decorator."""
    known: dict[str, str] = {}
    jobs: dict[str, Any] = {}  # of two functions with one name, the last is the one
    for statement in _top_level(body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            known.update(aliases(statement))
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            jobs.pop(statement.name, None)
            found = [one for one in statement.decorator_list if _is_job(one, known)]
            if found:
                jobs[statement.name] = (statement, found[0])
    return list(jobs.values())


def _jobs(body: Sequence[ast.stmt]) -> tuple[JobSignature, ...]:
    return tuple(
        replace(_job_signature(function), distributed=_distributed(decorator))
        for function, decorator in job_functions(body)
    )


def _top_level(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Yield the statements that run on import, those in ``if``, ``try`` and ``with`` too, in order."""
    for node in body:
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.expr):
            yield from _top_level(list(ast.iter_child_nodes(node)))


def aliases(statement: ast.Import | ast.ImportFrom) -> Iterable[tuple[str, str]]:
    """Yield the local names of an import, and the dotted names that they stand for."""
    for alias in statement.names:
        if isinstance(statement, ast.Import):
            first = alias.name.split(".")[0]
            yield alias.asname or first, alias.name if alias.asname else first
        elif alias.name != "*":
            yield alias.asname or alias.name, f"{'.' * statement.level}{statement.module or ''}.{alias.name}"
        elif statement.module in OURS:
            yield "job", f"{statement.module}.job"


def _is_job(decorator: ast.expr, aliases: Mapping[str, str]) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    local, *rest = ast.unparse(called).split(".")
    parts = [*aliases.get(local, "").split("."), *rest]
    return parts[0] in OURS and parts[-1] == "job"


def _distributed(decorator: ast.expr) -> Any:
    keywords = decorator.keywords if isinstance(decorator, ast.Call) else []
    return next((literal(one.value) for one in keywords if one.arg == "distributed"), None)


def _job_signature(function: ast.FunctionDef | ast.AsyncFunctionDef) -> JobSignature:
    args = function.args
    positional = [*args.posonlyargs, *args.args]
    bare: list[ast.expr | None] = [None] * (len(positional) - len(args.defaults))
    defaults = [*bare, *args.defaults, *args.kw_defaults]
    pairs = zip([*positional, *args.kwonlyargs], defaults, strict=True)
    line = min(node.lineno for node in [function, *function.decorator_list])
    params = {arg.arg: _read_param(arg, default) for arg, default in pairs}
    return JobSignature(function.name, params, args.kwarg is not None, line)


def _read_param(arg: ast.arg, default: ast.expr | None) -> ParamInfo:
    annotation = ast.unparse(arg.annotation) if arg.annotation else None
    if default is None:
        return ParamInfo(required=True, annotation=annotation)
    return ParamInfo(required=False, default=literal(default), annotation=annotation)
