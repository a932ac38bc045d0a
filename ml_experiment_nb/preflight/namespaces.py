"""What code does to names beyond what its text binds and reads: magics, ``import *``, ``exec``, ``globals()``."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from typing import Final

BINDS_NOTHING: Final = frozenset(
    {
        "bash", "sh", "script", "cmd", "perl", "ruby", "system", "sx", "html", "HTML", "javascript", "js", "svg",
        "SVG", "latex", "markdown", "writefile", "file", "timeit", "time", "capture", "prun", "experiment", "group",
        "load_ext", "reload_ext", "matplotlib", "config", "autoreload", "cd", "env", "set_env", "pip", "conda",
        "mamba", "micromamba", "uv", "ls", "pwd", "who", "whos", "who_ls", "precision", "alias", "diff", "compare",
        "attach", "memit", "mprun", "lprun", "tensorboard", "history", "hist", "logstart", "logstop", "xmode", "debug",
        "pdb", "mkdir", "cat", "man", "less", "more", "rm", "cp", "mv", "pinfo", "pinfo2", "psearch", "psource", "pdoc",
        "pdef", "pfile", "lsmagic", "magic", "quickref", "colors", "doctest_mode", "gui", "tb", "unload_ext",
        "pprint", "autosave", "connect_info", "qtconsole", "notebook", "killbgscripts", "rmdir", "ll", "lk", "lf",
        "pycodestyle_on", "pycodestyle_off", "watermark", "black", "nb_black", "pushd", "popd", "dirs", "dhist",
    }
)  # fmt: skip
"""The magics that are known to bind no name of the notebook's, but for what their line says."""


def magic_calls(nodes: Iterable[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield the magics that stand within Python, each with its line."""
    for node in nodes:
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=method), args=arguments
            ) if method in ("run_line_magic", "run_cell_magic", "magic"):
                texts = [one.value if isinstance(one, ast.Constant) else "" for one in arguments]
                name, line = [*map(str, texts), "", ""][:2]
                yield (name.lstrip("%"), line) if method != "magic" else (name.partition(" ")[0].lstrip("%"), name)


def names_bound_by(node: ast.AST) -> Iterable[str]:
    """Return the names that a node of code binds by itself."""
    match node:
        case ast.Name(id=name, ctx=ast.Store()):
            return (name,)
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.Import(names=names) | ast.ImportFrom(names=names):
            return [one.asname or one.name.split(".")[0] for one in names]
        case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
            return (name,)
    return ()


def binds_anything(node: ast.AST) -> bool:
    """Return whether a node may bind any name of its module."""
    match node:
        case ast.ImportFrom(names=[ast.alias(name="*")]):
            return True
        case ast.Call(func=ast.Name(id="exec" | "execfile")):
            return True
        case ast.Call(func=func, args=arguments, keywords=keywords):
            given = [*arguments, *(one.value for one in keywords)]
            named = isinstance(func, ast.Attribute) and _is_of_names(func.value)
            return named or any(map(_is_of_names, given))  # globals().update(…), and f(globals())
        case ast.Subscript(value=value, ctx=ast.Store() | ast.Del()):
            return _is_of_names(value)
        case ast.Attribute(attr="user_ns" | "user_global_ns" | "run_cell" | "ex" | "push"):
            return "get_ipython" in ast.unparse(node) or node.attr.startswith("user_")
        case ast.Name(id="__builtins__") | ast.alias(name="builtins"):
            return True
    return False


def _is_of_names(node: ast.AST) -> bool:
    """Return whether an expression is a mapping of this module's names."""
    match node:
        case ast.Call(func=ast.Name(id="globals" | "locals"), args=[]) | ast.Call(func=ast.Name(id="vars"), args=[]):
            return True
        case ast.Attribute(attr="__dict__", value=ast.Subscript(value=ast.Attribute(attr="modules"))):
            return True
    return False


def reads_anything(node: ast.AST) -> bool:
    """Return whether a node may read any name of its module."""
    match node:
        case ast.Call(func=ast.Name(id="globals" | "locals" | "vars"), args=[]):
            return True
        case ast.Call(func=ast.Name(id="eval" | "exec")):
            return True
        case ast.Attribute(attr="user_ns" | "user_global_ns"):
            return True
    return False
