"""Parameters of a notebook that are secrets: its injected cell takes them from the environment, in its own language.

So the executed notebook has no value, and plain papermill, or a person, can run it again.
"""

from __future__ import annotations

import ml_experiment_nb.quick_schemas  # noqa: F401

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from papermill.exceptions import PapermillException
from papermill.translators import Translator

from ml_experiment_nb import secrecy
from ml_experiment_nb.secrecy import Secret

_READS: Final = {
    "python": '__import__("os").environ["{}"]',
    "r": 'Sys.getenv("{}")',
    "julia": 'ENV["{}"]',
    "scala": 'sys.env("{}")',
    "bash": '"${}"',
    "matlab": 'getenv("{}")',
    "powershell": "$env:{}",
}
_JOINS: Final = {"python": "{}", "r": "paste0({})", "julia": "string({})", "scala": "({})", "bash": "{}"}
_BETWEEN: Final = {"python": " + ", "r": ", ", "julia": ", ", "scala": " + ", "bash": ""}


class Injected(str):
    """A secret parameter as papermill is given it: its text is what stands in the notebook's metadata."""

    secret: Secret


def injected(value: Any) -> Any:
    """Return a parameter as papermill is given it.

    Raises:
        SpecError: A variable is not set.
    """
    match value:
        case Secret():
            secrecy.resolved(value)
            made = Injected(value)
            made.secret = value
            return made
        case Mapping():
            return {name: injected(one) for name, one in value.items()}
        case list() | tuple():
            return [injected(one) for one in value]
    return value


@contextmanager
def injecting() -> Iterator[None]:
    """Have papermill write what is `Injected` as code, while the block runs."""
    plain = Translator.__dict__["translate"]

    def translate(cls: type[Translator], value: Any) -> str:
        if isinstance(value, Injected):
            return _code(cls, value.secret)
        found: str = plain.__func__(cls, value)
        return found

    Translator.translate = classmethod(translate)
    try:
        yield
    finally:
        Translator.translate = plain


def _code(translator: type[Translator], secret: Secret) -> str:
    names = (one.__name__.removesuffix("Translator").lower() for one in translator.__mro__)
    language, parts = next((name for name in names if name in _READS), None), secret.parts
    if language is None or (len(parts) > 1 and language not in _JOINS):
        raise PapermillException(
            f"{secret!r} can't be given to a notebook of this language: read the variable in the notebook itself"
        )
    pieces = [_READS[language].format(text) if is_name else translator.translate_str(text) for text, is_name in parts]
    return pieces[0] if len(pieces) == 1 else _JOINS[language].format(_BETWEEN[language].join(pieces))
