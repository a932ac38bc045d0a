"""Secrets: parameters that are named where they are asked for, and have a value only in the process that runs the code.

What is asked holds a `Secret`: a text with ``${env:NAME}`` in it, of which ``secret(NAME)`` is the plainest. It has no
value, so that nothing that is written of it has one. `resolved` makes values of it, from the environment, and from then
on this process knows them: see `masking`.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ml_experiment_nb.errors import SpecError

SHORTEST: Final = 4
"""The characters that a secret has at least: what is shorter stands everywhere, and can't be masked."""

SHORT: Final = 8
"""What has fewer characters stands within words and numbers by chance, and is looked for where it stands by itself."""

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PLACE = re.compile(rf"\$\{{env:\s*({_NAME})\s*\}}")
_CALL = re.compile(rf"""secret\(\s*(["']?)({_NAME})\1\s*\)""")
_IN_CODE = re.compile(rf"""\bsecret\(\s*(["'])({_NAME})\1\s*\)""")


class Secret:
    """A parameter that is a secret, or has one in it; equal to another one of the same text.

    It is no dataclass, of which pydantic would make a mapping.

    Args:
        text: The parameter, with ``${env:NAME}`` in place of each secret.
    """

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    @classmethod
    def of(cls, name: str) -> Secret:
        """Return the secret that is the whole value of a variable."""
        return cls(f"${{env:{name}}}")

    @property
    def names(self) -> list[str]:
        """The environment variables that it takes its values from."""
        return list(dict.fromkeys(_PLACE.findall(self.text)))

    @property
    def parts(self) -> list[tuple[str, bool]]:
        """Its pieces in order, each with whether it is a variable's name."""
        found = [(piece, k % 2 == 1) for k, piece in enumerate(_PLACE.split(self.text))]
        return [(piece, is_name) for piece, is_name in found if piece]

    @property
    def value(self) -> str:
        """What the code gets; this process knows the secret from then on.

        Raises:
            SpecError: A variable is not set, or its value is too short.
        """
        return "".join(learn(piece) if is_name else piece for piece, is_name in self.parts)

    def __repr__(self) -> str:
        whole = _PLACE.fullmatch(self.text)
        return f"secret({whole[1]})" if whole else self.text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.text == other.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return Secret, (self.text,)


# --- what this process knows ---

secrets_seen: dict[str, str] = {}
"""The values of secrets that this process has seen, and their names. It only ever grows."""


def learn(name: str) -> str:
    """Return the value of a secret, which this process knows from then on.

    Raises:
        SpecError: The variable is not set, or its value is too short.
    """
    value = os.environ.get(name, "")
    if not value:
        raise SpecError(f"the environment variable {name} is not set: set it where this is started, and run it again")
    if len(value.strip()) < SHORTEST:
        raise SpecError(
            f"the value of {name} has fewer than {SHORTEST} characters: it could not be masked where it is printed"
        )
    secrets_seen.setdefault(value, name)
    return value


def learn_those_set(names: Iterable[str]) -> list[str]:
    """Learn the secrets whose variables are set here, and return the names of the others."""
    missing = []
    for name in names:
        try:
            learn(name)
        except SpecError:
            missing.append(name)
    return missing


def environment(names: Iterable[str]) -> dict[str, str]:
    """Return the variables that a process needs to have the same secrets, as far as they are set here."""
    found = {name: os.environ[name] for name in names if os.environ.get(name)}
    return {**found, VARIABLE: " ".join(found)} if found else {}


def learn_those_given() -> None:
    """Learn the secrets that this process was given with its environment."""
    learn_those_set(os.environ.get(VARIABLE, "").split())


VARIABLE: Final = "ML_EXPERIMENT_SECRETS"
"""The variable that names those that are secrets."""

FILE: Final = "secrets.json"
"""What a run's folder has of its secrets while the run goes on: their names, for whoever closes it."""


def leave(folder: Path, names: Iterable[str]) -> None:
    """Leave in a run's folder the names of secrets that it uses."""
    there = _left(folder)
    if not set(names) <= set(there):
        with suppress(OSError):
            (folder / FILE).write_text(json.dumps(sorted({*there, *names})))


def learn_those_left(folder: Path) -> list[str]:
    """Learn the secrets of a run that another process drove, and return the names of those that aren't set here."""
    return learn_those_set(_left(folder))


