"""To do something when a module is imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Act = Callable[[ModuleType], None]
Around = Callable[[ModuleType, Callable[[], None]], None]


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


@contextmanager
def around_imports(is_meant: Callable[[str], bool], around: Around) -> Iterator[None]:
    """Have the code of modules that are imported within the block run by `around`.

    Args:
        is_meant: Whether a module is meant, by its full name.
        around: What is given such a module and what runs its code. What it raises, the import raises.
    """
    finder = _Finder(is_meant, around)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has set up the finders anew
            sys.meta_path.remove(finder)


def _tell(module: ModuleType, load: Callable[[], None]) -> None:
    """Run a module's code, and tell who waits for it."""
    for act_before in _before.pop(module.__name__, []):
        with suppress(Exception):  # who waits for it may not break the user's import
            act_before()
    load()
    for act in _waiting.pop(module.__name__, []):
        _do(act, module)
    if not _waiting and _FINDER in sys.meta_path:
        sys.meta_path.remove(_FINDER)


class _Finder(MetaPathFinder):
    """Finds nothing by itself: what the others find of a module that is meant gets a loader around its own."""

    def __init__(self, is_meant: Callable[[str], bool], around: Around) -> None:
        self._is_meant = is_meant
        self._around = around
        self._finding: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec that is found without this finder, its loader wrapped."""
        if fullname in self._finding or not self._is_meant(fullname):
            return None
        self._finding.add(fullname)  # another finder of this kind asks in turn
        try:
            asked = (one.find_spec(fullname, path, target) for one in list(sys.meta_path) if hasattr(one, "find_spec"))
            found = next((spec for spec in asked if spec is not None), None)
        finally:
            self._finding.discard(fullname)
        if found is not None and hasattr(found.loader, "exec_module"):
            found.loader = _Wrapped(found.loader, self._around)
        return found


_FINDER = _Finder(_waiting.__contains__, _tell)


class _Wrapped(Loader):
    """A loader that has its module's code run by another's leave; the module itself never sees it."""

    def __init__(self, loader: Any, around: Around) -> None:
        self._loader = loader
        self._around = around

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Make the module as its own loader does."""
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code, with its own loader in place."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._around(module, lambda: self._loader.exec_module(module))


def _do(act: Act, module: ModuleType) -> None:
    with suppress(Exception):  # who waits for it may not break the user's import
        act(module)
