"""What is asked of a freeze."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Choices:
    """What is asked of a freeze.

    Attributes:
        only_imports: Leave out the packages that neither the code nor what runs it ever imports.
        lab: Whether JupyterLab goes in; None: if it is there, and not `only_imports`.
        data: Whether the files that the code names go in.
        without: Packages that are left out.
        exclude: Patterns of files that are left out.
        include: Files and folders that go in besides.
        whole: Take packages whole: with their tests, and whatever else nothing reads when code runs.
    """

    only_imports: bool = False
    lab: bool | None = None
    data: bool = True
    without: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    whole: bool = False