def _left(folder: Path) -> list[str]:
    with suppress(OSError, ValueError):
        return [str(name) for name in json.loads((folder / FILE).read_text())]
    return []


# --- where one stands ---


def expression(form: str, *, in_bytes: bool = False) -> str:
    """Return the regular expression of what is looked for: a short one must not be part of a word or of a number.

    Args:
        form: What is looked for.
        in_bytes: In a file that may be no text.
    """
    whole = re.escape(form)
    if len(form) >= SHORT:
        return whole
    before = after = ""
    if form[0].isalnum():
        begins = [r"(?<![^\W_])" + r"(?<!\.)" * form[0].isdecimal()]
        begins += [r"(?<=\\[nrt])", r"(?<=%[0-9A-Fa-f][0-9A-Fa-f])", r"(?<=[0-9]m)"]  # an escape, a terminal's colour
        begins += [r"(?<=[\x8c\xd9].)"] * in_bytes  # behind a text's length, in a pickle and in msgpack
        before = f"(?:{'|'.join(begins)})"
    if form[-1].isalnum():
        after = r"(?![0-9A-Za-ps-z])" if in_bytes else r"(?![^\W_])"  # q and r stand behind a text in a pickle
        after += r"(?!\.[0-9])" * form[-1].isdecimal()
    return before + whole + after


def notes_of_short(names: Iterable[str]) -> list[str]:
    """Return what is to be noted of those of some secrets that are known and short."""
    short = {name for value, name in secrets_seen.items() if len(value.strip()) < SHORT}
    return [
        f"the secret {name} has fewer than {SHORT} characters: it is masked where it stands by itself, not within a "
        "word or a number"
        for name in sorted(short & set(names))
    ]


# --- in what is asked ---


def read(value: Any) -> Any:
    """Return a value from a file or a command line with its secrets read: ``secret(NAME)`` and ``${env:NAME}``.

    Raises:
        SpecError: What is named is no environment variable.
    """
    match value:
        case str():
            return _read_text(value)
        case Mapping():
            return {name: read(one) for name, one in value.items()}
        case list():
            return [read(one) for one in value]
    return value


def recognised(value: Any) -> Any:
    """Return a value with the secrets that this process knows by name in place of what they are."""
    match value:
        case str() if secrets_seen:
            found = sorted((one for one in secrets_seen if one in value), key=len, reverse=True)
            if not found:
                return value
            text, count = re.subn("|".join(map(expression, found)), lambda it: f"${{env:{secrets_seen[it[0]]}}}", value)
            return Secret(text) if count else value
        case dict() if secrets_seen and type(value) is dict:
            return {name: recognised(one) for name, one in value.items()}
        case list() | tuple() if secrets_seen and type(value) in (list, tuple):
            return type(value)(recognised(one) for one in value)
    return value


def resolved(value: Any) -> Any:
    """Return a value with its secrets as the code gets them.

    Raises:
        SpecError: A variable is not set, or its value is too short.
    """
    match value:
        case Secret():
            return value.value
        case dict() if type(value) is dict:
            return {name: resolved(one) for name, one in value.items()}
        case list() | tuple() if type(value) in (list, tuple):
            return type(value)(resolved(one) for one in value)
    return value


def names_in(value: Any) -> Iterator[str]:
    """Yield the names of the secrets in a value."""
    match value:
        case Secret():
            yield from value.names
        case Mapping():
            for one in value.values():
                yield from names_in(one)
        case list() | tuple():
            for one in value:
                yield from names_in(one)


def check(params: Mapping[str, Any], key: str = "params") -> None:
    """Check that the secrets among parameters can be had; this process knows them from then on.

    Raises:
        SpecError: A variable is not set, or its value is too short; says which parameter takes it.
    """
    for name, value in params.items():
        try:
            for one in names_in(value):
                learn(one)
        except SpecError as error:
            raise SpecError(error.problem, key=f"{key}.{name}" if key else name) from None


def _read_text(text: str) -> str | Secret:
    if (called := _CALL.fullmatch(text.strip())) is not None:
        return Secret.of(called[2])
    if re.fullmatch(r"secret\([^()]*\)", text.strip()):
        raise SpecError(f"{text.strip()}: no environment variable is called that; write it as secret(API_TOKEN)")
    if "${env:" not in text:
        return text
    if "${env:" in _PLACE.sub("", text):
        raise SpecError("${env: names no environment variable here; write it as ${env:API_TOKEN}")
    return Secret(_PLACE.sub(lambda found: f"${{env:{found[1]}}}", text))


