"""A notebook's file read as the JSON that it is, for which nothing has to be imported."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def code_cells(text: str) -> list[dict[str, Any]]:
    """Return the code cells of a notebook, of format 4.

    Raises:
        ValueError: It is no such notebook.
    """
    try:
        return [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    except (LookupError, TypeError):
        raise ValueError("it is no notebook of format 4") from None


def joined(text: Any) -> str:
    """Return a text of a notebook's file, which stands there whole or as its lines."""
    return "".join(text) if isinstance(text, list) else str(text)


def language(metadata: Mapping[str, Any]) -> str:
    """Return a notebook's language in lower case, by its metadata; Python if that doesn't say."""
    info, spec = metadata.get("language_info") or {}, metadata.get("kernelspec") or {}
    return str(info.get("name") or spec.get("language") or "python").lower()
