from pathlib import Path

import pytest

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors import packing
from ml_experiment_nb.executors.copies import CHUNK, Copies, Piece
from ml_experiment_nb.executors.packing import belongings, contents, pack
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping


def write(folder, **texts):
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder, excludes=()):
    return {str(path.relative_to(folder)) for path in contents(folder, excludes)}


def plan(**keys):
    asked = {"run": {"command": "true"}, "param_space": {"x": "range(0, 9)"}, "allow_unknown_params": True, **keys}
    return make_plan(spec_from_mapping(asked))


def test_what_is_ignored_stays_here(project):
    write(project, a="", b="", sub__a="", sub__c="", sub__deep__c="", out__x="", env__pyvenv="", env__b="")
    (project / "env" / "pyvenv.cfg").touch()
    (project / ".gitignore").write_text("/a\nout/\n")
    (project / "sub" / ".rayignore").write_text("c\n!deep/c\n")
    (project / ".ml-experiment").mkdir()
    write(project, kept__a="", kept__b__c="")
    (project / "kept" / ".gitignore").write_text("/*\n!/b/\n")
    kept = {".", ".gitignore", "b", "kept", "kept/b", "kept/b/c", "sub"}
    assert names(project) == kept | {"sub/.rayignore", "sub/a", "sub/deep", "sub/deep/c"}
    assert names(project, ["sub/*"]) == kept


def test_a_project_is_sent_whole_and_a_script_elsewhere_with_its_folder(project, tmp_path_factory, script):
    other = tmp_path_factory.mktemp("other")
    write(other, train="")
    (other / "train.py").touch()
    (project / "in").mkdir()
    asked = plan(run=[str(other / "train.py"), script("", "in/train.py").path])
    assert belongings(asked, project).trees == (project, other)
    asked = plan(run=str(project / "in" / "train.py"), ray_config={"runtime_env": {"working_dir": str(project)}})
    found = belongings(asked, project)
    assert (found.trees, found.working_dir) == ((), project)


def test_named_data_is_sent_even_if_it_is_ignored(project):
    write(project, data__a="", data__b="")
    asked = plan(data={"folder": "data", "files": ["a"]})
    assert belongings(asked, project).files == (project / "data" / "a",)


def test_too_much_to_send(project, monkeypatch, tmp_path_factory):
    monkeypatch.setattr(packing, "LIMIT", 10)
    write(project, large="x" * 20, small="x")
    what = belongings(plan(), project)
    problem = r"at most 10 B.*the largest: .*large \(20 B\).*\.rayignore"
    with (tmp_path_factory.mktemp("out") / "archive").open("wb") as file, pytest.raises(ExecutorError, match=problem):
        pack(what, file)


def test_a_task_there_and_what_it_leaves_back_here(project, make_task, script, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    target = script("print(1)", "in/train.py")
    write(project, **{"in__beside": "1"})
    with (away / "archive").open("w+b") as file:
        pack(belongings(plan(run=target.path), project), file)
        file.seek(0)
        copies = Copies()
        copies.unpack([file.read()], None)
    copies.take_payload("/tmp/values", lambda: [b"val", b"ues"])
    env, path = {"ML_EXPERIMENT_ROOT": str(project)}, ("/no/such", str(project))
    task = make_task(target, payload="/tmp/values", env=env, path=path)
    there = copies.of(task)
    try:
        [step] = there.steps
        assert open(step.target.path).read() == "print(1)"
        assert open(step.target.path.replace("train.py", "beside")).read() == "1"
        assert there.cwd == there.env["ML_EXPERIMENT_ROOT"] == there.path[0] != str(project)
        assert len(there.path) == 1
        assert open(there.payload, "rb").read() == b"values"
        large = bytes(range(256)) * (CHUNK // 200)
        folder = Path(there.folder) / "artifacts"
        (folder / "empty").mkdir(parents=True)
        (folder / "large").write_bytes(large)
        (folder / "nothing").touch()
        pieces = [piece for batch in copies.pieces(task) for piece in batch]
        assert max(len(piece.data) for piece in pieces if piece.data is not None) <= CHUNK
        for piece in pieces:
            assert isinstance(piece, Piece)
            piece.put()
        back = Path(task.folder) / "artifacts"
        assert {path.name for path in back.iterdir()} == {"empty", "large", "nothing"}
        assert (back / "large").read_bytes() == large
        assert not folder.exists()
    finally:
        copies.remove()
