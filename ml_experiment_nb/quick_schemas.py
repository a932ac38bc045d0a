"""Import jsonschema, which nbformat needs, without a grammar that no notebook has a use for.

Where JupyterLab is installed, so is `rfc3987_syntax`, and jsonschema imports it for the formats "iri" and
"iri-reference". It compiles its grammar on import, which takes longer than importing nbformat and papermill does. So a
function that imports it when it is called stands for it meanwhile. What imports nbformat imports this module first.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Final

_GRAMMAR: Final = "rfc3987_syntax"


def _is_valid_syntax(rule: str, value: str) -> bool:
    from rfc3987_syntax import is_valid_syntax

    return bool(is_valid_syntax(rule, value))


if "jsonschema" not in sys.modules and _GRAMMAR not in sys.modules:
    stand_in = ModuleType(_GRAMMAR)
    stand_in.is_valid_syntax = _is_valid_syntax  # type: ignore[attr-defined]
    sys.modules[_GRAMMAR] = stand_in
    try:
        import jsonschema  # noqa: F401
    finally:
        del sys.modules[_GRAMMAR]
