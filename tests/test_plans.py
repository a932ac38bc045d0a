import os
from pathlib import Path

import nbformat
import pytest

from ml_experiment_nb import cells, markup
from ml_experiment_nb.errors import ParameterError, SpecError
from ml_experiment_nb.planning import make_plan, with_params
from ml_experiment_nb.plans import Task, prepared
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell, Function

TRAIN = """\
from ml_experiment_nb import job

@job
def main(C, kernel="rbf", gamma="scale"):
    return {"accuracy": C}

if __name__ == "__main__":
    main()
"""
PREPARE = "from ml_experiment_nb import job\n@job\ndef prepare(size=10, seed=0): ...\nprepare()\n"
PLAIN = "print('no job here')\n"


@pytest.fixture
def folder(project):
    for name, text in {"train.py": TRAIN, "prepare.py": PREPARE, "plain.py": PLAIN}.items():
        (project / name).write_text(text)
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("C = 1\nkernel = 'rbf'")])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, project / "book.ipynb")
    return project


@pytest.fixture
def spec(folder):
    def make(**keys):
        return spec_from_mapping({"run": "train.py", "root_path": str(folder), **keys})

    return make


def group(spec, **keys):
    return spec(**{"kind": "group", "param_space": {"C": "loguniform(0.01, 100)"}, **keys})


# --- forks ---


@pytest.mark.parametrize(("system", "warm"), [("linux", True), ("darwin", False)])
def test_trials_are_forked_on_linux_alone(spec, monkeypatch, system, warm):
    monkeypatch.setattr("sys.platform", system)
    plan = make_plan(group(spec, run="book.ipynb"))
    assert plan.trial(0, {"C": 1.0}).warm is warm
    assert make_plan(group(spec), cold=True).trial(0, {"C": 1.0}).warm is False


def test_a_memory_limit_is_every_tasks(spec):
    assert make_plan(group(spec, memory="2GB")).trial(0, {"C": 1.0}).memory == 2 * 10**9
    plan = make_plan(spec(memory="500MB", params={"C": 1.0}))
    assert plan.tasks()[0].memory == 5 * 10**8
    assert "memory     at most 500 MB" in str(plan)


# --- as text ---


def test_a_job_that_nothing_calls_is_noted(spec, folder):
    (folder / "idle.py").write_text(PREPARE.removesuffix("prepare()\n"))
    plan = make_plan(spec(run="idle.py"))
    assert plan.notes == ("idle defines the job prepare and doesn't call it: end the file with prepare()",)


def test_an_experiment_as_text(spec, folder):
    plan = make_plan(spec(name="SVM", run=["prepare.py", "train.py"], params={"C": 0.5, "kernel": "rbf"}))
    assert (
        str(plan)
        == f"""\
Plan 'SVM'
  kind       experiment
  run        prepare, train
  in         {folder}
  params     C=0.5, kernel='rbf'"""
    )


def test_a_group_as_text(spec, folder):
    asked = group(
        spec,
        name="SVM",
        params={"kernel": "rbf"},
        param_space={"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])"},
        sampler={"name": "cma-es", "n_startup_trials": 5},
        pruner="median",
        seed=7,
        num_trials=12,
        metric={"name": "accuracy", "direction": "max"},
        ray_config={"num_cpus": 4},
        timeout_per_trial=90.0,
        docker_config={"image": "python:3.12"},
    )
    assert (
        str(make_plan(asked, values={"X": 1, "model": 2}))
        == f"""\
Plan 'SVM'
  kind       group
  run        train
  in         {folder}
  params     kernel='rbf'
    C        loguniform(0.01, 1000)
    gamma    choice(['scale', 'auto'])
  trials     12
  sampler    CmaEs(n_startup_trials=5), seed 7
  pruner     Median
  metric     maximize accuracy
  per trial  at most 1 min 30 s
  slots      4, ray
  container  python:3.12; at most 1 CPU
  values     X, model
  note       with several slots the seed doesn't repeat the search, since what is drawn depends on which trial ends \
first: one slot does"""
    )


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"docker_config": {"image": "a:1"}}, "a:1"),
        (
            {
                "docker_config": {"dockerfile": "d/Dockerfile", "context": ".", "args": {"TOKEN": "hush"}},
                "resources_per_worker": {"cpu": 2, "gpu": 1},
            },
            "built from d/Dockerfile, context ., args TOKEN; at most 2 CPUs; GPUs: 1",
        ),
    ],
)
def test_a_plan_says_what_its_container_is(folder, keys, text):
    (folder / "plain.py").touch()
    plan = make_plan(spec_from_mapping({"run": str(folder / "plain.py"), **keys}))
    assert dict(plan.facts())["container"] == text
    assert not any(task.warm for task in plan.tasks())


