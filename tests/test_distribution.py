import json
import pickle

import cloudpickle
import pytest

from ml_experiment_nb import job, make_plan
from ml_experiment_nb.distribution import ASKED, RANK, Distributed, asked_here, read_distributed
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.specs import spec_from_mapping, to_mapping

JOB = """
from ml_experiment_nb import job

@job(distributed={"framework": "torch", "num_workers": 3})
def train(lr=0.1):
    pass

train()
"""


def plan(target, values=None, **keys):
    return make_plan(spec_from_mapping({"run": target, **keys}), values=values)


class TestWhatIsAsked:
    def test_a_framework_s_name_stands_for_the_defaults(self):
        assert read_distributed("torch") == Distributed(framework="torch")
        assert read_distributed({"framework": "torch"}).model_dump() == {
            "framework": "torch", "num_workers": 2, "gpus_per_worker": 0.0, "cpus_per_worker": 1.0,
        }  # fmt: skip

    def test_resources_as_ray_names_them(self):
        assert Distributed(framework="torch").resources == {"CPU": 1.0}
        assert Distributed(framework="torch", cpus_per_worker=2, gpus_per_worker=0.5).resources == {
            "CPU": 2.0, "GPU": 0.5
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("asked", "problem"),
        [
            ("pytorch", r"distributed\.framework: must be 'torch', 'tensorflow', 'xgboost' or 'lightgbm'"),
            ({"framework": "torch", "workers": 2}, r"distributed\.workers: is no key.*num_workers"),
            ({"num_workers": 2}, r"distributed\.framework: is required"),
            ({"framework": "torch", "num_workers": 0}, r"distributed\.num_workers"),
            ({"framework": "torch", "cpus_per_worker": 0}, r"distributed\.cpus_per_worker"),
            (2, "distributed"),
        ],
    )
    def test_what_is_wrong_is_named(self, asked, problem):
        with pytest.raises(SpecError, match=problem):
            read_distributed(asked)
        with pytest.raises(SpecError, match="distributed"):
            spec_from_mapping({"run": "train.py", "distributed": asked})

    def test_a_spec_keeps_it(self):
        spec = spec_from_mapping({"kind": "job", "run": "train.py", "distributed": {"framework": "torch"}})
        assert spec_from_mapping(to_mapping(spec)) == spec
        assert to_mapping(spec)["distributed"] == {"framework": "torch"}

    def test_what_a_slot_takes_is_not_asked_beside_it(self):
        with pytest.raises(SpecError, match=r"resources_per_worker: .*distributed\.cpus_per_worker"):
            spec_from_mapping({"run": "train.py", "distributed": "torch", "resources_per_worker": {"cpu": 2}})

    def test_a_worker_does_not_distribute_again(self, monkeypatch):
        monkeypatch.setenv(ASKED, json.dumps({"framework": "xgboost"}))
        assert asked_here() == Distributed(framework="xgboost")
        monkeypatch.setenv(RANK, "0")
        assert asked_here() is None


class TestPlans:
    def test_a_script_s_job_asks(self, project, script):
        found = plan(script(JOB).path)
        assert found.distributed == Distributed(framework="torch", num_workers=3)
        assert (found.slots, found.executor) == (1, "ray")
        assert "workers    3 of torch, with 1 CPU each" in str(found)

    def test_the_spec_s_word_goes_before_it(self, project, script):
        assert plan(script(JOB).path, distributed="xgboost").distributed == Distributed(framework="xgboost")

    def test_a_group_has_room_for_whole_sets_of_workers(self, project, script):
        asked = {"param_space": {"lr": "uniform(0, 1)"}, "ray_config": {"num_cpus": 7}}
        found = plan(script(JOB).path, **asked)
        assert (found.slots, found.cpus_per_slot) == (2, 3)
        assert not found.trial(0, {"lr": 0.5}).warm

    def test_what_only_running_it_would_tell(self, project, script):
        path = script(JOB.replace('{"framework": "torch", "num_workers": 3}', "asked")).path
        with pytest.raises(SpecError, match=r"script\.py:4: distributed: what train\(\) asks must be written out"):
            plan(path)

    def test_a_wrong_word_in_a_script(self, project, script):
        with pytest.raises(SpecError, match=r"script\.py:4: distributed\.framework: must be"):
            plan(script(JOB.replace('"torch"', '"torhc"')).path)

    @pytest.mark.parametrize(
        ("target", "problem"),
        [
            ({"command": "make"}, "a command can't be run on workers"),
            ({"source": "x = 1"}, "a cell can't be run on workers"),
            ("plain.py", r"plain\.py has no @job function"),
        ],
    )
    def test_what_can_not_be_distributed(self, project, script, target, problem):
        script("print(1)", "plain.py")
        with pytest.raises(SpecError, match=problem):
            plan(target, distributed="torch")

    def test_a_cell_that_reads_a_distributed_job(self, project):
        train = job(distributed="xgboost")(lambda x: x)
        found = plan({"source": "x = 1\ntrain(x)"}, values={"train": train}, params={"x": 1})
        assert found.distributed == Distributed(framework="xgboost")


class TestJobs:
    def test_it_travels_with_what_it_asks(self):
        def train(x):
            return x

        found = pickle.loads(cloudpickle.dumps(job(distributed="torch")(train)))
        assert found.distributed == Distributed(framework="torch")

    def test_a_wrong_word_is_said_at_once(self):
        with pytest.raises(SpecError, match="framework"):
            job(distributed="trch")(lambda x: x)
