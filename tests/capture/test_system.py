import dataclasses
import os
import pickle
import subprocess
import sys
import types

import psutil
import pytest

from ml_experiment_nb.capture import system
from ml_experiment_nb.capture.system import Gpu, System, system_info


@pytest.fixture(autouse=True)
def fresh():
    system._read.cache_clear()
    yield
    system._read.cache_clear()


def test_the_facts_of_this_machine():
    notes = []
    found = system_info(notes=notes)
    assert found.hostname == os.uname().nodename
    assert found.memory == psutil.virtual_memory().total
    assert found.cores_logical == psutil.cpu_count()
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.executable == sys.executable
    assert found.environment == sys.prefix
    assert found.os.startswith(os.uname().sysname)
    assert found.cpu
    assert found.user
    assert system_info() is found
    assert pickle.loads(pickle.dumps(found)) == found


def test_tags_are_flat_text_and_leave_out_what_is_unknown():
    gpus = (Gpu("A100", 40 * 2**30), Gpu("T4", 15 * 2**30))
    found = System(
        hostname="h",
        user="u",
        os="Linux",
        cpu="Xeon",
        cores_physical=2,
        cores_logical=4,
        memory=8 * 2**30,
        gpus=gpus,
        gpu_driver="550.1",
        cuda="",
        python="3.11.7",
        executable="/bin/python",
        environment="/usr",
        environment_kind="system",
    )
    assert found.as_tags() == {
        "mlexp.system.hostname": "h",
        "mlexp.system.user": "u",
        "mlexp.system.os": "Linux",
        "mlexp.system.cpu": "Xeon",
        "mlexp.system.cores_physical": "2",
        "mlexp.system.cores_logical": "4",
        "mlexp.system.memory": str(8 * 2**30),
        "mlexp.system.gpus": "A100 (40.0 GiB), T4 (15.0 GiB)",
        "mlexp.system.gpu_driver": "550.1",
        "mlexp.system.python": "3.11.7",
        "mlexp.system.executable": "/bin/python",
        "mlexp.system.environment": "/usr",
        "mlexp.system.environment_kind": "system",
    }
    assert "mlexp.system.gpus" not in dataclasses.replace(found, gpus=()).as_tags()


class FakeNvml(types.ModuleType):
    """Stands in for the driver's library, which a machine without a GPU can't load."""

    class NVMLError(Exception):
        pass

    class NVMLError_LibraryNotFound(NVMLError):
        pass

    class NVMLError_DriverNotLoaded(NVMLError):
        pass

    def __init__(self, fault=None):
        super().__init__("pynvml")
        self.fault = fault
        self.open = 0

    def nvmlInit(self):
        if self.fault:
            raise self.fault
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return 12040

    def nvmlSystemGetDriverVersion(self):
        return "550.54.15"

    def nvmlDeviceGetCount(self):
        return 2

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        if handle:
            raise self.NVMLError("no permission")
        return "GPU-0"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return types.SimpleNamespace(total=1000 + handle)

    def nvmlDeviceGetName(self, handle):
        return f"Card {handle}"


def test_gpus(monkeypatch):
    nvml = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    found = system_info()
    assert found.gpus == (Gpu("Card 0", 1000, "GPU-0"), Gpu("Card 1", 1001, ""))
    assert (found.gpu_driver, found.cuda) == ("550.54.15", "12.4")
    assert nvml.open == 0


@pytest.mark.parametrize("fault", [FakeNvml.NVMLError_LibraryNotFound(), FakeNvml.NVMLError_DriverNotLoaded()])
def test_no_driver_is_nothing_to_note(monkeypatch, fault):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(fault))
    notes = []
    assert system_info(notes=notes).gpus == ()
    assert notes == []


def test_no_nvml_package_is_nothing_to_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    notes = []
    assert system_info(notes=notes).gpus == ()
    assert notes == []


def test_a_broken_driver_is_noted_each_time(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", FakeNvml(FakeNvml.NVMLError("version mismatch")))
    for _ in range(2):
        notes = []
        assert system_info(notes=notes).gpus == ()
        assert notes == ["the GPUs could not be read: version mismatch"]


def test_a_missing_psutil_leaves_the_other_facts(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    notes = []
    found = system_info(notes=notes)
    assert (found.memory, found.cores_physical) == (0, 0)
    assert found.hostname
    assert [note.partition(" could")[0] for note in notes] == ["the number of cores", "the memory"]


def test_a_user_without_a_name_is_a_number(monkeypatch):
    def unknown():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(system.getpass, "getuser", unknown)
    assert system_info().user == str(os.getuid())


def test_a_virtual_environment_is_told_from_the_system(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "v"], check=True)
    script = "import ml_experiment_nb.capture.system as s; print(s._environment_kind(), s.sys.prefix)"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    ran = subprocess.run([tmp_path / "v/bin/python", "-c", script], env=env, check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["venv", str(tmp_path / "v")]


def test_a_conda_environment_is_told_by_its_folder(monkeypatch, tmp_path):
    (tmp_path / "conda-meta").mkdir()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert system_info().environment_kind == "conda"