def test_space_text():
    from ml_experiment_nb.spaces import parse_value

    assert space_text(parse_value("randint(1, 5)")) == "randint(1, 5)"
    assert space_text(parse_value(["randint(1, 5)", "uniform(0, 1)"])) == "[randint(1, 5), uniform(0, 1)]"


# --- nothing happens ---


def test_making_a_plan_writes_nothing(spec, folder):
    before = sorted(folder.rglob("*"))
    make_plan(group(spec, executor="ray"))
    make_plan(spec(run="book.ipynb", params={"C": 2}))
    assert sorted(folder.rglob("*")) == before


# --- parameters ---


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"params": {"C": 1, "kernal": "rbf"}}, "kernal: train has no such parameter; did you mean 'kernel'?"),
        ({"params": {"C": 1, "x": 1}}, "x: train has no such parameter; it takes C, gamma, kernel"),
        ({"params": {}}, r"C: train: main\(\) needs it; give it in params, or with -p C=…"),
        ({"run": ["prepare.py", "train.py"], "params": {"C": 1, "sed": 1}}, "sed: prepare, train has no such.*'seed'"),
        ({"run": "book.ipynb", "params": {"c": 1}}, "'C'"),
        ({"run": "missing.py"}, "there is no such script"),
    ],
)
def test_parameters_that_do_not_fit(spec, keys, says):
    with pytest.raises(SpecError, match=says):
        make_plan(spec(**keys))


def test_a_space_is_checked_like_parameters(spec):
    with pytest.raises(ParameterError, match="gama: train has no such parameter; did you mean 'gamma'"):
        make_plan(group(spec, param_space={"C": "uniform(0, 1)", "gama": "uniform(0, 1)"}))
    with pytest.raises(ParameterError, match=r"main\(\) needs it"):
        make_plan(group(spec, param_space={"gamma": "uniform(0, 1)"}))


@pytest.mark.parametrize(
    "keys",
    [
        {"run": "plain.py", "params": {"anything": 1}},
        {"run": ["train.py", "plain.py"], "params": {"C": 1, "anything": 1}},
        {"params": {"C": 1, "anything": 1}, "allow_unknown_params": True},
        {"run": [{"command": "echo {x}"}], "params": {"x": 1}},
    ],
)
def test_what_can_not_be_asked_takes_anything(spec, keys):
    assert make_plan(spec(**keys)).tasks()


def test_several_scripts_share_the_parameters(spec, folder):
    plan = make_plan(spec(name="n", run=["prepare.py", "train.py"], params={"C": 1, "size": 5, "seed": 2}))
    assert [(task.key, task.name, dict(task.params)) for task in plan.tasks()] == [
        ("0", "n prepare", {"size": 5, "seed": 2}),
        ("1", "n train", {"C": 1}),
    ]
    assert [task.steps[0].target.path for task in plan.tasks()] == [
        str(folder / "prepare.py"),
        str(folder / "train.py"),
    ]
    assert plan.nested


def test_one_script_gets_all_parameters(spec):
    [task] = make_plan(spec(name="n", params={"C": 1, "extra": 2}, allow_unknown_params=True)).tasks()
    assert (task.name, dict(task.params), dict(task.steps[0].params)) == (
        "n",
        {"C": 1, "extra": 2},
        {"C": 1, "extra": 2},
    )


