import pytest

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors import packing
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
