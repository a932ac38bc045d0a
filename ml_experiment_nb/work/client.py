"""A kernel's manager and client for one headless notebook: they wait for no more than that needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import Empty
from typing import Any

import zmq
from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

AGAIN = 1.0  # seconds after which a kernel that has not answered is asked once more
SOON = 0.05  # seconds after which one is asked once more that has answered, but isn't heard to be idle
RECONNECT = 10  # milliseconds between two tries to connect to a kernel that is not there yet; by default it is 100


class HeadlessManager(AsyncKernelManager):
    """A manager that doesn't interrupt a kernel which has nothing to do: that one would only complain in its log."""

    idle = False
    """Whether all cells have been executed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.client_factory = HeadlessClient

    def _context_default(self) -> Any:
        return _soon_connected(super()._context_default())

    async def _async_interrupt_kernel(self) -> None:
        if not (self.idle and self.shutting_down):
            await super()._async_interrupt_kernel()

    interrupt_kernel = _async_interrupt_kernel


class HeadlessClient(AsyncKernelClient):
    """A client that is ready as soon as the kernel is.

    jupyter_client's own waits for 0.2 s of silence before it believes that a kernel is ready, listens to its
    heartbeat in a thread, though the manager sees whether its process lives.
    """

    def _context_default(self) -> Any:
        return _soon_connected(super()._context_default())

    def start_channels(
        self, shell: bool = True, iopub: bool = True, stdin: bool = True, hb: bool = False, control: bool = True
    ) -> None:
        """Start the channels; the heartbeat's only on demand."""
        super().start_channels(shell=shell, iopub=iopub, stdin=stdin, hb=hb, control=control)

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel has answered, and is heard to be idle: then both ways to it are open.

        Raises:
            RuntimeError: It died, or takes longer than `timeout` seconds.
        """
        give_up_at = float("inf") if timeout is None else time.monotonic() + timeout
        asked: set[str] = set()
        while True:
            asked.add(self.kernel_info())
            try:
                reply = await self._next(self.get_shell_msg, asked, "kernel_info_reply", AGAIN)
                await self._next(self.get_iopub_msg, asked, "idle", SOON)
            except Empty:
                if not await self.is_alive():
                    raise RuntimeError("Kernel died before replying to kernel_info") from None
                if time.monotonic() > give_up_at:
                    raise RuntimeError(f"Kernel didn't respond in {timeout:g} seconds") from None
                continue
            self._handle_kernel_info_reply(reply)
            return

    async def _next(self, get: Callable[..., Any], asked: set[str], awaited: str, timeout: float) -> dict[str, Any]:
        """Return the next message of a kind, or status, that is about one of our questions; Empty if none comes."""
        until = time.monotonic() + timeout
        while True:
            message: dict[str, Any] = await get(timeout=max(0.0, until - time.monotonic()))
            kind = message["content"].get("execution_state") or message["msg_type"]
            if kind == awaited and message["parent_header"].get("msg_id") in asked:
                return message


def _soon_connected(context: Any) -> Any:
    """Have a context's sockets try more often to reach a kernel that is just starting, and drop nothing that it says.

    By default a thousand messages wait for a reader: of a cell that shows more than is read in time, the rest is lost.
    """
    context.setsockopt(zmq.RECONNECT_IVL, RECONNECT)
    context.setsockopt(zmq.RCVHWM, 0)
    return context
