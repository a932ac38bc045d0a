"""The copy that a replay runs in: the code as recorded, the rest as today."""

import itertools
import os
import subprocess
from datetime import UTC, datetime

import pytest

from ml_experiment_nb.capture.git import git_state
from ml_experiment_nb.errors import ReplayError
from ml_experiment_nb.replays import scratch as scratches
from ml_experiment_nb.replays.scratch import FOLDER, Recorded, import_paths, scratch_of

LONG_AGO = 1_600_000_000
_MOMENTS = itertools.count()


def git(folder, *words):
    named = ["-c", "user.email=me@example.org", "-c", "user.name=me"]
    subprocess.run(["git", "-C", folder, *named, *words], check=True, capture_output=True)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    moment = LONG_AGO + next(_MOMENTS)  # git takes a file of the same size and time for the same
    os.utime(path, (moment, moment))


@pytest.fixture
def repository(project):
    """A project in git with a change that isn't committed, a file that git ignores and one that it doesn't know."""
    git(project, "init", "-q")
    write(project / "train.py", "committed = 1\n")
    write(project / "lib" / "helper.py", "x = 1\n")
    write(project / ".gitignore", "data/\n")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "one")
    write(project / "lib" / "helper.py", "x = 2\n")
    write(project / "data" / "x.csv", "1\n")
    write(project / "untracked.py", "y = 1\n")
    return project


def recorded(folder, ended=None):
    state = git_state(folder)
    return Recorded(ended or datetime.now(UTC), state.commit, state.diff, "https://host/x.git")


def test_the_recorded_work_tree_comes_back_whatever_happened_since(repository):
    then = recorded(repository)
    write(repository / "lib" / "helper.py", "x = 3\n")
    git(repository, "commit", "-qam", "two")
    (repository / "train.py").unlink()
    with scratch_of(repository, then, repository) as copy:
        assert copy.folder != repository
        assert (copy.folder / "train.py").read_text() == "committed = 1\n"
        assert (copy.folder / "lib" / "helper.py").read_text() == "x = 2\n"
        assert (copy.folder / "data" / "x.csv").read_text() == "1\n"
        assert (copy.folder / "untracked.py").read_text() == "y = 1\n"
        assert copy.notes == copy.changed == ()
        again = git_state(copy.folder)
        assert (again.commit, again.diff, again.remote) == (then.commit, then.diff, then.remote)
    assert not copy.folder.exists()


def test_writing_in_the_copy_leaves_the_project_alone(repository):
    with scratch_of(repository, recorded(repository), repository) as copy:
        for name in ("data/x.csv", "train.py", "untracked.py"):
            (copy.folder / name).write_text("overwritten")
    assert (repository / "data" / "x.csv").read_text() == "1\n"
    assert (repository / "train.py").read_text() == "committed = 1\n"


def test_a_file_that_is_not_kept_and_has_changed_is_said(repository):
    then = recorded(repository, datetime.fromtimestamp(LONG_AGO + 100, UTC))
    (repository / "untracked.py").write_text("y = 2\n")
    with scratch_of(repository, then, repository) as copy:
        assert copy.changed == ("untracked.py",)


def test_a_commit_that_is_gone_is_said_and_today_s_files_are_taken(repository):
    then = Recorded(datetime.now(UTC), "0" * 40)
    with scratch_of(repository, then, repository) as copy:
        assert (copy.folder / "lib" / "helper.py").read_text() == "x = 2\n"
        [note] = copy.notes
    assert "the commit 00000000 can't be had" in note
    assert "as it is today" in note


def test_a_diff_that_does_not_apply_is_said_for_its_file_alone(repository):
    then = recorded(repository)
    broken = then.diff + "diff --git a/plot.png b/plot.png\nBinary files a/plot.png and b/plot.png differ\n"
    with scratch_of(repository, Recorded(then.ended, then.commit, broken), repository) as copy:
        assert (copy.folder / "lib" / "helper.py").read_text() == "x = 2\n"
        [note] = copy.notes
    assert note.startswith("plot.png was changed and not committed, and its diff is not kept")


def test_a_project_within_a_repository_is_copied_with_it(repository):
    with scratch_of(repository / "lib", recorded(repository), repository) as copy:
        assert copy.origin == repository
        assert copy.moved(repository / "lib" / "helper.py") == copy.folder / "lib" / "helper.py"
        assert str(copy.moved("/etc/hosts")) == "/etc/hosts"
        assert copy.as_recorded(f"in {copy.folder}/lib") == f"in {repository}/lib"


