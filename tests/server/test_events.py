"""The pages that listen to a project, with the process that looks at it."""

from __future__ import annotations

import asyncio
import json

import pytest

from ml_experiment_nb.server import events
from ml_experiment_nb.server.backends import Backend, Response
from ml_experiment_nb.server.events import ProjectEvents

pytestmark = pytest.mark.slow


class Page:
    def __init__(self):
        self.heard = []

    def hear(self, text):
        self.heard.append(json.loads(text))


def test_all_pages_look_anew_when_one_joins_before_the_next_process_is_started(project, monkeypatch):
    monkeypatch.setattr(events, "_PAUSES", (600.0,))

    async def check():
        backend = Backend(project)
        watch = ProjectEvents(backend, project)
        first, second, third = Page(), Page(), Page()
        await watch.join(first, "")
        assert [one["event"] for one in first.heard] == ["hello"]
        backend._process.kill()
        async with asyncio.timeout(60):
            while watch._is_watching:
                await asyncio.sleep(0.02)
        since = first.heard[0]["id"]
        await asyncio.gather(watch.join(second, since), watch.join(third, ""))
        assert [one["event"] for one in first.heard] == ["hello", "hello"]
        assert first.heard[1]["id"] != since
        assert second.heard == third.heard == first.heard[1:]
        for page in (first, second, third):
            watch.leave(page)
        backend.end()
        await backend._process.wait()

    asyncio.run(check())


class Held:
    """A backend whose every answer waits until it is allowed; nothing else of one matters here."""

    is_running = True

    def __init__(self, root):
        self.root = root
        self.asked = []
        self.allowed = asyncio.Semaphore(0)

    async def ask(self, question):
        self.asked.append(question.verb)
        await self.allowed.acquire()
        self.asked.append("answered")
        return Response(200, b"{}")


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_page_that_joins_while_the_watch_ends_has_another_begun_after_that(project):
    async def check():
        backend, first, second = Held(project), Page(), Page()
        watch = ProjectEvents(backend, project)
        backend.allowed.release()
        await watch.join(first, "")
        watch.leave(first)
        watch._rest()
        await settled()
        joining = asyncio.create_task(watch.join(second, ""))
        await settled()
        assert backend.asked == ["watch", "answered", "unwatch"]
        backend.allowed.release()
        backend.allowed.release()
        await joining
        assert backend.asked == ["watch", "answered", "unwatch", "answered", "watch", "answered"]
        assert [one["event"] for one in second.heard] == ["hello"]
        watch.leave(second)

    asyncio.run(check())


def test_a_watch_whose_page_has_left_before_it_began_ends_as_well(project, monkeypatch):
    monkeypatch.setattr(events, "LINGER", 0.05)

    async def check():
        backend, page = Held(project), Page()
        watch = ProjectEvents(backend, project)
        joining = asyncio.create_task(watch.join(page, ""))
        await settled()
        watch.leave(page)
        await asyncio.sleep(0.2)
        for _ in range(2):
            backend.allowed.release()
        await joining
        async with asyncio.timeout(60):
            while backend.asked[-2:] != ["unwatch", "answered"]:
                await asyncio.sleep(0.02)
        assert "alive" not in watch._timers

    asyncio.run(check())
