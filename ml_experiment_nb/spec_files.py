"""Spec files: YAML or JSON to a spec, and back.

An error names the file, the line, the key and the nearest valid key.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from ml_experiment_nb import secrecy
from ml_experiment_nb.datasets import listed
from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.paths import SPECS, is_spec
from ml_experiment_nb.specs import Experiment, Group, Job, spec_from_mapping, to_mapping
from ml_experiment_nb.targets import Notebook, Script, Target, unimported

Spec = TypeVar("Spec", bound=Job)


def read_spec(path: str | Path) -> Job | Experiment | Group:
    """Read the spec in a YAML or JSON file.

    Args:
        path: The file. The paths in it are relative to its ``root_path``, and that to the file's own folder.

    Returns:
        The spec with an absolute ``root_path``. A script or notebook that is found in the current directory
        only has an absolute path too.

    Raises:
        SpecError: The file can't be read, it is no spec, or a file that it names isn't there.
    """
    path = Path(path)
    try:
        text = _text(path)
    except SpecError as error:
        raise type(error)(error.problem, file=str(path), line=error.line, key=error.key) from None
    return parse_spec(text, path)


def parse_spec(text: str, path: Path, *, imports: bool = True) -> Job | Experiment | Group:
    """Read the spec in a text that stands in a file, or is to be saved there; see `read_spec`.

    Args:
        text: The text.
        path: The file.
        imports: Whether the functions that it runs are imported, which runs their modules; else each is replaced by
            one that takes any parameters.

    Raises:
        SpecError: It is no spec, or a file that it names isn't there.
    """
    lines: dict[str, int] = {}
    try:
        data, lines = parse_keys(text, path)
        return spec_of_keys(data, path, imports=imports)
    except SpecError as error:
        raise placed(error, path, lines) from None


def parse_keys(text: str, path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read the keys of a spec's text, and the line of each of its dotted keys.

    Raises:
        SpecError: It is no mapping in YAML or JSON, whichever the file's suffix says.
    """
    return _parsed(text, is_json=path.suffix.lower() == ".json")


def spec_of_keys(data: dict[str, Any], path: Path, *, imports: bool = True) -> Job | Experiment | Group:
    """Return the spec that a file's keys ask for; see `parse_spec`.

    Raises:
        SpecError: The first thing that is wrong, with its dotted key.
    """
    if not imports and "run" in data:
        data = data | {"run": _unimported(data["run"])}
    return _located(spec_from_mapping(data), path.absolute().parent)


def placed(error: SpecError, path: Path, lines: dict[str, int]) -> SpecError:
    """Return an error about a spec with the file, and the line that its key stands in."""
    line = error.line if error.line is not None else _line_of(error.key, lines)
    key = "run" if error.key and error.key.startswith("run[") else error.key
    return type(error)(error.problem, file=str(path), line=line, key=key)


def _unimported(run: Any) -> Any:
    """Return what a spec runs with its functions replaced by what stands for them."""
    if isinstance(run, list):
        return [_unimported(one) for one in run]
    if isinstance(run, dict) and isinstance(run.get("function"), str):
        with suppress(ValueError):  # which is told when it is read
            return run | {"function": unimported(run["function"])}
    return run


def spec_from_text(text: str) -> Job | Experiment | Group:
    """Return the spec that `spec_text` wrote; a function that can't be imported here is replaced by another.

    Raises:
        SpecError: It is no spec.
    """
    data, _ = _parsed(text, is_json=False)
    for one in data.get("run", []):
        if isinstance(one, dict) and str(one.get("function", "")).startswith("__main__:"):
            one["function"] = f"{__name__}:spec_from_text"
    return spec_from_mapping(data)