def test_a_trial(spec, folder):
    asked = group(
        spec, name="n", run=["prepare.py", "train.py"], params={"size": 5}, pruner="median", timeout=60.0,
        timeout_per_trial=10.0,
    )  # fmt: skip
    task = make_plan(asked, path=("/lib",)).trial(3, {"C": 0.5})
    assert (task.key, task.name, task.number) == ("3", "n #3", 3)
    assert dict(task.params) == {"size": 5, "C": 0.5}
    assert [dict(step.params) for step in task.steps] == [{"size": 5}, {"C": 0.5}]
    assert (task.cwd, task.path, task.timeout, task.pruning) == (str(folder), ("/lib",), 10.0, True)
    assert make_plan(group(spec, pruner="none")).trial(0, {}).pruning is False


def test_a_cell_gets_its_values_in_its_source(spec):
    source = "C = loguniform(0.01, 100)\nkernel = 'rbf'\n{'a': C}"
    cell = cells.read_cell(source)
    asked = group(
        spec, run=[Cell(source=source, parameters=("C", "kernel"))], param_space=cell.space, params=cell.params
    )
    task = make_plan(asked).trial(0, {"C": 0.5})
    assert task.steps[0].target.source == "C = 0.5\nkernel = 'rbf'\n{'a': C}"


def test_a_function_travels_once(spec):
    def train(C):
        pass

    plan = make_plan(spec(run=[Function(function=train)], params={"C": 1}), values={"function": train})
    assert plan.tasks()[0].steps[0].target.function is not train


def test_prepared():
    task = Task("0", "n", (), {}, "/")
    assert prepared(task, folder="/f", payload="/p", env={"a": "b"}) == Task(
        "0", "n", (), {}, "/", folder="/f", payload="/p", env={"a": "b"}
    )


# --- overriding ---


def test_with_params(spec):
    asked = spec(params={"C": 1, "kernel": "rbf"})
    assert with_params(asked, {}) is asked
    assert with_params(asked, {"C": 2}).params == {"C": 2, "kernel": "rbf"}
    assert asked.params["C"] == 1


def test_with_params_of_a_group(spec):
    asked = group(spec, params={"kernel": "rbf"}, param_space={"C": "uniform(0, 1)", "gamma": "uniform(0, 1)"})
    found = with_params(asked, {"C": 0.5, "kernel": "choice(['rbf', 'linear'])", "gamma": "loguniform(0.1, 1)"})
    assert found.params == {"C": 0.5}
    assert {name: str(value) for name, value in found.param_space.items()} == {
        "gamma": "loguniform(0.1, 1)",
        "kernel": "choice(['rbf', 'linear'])",
    }
    with pytest.raises(SpecError, match="nothing left to search"):
        with_params(asked, {"C": 1, "gamma": 1})


# --- slots ---

CPUS = os.cpu_count()


@pytest.mark.parametrize(
    ("keys", "address", "slots", "executor"),
    [
        ({}, None, min(CPUS, 10), "ray" if CPUS > 1 else "inline"),
        ({"slots": 1}, None, 1, "inline"),
        ({"slots": 3}, None, 3, "ray"),
        ({"slots": 3, "executor": "inline"}, None, 3, "inline"),
        ({"slots": 1, "executor": "ray"}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}}, None, 4, "ray"),
        ({"ray_config": {"num_cpus": 1}}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 2.0}}, None, 2, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 0.5}}, None, 8, "ray"),
        ({"ray_config": {"num_cpus": 4}, "resources_per_worker": {"cpu": 8.0}}, None, 1, "ray"),
        ({"ray_config": {"num_cpus": 4}, "num_trials": 3}, None, 3, "ray"),
        ({"ray_config": {"num_cpus": 4}, "slots": 2}, None, 2, "ray"),
        ({"num_trials": 1}, None, 1, "inline"),
        ({"ray_config": {"address": "host:6379"}}, None, None, "ray"),
        ({"ray_config": {"address": "host:6379"}, "slots": 5}, None, 5, "ray"),
        ({"executor": "ray"}, "host:6379", None, "ray"),
        ({"slots": 1}, "host:6379", 1, "ray"),
        ({"slots": 1, "executor": "inline"}, "host:6379", 1, "inline"),
    ],
)
def test_slots_and_executor(spec, monkeypatch, keys, address, slots, executor):
    if address:
        monkeypatch.setenv("RAY_ADDRESS", address)
    plan = make_plan(group(spec, **keys))
    assert (plan.slots, plan.executor) == (slots, executor)


