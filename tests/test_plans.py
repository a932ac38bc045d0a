import pytest
from planned_scripts import folder, group, rows, spec

from ml_experiment_nb import cells, markup
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.plans import Task, prepared
from ml_experiment_nb.spaces import space_text
from ml_experiment_nb.specs import spec_from_mapping
from ml_experiment_nb.targets import Cell, Function

__all__ = ["folder", "rows", "spec"]  # fixtures

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
first: one slot does
  note       CmaEs(n_startup_trials=5) searches numbers alone; drawn at random in each trial: gamma"""
    )


def test_gpus_for_each_slot_take_ray_and_a_plain_process_says_that_it_has_none(spec):
    keys = {"slots": 1, "resources_per_worker": {"gpu": 1}}
    assert make_plan(group(spec, **keys)).executor == "ray"
    [note] = make_plan(group(spec, **keys, executor="inline")).notes
    assert note == "resources_per_worker.gpu is for slots on Ray: a plain process gets no GPU of its own"
    assert make_plan(group(spec, **keys, docker_config={"image": "a:1"})).notes == ()


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


# --- a table ---


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


def test_a_plan_in_a_notebook(spec):
    plan = make_plan(group(spec, params={"kernel": "<rbf>"}))
    assert plan.facts()[0] == ("kind", "group")
    assert f"<caption {markup.CAPTION}>Plan {plan.spec.name}</caption>" in plan._repr_html_()
    assert "kernel=&#x27;&lt;rbf&gt;&#x27;" in plan._repr_html_()
    assert plan._repr_markdown_().splitlines()[2] == "- kind: group"
    assert str(plan).splitlines()[1] == "  kind       group"


@pytest.mark.parametrize(
    ("space", "says"),
    [
        ({"C": "range(0, 3)", "kernel": "choice(['rbf', 'poly'])"}, "all 6 points"),
        ({"C": "range(0, 3)", "num_trials": 4}, "4"),
    ],
)
def test_a_grid_says_how_many_points_it_has(spec, space, says):
    trials = {"num_trials": space.pop("num_trials")} if "num_trials" in space else {}
    plan = make_plan(spec(kind="group", param_space=space, sampler="GridSearch", **trials))
    assert dict(plan.facts())["trials"] == says
