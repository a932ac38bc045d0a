import subprocess

from ml_experiment_nb import check


def git(*words):
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], check=True, capture_output=True)


def test_what_git_does_not_have(book, here):
    book("x = 1")
    assert check("book.ipynb") == ()
    git("init", "-q")
    assert [one.text for one in check("book.ipynb")] == ["git doesn't have this file"]
    (here / "a.py").write_text("x = 1\n")
    (here / "data.bin").write_text("x")
    git("add", ".")
    assert next(one.text for one in check("book.ipynb")) == "differs from commit none"
    git("commit", "-q", "-m", "x")
    assert check("book.ipynb") == ()
    (here / "a.py").write_text("x = 2\n")
    (here / "data.bin").write_text("y")
    [other] = check("book.ipynb")
    assert (other.rule, other.file, other.text) == (
        "uncommitted", "book.ipynb", "a.py in its work tree differs from the commit",
    )  # fmt: skip
    assert str(other) == "book.ipynb: [uncommitted] a.py in its work tree differs from the commit"
    assert [one.text.split(" ")[:3] for one in check("a.py")] == [["differs", "from", "commit"]]
    (here / "new").mkdir()
    (here / "new" / "b.py").write_text("x = 1\n")
    assert "git doesn't have this file" in [one.text for one in check("new/b.py")]


def test_files_that_were_renamed_have_other_letters_or_are_ignored_are_found_too(here):
    git("init", "-q")
    for name in ("old.py", "größe.py"):
        (here / name).write_text("x = 1\n")
    (here / ".gitignore").write_text("mine.py\n")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    git("mv", "old.py", "new name.py")
    (here / "mine.py").write_text("x = 1\n")
    assert check("new name.py")[0].text.startswith("differs from commit")
    assert next(one.text for one in check("mine.py")) == "git doesn't have this file"
    assert [one.text for one in check("größe.py")] == ["new name.py in its work tree differs from the commit"]
    (here / "größe.py").write_text("x = 2\n")
    assert check("größe.py")[0].text.startswith("differs from commit")