def test_a_worker_may_need_no_cpu(spec):
    plan = make_plan(group(spec, ray_config={"num_cpus": 2}, resources_per_worker={"cpu": 0, "gpu": 1}))
    assert plan.slots >= 1


def test_an_experiment_has_one_inline_slot(spec):
    plan = make_plan(spec(params={"C": 1}, slots=4, ray_config={"num_cpus": 4}))
    assert (plan.slots, plan.executor, plan.nested, plan.tracked) == (1, "inline", False, True)
    job = make_plan(spec(kind="job", params={"C": 1}))
    assert (job.tracked, job.nested, job.kind) == (False, False, "job")


# --- a table ---


@pytest.fixture
def rows(folder):
    """Plan a run for each row of a table."""

    def plan(text="C,gamma\n0.5,auto\n1,\n", run="train.py", output=None, **keys):
        (folder / "params.csv").write_text(text)
        keys = {"run": run, "root_path": str(folder), "name": "SVM", "each": "params.csv", "slots": 2, **keys}
        return make_plan(spec_from_mapping(keys), output=output)

    return plan


def test_a_table_as_text(rows, folder):
    text = "C,gamma\n" + "0.5,auto\n" * 9999 + "1,\n"
    assert (
        str(rows(text, params={"kernel": "rbf"}, metric={"name": "acc", "direction": "max"}))
        == f"""\
Plan 'SVM'
  kind       group
  run        train
  in         {folder}
  params     kernel='rbf'
  each       {folder}/params.csv
  rows       10000
    row 0    C=0.5, gamma=auto
    row 1    C=0.5, gamma=auto
    row 2    C=0.5, gamma=auto
    …        and 9997 more
  metric     maximize acc
  slots      2, ray"""
    )


def test_a_row_is_a_task(rows):
    plan = rows(params={"kernel": "linear"})
    assert (plan.total, plan.slots, plan.executor) == (2, 2, "ray")
    task = plan.trial(1, plan.table.rows[1])
    assert (task.key, task.name, task.number, task.params) == ("1", "SVM #1", 1, {"kernel": "linear", "C": 1})
    assert plan.spec_of(task).each == ({"C": 1},)
    assert rows("C\n1\n").executor == "inline"  # one row needs one slot, and that no Ray


@pytest.mark.parametrize(
    ("text", "keys", "says"),
    [
        ("C,gama\n1,2\n", {}, r"params\.csv:1: gama: train has no such parameter; did you mean 'gamma'\?"),
        (
            "C,D\n1,2\n",
            {"run": "book.ipynb"},
            r"params\.csv:1: D: the parameters cell \(cell 1\) has no such parameter",
        ),
        ("C,gamma\n1,2\n,3\n", {}, r"params\.csv:3: C: train: main\(\) needs it"),
        ("C\n1\n", {"params": {"C": 1}}, r"params\.csv:1: C: is fixed for all rows \(params, -p\), and the table"),
        ("C\n1\n", {"params": {"D": 1}}, "^D: train has no such parameter"),
        ("C\n1\n", {"each": [{"C": 1}, {"C": 2, "D": 1}]}, r"^each\[1\]\.D: train has no such parameter"),
        ("C\n1\n", {"each": "param.csv"}, r"param\.csv: there is no such file; did you mean 'params\.csv'"),
    ],
)
def test_a_table_that_does_not_fit(rows, text, keys, says):
    with pytest.raises(SpecError, match=says):
        rows(text, **keys)


def test_a_row_s_value_has_the_type_that_is_annotated(rows, folder):
    (folder / "typed.py").write_text(TRAIN.replace("C, ", "C: float, "))
    with pytest.raises(ParameterError, match=r"params\.csv:3: C: 'much' is a str; it is annotated as float"):
        rows("C\n1\nmuch\n", run="typed.py")


