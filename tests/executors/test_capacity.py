import pytest

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.executors.capacity import Need
from ml_experiment_nb.specs import Resources


@pytest.mark.parametrize(
    ("need", "free", "room"),
    [
        (Need(1, 0), {"CPU": 4.0}, 4),
        (Need(0.5, 0), {"CPU": 1.0}, 2),
        (Need(0.1, 0), {"CPU": 0.3}, 3),
        (Need(2, 0), {"CPU": 3.0}, 1),
        (Need(1, 0), {}, 0),
        (Need(0, 0), {}, 7),
        (Need(1, 1), {"CPU": 8.0, "GPU": 2.0}, 2),
        (Need(1, 0.5), {"CPU": 8.0, "GPU": 2.0}, 4),
        (Need(1, 0.3), {"CPU": 8.0, "GPU": 2.0}, 6),
        (Need(1, 0.3), {"CPU": 8.0, "GPU": 0.7}, 2),
        (Need(1, 2), {"CPU": 8.0, "GPU": 3.0}, 1),
        (Need(1, 0, 4 << 30), {"CPU": 8.0, "memory": 9 << 30}, 2),
        (Need(1, 0, 64 << 30), {"CPU": 8.0, "memory": 9 << 30}, 1),
    ],
)
def test_room(need, free, room):
    assert need.room(free, otherwise=7) == room


@pytest.mark.parametrize(
    ("need", "slots", "asked"),
    [
        (Need(1, 0), 3, {"num_cpus": 3, "num_gpus": 0}),
        (Need(0.5, 0), 3, {"num_cpus": 2, "num_gpus": 0}),
        (Need(0.5, 0.5), 1, {"num_cpus": 0.5, "num_gpus": 0.5}),
        (Need(1, 0.3), 3, {"num_cpus": 3, "num_gpus": 0.9}),
        (Need(1, 0.3), 4, {"num_cpus": 4, "num_gpus": 2}),
        (Need(1, 2), 2, {"num_cpus": 2, "num_gpus": 4}),
    ],
)
def test_what_an_actor_asks_for(need, slots, asked):
    assert need.request(slots) == asked


@pytest.mark.parametrize(
    ("gpu", "ids", "slots", "devices"),
    [
        (0, [], 2, [None, None]),
        (1, ["0", "3"], 2, ["0", "3"]),
        (2, ["0", "1", "2", "3"], 2, ["0,1", "2,3"]),
        (0.5, ["0", "1"], 4, ["0", "0", "1", "1"]),
        (0.3, ["0", "1"], 4, ["0", "0", "0", "1"]),
    ],
)
def test_each_slot_has_devices_of_its_own_or_shares_one(gpu, ids, slots, devices):
    assert Need(1, gpu).devices(ids, slots) == devices


def test_a_gpu_and_a_half():
    with pytest.raises(ExecutorError, match=r"gpu 1.5.*set 1 or 2"):
        Need.of(Resources(gpu=1.5))


def test_what_no_node_can_ever_hold():
    need = Need(8, 1)
    need.check([{"CPU": 2.0}, {"CPU": 8.0, "GPU": 1.0}])
    with pytest.raises(ExecutorError, match=r"cpu 8 and gpu 1.*CPU 2 and GPU 0 \(2 nodes\), CPU 8 and GPU 0; lower it"):
        need.check([{"CPU": 2.0}, {"CPU": 2.0}, {"CPU": 8.0}])
