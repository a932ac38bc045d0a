"""Which global names a cell's functions read and bind when they are called, told from the symbol table."""

from __future__ import annotations

import ast
import symtable
import warnings
from collections.abc import Iterator


def function_globals(text: str, module: ast.Module) -> tuple[set[str], set[str]]:
    """Return the globals that functions and lambdas read, and those that they declare and bind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        symbols = list(_function_symbols(symtable.symtable(text, "<cell>", "exec")))
    # Before Python 3.13, symtable takes the names of a function that is called `top` for a module's: both, then.
    reads = {one.get_name() for one in symbols if one.is_global() and one.is_referenced() and not one.is_local()}
    declared = [symbol for symbol in symbols if symbol.is_declared_global()]
    writes = {symbol.get_name() for symbol in declared if symbol.is_assigned() or symbol.is_imported()}
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            reads |= _global_counters(node)
    return reads, writes


def _function_symbols(table: symtable.SymbolTable, inside: bool = False) -> Iterator[symtable.Symbol]:
    """Yield the symbols of all functions; what runs at once (class bodies, comprehensions) is `flow`'s."""
    for child in table.get_children():
        at_once = child.get_type() == "class" or ".0" in child.get_identifiers()
        if inside or not at_once:
            yield from child.get_symbols()
        yield from _function_symbols(child, inside or not at_once)


def _global_counters(function: ast.AST) -> set[str]:
    """Return the names of ``global x; x += 1``, which symtable doesn't call a reference."""
    nodes = list(ast.walk(function))
    declared = {name for node in nodes if isinstance(node, ast.Global) for name in node.names}
    targets = (node.target for node in nodes if isinstance(node, ast.AugAssign))
    return declared & {target.id for target in targets if isinstance(target, ast.Name)}
