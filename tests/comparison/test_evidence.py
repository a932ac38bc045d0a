from pathlib import Path

import pytest

from ml_experiment_nb import diff, make_plan, run
from ml_experiment_nb.archive import Archive
from ml_experiment_nb.comparison.evidence import _doubtful, _size, packages_in
from ml_experiment_nb.errors import RunNotFoundError
from ml_experiment_nb.specs import spec_from_mapping


def one(script, **more):
    [record] = run(make_plan(spec_from_mapping({"run": script.path, **more})))
    assert record.ok
    return record


@pytest.mark.slow
def test_two_runs_of_a_script(stored, script):
    train = script(
        "from pathlib import Path\nfrom ml_experiment_nb import artifact, report\n"
        "import sys\nC = float(sys.argv[2])\nreport(score=C)\n"
        "artifact('same.txt', 'x')\nartifact('values.bin', bytes([int(C)] * 10))\n"
        "import uuid\nartifact('page.html', f'<p id=\"sk-container-id-{9 + int(C)}\">{uuid.uuid4()}</p>')\n"
        "artifact('other.html', f'<p>{C}</p>')\n"
    )
    a = one(train, params={"C": 1}, allow_unknown_params=True)
    path = Path(train.path)
    path.write_text(path.read_text() + "report(more=1)\n")
    b = one(train, params={"C": 2}, allow_unknown_params=True)
    found = diff(a, b.run_id[:10])
    assert [change.name for change in found["parameters"].changes] == ["C"]
    assert [change.name for change in found["metrics"].changes] == ["score", "more"]
    assert found["metrics"].changes[0].note == "+1 (+100.00%)"
    assert found["source"].hunks[0].lines[-1] == "+report(more=1)"
    page, changed = found["files"].changes  # of the same size
    assert page.name == "other.html"
    assert changed.name == "values.bin"
    assert changed.before.startswith("10 B sha256:")
    assert changed.before != changed.after
    assert found["files"].same == 2  # same.txt, and the page but for its ids
    assert {section.title for section in found.equal} >= {"packages", "machine"}
    assert not diff(a, a)


def test_what_can_not_be_compared(project, script):
    with pytest.raises(RunNotFoundError, match="nothing is recorded"):
        diff("a", "b")
    train = script("print(1)")
    a = one(train)
    with pytest.raises(RunNotFoundError, match="no run 'zzz'"):
        diff(a, "zzz")
    [job] = run(make_plan(spec_from_mapping({"kind": "job", "run": train.path})))
    with pytest.raises(RunNotFoundError, match="it was not recorded"):
        diff(a, job)


def test_packages_that_are_no_release():
    text = "numpy==2.0\n# mine==1.0 (local, editable: file:///a)\nwheel @ https://x/w.whl#sha256=abc\n"
    assert packages_in(text) == {
        "numpy": "2.0", "mine": "1.0 (local, editable: file:///a)", "wheel": "https://x/w.whl#sha256=abc",
    }  # fmt: skip


@pytest.mark.slow
def test_files_that_can_not_be_read_are_not_the_same(stored, script, monkeypatch):
    train = script("from ml_experiment_nb import artifact\nartifact('values.bin', b'123')\n")
    a, b = one(train), one(train)
    assert diff(a, b)["files"].same == 1
    monkeypatch.setattr(Archive, "digest", lambda *_: None)
    [change] = diff(a, b)["files"].changes
    assert "can't be read" in change.before


def test_of_many_large_files_some_are_read():
    sizes = {f"{k}.bin": 49_000_000 for k in range(20)} | {"large": 60_000_000, "other": 1}
    assert len(_doubtful(sizes, {**sizes, "other": 2})) == 10


def test_sizes_that_read_the_same_are_told_to_the_byte():
    assert _size(12_345, 12_341) == "12,345 B"
    assert _size(12_345, 12_345) == _size(12_345, None) == _size(12_345, 99) != "12,345 B"
