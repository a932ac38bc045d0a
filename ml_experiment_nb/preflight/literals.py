"""What texts in code should not hold: paths of one machine, and secrets."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from ml_experiment_nb.preflight.findings import Finding
from ml_experiment_nb.preflight.reading import CheckedCell, Source
from ml_experiment_nb.quantities import cut
from ml_experiment_nb.secrecy import IN_URL, is_credential, is_value

# --- paths ---

_OF_ONE_MACHINE = re.compile(
    r"(?:file://)?/(?:home|Users|root|content|kaggle|mnt|media|Volumes|scratch)/[^\s/]"
    r"|(?:[A-Z]|[a-z](?=:.\S\S)):(?:\\|/(?!/))[^\s/\\]"  # 'x:/y' is no drive's
    r"|\\\\[\w.-]+\\\w"
)
_ABSOLUTE = re.compile(r"/(?!/|dev/|proc/|sys/|tmp/)[\w.~-]+(?:/[^\n]*)?")
_OPENS: Final = frozenset(
    {
        "open", "Path", "PurePath", "PosixPath", "read_csv", "read_parquet", "read_excel", "read_json", "read_table",
        "read_pickle", "read_feather", "read_hdf", "to_csv", "to_parquet", "to_excel", "to_json", "to_pickle", "load",
        "loadtxt", "genfromtxt", "save", "savez", "savetxt", "fromfile", "tofile", "imread", "imwrite", "imsave",
        "savefig", "listdir", "glob", "iglob", "walk", "chdir", "makedirs", "mkdir", "exists", "isfile", "isdir",
        "connect", "image_dataset_from_directory", "ImageFolder", "copytree", "load_model",
    }
)  # fmt: skip
"""The functions whose first argument is a file, by the last of their names."""
_OPENS_OF_SHUTIL: Final = frozenset({"copy", "move"})  # of others, such as h5py, they are about names in a file
_LONGEST = 400


def check_paths(source: Source) -> Iterator[Finding]:
    """Yield the absolute paths in code; texts that only stand there are no paths."""
    for cell in source.cells:
        ignored = {id(one.value) for one in cell.nodes if isinstance(one, ast.Expr)} | _mounted(cell)
        opened = {id(one) for one in _opened(cell)}
        filled = [one for one in cell.nodes if isinstance(one, ast.JoinedStr) and one.values]
        first = {id(one.values[0]) for one in filled}
        inner = {id(part) for one in filled for part in one.values[1:]}
        for node in cell.nodes:
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str)) or id(node) in ignored | inner:
                continue
            text = node.value
            if len(text) > _LONGEST or "\n" in text:
                continue
            begins = f"{text}x" if id(node) in first else text
            if _OF_ONE_MACHINE.match(begins) or (id(node) in opened and _ABSOLUTE.fullmatch(text)):
                yield Finding(
                    "absolute-path",
                    f"{cut(text, 60)!r} is a path of this machine alone",
                    "give it relative to the project, or make it a parameter that is given where it is run",
                    *source.place(cell, node),
                )  # fmt: skip


def _mounted(cell: CheckedCell) -> set[int]:
    """Return the ids of the places that code mounts something at: it makes them, so that they are there anywhere."""
    found: set[int] = set()
    for node in cell.nodes:
        match node:
            case ast.Call(func=ast.Attribute(attr="mount"), args=args, keywords=keywords):
                found |= {id(one) for one in (*args, *(word.value for word in keywords))}
    return found


def _opened(cell: CheckedCell) -> Iterator[ast.expr]:
    for node in cell.nodes:
        if isinstance(node, ast.Call) and node.args:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in _OPENS or (name in _OPENS_OF_SHUTIL and _is_shutil(node.func)):
                first = node.args[0]
                yield first.values[0] if isinstance(first, ast.JoinedStr) and first.values else first


def _is_shutil(function: ast.expr) -> bool:
    return isinstance(function, ast.Name) or ast.unparse(function).startswith("shutil.")


# --- secrets ---

_SHAPES: Final = {
    "an AWS access key": r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{22,}",
    "a GitLab token": r"\bglpat-[\w-]{20,}",
    "a Slack token": r"\bxox[abeoprs]-[\w-]{10,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "an API key": r"\bsk-(?:[A-Za-z0-9]{20,}|(?:proj|ant|svcacct)-[\w-]{20,})",
    "a Google API key": r"\bAIza[\w-]{35}",
    "a Stripe key": r"\b[sr]k_live_[A-Za-z0-9]{20,}",
    "an npm token": r"\bnpm_[A-Za-z0-9]{36}",
    "a PyPI token": r"\bpypi-AgE[\w-]{20,}",
    "a SendGrid key": r"\bSG\.[\w-]{20,}\.[\w-]{20,}",
    "a JSON web token": r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY(?: BLOCK)?-----",
}
_SHAPE = re.compile("|".join(f"(?P<s{k}>{shape})" for k, shape in enumerate(_SHAPES.values())))
_MARKS = ("AKIA", "ASIA", "_", "-", "AIza", "SG.", "eyJ")  # one of them stands in each
_SET = re.compile(r"^\s*(?:!\s*)?(?:export\s+|%env\s+|%set_env\s+)(\w+)\s*[=\s]\s*([\"']?)([^\s\"';]+)\2", re.MULTILINE)
_HEADER = re.compile(r"(?:Bearer|Basic|Token|token|Bot)\s+(?=\S*\d)[A-Za-z0-9._~+/=-]{12,}")
_PLACE = re.compile(
    r"[A-Z][A-Z0-9_]*|\$.*|.*[{}<>].*|.*\\[wWdDsS].*|(?:string|str|text)\??|:?\*+|"
    r"x+|X+|\.+|(?:your|my|the|some|an?)[-_ ].*|.*(?:env|example|placeholder).*",
)
"""What stands for a secret that is filled in elsewhere: ``API_KEY``, ``$TOKEN``, ``your-key``."""
_PLAIN_WORD = re.compile(r"[a-z]+|[A-Z]?[a-z]+(?:[-_ ][a-z]+)*|.*\s.*")
_OFTEN_TEXT = frozenset({"token", "tokens", "secret", "credential", "credentials", "key"})
_IN_CLEAR = re.compile(r"://[^/\s:@]*:(?![<{$*])[^/\s@]+@")

_ADVICE = (
    "take it out and change it where it is in use; `secret(NAME)` takes it from the environment, and masks it in all "
    "that is recorded"
)


def check_secrets(source: Source) -> Iterator[Finding]:
    """Yield the secrets that are written out; none of them stands in a finding."""
    for cell in source.cells + source.skipped:
        found = [*_by_shape(cell), *_by_name(cell), *_by_shell(cell)]
        lines: set[int] = set()
        for line, last, text in found:  # one is enough for each line
            if line not in lines:
                lines.add(line)
                yield Finding("secret", text, _ADVICE, source.file, cell.number, cell.id, line, last)


def _by_shape(cell: CheckedCell) -> Iterator[tuple[int, int, str]]:
    if not any(mark in cell.source for mark in _MARKS):
        return
    names = list(_SHAPES)
    for number, line in enumerate(cell.source.splitlines(), start=1):
        if (found := _SHAPE.search(line)) and found.lastgroup is not None:
            yield number, number, f"{names[int(found.lastgroup[1:])]} stands here in clear"


def _by_name(cell: CheckedCell) -> Iterator[tuple[int, int, str]]:
    for node in cell.nodes:
        for name, value in _named_texts(node):
            if isinstance(value, ast.Constant) and _is_secret(name, value.value):
                line, last = cell.line_of(value), cell.last_line_of(value)
                yield line, last, f"{name} is given as it is: it looks like a credential"
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < _LONGEST:
            line, last = cell.line_of(node), cell.last_line_of(node)
            if "://" in node.value and IN_URL.search(node.value) and _IN_CLEAR.search(node.value):
                yield line, last, "an address with a password in it stands here in clear"
            elif _HEADER.fullmatch(node.value):
                yield line, last, "a header with a credential stands here in clear"


def _by_shell(cell: CheckedCell) -> Iterator[tuple[int, int, str]]:
    for found in _SET.finditer(cell.source):
        if _is_secret(found[1], found[3]):
            line = cell.source.count("\n", 0, found.start(1)) + 1
            yield line, line, f"{found[1]} is given as it is: it looks like a credential"


def _named_texts(node: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    """Yield the texts that a node gives to names: by assignments, keywords, dicts and defaults."""
    match node:
        case ast.Assign(targets=targets, value=ast.Constant(value=str()) as value):
            yield from ((name, value) for target in targets if (name := _name_of(target)))
        case ast.AnnAssign(target=target, value=ast.Constant(value=str()) as value) if name := _name_of(target):
            yield name, value
        case ast.keyword(arg=str(name), value=ast.Constant(value=str()) as value):
            yield name, value
        case ast.Dict(keys=keys, values=values):
            for key, item in zip(keys, values, strict=True):
                match key, item:
                    case ast.Constant(value=str(name)), ast.Constant(value=str()) as text:
                        yield name, text
        case ast.arguments():
            positional = [*node.posonlyargs, *node.args]
            pairs = [*zip(reversed(positional), reversed(node.defaults), strict=False)]
            for arg, given in [*pairs, *zip(node.kwonlyargs, node.kw_defaults, strict=True)]:
                if given is not None:
                    yield arg.arg, given


def _name_of(target: ast.expr) -> str:
    match target:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def _is_secret(name: str, value: object) -> bool:
    if not isinstance(value, str) or not is_credential(name) or not is_value(value):
        return False
    if _PLACE.fullmatch(value) or "\n" in value:
        return False
    last = re.split(r"[_\W]", name.lower())[-1]
    return not (last in _OFTEN_TEXT and (len(value) < 8 or _PLAIN_WORD.fullmatch(value)))
