"""A column that grows while a page shows it: what is new of it is sent, as bytes. Pure.

`static/live_store.js` is the reader. Numbers travel as doubles, NaN where there is none; texts as their numbers, four
bytes each, -1 where there is none, the least byte first.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections.abc import Iterable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from ml_experiment_nb.quantities import number
from ml_experiment_nb.widgets.columns import ABSENT


@dataclass
class Growing:
    """Values that grow: numbers, until one comes that is none; then the texts of all."""

    group: str
    name: str
    values: list[Any] = field(default_factory=list)
    sent: int = 0
    texts: dict[str, int] = field(default_factory=dict)
    texts_sent: int = 0
    is_text: bool = False

    def add(self, value: Any) -> None:
        """Take the value of the next row, `ABSENT` where it has none."""
        self.values.append(value)
        if not self.is_text and value is not ABSENT and not _is_number(value):
            self.is_text, self.sent = True, 0  # what was sent as numbers is sent again

    def new(self) -> tuple[dict[str, Any], bytes]:
        """Return what was not sent yet."""
        found = self.part(self.sent, self.texts_sent)
        self.sent, self.texts_sent = len(self.values), len(self.texts)
        return found

    def part(self, since: int = 0, texts_since: int = 0) -> tuple[dict[str, Any], bytes]:
        """Return the values from a row on, and its texts from one on, with what it takes to read them."""
        new = self.values[since:]
        head = {"group": self.group, "name": self.name, "kind": "text" if self.is_text else "number", "from": since}
        if not self.is_text:
            return head, _bytes("d", (math.nan if one is ABSENT else float(one) for one in new))
        codes = [-1 if one is ABSENT else self.texts.setdefault(number(one), len(self.texts)) for one in new]
        return head | {"texts": [*self.texts][texts_since:], "textsFrom": texts_since}, _bytes("i", codes)


def _is_number(value: Any) -> bool:
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        float(value)
    except (ArithmeticError, TypeError, ValueError):  # it is too large, and shown as text
        return False
    return True


def _bytes(kind: str, values: Iterable[Any]) -> bytes:
    found = array(kind, values)
    if sys.byteorder == "big":
        found.byteswap()
    return found.tobytes()
