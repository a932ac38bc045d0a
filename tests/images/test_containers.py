import os
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import engine as engines
import pytest

from ml_experiment_nb.errors import EngineError, ImageError
from ml_experiment_nb.images import containers
from ml_experiment_nb.images.containers import Folder, Launch, start


def test_one_whose_state_can_not_be_had_is_not_left():
    # the engine is a stand-in that fails there
    engine = Mock(translated=lambda what: nullcontext(), info={})
    engine.client.api.create_container.return_value = {"Id": "1"}
    engine.client.api.inspect_container.side_effect = EngineError("gone")
    with pytest.raises(EngineError):
        start(engine, Launch("base:1"))
    engine.client.api.start.assert_called_once_with("1")
    engine.client.api.remove_container.assert_called_once_with("1", force=True, v=True)


@pytest.mark.docker
def test_a_container_has_its_limits_and_folders(engine, tmp_path):
    code = (
        "import os; open('made.txt', 'w').write('x'); print(os.getcwd(), os.getuid(), os.environ['A']);"
        "[print(open(p).read().strip()) for p in ('/sys/fs/cgroup/memory/memory.limit_in_bytes',"
        "'/sys/fs/cgroup/memory.max') if os.path.exists(p)]"
    )
    launch = Launch(
        engines.BASE, ("python", "-c", code), env={"A": "1"}, user="12:34", cwd=str(tmp_path),
        folders=(Folder.same(tmp_path, writable=True),), memory=64 << 20, cpus=0.5, network="none",
    )  # fmt: skip
    tmp_path.chmod(0o777)
    ended = containers.run(engine, launch)
    assert ended == containers.Ended(0, f"{tmp_path} 12 1\n{64 << 20}\n")
    assert (tmp_path / "made.txt").stat().st_uid == 12
    assert containers.labelled(engine, {}) == []


@pytest.mark.docker
def test_a_container_over_its_memory_says_so(engine):
    ended = containers.run(engine, Launch(engines.BASE, ("python", "-c", "x = b'x' * (256 << 20)"), memory=64 << 20))
    assert ended.out_of_memory
    assert ended.code == 137


@pytest.mark.docker
@pytest.mark.parametrize(
    ("launch", "kind", "why"),
    [
        (Launch("mlexp/none:1", ("python",)), ImageError, "there is no such image"),
        (
            Launch(engines.BASE, ("true",), folders=(Folder.same("/nowhere/x"),)),
            EngineError,
            "doesn't see this machine",
        ),
        (Launch(engines.BASE, ("true",), gpus=1), EngineError, "gives no GPU to containers"),
        (Launch(engines.BASE, ("true",), memory=1024), EngineError, "[Mm]inimum memory limit"),
    ],
)
def test_a_container_that_can_not_start_is_one_sentence_and_leaves_nothing(engine, launch, kind, why):
    with pytest.raises(kind, match=why) as caught:
        containers.start(engine, launch)
    assert "\n" not in str(caught.value)
    assert containers.labelled(engine, {}) == []


@pytest.mark.docker
def test_a_container_is_stopped_by_a_signal_and_removed(engine):
    with containers.started(engine, Launch(engines.BASE, ("sleep", "600"), labels={"mine": "yes"})) as container:
        assert [id for id, _ in containers.labelled(engine, {"mine": "yes"})] == [container.id]
        assert Path(f"/proc/{container.pid}").exists()
        container.kill("TERM")
        assert container.wait() == 128 + 15
        container.kill("TERM")  # it has ended: no mistake
    containers.remove(engine, [container.id])  # it is gone: no mistake
    assert containers.labelled(engine, {"mine": "yes"}) == []
    assert os.getpid() != container.pid
