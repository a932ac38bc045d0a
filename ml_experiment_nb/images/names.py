"""The names of images, read and checked as Docker has them: ``registry:5000/team/svm:1``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ml_experiment_nb.errors import SpecError

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
_NAME = re.compile(
    rf"(?:(?P<host>{_HOST})/)??(?P<path>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_LONGEST = 255  # characters of a name without its tag
_PART_LONGEST = 100


@dataclass(frozen=True)
class Name:
    """An image's name.

    Attributes:
        repository: All of it before the tag, the registry's address included.
        tag: The tag; None where a digest stands in its place.
        digest: The digest, if it is named by one.
    """

    repository: str
    tag: str | None
    digest: str | None = None

    @classmethod
    def read(cls, text: str) -> Name:
        """Read a name; without a tag or a digest, the tag is ``latest``.

        Raises:
            SpecError: Docker takes no such name; it says why.
        """
        found = _NAME.fullmatch(text)
        if found is None or len(text.partition("@")[0]) > _LONGEST:
            raise SpecError(f"{text!r} is no name of an image: {_why(text)}")
        digest, tag = found["digest"], found["tag"]
        host = f"{found['host']}/" if found["host"] else ""
        return cls(host + found["path"], tag or (None if digest else "latest"), digest)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return self.repository + tag + (f"@{self.digest}" if self.digest else "")


def part_of(text: str, otherwise: str) -> str:
    """Return a text as one part of a name, such as ``svm-with-rbf``; `otherwise` where nothing of it can."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return words[:_PART_LONGEST].rstrip("-") or otherwise


def _why(text: str) -> str:
    path = text.partition("@")[0].partition(":")[0]
    if path != path.lower() and "/" not in path:
        return f"it is written in lower case, as {text.lower()!r} is"
    if not text or " " in text:
        return "it has no spaces, and at least one character"
    return "letters in lower case, digits and single . _ - between them, parts divided by /, as in team/svm:1"
