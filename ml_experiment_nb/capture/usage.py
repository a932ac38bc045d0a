"""What a run uses while it goes on: its own processes, and the machine, in MLflow's names.

MLflow's page has a tab for metrics whose names begin with ``system/``. Names that MLflow has mean what they mean there:
the whole machine. Those of the run itself begin with ``system/run_``.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from ml_experiment_nb.records import SYSTEM

PRIMED = 1.0  # seconds after which a run's use is first looked at: a shorter one costs nothing
FIRST = 3.0  # seconds after which its first sample is taken
EVERY = 5.0  # seconds between two samples, to begin with
SHARE = 0.005  # of a run's time that passes between two samples: of a day there are not many more than of an hour
_MB = 1e6


class Usage:
    """Samples what a run's processes and the machine use, at the moments that `due_in` tells.

    A sample's CPU is the mean since the sample before. Nothing is read before a run is a second old.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._due = self._began + PRIMED
        self._started = time.time()
        self._base: dict[int, float] = {}
        self._last: tuple[float, float] | None = None
        self._machine = _Since()

    @property
    def due_in(self) -> float:
        """Seconds until the next look; not more than 0 where it is time."""
        return self._due - time.monotonic()

    def look(self, pids: Iterable[int], memory: Callable[[], float] | None = None) -> dict[str, float]:
        """Return metrics by name; nothing the first time, which only says where to count from.

        Args:
            pids: The run's processes.
            memory: Returns the bytes that they use; by default what is resident of each.
        """
        now = time.monotonic()
        elapsed = now - self._began
        is_first = self._last is None
        self._due = now + (FIRST - PRIMED if is_first else max(EVERY, elapsed * SHARE))
        seconds, resident = self._of(pids)
        before, self._last = self._last, (now, seconds)
        found = self._machine.look()
        if before is None:
            return {}
        found["run_cpu_utilization_percentage"] = 100 * max(0.0, seconds - before[1]) / max(now - before[0], 1e-3)
        found["run_memory_usage_megabytes"] = (memory() if memory else resident) / _MB
        return {f"{SYSTEM}{name}": round(value, 1) for name, value in found.items()}

    def _of(self, pids: Iterable[int]) -> tuple[float, int]:
        """Return the CPU seconds that processes have used since the run began, and the bytes that are resident."""
        import psutil

        seconds, resident = 0.0, 0
        for pid in pids:
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                with process.oneshot():
                    used = sum(process.cpu_times()[:4])  # with what those that ended have used
                    is_older = process.create_time() < self._started - 1
                    seconds += used - self._base.setdefault(pid, used if is_older else 0.0)
                    resident += process.memory_info().rss
        return seconds, resident


class _Since:
    """The machine's use since the last look."""

    def __init__(self) -> None:
        self._cpu: tuple[float, float] | None = None
        self._network: tuple[float, float] | None = None

    def look(self) -> dict[str, float]:
        import psutil

        memory, disk, times = psutil.virtual_memory(), psutil.disk_usage(os.sep), psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        all_ = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # those stand in user
        before, self._cpu = self._cpu or (idle, all_), (idle, all_)
        found = {
            "system_memory_usage_megabytes": memory.used / _MB,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / _MB,
        }
        if all_ > before[1]:
            found["cpu_utilization_percentage"] = 100 * (1 - (idle - before[0]) / (all_ - before[1]))
        with suppress(Exception):  # some containers have no network to count
            counted = psutil.net_io_counters()
            here = counted.bytes_recv / _MB, counted.bytes_sent / _MB
            self._network = self._network or here
            found["network_receive_megabytes"] = here[0] - self._network[0]
            found["network_transmit_megabytes"] = here[1] - self._network[1]
        return found | _gpus()


_lock = threading.Lock()
_devices: list[Any] | None = None


def _gpus() -> dict[str, float]:
    """Return what the NVIDIA GPUs are doing; nothing without one."""
    global _devices
    found: dict[str, float] = {}
    with _lock:
        try:
            import pynvml

            if _devices is None:
                _devices = []
                pynvml.nvmlInit()
                _devices = [pynvml.nvmlDeviceGetHandleByIndex(k) for k in range(pynvml.nvmlDeviceGetCount())]
        except Exception:  # no GPU, or no driver: `system_info` says what there is
            return found
        for k, device in enumerate(_devices):
            with suppress(pynvml.NVMLError):
                memory = pynvml.nvmlDeviceGetMemoryInfo(device)
                found[f"gpu_{k}_memory_usage_percentage"] = 100 * memory.used / memory.total
                found[f"gpu_{k}_memory_usage_megabytes"] = memory.used / _MB
            with suppress(pynvml.NVMLError):
                found[f"gpu_{k}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(device).gpu
            with suppress(pynvml.NVMLError):
                watts = pynvml.nvmlDeviceGetPowerUsage(device)
                found[f"gpu_{k}_power_usage_watts"] = watts / 1000
                found[f"gpu_{k}_power_usage_percentage"] = 100 * watts / pynvml.nvmlDeviceGetEnforcedPowerLimit(device)
    return found