def test_a_row_of_a_cell_can_be_written_into_it():
    keys = {"kind": "group", "run": [Cell(source="C = 1\nC")], "each": [{"C": 1}, {"C": object()}]}
    with pytest.raises(ParameterError, match=r"each\[1\]\.C: a value of type object can't be written in a cell"):
        make_plan(spec_from_mapping(keys))


def test_the_output_of_a_single_run(folder, rows):
    def output(path, **keys):
        spec = spec_from_mapping({"run": str(folder / "book.ipynb"), "params": {"C": 2}, **keys})
        return make_plan(spec, output=path).tasks()[0].output

    assert output(f"{folder}/out-{{C}}-{{{{x}}}}.ipynb") == f"{folder}/out-2-{{x}}.ipynb"
    assert output("out.ipynb") == str(Path("out.ipynb").absolute())
    assert output("s3://bucket/{C}.ipynb") == "s3://bucket/2.ipynb"
    for path, keys, says in (
        ("out-{D}.ipynb", {}, "the run gives no parameter 'D'"),
        ("nowhere/out.ipynb", {}, "nowhere/out.ipynb: its folder does not exist"),
        ("out.ipynb", {"param_space": {"kernel": "choice([1, 2])"}}, "a group keeps each executed notebook"),
        ("out.ipynb", {"run": [str(folder / "book.ipynb")] * 2}, "OUTPUT is for a single notebook"),
    ):
        with pytest.raises(SpecError, match=says):
            output(path, **keys)


def test_each_row_has_an_output_of_its_own(rows, folder):
    plan = rows("C\n1\n0.5\n", run="book.ipynb", output=f"{folder}/{{row}}-{{C:.2f}}-{{{{x}}}}.ipynb")
    outputs = [plan.trial(number, row).output for number, row in enumerate(plan.table.rows)]
    assert outputs == [f"{folder}/0-1.00-{{x}}.ipynb", f"{folder}/1-0.50-{{x}}.ipynb"]


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("out.ipynb", r"rows 0 and 1 would both be written to .*out\.ipynb: name what tells them apart"),
        ("{gamma}.ipynb", "row 1 gives no parameter 'gamma'"),
        ("{gama}.ipynb", r"row 0 gives no parameter 'gama'; did you mean 'gamma'\?"),
        ("{rwo}.ipynb", r"row 0 gives no parameter 'rwo'; did you mean 'row'\?"),
        ("{C}/book.ipynb", "there is no folder .* for row 0: make it first"),
        ("{}.ipynb", "can't be filled in"),
        ("{row.ipynb", "can't be filled in"),
        ("{C:y}.ipynb", "can't be filled in"),
    ],
)
def test_an_output_that_does_not_fit(rows, folder, pattern, says):
    (folder / "book.ipynb").write_text((folder / "book.ipynb").read_text().replace("kernel =", "gamma ="))
    with pytest.raises(SpecError, match=says):
        rows(run="book.ipynb", output=f"{folder}/{pattern}")


def test_a_table_is_not_searched(spec):
    asked = spec(each=[{"C": 1}])
    with pytest.raises(SpecError, match=r"gamma: uniform\(0, 1\) is a distribution, and a table's rows are not"):
        with_params(asked, {"gamma": "uniform(0, 1)"})
    assert with_params(asked, {"gamma": 2}).params == {"gamma": 2}


def test_a_plan_in_a_notebook(spec):
    plan = make_plan(group(spec, params={"kernel": "<rbf>"}))
    assert plan.facts()[0] == ("kind", "group")
    assert f"<caption {markup.CAPTION}>Plan {plan.spec.name}</caption>" in plan._repr_html_()
    assert "kernel=&#x27;&lt;rbf&gt;&#x27;" in plan._repr_html_()
    assert plan._repr_markdown_().splitlines()[2] == "- kind: group"
    assert str(plan).splitlines()[1] == "  kind       group"