def located(error: SpecError, path: str | Path, text: str | None = None) -> SpecError:
    """Return an error about a spec with the file and the line that its key stands in.

    A parameter's error has the parameter's name for a key: it is looked for where parameters stand.

    Args:
        error: The error.
        path: The spec's file.
        text: What stands in it, where that isn't saved yet.
    """
    path = Path(path)
    if error.file is not None or error.key is None:
        return error
    _, lines = _parsed(_text(path) if text is None else text, is_json=path.suffix.lower() == ".json")
    places = (f"params.{error.key}", f"param_space.{error.key}", error.key)
    key = next((place for place in places if place in lines), error.key)
    return type(error)(error.problem, file=str(path), line=_line_of(key, lines), key=key)


def write_spec(spec: Job, path: str | Path) -> None:
    """Write `spec` so that `read_spec` reads it back; the suffix says whether as YAML or as JSON.

    Raises:
        SpecError: The suffix is another one, or the file can't be written.
    """
    if not isinstance(spec, Job):
        raise SpecError(f"write_spec takes a spec, and then its file's path; this is of type {type(spec).__name__}")
    path = Path(path)
    _check_suffix(path)
    if spec.root_path == str(path.absolute().parent.resolve()):
        spec = spec.model_copy(update={"root_path": None})
    text = spec_text(spec, path.suffix.lower())
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"can't be written: {error.strerror}", file=str(path)) from error


def spec_text(spec: Job, suffix: str = ".yaml") -> str:
    """Give `spec` as YAML, or as JSON where the suffix is that."""
    if suffix == ".json":
        return json.dumps(to_mapping(spec), indent=2, ensure_ascii=False) + "\n"
    stream = io.StringIO()
    _parser().dump(to_mapping(spec), stream)
    return stream.getvalue()


def parse_mapping(text: str) -> dict[str, Any]:
    """Read the keys of a spec that `spec_text` gave; it is not looked whether what they name is there.

    Raises:
        SpecError: It is no YAML.
    """
    return _parsed(text, is_json=False)[0]


# --- text ---

_KINDS = {list: "list", str: "text", int: "number", float: "number", bool: "truth value"}


def _check_suffix(path: Path) -> None:
    if not is_spec(path):
        raise SpecError(f"a spec's file ends in {', '.join(SPECS)}, not {path.suffix!r}", file=str(path))


def _text(path: Path) -> str:
    if os.path.isdir(path):
        raise SpecError("is a folder: name the spec's file in it")
    if not os.path.exists(path):  # pathlib raises for a name that is too long
        siblings = {file.name for file in path.parent.glob("*")} - {path.name}  # a link to itself is there, too
        raise SpecError(f"there is no such file{nearest(path.name, siblings)}")
    _check_suffix(path)
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"is not UTF-8 text: byte {error.start} can't be read; save it as UTF-8") from None
    except OSError as error:
        raise SpecError(f"can't be read: {error.strerror}") from error


def _parsed(text: str, *, is_json: bool) -> tuple[dict[str, Any], dict[str, int]]:
    """Read `text` as a mapping, and the line of each of its dotted keys."""
    try:
        if is_json:
            data = json.loads(text) if text.strip() else None
            lines = dict(_lines(_parser().compose(text.replace("\t", " "))))  # JSON is YAML, but for the tabs
        else:
            lines = dict(_lines(_parser().compose(text)))
            data = _parser().load(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"is not JSON: {error.msg} (column {error.colno})", line=error.lineno) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        hint = "; indent with spaces, not tabs" if "'\\t'" in str(error.problem) else ""
        raise SpecError(
            f"is not YAML: {error.problem or error.context}{hint}", line=mark.line + 1 if mark else None
        ) from None
    except (YAMLError, ValueError, TypeError, RecursionError) as error:
        raise SpecError(f"can't be read as {'JSON' if is_json else 'YAML'}: {error}") from None
    if data is None:
        raise SpecError("is empty: write a name, and what to run")
    if not isinstance(data, dict):
        raise SpecError(f"holds a {_KINDS.get(type(data), 'value')}, not keys such as name and run", line=1)
    return {name: _with_secrets(name, value) for name, value in data.items()}, lines


