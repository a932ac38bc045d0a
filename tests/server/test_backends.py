"""The processes that answer for projects: when they are started, when they end, and what is said where they can't."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest

from ml_experiment_nb.backend.refusals import Refused
from ml_experiment_nb.server import backends
from ml_experiment_nb.server.backends import Backend, Backends, Question

pytestmark = pytest.mark.slow


def question(root, verb="jobs", **more):
    return Question(verb, root, root, {}, more.pop("given", {}), **more)


async def answered(backend, **more):
    answer = await backend.ask(question(backend.root, **more))
    return answer.status, json.loads(answer.body)


async def ended(backend):
    async with asyncio.timeout(60):
        while backend.is_running:
            await asyncio.sleep(0.05)


def test_one_is_ended_for_another_project_s_unless_somebody_needs_it(project, monkeypatch):
    monkeypatch.setattr(backends, "MOST", 1)
    roots = [project / name for name in "ab"]
    for one in roots:
        one.mkdir()

    async def check():
        each = Backends()
        first, second = each.of(roots[0]), each.of(roots[1])
        assert await answered(first) == (200, {"jobs": []})
        assert each.of(roots[0]) is first
        first.is_wanted = lambda: True
        with pytest.raises(Refused, match="1 projects are being looked at"):
            each.of(roots[1])
        assert each.of(roots[0]) is first
        first.is_wanted = lambda: False
        assert each.of(roots[1]) is second
        await ended(first)
        assert await answered(second) == (200, {"jobs": []})
        second.end()
        await ended(second)

    asyncio.run(check())


def test_one_that_nobody_asks_any_more_ends_and_the_next_question_starts_it_again(project, monkeypatch):
    async def check():
        backend = Backend(project)
        monkeypatch.setattr(backends, "IDLE", 0.2)
        for _ in range(2):
            assert (await answered(backend))[0] == 200
            await ended(backend)
        monkeypatch.setattr(backends, "IDLE", 60.0)
        assert (await answered(backend))[0] == 200
        backend.end()
        await ended(backend)

    asyncio.run(check())


def test_one_that_does_not_answer_is_ended_and_what_only_looks_is_asked_again(project, monkeypatch):
    async def check():
        backend = Backend(project)
        assert (await answered(backend))[0] == 200
        pid = backend._process.pid
        os.kill(pid, signal.SIGSTOP)
        monkeypatch.setattr(backends, "SECONDS", 0.5)
        with pytest.raises(Refused, match="did not answer") as refused:
            await answered(backend)
        assert refused.value.status == 504
        await ended(backend)
        monkeypatch.setattr(backends, "SECONDS", 90.0)
        assert (await answered(backend))[0] == 200
        os.kill(backend._process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(answered(backend, changes=True, verb="stop job"))
        looked = asyncio.create_task(answered(backend))
        await asyncio.sleep(0.2)
        os.kill(backend._process.pid, signal.SIGKILL)
        with pytest.raises(Refused, match="has ended"):
            await asked
        assert await looked == (200, {"jobs": []})
        backend.end()
        await ended(backend)

    asyncio.run(check())


def test_the_end_of_one_leaves_alone_what_the_next_is_asked(project):
    async def check():
        backend = Backend(project)
        assert (await answered(backend))[0] == 200
        old, backend._process = backend._process, None
        assert (await answered(backend))[0] == 200
        new = backend._process.pid
        os.kill(new, signal.SIGSTOP)
        asked = asyncio.create_task(answered(backend, changes=True))
        await asyncio.sleep(0.2)
        over = asyncio.Event()
        backend.on_end = over.set
        old.kill()
        await asyncio.wait_for(over.wait(), 60)
        os.kill(new, signal.SIGCONT)
        assert await asked == (200, {"jobs": []})
        backend.end()
        await ended(backend)

    asyncio.run(check())


def test_what_is_to_be_done_while_one_ends_is_done_by_the_next(project):
    async def check():
        backend = Backend(project)
        assert (await answered(backend))[0] == 200
        old = backend._process
        os.kill(old.pid, signal.SIGSTOP)
        backend.end()
        assert await answered(backend, changes=True) == (200, {"jobs": []})
        os.kill(old.pid, signal.SIGCONT)
        await old.wait()
        backend.end()
        await ended(backend)

    asyncio.run(check())


def test_a_folder_that_has_gone_is_said(project):
    async def check():
        with pytest.raises(Refused, match="no process can be started") as refused:
            await answered(Backend(project / "gone"))
        assert refused.value.status == 503

    asyncio.run(check())
