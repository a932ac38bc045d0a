"""The pages that listen to a project, with the process that looks at it."""

from __future__ import annotations

import asyncio
import json

import pytest

from ml_experiment_nb.server import events
from ml_experiment_nb.server.backends import Backend
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
