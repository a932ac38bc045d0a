"""The samplers and pruners that a group may name: Optuna's, by name, with their options."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field, model_serializer, model_validator

from ml_experiment_nb.errors import SpecError, nearest
from ml_experiment_nb.fields import Frozen

NUMBERS_ALONE = ("CmaEs", "QMC")
"""Samplers for which Optuna draws a choice independently of all else."""


class _Algorithm(Frozen):
    """One of Optuna's algorithms, by its class name without the suffix, and its options, which a plan checks."""

    KEY: ClassVar[str]
    NAMES: ClassVar[tuple[str, ...]]
    ALIASES: ClassVar[dict[str, str]]

    name: str
    options: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        if isinstance(value, cls):
            return value
        if isinstance(value, str):
            value = cls._called(value) if "(" in value else {"name": value}
        if not isinstance(value, Mapping):
            raise SpecError(f"must be a name, or a mapping with a name, not {value!r}", key=cls.KEY)
        options = {key: option for key, option in value.items() if key != "name"}
        if set(options) == {"options"} and isinstance(options["options"], Mapping):
            options = dict(options["options"])
        return {"name": cls._canonical(value.get("name")), "options": options}

    @classmethod
    def _called(cls, text: str) -> dict[str, Any]:
        """Read ``tpe(multivariate=True)``: a name and literals by keyword, parsed and never evaluated."""
        name, _, arguments = text.strip().partition("(")
        try:
            call = ast.parse(f"_({arguments}", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            call = None
        if not isinstance(call, ast.Call) or call.args or not isinstance(call.func, ast.Name):
            raise SpecError(f"{text!r} can't be read: write options by name, as in tpe(seed=1)", key=cls.KEY)
        options: dict[str, Any] = {}
        for keyword in call.keywords:
            try:
                options[keyword.arg or "**"] = ast.literal_eval(keyword.value)
            except (ValueError, TypeError, RecursionError, MemoryError):
                value = ast.unparse(keyword.value)
                raise SpecError(f"takes literals only, not {value}", key=f"{cls.KEY}.{keyword.arg}") from None
        return {"name": name, "options": options}

    @classmethod
    def _canonical(cls, name: object) -> str:
        if not isinstance(name, str):
            raise SpecError(f"has no name: it is one of {', '.join(cls.NAMES)}", key=cls.KEY)
        known = {cls._squeezed(canonical): canonical for canonical in cls.NAMES} | cls.ALIASES
        found = known.get(cls._squeezed(name).removesuffix(cls.KEY))
        if found is None:
            hint = nearest(name, cls.NAMES) or f": it is one of {', '.join(cls.NAMES)}"
            raise SpecError(f"no {cls.KEY} is called {name!r}{hint}", key=cls.KEY)
        return found

    def __str__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        return f"{self.name}({options})" if options else self.name

    @staticmethod
    def _squeezed(name: str) -> str:
        return name.lower().translate({ord(character): None for character in "-_ "})

    @model_serializer
    def _json(self) -> str | dict[str, Any]:
        return {"name": self.name, **self.options} if self.options else self.name


class Sampler(_Algorithm):
    """How the next trial's parameters are chosen."""

    KEY = "sampler"
    NAMES = ("TPE", "CmaEs", "Grid", "Random", "GP", "QMC", "NSGAII", "NSGAIII", "BruteForce")
    ALIASES: ClassVar[dict[str, str]] = {
        "cma": "CmaEs",
        "gridsearch": "Grid",
        "randomsearch": "Random",
        "nsga2": "NSGAII",
        "nsga3": "NSGAIII",
    }

    @property
    def is_exhaustive(self) -> bool:
        """Whether it ends by itself, when it has tried every combination."""
        return self.name in {"Grid", "BruteForce"}

    @property
    def learns(self) -> bool:
        """Whether what it draws depends on what came of the trials before."""
        return self.name not in {"Grid", "Random", "QMC"}


class Pruner(_Algorithm):
    """Which trials are stopped early."""

    KEY = "pruner"
    NAMES = (
        "Median", "Percentile", "Hyperband", "SuccessiveHalving", "Patient", "Threshold", "Wilcoxon", "Nop"
    )  # fmt: skip
    ALIASES: ClassVar[dict[str, str]] = {"sha": "SuccessiveHalving", "none": "Nop"}

    @property
    def prunes(self) -> bool:
        """Whether it ever gives a trial up."""
        return self.name != "Nop"