def test_without_git_the_files_are_copied_and_environments_are_not(project):
    write(project / "train.py", "1")
    write(project / "env" / "pyvenv.cfg", "")
    write(project / "__pycache__" / "train.pyc", "")
    (project / "elsewhere").symlink_to("/tmp")
    (project / "within").symlink_to(project / "train.py")
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        assert sorted(path.name for path in copy.folder.iterdir()) == ["elsewhere", "train.py", "within"]
        assert (copy.folder / "within").resolve() == copy.folder / "train.py"
        assert os.readlink(copy.folder / "elsewhere") == "/tmp"


def test_a_large_file_is_a_link_and_it_is_seen_whether_it_was_written_to(project, monkeypatch):
    monkeypatch.setattr(scratches, "LARGE", 10)
    monkeypatch.setattr(scratches, "SMALL", 0)
    write(project / "large.bin", "x" * 11)
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        assert copy.written() == []
        assert "1 large file" in copy.notes[0]
        (copy.folder / "large.bin").write_text("y" * 12)
        assert copy.written() == [str(project / "large.bin")]


def test_too_many_files_are_refused_and_nothing_is_left(project, monkeypatch):
    monkeypatch.setattr(scratches, "FILES", 2)
    for k in range(4):
        write(project / f"{k}.txt", "")
    with (
        pytest.raises(ReplayError, match="more than 2 files"),
        scratch_of(project, Recorded(datetime.now(UTC)), project),
    ):
        pass
    assert list((project / ".ml-experiment" / FOLDER).iterdir()) == []


def test_the_copy_of_a_process_that_was_killed_is_removed_by_the_next(project):
    left = project / ".ml-experiment" / FOLDER / "left"
    write(left / "lock", "")
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as used:
        assert not left.exists()
        with scratch_of(project, Recorded(datetime.now(UTC)), project):
            assert used.folder.exists()


def test_editable_packages_of_the_project_are_imported_from_the_copy(project):
    write(project / "src" / "mine" / "__init__.py", "")
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        found = import_paths(copy, [str(project), "/somewhere/else"])
        assert found == (str(copy.folder / "src"), str(copy.folder))


def test_a_copy_that_is_kept_is_left_alone_by_the_next(project):
    write(project / "train.py", "1")
    with scratch_of(project, Recorded(datetime.now(UTC)), project, keep=True) as kept:
        pass
    with scratch_of(project, Recorded(datetime.now(UTC)), project):
        assert (kept.folder / "train.py").read_text() == "1"


def test_what_is_written_into_the_copy_never_reaches_the_user_s_files(project, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    write(outside / "train.py", "mine")
    (project / "train.py").symlink_to(outside / "train.py")
    (project / "lib").symlink_to(outside)
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        copy.write(copy.folder / "train.py", "recorded")
        assert (copy.folder / "train.py").read_text() == "recorded"
        for name in ("lib/train.py", "lib/new/train.py"):
            with pytest.raises(ReplayError, match="through a link out of the project"):
                copy.write(copy.folder / name, "recorded")
    assert [path.name for path in outside.iterdir()] == ["train.py"]
    assert (outside / "train.py").read_text() == "mine"


def test_small_files_are_copied_however_many_bytes_there_are(project, monkeypatch):
    monkeypatch.setattr(scratches, "MOST", 30)
    monkeypatch.setattr(scratches, "SMALL", 10)
    for name in ("a.bin", "b.bin"):
        write(project / name, "x" * 20)
    write(project / "train.py", "1")
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        assert [one for one in ("a.bin", "b.bin", "train.py") if (copy.folder / one).is_symlink()] == ["b.bin"]


def test_a_file_that_vanishes_meanwhile_is_said(project, monkeypatch):
    write(project / "train.py", "1")
    found = scratches._files
    monkeypatch.setattr(scratches, "_files", lambda folder: [*found(folder), "gone.txt"])
    (project / "gone.txt").write_text("")
    (project / "gone.txt").unlink()
    with scratch_of(project, Recorded(datetime.now(UTC)), project) as copy:
        assert copy.notes == ("gone.txt can't be read and is not in the copy",)
        assert not (copy.folder / "gone.txt").exists()


def test_a_change_of_lines_that_end_as_on_windows_applies(repository):
    (repository / "dos.py").write_bytes(b"a = 1\r\nb = 1\r\n")
    git(repository, "add", "dos.py")
    git(repository, "commit", "-qm", "dos")
    (repository / "dos.py").write_bytes(b"a = 1\r\nb = 2\r\n")
    with scratch_of(repository, recorded(repository), repository) as copy:
        assert (copy.folder / "dos.py").read_bytes() == b"a = 1\r\nb = 2\r\n"
        assert copy.notes == ()
