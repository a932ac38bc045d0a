import functools
from fractions import Fraction

import numpy as np
import pytest
from pydantic import ValidationError

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.fields import Bytes, Count, Frozen, Seconds, Text, check_identifier, name_of, plain, read_bytes
from ml_experiment_nb.fields import translated as translate


class Inner(Frozen):
    memory: Bytes = 1
    cpus: Count = 1


class Outer(Frozen):
    name: Text
    inner: Inner | None = None
    timeout: Seconds | None = None
    several: tuple[Inner, ...] = ()


def problem(**keys):
    with pytest.raises(ValidationError) as raised:
        Outer.model_validate(keys)
    return str(translate(raised.value, Outer))


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"nmae": "x"}, "nmae: is no key; did you mean 'name'?"),  # and not that `name` is missing
        ({"name": "x", "zzz": 1}, "zzz: is no key: the keys are name, inner, timeout, several"),
        ({}, "name: is required"),
        ({"name": ["x"]}, "name: must be text (in quotes), not ['x']"),
        ({"name": "x", "inner": {"memry": 1}}, "inner.memry: is no key; did you mean 'memory'?"),
        ({"name": "x", "inner": "big"}, "inner: must be a mapping or instance of Inner, not 'big'"),
        ({"name": "x", "inner": {"cpus": 0}}, "inner.cpus: must be greater than 0, not 0"),
        ({"name": "x", "inner": {"cpus": True}}, "inner.cpus: must be a valid integer, not True"),
        ({"name": "x", "timeout": "1"}, "timeout: must be a valid number, not '1'"),
        ({"name": "x", "timeout": float("inf")}, "timeout: must be a finite number, not inf"),
    ],
)
def test_what_is_wrong_names_its_key_and_what_it_must_be(keys, text):
    assert problem(**keys) == text


def test_a_key_within_a_list_is_told_by_its_place():
    assert problem(name="x", several=[{}, {"cpus": -1}]).startswith("several[1].cpus: must be greater than 0")


def test_a_number_is_a_name_too():
    assert Outer(name=1).name == "1"
    assert Outer(name=1.5).name == "1.5"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000), ("1.5GiB", 1_610_612_736), (" 2 gb ", 2_000_000_000), (".5kb", 500), ("7", 7),
        ("1.MB", 1_000_000), ("1TiB", 1 << 40), (12, 12), (None, None),
    ],
)  # fmt: skip
def test_amounts_of_memory(text, size):
    assert read_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 XB", "0", "0.1b", "1e3MB", "1 MB 2", "1,5GB"])
def test_what_is_no_amount_of_memory(text):
    with pytest.raises(SpecError, match="is no amount of memory: write it as 500MB"):
        read_bytes(text)


@pytest.mark.parametrize("name", ["1a", "a b", "class", "", None, 1])
def test_what_can_not_be_a_parameter(name):
    with pytest.raises(SpecError, match=rf"^params\.{name}: .* can't be a parameter"):
        check_identifier(name, "params")
    check_identifier("größe", "params")


def test_values_as_json_has_them():
    class Odd:
        def __repr__(self):
            raise RuntimeError("no text")

    value = {1: (np.int64(2), np.float32(0.5), Fraction(1, 4)), "b": [True, None, "x"], "f": plain}
    assert plain(value) == {"1": [2, 0.5, 0.25], "b": [True, None, "x"], "f": "ml_experiment_nb.fields:plain"}
    assert isinstance(plain(Odd()), str)
    assert plain({1, 2}) == "{1, 2}"


def test_a_function_s_name():
    assert name_of(len) == "builtins:len"
    assert name_of(functools.partial(len)).endswith(":partial")