# --- in code ---


def from_node(node: ast.expr) -> Any:
    """Return what an expression of literals and ``secret("NAME")`` stands for.

    Raises:
        ValueError: It is some other code, or has no secret in it.
    """
    value = _from_node(node)
    if next(names_in(value), None) is None:
        raise ValueError("no secret")
    return value


def _from_node(node: ast.expr) -> Any:
    match node:
        case ast.Call(func=ast.Name(id="secret"), args=[ast.Constant(value=str(name))], keywords=[]):
            if not re.fullmatch(_NAME, name):
                raise ValueError(name)
            return Secret.of(name)
        case ast.List(elts=items):
            return [_from_node(item) for item in items]
        case ast.Tuple(elts=items):
            return tuple(_from_node(item) for item in items)
        case ast.Dict(keys=keys, values=values) if None not in keys:
            return {ast.literal_eval(k): _from_node(v) for k, v in zip(keys, values, strict=True) if k is not None}
        case ast.JoinedStr(values=pieces):
            return _joined(pieces)
        case ast.FormattedValue(value=value, conversion=-1, format_spec=None):
            return _from_node(value)
        case ast.BinOp(op=ast.Add(), left=left, right=right):
            return _joined([left, right])
    return ast.literal_eval(node)


def _joined(nodes: Iterable[ast.expr]) -> Secret | str:
    pieces = [_from_node(node) for node in nodes]
    if not all(isinstance(piece, str | Secret) for piece in pieces):
        raise ValueError("no text")
    text = "".join(piece.text if isinstance(piece, Secret) else piece for piece in pieces)
    return Secret(text) if any(isinstance(piece, Secret) for piece in pieces) else text


def code_text(secret: Secret, call: str = 'secret("{}")') -> str:
    """Return the expression whose value a secret is, in Python; `call` says how a variable is read."""
    return " + ".join(call.format(piece) if is_name else repr(piece) for piece, is_name in secret.parts)


def names_in_code(source: str) -> list[str]:
    """Return the names with which code calls ``secret("NAME")``."""
    return [found[1] for found in _IN_CODE.findall(source)] if "secret(" in source else []


# --- what should be one ---

_WORDS = frozenset({"password", "passwords", "passwd", "pwd", "passphrase", "secret", "token", "credential"})
_WORDS |= {"credentials", "apikey"}
_KEYS = frozenset(
    {"api", "access", "secret", "private", "auth", "account", "signing", "encryption", "client", "master"}
)
_OF_TEXT = frozenset({"pad", "eos", "bos", "unk", "mask", "sep", "cls", "stop", "start", "end", "special", "image"})
_OF_TEXT |= {"blank", "oov", "decoder", "next", "first", "last", "begin"}
IN_URL: Final = re.compile(r"://[^/\s:@]*:[^/\s@]+@")


def literal_credentials(params: Mapping[str, Any]) -> str | None:
    """Return a note that names the parameters that look like credentials and are given as they are; None without."""
    found = list(_literal_credentials(params))
    if not found:
        return None
    verb = "looks like a credential, and is" if len(found) == 1 else "look like credentials, and are"
    return f"{', '.join(found)} {verb} recorded as given: as secret(NAME) it comes from the environment and is masked"


def _literal_credentials(params: Mapping[Any, Any], prefix: str = "") -> Iterator[str]:
    for name, value in params.items():
        if isinstance(value, Mapping):
            yield from _literal_credentials(value, f"{prefix}{name}.")
        elif isinstance(value, str) and (IN_URL.search(value) or (is_credential(str(name)) and is_value(value))):
            yield f"{prefix}{name}"


def is_credential(name: str) -> bool:
    """Return whether a name says that its value is a credential."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_").split("_")
    before = words[-2] if len(words) > 1 else ""
    return (words[-1] in _WORDS and before not in _OF_TEXT) or (words[-1] == "key" and before in _KEYS)


def is_value(value: str) -> bool:
    """Return whether a text may be a credential, and is neither short nor a place for one (``<token>``)."""
    return len(value.strip()) >= SHORTEST and not re.fullmatch(r"<.*>|\[.*\]", value.strip())
