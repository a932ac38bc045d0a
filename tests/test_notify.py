import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.identity import as_experiment, spec_hash
from ml_experiment_nb.notify import Notify, read_words
from ml_experiment_nb.spec_files import read_spec, spec_text
from ml_experiment_nb.specs import spec_from_mapping, to_mapping

HOOK = "https://hooks.example/services/T0/B0/secret"


def asked(notify, **more):
    return spec_from_mapping({"run": {"command": "true"}, "kind": "experiment", "notify": notify, **more}).notify


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("desktop", Notify(desktop=True)),
        (HOOK, Notify(webhook=HOOK)),
        ("${env:HOOK}", Notify(webhook="${env:HOOK}")),
        ("https://chat.example/${env:TOKEN}", Notify(webhook="https://chat.example/${env:TOKEN}")),
        ({"webhook": HOOK, "desktop": True, "after": 60}, Notify(webhook=HOOK, desktop=True, after=60.0)),
        (None, None),
    ],
)
def test_what_is_asked(given, read):
    assert asked(given) == read


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("desktp", "notify.webhook: is no address"),
        ("file:///etc/passwd", "is no address"),
        ("https://", "is no address"),
        ("http://host:port/x", "is no address"),
        ({"webhok": HOOK}, "did you mean 'webhook'"),
        ({"after": -1}, "notify.after"),
        ({"desktop": "yes"}, "notify.desktop"),
    ],
)
def test_what_can_not_be_asked(given, why):
    with pytest.raises(SpecError) as caught:
        asked(given)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_words():
    assert read_words([]) is None
    assert read_words(["desktop", HOOK]) == Notify(webhook=HOOK, desktop=True)
    for words in (["desktop", "desktop"], [HOOK, HOOK], ["phone"]):
        with pytest.raises(SpecError):
            read_words(words)


def test_the_variable_is_read_when_it_is_needed(monkeypatch):
    notify = Notify(webhook="${env:HOOK}")
    monkeypatch.delenv("HOOK", raising=False)
    with pytest.raises(SpecError, match="the variable HOOK is not set"):
        _ = notify.address
    monkeypatch.setenv("HOOK", HOOK)
    assert notify.address == HOOK
    monkeypatch.setenv("HOOK", "nothing")
    with pytest.raises(SpecError, match="is no address"):
        _ = notify.address


def test_an_address_is_not_written_and_a_variable_s_name_is(tmp_path):
    whole = {"run": {"command": "true"}, "kind": "experiment", "name": "x"}
    spec = spec_from_mapping({**whole, "notify": {"webhook": HOOK, "after": 60}})
    assert "secret" not in spec_text(spec)
    assert to_mapping(spec)["notify"] == {"webhook": "https://hooks.example/…", "after": 60.0}
    (tmp_path / "x.yaml").write_text(spec_text(spec))
    assert read_spec(tmp_path / "x.yaml").notify == Notify(after=60)
    named = spec_from_mapping({**whole, "notify": "${env:HOOK}"})
    (tmp_path / "x.yaml").write_text(spec_text(named))
    assert read_spec(tmp_path / "x.yaml").notify == named.notify


def test_it_changes_nothing_of_what_is_asked():
    group = {"run": {"command": "true"}, "kind": "group", "param_space": {"C": "uniform(0, 1)"}}
    told, silent = spec_from_mapping({**group, "notify": "desktop"}), spec_from_mapping(group)
    assert spec_hash(told) == spec_hash(silent)
    assert as_experiment(told, {"C": 0.5}).notify is None
