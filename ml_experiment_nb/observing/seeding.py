"""Random numbers: which generators were seeded and with what, and seeding all of them where a spec says `seed`.

The functions that seed are watched in the modules that are imported, and in those that will be when they are; nothing
is imported for it. A generator that drew numbers and was not seeded is told by its state, before and after.
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ml_experiment_nb import events, reports
from ml_experiment_nb.observing.imports import when_imported

if TYPE_CHECKING:
    from ml_experiment_nb.observing import ObservingOptions

SEEDS, UNSEEDED = "mlexp.seeds", "mlexp.unseeded"
HASHES = "PYTHONHASHSEED"
_LIMIT = 1 << 32  # what NumPy's global generator and PYTHONHASHSEED take
_MOST = 10  # seeds of one generator that are told
_LENGTH = 100

_WATCHED: dict[str, dict[str, str]] = {
    "random": {"seed": "random", "setstate": "random"},
    "numpy.random": {"seed": "numpy", "set_state": "numpy", "default_rng": "numpy.default_rng"},
    "torch": {"manual_seed": "torch", "set_rng_state": "torch"},
    "torch.random": {"manual_seed": "torch", "set_rng_state": "torch"},
    "tensorflow": {"random.set_seed": "tensorflow"},
    "keras": {"utils.set_random_seed": "keras"},
}
"""The functions that seed, by module, and the generator that each of them seeds."""

_DRAWS = "rich.style"
"""A module that draws from `random` while it is imported, as scikit-learn has it: no number of the user's code."""

_WITH_A_SEED = r"\((?!(?:\s*\w+\s*=)?\s*(?:None)?\s*\))[^()\n]*\)"
_IN_TEXT = {
    "random": r"(?<![\w.])random\.seed" + _WITH_A_SEED,
    "numpy": r"\b(?:np|numpy)\.random\.seed" + _WITH_A_SEED,
    "torch": r"\btorch\.manual_seed" + _WITH_A_SEED,
}
_ALL_IN_TEXT = r"\b(?:set_seed|seed_everything|set_random_seed)\([^()\n]*\)"

_seen: dict[str, list[Any]] = {}
"""What was seeded in this process, or in the one that it was forked from, by generator."""
_fresh: set[str] = set()
"""The generators that took entropy for a seed, by ``seed()`` or ``default_rng()``."""
_drawn: set[str] = set()
_states: dict[str, Any] = {}
_hooks: list[Callable[[], None]] = []
_asked: int | None = None
_started: int | None = None
_made = 0
_sink: reports.Sink | None = None
_process = 0