def _with_secrets(key: str, value: Any) -> Any:
    """Return the value of a spec's key with the secrets among its parameters read."""
    if key == "params" and isinstance(value, dict):
        return {name: _read_secrets(one, f"params.{name}") for name, one in value.items()}
    if key == "each" and isinstance(value, list):
        return [_read_secrets(row, f"each[{k}]") for k, row in enumerate(value)]
    return value


def _read_secrets(value: Any, key: str) -> Any:
    try:
        return secrecy.read(value)
    except SpecError as error:
        raise SpecError(error.problem, key=key) from None


def _lines(node: Node | None, key: str = "", above: tuple[Node, ...] = ()) -> Iterator[tuple[str, int]]:
    """Give each dotted key below `node`, and its line counted from 1.

    Raises:
        SpecError: A mapping has a key twice, or an alias stands in what it names.
    """
    if node is not None and any(node is other for other in above):
        raise SpecError("refers to itself", line=node.start_mark.line + 1, key=key)
    if isinstance(node, MappingNode):
        seen: dict[str, int] = {}
        for name, value in node.value:
            line = name.start_mark.line + 1
            text = str(name.value) if isinstance(name, ScalarNode) else "?"
            dotted = f"{key}.{text}" if key else text
            if text in seen:
                raise SpecError(f"stands here and in line {seen[text]}: keep one", line=line, key=dotted)
            seen[text] = line
            yield dotted, line
            yield from _lines(value, dotted, (*above, node))
    elif isinstance(node, SequenceNode):
        for i, item in enumerate(node.value):
            yield f"{key}[{i}]", item.start_mark.line + 1
            yield from _lines(item, f"{key}[{i}]", (*above, node))


def _line_of(key: str | None, lines: dict[str, int]) -> int | None:
    """Give the line of `key`, or else of the nearest key above it that the file has."""
    while key:
        if key in lines:
            return lines[key]
        key = re.sub(r"(^|\.)[^.\[]*$|\[[^\[]*$", "", key)
    return None


class _Constructor(SafeConstructor):
    """YAML's values as JSON has them: a date stays text."""


_Constructor.add_constructor("tag:yaml.org,2002:timestamp", SafeConstructor.construct_yaml_str)


def _parser() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]  # ruamel infers None
    return yaml


# --- the files that a spec names ---


def _located(spec: Spec, folder: Path) -> Spec:
    """Check that what `spec` names exists, and make its ``root_path`` absolute."""
    root = (folder / Path(spec.root_path or ".").expanduser()).resolve()
    if not root.is_dir():
        raise SpecError(f"there is no folder {root}", key="root_path")
    run = tuple(_found(target, root, f"run[{i}]") for i, target in enumerate(spec.run))
    if spec.data is not None:
        listed(spec.data, root)
    _check_docker(spec, root)
    _check_table(spec, root)
    return spec.model_copy(update={"root_path": str(root), "run": run})


def _found(target: Target, root: Path, key: str) -> Target:
    if not isinstance(target, Script | Notebook) or (root / target.path).is_file():
        return target
    if isinstance(target, Notebook) and target.is_elsewhere:
        return target
    here = Path.cwd() / target.path
    if not here.is_file():
        places = " nor in ".join(dict.fromkeys([str(root), str(Path.cwd())]))
        raise SpecError(f"there is no file {target.path!r} in {places}", key=key)
    return target.model_copy(update={"path": str(here.resolve())})


def _check_docker(spec: Job, root: Path) -> None:
    docker = spec.docker_config
    if docker is None:
        return
    if docker.dockerfile is not None and not (root / docker.dockerfile).is_file():
        raise SpecError(f"there is no file {root / docker.dockerfile}", key="docker_config.dockerfile")
    if docker.context is not None and not (root / docker.context).is_dir():
        raise SpecError(f"there is no folder {root / docker.context}", key="docker_config.context")


def _check_table(spec: Job, root: Path) -> None:
    if isinstance(spec, Group) and isinstance(spec.each, str) and not (root / spec.each).is_file():
        raise SpecError(f"there is no file {root / spec.each}", key="each")
