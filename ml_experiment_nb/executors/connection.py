"""The Ray that a plan's slots are on: one that is connected already, one at an address, or a new local one."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import ray
from ray._private import worker

from ml_experiment_nb.errors import ExecutorError
from ml_experiment_nb.observing.seeding import undrawn
from ml_experiment_nb.plans import Plan
from ml_experiment_nb.specs import RayConfig

ANSWER = 20.0  # seconds that what listens at an address may take to show that it may be a Ray
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of gRPC begins: HTTP/2's preface and its settings, which are none (RFC 9113, 3.4)."""

_ours: str | None = None  # the node of the Ray that this process started
_made: tuple[str, str] | None = None  # the connection that was made here, and what with


def connect(plan: Plan) -> dict[str, Any]:
    """Make sure that this process is connected to a Ray that suits the plan.

    Returns:
        The ``runtime_env`` that actors have to be given: empty where all that this process runs on Ray has it.

    Raises:
        ExecutorError: Ray can't be reached or started.
    """
    global _ours, _made
    config = plan.spec.ray_config or RayConfig()
    address = _address(config)
    given = dict(config.model_extra or {}) | ({} if address else {"num_gpus": config.num_gpus})
    wanted = json.dumps([address, given], default=repr, sort_keys=True)
    cpus = config.num_cpus or (plan.slots or 1) * plan.cpus_per_slot
    made = _made_with()
    if made is not None and (made != wanted or (is_ours() and ray.cluster_resources().get("CPU", 0) < cpus)):
        with undrawn():
            ray.shutdown()
    if ray.is_initialized():
        return {} if made is not None else _for_actors(given.get("runtime_env") or {})
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    options = {"log_to_driver": False, "logging_level": logging.ERROR} | given
    if address:
        _probe(address)
    else:
        options |= {"include_dashboard": given.get("include_dashboard", False), "num_cpus": max(1, round(cpus))}
        # Ray would kill a lost slot's own children alone: left to themselves they end with all that they started.
        options = {"_system_config": {"kill_child_processes_on_worker_exit": False}} | options
    try:
        with undrawn():
            _init(address or "local", options, patiently=not plan.may_do_without_ray)
    except Exception as error:  # Ray raises its own, Python's and bare ones
        what = f"reached at {address}" if address else "started"
        raise ExecutorError(f"Ray can't be {what}: {error} (`--executor inline` needs no Ray)") from error
    context = ray.get_runtime_context()
    _ours, _made = None if address else context.get_node_id(), (context.get_worker_id(), wanted)
    return {}


def shutdown() -> None:
    """End the Ray that this process started; one that it only connected to is left alone."""
    global _ours
    if is_ours():
        with undrawn():
            ray.shutdown()
    _ours = None


def is_ours() -> bool:
    """Return whether this process is connected to the Ray that it has started itself."""
    return ray.is_initialized() and _ours == ray.get_runtime_context().get_node_id()


def _made_with() -> str | None:
    """Return what the present connection was made with; None where there is none, or others made it."""
    if _made is None or not ray.is_initialized() or ray.get_runtime_context().get_worker_id() != _made[0]:
        return None
    return _made[1]


def _address(config: RayConfig) -> str | None:
    address = config.address or os.environ.get("RAY_ADDRESS")
    return None if address == "local" else address


def _for_actors(runtime_env: dict[str, Any]) -> dict[str, Any]:
    """Return what a connection that others made can still be given: Ray sends folders only when it is made."""
    for name in ("working_dir", "py_modules"):
        values = runtime_env.get(name) or ()
        local = [one for one in ([values] if isinstance(values, str) else values) if "://" not in str(one)]
        if local:
            raise ExecutorError(
                f"Ray is connected already, and sends {name} {local[0]} only when it is being connected: "
                "give it to your own ray.init(runtime_env=…), or end that connection with ray.shutdown() before"
            )
    return runtime_env


def _init(address: str, options: dict[str, Any], *, patiently: bool = True) -> None:
    """Start or reach Ray; `patiently` twice: it allows itself 30 s to start, which a busy machine may not keep to."""
    try:
        _init_once(address, options)
    except Exception as error:  # Ray raises bare ones
        if not patiently or "timed out during startup" not in str(error):
            raise
        _init_once(address, options)


def _init_once(address: str, options: dict[str, Any]) -> None:
    before = psutil.Process().children()
    try:
        with _unheard():
            ray.init(address=address, **options)
    except BaseException:  # an interrupt as well
        ray.shutdown()
        for one in psutil.Process().children():  # a start that fails leaves what it had started
            with suppress(psutil.Error):
                if one not in before and "ray" in " ".join(one.cmdline()):
                    one.kill()
                    one.wait(5)
        raise


@contextmanager
def _unheard() -> Iterator[None]:
    """Have a connection that is made here not print what Ray's daemons say when a node is lost.

    Ray prints pages of it to standard output, between the records, whatever `log_to_driver` is; the group's notes tell
    of lost slots.
    """
    names, listen = vars(worker), "listen_error_messages"  # the thread that prints it begins within ``ray.init``
    before = names.get(listen)
    names[listen] = lambda worker, stopped: None
    try:
        yield
    finally:
        if before is not None:
            names[listen] = before


def _probe(address: str) -> None:
    """Fail at once where Ray would try for minutes: nobody listens at the address, or something else than a Ray.

    Raises:
        ExecutorError: It says what was found, and what to do.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    remedy = "start one with `ray start --head`, or leave the address out"
    try:
        found = socket.create_connection((host, int(port)), timeout=5)
    except OSError as error:
        raise ExecutorError(f"no Ray answers at {address} ({error}); {remedy}") from error
    with found:
        if os.environ.get("RAY_USE_TLS", "0") == "0" and not _speaks_grpc(found):
            raise ExecutorError(f"what listens at {address} doesn't answer as a Ray does; {remedy}")


def _speaks_grpc(found: socket.socket) -> bool:
    """Return whether the other side answers as a server of gRPC, which Ray's are: with its settings first."""
    head = b""
    with suppress(OSError):
        found.settimeout(ANSWER)
        found.sendall(_GREETING)
        while len(head) < 4 and (more := found.recv(64)):
            head += more
    return head[3:4] == b"\x04"