@contextmanager
def observing(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Tell the run which generators its code seeds, and which it draws from unseeded.

    Where the spec has a seed, all of them begin with it; with `deterministic`, torch and TensorFlow are told to
    compute the same way each time.
    """
    global _sink
    is_first = not _hooks
    before = {who: list(values) for who, values in _seen.items()}, set(_fresh), set(_drawn)
    watch()
    undo = deterministic() if asked.deterministic else None
    try:
        if asked.seed is not None:
            start(asked.seed)
        _sink = sink
        _mark()
        _tell()
        yield
    finally:
        if is_first:
            unwatch()
        if (unseeded := _unseeded()) and os.getpid() == _process:
            sink.send(events.Tags({UNSEEDED: ", ".join(unseeded)}))
        _sink = None
        _forget(before)
        if undo is not None:
            undo()


def watch() -> None:
    """Note from now on who is seeded, in this process and in what is forked from it."""
    global _process
    _process = os.getpid()
    if not _hooks:
        for name in _WATCHED:
            _hooks.append(when_imported(name, partial(_wrap, name)))
        _hooks.append(_overlooking(_DRAWS))
        _mark()


def _overlooking(name: str) -> Callable[[], None]:
    """Take the numbers that a module draws from `random` while it is imported for none of the code's."""
    untouched = False

    def before() -> None:
        nonlocal untouched
        untouched = _state("random") == _states.get("random")

    def after(_: ModuleType) -> None:
        if untouched:
            _mark("random")

    return when_imported(name, after, before=before)


def unwatch() -> None:
    """Leave the modules as they were."""
    while _hooks:
        _hooks.pop()()
    for name, functions in _WATCHED.items():
        for path in functions if name in sys.modules else ():
            with suppress(AttributeError):
                owner, attribute = _place(sys.modules[name], path)
                if isinstance(found := vars(owner).get(attribute), _Watched):
                    setattr(owner, attribute, found.original)


@contextmanager
def undrawn() -> Iterator[None]:
    """Leave `random` where the user's code has it, whatever a library draws from it that we call: Ray as it starts."""
    state = random.getstate()
    try:
        yield
    finally:
        setstate = random.setstate
        (setstate.original if isinstance(setstate, _Watched) else setstate)(state)  # this seeds nothing


def seeded(who: str) -> bool:
    """Whether a generator was seeded since it is watched; ``seed()``, which takes entropy, makes it unseeded."""
    return who in _seen and who not in _fresh


def start(seed: int) -> None:
    """Seed every generator, now or as soon as it is imported; once in a process and those that are forked from it."""
    global _asked, _started, _made
    if _asked == seed and _started is not None and _started != os.getpid():
        return  # what was forked goes on where its set-up was
    _asked, _started, _made = seed, os.getpid(), 0
    for who in _SEED:
        _seed(who)


def settle() -> None:
    """Before a fork: remember which generators have drawn numbers unseeded so far."""
    _drawn.update(_unseeded())


def deterministic() -> Callable[[], None]:
    """Have torch and TensorFlow compute the same way each time, and return what undoes it for torch."""
    undo: list[Callable[[], None]] = []
    if "CUBLAS_WORKSPACE_CONFIG" not in os.environ:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
        undo.append(partial(os.environ.__delitem__, "CUBLAS_WORKSPACE_CONFIG"))

    def set_torch(torch: Any) -> None:
        before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.benchmark = False
        undo.append(lambda: torch.use_deterministic_algorithms(before[0]))
        undo.append(lambda: setattr(torch.backends.cudnn, "benchmark", before[1]))

    undo.append(when_imported("torch", set_torch))
    undo.append(when_imported("tensorflow", lambda tf: tf.config.experimental.enable_op_determinism()))

    def undo_all() -> None:
        for one in undo:
            with suppress(KeyError):  # the code has taken it out of the environment itself
                one()

    return undo_all


class _Watched:
    """A function that seeds, and notes it. It binds to no object and pickles as the function that it stands for."""

    def __init__(self, name: str, path: str, who: str, original: Callable[..., Any]) -> None:
        self.original = original
        self.who = who
        self._found_at = name, path
        self.__name__, self.__doc__ = path.rpartition(".")[2], original.__doc__
        self.__wrapped__ = original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.who == "numpy.default_rng":
            return self._made(args, kwargs)
        [given] = [*args, *kwargs.values()][:1] or [None]
        if given is None:
            _draw(self.who)
        made = self.original(*args, **kwargs)
        _note(self.who, "a state" if "state" in self.__name__ else given)
        return made

    def __reduce__(self) -> Any:
        return _function, self._found_at

    def _made(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return a generator of its own; one without a seed gets the next that comes of the spec's."""
        global _made
        [given] = [*args, *kwargs.values()][:1] or [None]
        # A library's own generators are its business, and a generator that is given comes back as it is.
        is_told = "-packages" not in sys._getframe(2).f_code.co_filename and not hasattr(given, "bit_generator")
        if is_told and (given is not None or _asked is None or _sink is None):
            _note(self.who, given)
        if given is not None or _asked is None or _sink is None:
            return self.original(*args, **kwargs)
        sequence = sys.modules["numpy.random"].SeedSequence(_asked, spawn_key=(_made,))
        _made += 1
        return self.original(sequence)


def _function(name: str, path: str) -> Any:
    """Return the function that stands at a place, itself; how a watched one is unpickled."""
    import importlib

    owner, attribute = _place(importlib.import_module(name), path)
    found = getattr(owner, attribute)
    return found.original if isinstance(found, _Watched) else found


def _place(module: Any, path: str) -> tuple[Any, str]:
    owner = module
    *above, attribute = path.split(".")
    for one in above:
        owner = getattr(owner, one)
    return owner, attribute


def _wrap(name: str, module: ModuleType) -> None:
    """Watch a module that has been imported; its generator, which nobody can have used yet, begins as is asked."""
    for path, who in _WATCHED[name].items():
        owner, attribute = _place(module, path)
        original = getattr(owner, attribute)
        if not isinstance(original, _Watched):
            setattr(owner, attribute, _Watched(name, path, who, original))
    for who in set(_WATCHED[name].values()):
        if _asked is not None and who in _SEED and who not in _states:
            _seed(who)
        _mark(who)


def _seed(who: str) -> None:
    name, path = _SEED[who]
    if name in sys.modules and _asked is not None:
        with suppress(AttributeError):  # it is being imported: its seed waits for the end of that
            owner, attribute = _place(sys.modules[name], path)
            function = getattr(owner, attribute)
            getattr(function, "original", function)(_asked % _LIMIT)
            _note(who, _asked)


_SEED = {
    "random": ("random", "seed"),
    "numpy": ("numpy.random", "seed"),
    "torch": ("torch", "manual_seed"),
    "tensorflow": ("tensorflow", "random.set_seed"),
}


def _note(who: str, value: Any) -> None:
    if os.getpid() != _process:  # a process of the user's own: what it seeds is not the run's
        return
    if value is None:
        _fresh.add(who)
        _mark(who)  # of what it draws from now on
        return
    if who != "numpy.default_rng":  # of which each is another
        _fresh.discard(who)
    value = value if type(value) in (int, bool, float) else _plain(value)
    values = _seen.setdefault(who, [])
    if value not in values and len(values) <= _MOST:
        values.append(value if len(values) < _MOST else "…")
        _tell()


def _draw(who: str) -> None:
    """Before a generator takes entropy: remember whether it has drawn unseeded so far."""
    if os.getpid() == _process and who in _states and not seeded(who) and _state(who) != _states[who]:
        _drawn.add(who)


def _plain(value: Any) -> int | str:
    with suppress(Exception):  # an object of the user's may raise what it likes
        if hasattr(value, "__index__"):
            return int(value)
        return " ".join((value if isinstance(value, str) else repr(value)).split())[:_LENGTH]
    return type(value).__name__


def _tell() -> None:
    told = {who: values[0] if len(values) == 1 else values for who, values in _seen.items()}
    told |= {who: text for who, text in _earlier().items() if who not in told}
    if (hashes := os.environ.get(HASHES, "random")) != "random":
        told[HASHES] = int(hashes) if hashes.isdigit() else hashes
    if told and _sink is not None:
        _sink.send(events.Tags({SEEDS: json.dumps(told)}))


def _earlier() -> dict[str, str]:
    """Return what cells of this notebook that ran before have seeded, as their text says."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    history = getattr(shell, "history_manager", None)
    found: dict[str, str] = {}
    for number, text in enumerate(list(history.input_hist_raw)[:-1] if history is not None else ()):
        if "seed" in text and not text.lstrip().startswith("%%group"):
            for who, pattern in _IN_TEXT.items():
                if match := re.search(f"{pattern}|{_ALL_IN_TEXT}", text):
                    found[who] = f"{match[0][:_LENGTH]} in In [{number}]"
    return found


def _mark(who: str | None = None) -> None:
    """Remember a generator's state, of all that are there."""
    for one in _STATE if who is None else (who,):
        if one in _STATE and (state := _state(one)) is not None:
            _states[one] = state


def _state(who: str) -> Any:
    name, read = _STATE[who]
    module = sys.modules.get(name)
    with suppress(Exception):  # it is being imported
        return None if module is None else read(module)
    return None


def _numpy_state(module: Any) -> Any:
    state = module.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"], state["has_gauss"]


_STATE: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "random": ("random", lambda module: module.getstate()),
    "numpy": ("numpy.random", _numpy_state),
    "torch": ("torch", lambda module: bytes(module.get_rng_state().tolist())),
}


def _unseeded() -> list[str]:
    known = (_seen.keys() | _earlier().keys()) - _fresh
    moved = [who for who, state in _states.items() if who not in known and _state(who) != state]
    fresh = {"numpy.default_rng"} & _fresh
    return sorted({*moved, *fresh, *(_drawn - known)})


def _forget(before: tuple[dict[str, list[Any]], set[str], set[str]]) -> None:
    """Be as before the run, which another one may follow in this process."""
    global _asked, _started
    _asked = _started = None
    _seen.clear()
    _seen.update(before[0])
    _fresh.clear()
    _fresh.update(before[1])
    _drawn.clear()
    _drawn.update(before[2])
    _states.clear()
