from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ml_experiment_nb.backend import places
from ml_experiment_nb.backend.refusals import Refused


def test_paths_stay_below_the_server_s_folder_wherever_links_lead(tmp_path):
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "out").symlink_to("/")
    (root / "loop").symlink_to(root / "loop")
    assert places.folder(root, "") == root
    assert places.folder(root, "/in/") == root / "in"
    wrong = {"..": {403}, "out/etc": {403}, "in/../..": {403}, "a\0": {400}, "x": {404}, "loop": {400, 404}}
    for path, statuses in wrong.items():
        with pytest.raises(Refused) as refused:
            places.folder(root, path)
        assert refused.value.status in statuses
    assert places.shown(root, root / "in/a.ipynb") == "in/a.ipynb"
    assert places.shown(root, "/etc/hosts") is None


@pytest.mark.parametrize("path", ["/etc/passwd", "../a", "a/../../b", "a\\b", "a\0", "", "a\n"])
def test_a_run_s_file_is_named_below_its_folder(path):
    with pytest.raises(Refused):
        places.artifact(path)


def test_a_folder_that_may_not_be_looked_into_is_refused():
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        locked = Path(folder, "locked")
        locked.mkdir()
        locked.chmod(0o644)
        mine = os.geteuid()
        try:
            if mine == 0:
                os.seteuid(65534)  # root may look everywhere
            with pytest.raises(Refused, match="can't be looked into: Permission denied") as refused:
                places.project(locked)
        finally:
            os.seteuid(mine)
        assert refused.value.status == 403
        locked.chmod(0o755)
        assert places.project(locked) == locked
