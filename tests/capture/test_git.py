import os
import subprocess
import time
from pathlib import Path

import pytest

from ml_experiment_nb.addresses import without_credentials
from ml_experiment_nb.capture import git
from ml_experiment_nb.capture.git import git_state


@pytest.fixture(autouse=True)
def own_git_settings(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (home / ".gitconfig").write_text(
        "[user]\n name = A\n email = a@example.org\n[init]\n defaultBranch = main\n"
        # settings of a user that must not reach the recorded diff
        "[diff]\n noprefix = true\n external = false\n[color]\n ui = always\n"
        "[status]\n showUntrackedFiles = no\n"
    )


@pytest.fixture
def repo(tmp_path):
    folder = tmp_path / "repo"
    folder.mkdir()
    run_git(folder, "init", "--quiet")
    return folder


@pytest.fixture
def committed(repo):
    (repo / "train.py").write_text("C = 1\n")
    commit(repo)
    return repo


def run_git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "protocol.file.allow=always", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit(folder: Path) -> None:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--quiet", "--message", "one")


def test_a_clean_tree(committed):
    run_git(committed, "remote", "add", "origin", "https://user:secret@example.org/team/x.git")
    assert git_state(committed) == git.GitState(
        commit=run_git(committed, "rev-parse", "HEAD"),
        branch="main",
        remote="https://example.org/team/x.git",
        root=str(committed.resolve()),
        dirty=False,
        diff="",
        untracked=(),
    )


def test_the_diff_holds_staged_and_unstaged_changes_and_can_be_applied(committed, tmp_path):
    (committed / "train.py").write_text("C = 2\n")
    (committed / "new name.py").write_text("D = 1\n")
    run_git(committed, "add", "new name.py")
    state = git_state(committed)
    assert state.dirty
    assert state.untracked == ()
    clone = tmp_path / "clone"
    run_git(tmp_path, "clone", "--quiet", str(committed), str(clone))
    (tmp_path / "state.diff").write_text(state.diff)
    run_git(clone, "apply", str(tmp_path / "state.diff"))
    assert (clone / "train.py").read_text() == "C = 2\n"
    assert (clone / "new name.py").read_text() == "D = 1\n"


def test_untracked_files_are_listed_and_are_not_dirt(committed):
    (committed / "data").mkdir()
    (committed / "data" / "a.csv").write_text("1")
    (committed / "añ\nb.txt").write_text("1")
    (committed / ".gitignore").write_text("ignored\n")
    (committed / "ignored").write_text("1")
    state = git_state(committed)
    assert not state.dirty
    assert set(state.untracked) == {"data/", "añ\nb.txt", ".gitignore"}


def test_a_rename_is_dirt_and_hides_no_untracked_file(committed):
    (committed / "? odd.py").write_text("D = 1\n")
    commit(committed)
    run_git(committed, "mv", "? odd.py", "even.py")
    (committed / "other.py").write_text("1")
    state = git_state(committed)
    assert state.dirty
    assert state.untracked == ("other.py",)
    assert state.changed == ("even.py",)
    assert "rename from ? odd.py" in state.diff


def test_a_folder_inside_sees_the_whole_tree(committed):
    (committed / "deep").mkdir()
    (committed / "train.py").write_text("C = 3\n")
    run_git(committed, "config", "diff.relative", "true")
    state = git_state(committed / "deep")
    assert state.root == str(committed.resolve())
    assert "+C = 3" in state.diff


def test_a_detached_head_has_no_branch(committed):
    run_git(committed, "checkout", "--quiet", "--detach")
    state = git_state(committed)
    assert state.branch is None
    assert state.commit == run_git(committed, "rev-parse", "HEAD")


def test_before_the_first_commit(repo):
    (repo / "train.py").write_text("C = 1\n")
    untouched = git_state(repo)
    assert (untouched.commit, untouched.branch, untouched.dirty) == (None, "main", False)
    assert untouched.untracked == ("train.py",)
    run_git(repo, "add", "train.py")
    staged = git_state(repo)
    assert staged.commit is None
    assert staged.dirty
    assert "+C = 1" in staged.diff


def test_a_submodule_on_another_commit_is_dirt(committed, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    run_git(inner, "init", "--quiet")
    (inner / "lib.py").write_text("1\n")
    commit(inner)
    run_git(committed, "submodule", "--quiet", "add", str(inner), "lib")
    commit(committed)
    assert not git_state(committed).dirty
    run_git(committed / "lib", "config", "status.showUntrackedFiles", "normal")
    (committed / "lib" / "cache.tmp").write_text("1")
    assert not git_state(committed).dirty
    (committed / "lib" / "lib.py").write_text("2\n")
    state = git_state(committed)
    assert state.dirty
    assert "+Subproject commit" in state.diff
    assert git_state(committed / "lib").root == str((committed / "lib").resolve())


def test_a_long_diff_is_cut_at_a_line_and_says_so(committed, monkeypatch):
    monkeypatch.setattr(git, "MAX_DIFF", 2000)
    (committed / "train.py").write_text("".join(f"x = {i}\n" for i in range(100_000)))
    notes = []
    state = git_state(committed, notes=notes)
    *lines, last = state.diff.splitlines()
    assert last == "[the diff was cut here: it is longer than 2,000 bytes]"
    assert lines[-1].startswith("+x = ")
    assert len("\n".join(lines)) <= 2000
    assert notes == ["git: the diff is longer than 2,000 bytes and was cut"]


def test_many_untracked_files_are_cut(committed):
    for number in range(git.MAX_UNTRACKED + 5):
        (committed / f"{number}.txt").touch()
    notes = []
    assert len(git_state(committed, notes=notes).untracked) == git.MAX_UNTRACKED
    assert notes == ["git: of the untracked files only the first 1000 are recorded"]


def test_a_binary_file_is_named(committed):
    (committed / "model.bin").write_bytes(bytes(range(256)))
    run_git(committed, "add", "model.bin")
    assert "Binary files /dev/null and b/model.bin differ" in git_state(committed).diff


def test_no_work_tree_is_nothing_to_note(tmp_path, committed):
    notes = []
    outside = tmp_path / "outside"
    outside.mkdir()
    assert git_state(outside, notes=notes) is None
    assert git_state(committed / ".git", notes=notes) is None
    assert notes == []


def test_a_hooks_settings_do_not_lead_elsewhere(committed, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))
    assert git_state(committed).commit is not None


def test_nothing_is_written_in_the_repository(committed):
    index = committed / ".git" / "index"
    os.utime(committed / "train.py", (1, 1))  # a plain `git status` would refresh the index now
    before = index.read_bytes()
    git_state(committed)
    assert index.read_bytes() == before


def fake_git(folder: Path, monkeypatch, body: str) -> None:
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\n{body}\n")
    (folder / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_no_git_is_noted(committed, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    notes = []
    assert git_state(committed, notes=notes) is None
    assert notes == ["git is not installed: no commit is recorded"]


def test_another_users_repository_is_noted(committed, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    notes = []
    assert git_state(committed, notes=notes) is None
    assert len(notes) == 1
    assert "git config --global --add safe.directory" in notes[0]


def test_a_git_that_hangs_is_given_up(committed, monkeypatch, tmp_path):
    fake_git(tmp_path / "bin", monkeypatch, "exec sleep 30")
    monkeypatch.setattr(git, "TIMEOUT", 0.2)
    notes = []
    start = time.monotonic()
    assert git_state(committed, notes=notes) is None
    assert time.monotonic() - start < 5
    assert notes == ["git took longer than 0.2 s"]


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ("echo 'fatal: disk on fire' >&2; exit 128", "git: fatal: disk on fire"),
        ("exit 3", "git: failed without a word"),
    ],
)
def test_a_git_that_fails_is_noted(committed, monkeypatch, tmp_path, body, note):
    fake_git(tmp_path / "bin", monkeypatch, body)
    notes = []
    assert git_state(committed, notes=notes) is None
    assert notes == [note]


def test_a_folder_that_is_not_there_is_noted(tmp_path):
    notes = []
    assert git_state(tmp_path / "gone", notes=notes) is None
    assert "cannot change to" in notes[0]
    assert git_state(Path("nul\0byte"), notes=notes) is None
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://host/x.git", "https://host/x.git"),
        ("https://user:pass@host/x.git", "https://host/x.git"),
        ("https://token@host:8443/x.git", "https://host:8443/x.git"),
        ("HTTPS://a:b@c@host/x", "HTTPS://host/x"),
        ("https://host/x.git?access_token=1#egg=x", "https://host/x.git#egg=x"),
        ("https://host/a@b", "https://host/a@b"),
        ("ssh://git@host/x.git", "ssh://git@host/x.git"),
        ("ssh://git:pass@host/x.git", "ssh://git@host/x.git"),
        ("git@host:team/x.git", "git@host:team/x.git"),
        ("/srv/git/x.git", "/srv/git/x.git"),
        ("file:///srv/x.git", "file:///srv/x.git"),
        ("", ""),
    ],
)
def test_without_credentials(url, clean):
    assert without_credentials(url) == clean
