"""To do something with a module as soon as it has been imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

Act = Callable[[ModuleType], None]


def when_imported(name: str, act: Act, *, before: Callable[[], None] | None = None) -> Callable[[], None]:
    """Call `act` with a module: at once if it is imported already, else at the end of its import.

    What `act` raises is lost: somebody's import is no place for it.

    Args:
        name: The module's full name.
        act: What to do with it, once.
        before: What to do before its code runs, if it has not been imported yet.

    Returns:
        What takes the request back; it does no harm where the module has come meanwhile.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
        _do(act, module)
        return lambda: None
    _waiting.setdefault(name, []).append(act)
    if before is not None:
        _before.setdefault(name, []).append(before)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)

    def take_back() -> None:
        with suppress(KeyError, ValueError):
            _waiting[name].remove(act)
            if before is not None:
                _before[name].remove(before)
            if not _waiting[name]:
                del _waiting[name]
        if not _waiting and _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)

    return take_back


_waiting: dict[str, list[Act]] = {}
_before: dict[str, list[Callable[[], None]]] = {}


class _Finder(MetaPathFinder):
    """Finds nothing by itself: what the others find of a module that is waited for gets a loader that tells."""

    def __init__(self) -> None:
        self._finding: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that is found without this finder, its loader wrapped."""
        if fullname not in _waiting or fullname in self._finding:
            return None
        self._finding.add(fullname)
        try:
            found = find_spec(fullname)
        finally:
            self._finding.discard(fullname)
        if found is not None and hasattr(found.loader, "exec_module"):
            found.loader = _Telling(found.loader)
        return found


_FINDER = _Finder()


class _Telling(Loader):
    """A loader that tells when its module's code has run; the module itself never sees it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as its own loader does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, with its own loader in place, and tell."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        for act_before in _before.pop(module.__name__, []):
            with suppress(Exception):  # who waits for it may not break the user's import
                act_before()
        self._loader.exec_module(module)
        for act in _waiting.pop(module.__name__, []):
            _do(act, module)
        if not _waiting and _FINDER in sys.meta_path:
            sys.meta_path.remove(_FINDER)


def _do(act: Act, module: ModuleType) -> None:
    with suppress(Exception):  # who waits for it may not break the user's import
        act(module)
