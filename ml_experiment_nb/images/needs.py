"""What code needs besides itself, told from its text: modules, files, a shell's commands, packages that it installs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import reduce
from operator import or_
from typing import Final

from ml_experiment_nb.addresses import without_credentials
from ml_experiment_nb.cells import text_and_tree
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.secrecy import IN_URL, is_credential, is_value, names_in_code

_LONGEST_NAME: Final = 400  # characters of a text that may be a file's name
_SHELL = re.compile(r"^\s*(?:[\w, ]+=\s*)?!{1,2}\s*([\w./-]+)", re.M)
_CALLED = re.compile(r"^\s*(?:(?:[\w, ]+=\s*)?!{1,2}|%run\s)(.*)$", re.M)
_WORD = re.compile(r"[^\s'\"`|;&<>()=]+")
_MODULE = re.compile(r"\bpython3?\s+-m\s+(\w+)")
_CELL_SHELL = re.compile(r"^%%(?:bash|sh|script)\b")
_INSTALL = re.compile(r"^\s*(?:[%!]\s*(?:uv\s+)?pip3?|!\s*python3?\s+-m\s+pip)\s+install\s+(.+)$", re.M)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^\s'\"`)\],;]+", re.IGNORECASE)
_OURS = re.compile(r"\A\s*%%(?:experiment|group)\b.*\n?")
_CONDA = re.compile(r"^\s*[%!]\s*(?:conda|mamba|micromamba)\s+install\s+(.+)$", re.M)
_SYSTEMS: Final = ("-", "/bin/", "/dev/", "/etc/", "/proc/", "/sbin/", "/sys/", "/usr/")  # or an option
_INSTALLERS: Final = frozenset({"pip", "pip3", "uv", "conda", "mamba"})


@dataclass(frozen=True)
class Needs:
    """What code needs.

    Attributes:
        modules: The top-level names of the modules that it imports, those of ``import_module("x")`` too.
        texts: Its short texts, among which the names of files are.
        commands: The commands that it calls in a shell, ``!git log``.
        words: The words that it calls them with, and ``%run``, among which scripts and other files are.
        installs: What it installs while it runs, as behind ``%pip install``.
        conda: The same of ``%conda install``.
        folders: Folders that it adds to ``sys.path`` by a literal.
        secrets: The names of the secrets that it asks for.
        credentials: The names that it assigns a literal to which look like a credential.
        addresses: The addresses, without it, in which a password or a token stands, as behind ``--extra-index-url``.
        dynamic: Whether it imports by a name that only running it would tell.
    """

    modules: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    words: frozenset[str] = frozenset()
    installs: frozenset[str] = frozenset()
    conda: frozenset[str] = frozenset()
    folders: frozenset[str] = frozenset()
    secrets: frozenset[str] = frozenset()
    credentials: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()
    dynamic: bool = False

    def __or__(self, other: Needs) -> Needs:
        """Return what both need."""
        return Needs(**{name: getattr(self, name) | getattr(other, name) for name in self.__dataclass_fields__})


def needs(pieces: Iterable[str]) -> Needs:
    """Return what pieces of code need together: a script, or the cells of a notebook.

    What is no Python is passed over: it says so itself when it is run.
    """
    return reduce(or_, map(_of_piece, pieces), Needs())


@dataclass
class _Found:
    modules: set[str] = field(default_factory=set)
    texts: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    credentials: set[str] = field(default_factory=set)
    dynamic: bool = False


def _of_piece(source: str) -> Needs:
    source = _OURS.sub("", source)
    shell = {word.rpartition("/")[2] for word in _SHELL.findall(source)} - _INSTALLERS
    called = "\n".join(_CALLED.findall(source))
    if _CELL_SHELL.match(source.lstrip()):
        shell.add("bash")
        called = source.lstrip().partition("\n")[2]
    found = _Found(modules=set(_MODULE.findall(called)) - _INSTALLERS)
    try:
        for node in ast.walk(text_and_tree(source)[1]):
            _look_at(node, found)
    except SpecError:
        pass
    return Needs(
        modules=frozenset(found.modules),
        texts=frozenset(found.texts),
        commands=frozenset(shell - {"python", "python3"}),
        words=frozenset(filter(_may_be_ours, _WORD.findall(called))),
        installs=frozenset(map(str.strip, _INSTALL.findall(source))),
        conda=frozenset(map(str.strip, _CONDA.findall(source))),
        folders=frozenset(found.folders),
        secrets=frozenset(names_in_code(source)),
        credentials=frozenset(found.credentials),
        addresses=frozenset(_addresses(source)),
        dynamic=found.dynamic,
    )


def _may_be_ours(word: str) -> bool:
    return len(word) <= _LONGEST_NAME and "\0" not in word and not word.startswith(_SYSTEMS)


def _addresses(source: str) -> Iterator[str]:
    """Yield the addresses with a password in some code, and those with a token alone behind an installer."""
    for line in source.splitlines():
        is_installer = _INSTALL.match(line) is not None
        for one in _ADDRESS.findall(line):
            has_password = IN_URL.search(one) or (is_installer and re.match(r"(?:\w+\+)?https?://[^/@]+@", one))
            if has_password and not re.search(r"[{}<>$]", one):  # a place for one
                yield without_credentials(one)


def _look_at(node: ast.AST, found: _Found) -> None:
    match node:
        case ast.Import(names=names):
            found.modules |= {alias.name.partition(".")[0] for alias in names}
        case ast.ImportFrom(module=str(module), level=0):
            found.modules.add(module.partition(".")[0])
        case ast.ImportFrom(module=None, level=0):
            pass
        case ast.Call(
            func=ast.Name(id="__import__" | "import_module") | ast.Attribute(attr="import_module"), args=args
        ):
            _by_name(args, found)
        case ast.Call(func=ast.Attribute(value=ast.Attribute(attr="path"), attr="append" | "insert"), args=args):
            found.folders |= {text for one in args for text in _texts(one)}
        case ast.Constant(value=str(text)) if 0 < len(text) <= _LONGEST_NAME and "\n" not in text and "\0" not in text:
            found.texts.add(text)
        case ast.Assign(targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))):
            if is_credential(name) and is_value(text):
                found.credentials.add(name)


def _by_name(args: list[ast.expr], found: _Found) -> None:
    match args:
        case [ast.Constant(value=str(name)), *_]:
            if not name.startswith("."):
                found.modules.add(name.partition(".")[0])
        case _:
            found.dynamic = True


def _texts(node: ast.expr) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value
