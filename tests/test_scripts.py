import functools

import pytest

from ml_experiment_nb.cells import DYNAMIC
from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.scripts import (
    MISSING,
    JobSignature,
    ParamInfo,
    read_script,
    signature_of,
)

PAPER = """\
from ml_experiment import job

raise SystemExit("a script is read, never run")

@job
def main(C, kernel="rbf", *, gamma: float = 1e-3, seed=make(), **options):
    return {"val_accuracy": C}

def helper(x): ...
"""


@pytest.fixture
def script(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "train.py"
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        return path

    return write


def test_read_script(script):
    read = read_script(script(PAPER))
    params = {
        "C": ParamInfo(required=True),
        "kernel": ParamInfo(required=False, default="rbf"),
        "gamma": ParamInfo(required=False, default=0.001, annotation="float"),
        "seed": ParamInfo(required=False, default=DYNAMIC),
    }
    assert read.jobs == (JobSignature("main", params, accepts_any=True, line=5),)
    assert read.source == PAPER
    assert read.jobs[0].params["C"].default is MISSING


FOUND = {
    "bare": ("from ml_experiment_nb import job\n@job\ndef f(): ...", ["f"]),
    "called": ("from ml_experiment import job\n@job()\ndef f(): ...", ["f"]),
    "with options": ("from ml_experiment import job\n@job(name='x')\ndef f(): ...", ["f"]),
    "renamed": ("from ml_experiment import job as j\n@j\ndef f(): ...", ["f"]),
    "by module": ("import ml_experiment_nb\n@ml_experiment_nb.job\ndef f(): ...", ["f"]),
    "by module, renamed": ("import ml_experiment as m\n@m.job()\ndef f(): ...", ["f"]),
    "by submodule": ("import ml_experiment_nb.jobs\n@ml_experiment_nb.jobs.job\ndef f(): ...", ["f"]),
    "by submodule, from": ("from ml_experiment_nb.jobs import job\n@job\ndef f(): ...", ["f"]),
    "star": ("from ml_experiment import *\n@job\ndef f(): ...", ["f"]),
    "below others": ("from ml_experiment import job\n@other\n@job\ndef f(): ...", ["f"]),
    "async": ("from ml_experiment import job\n@job\nasync def f(): ...", ["f"]),
    "in try and if": (
        "try:\n  from ml_experiment import job\nexcept E: ...\nif x:\n  @job\n  def f(): ...", ["f"]),
    "in order": ("from ml_experiment import job\n@job\ndef b(): ...\n@job\ndef a(): ...", ["b", "a"]),
    "defined again": ("from ml_experiment import job\n@job\ndef f(): ...\ndef f(): ...", []),
    "another's job": ("from dagster import job\n@job\ndef f(): ...", []),
    "not imported": ("@job\ndef f(): ...", []),
    "another of ours": ("from ml_experiment import report\n@report\ndef f(): ...", []),
    "relative": ("from .ml_experiment import job\n@job\ndef f(): ...", []),
    "a method": ("from ml_experiment import job\nclass A:\n  @job\n  def f(self): ...", []),
    "inside a function": ("from ml_experiment import job\ndef g():\n  @job\n  def f(): ...", []),
    "imported inside a function": ("def g():\n  from ml_experiment import job\n@job\ndef f(): ...", []),
    "empty": ("", []),
}  # fmt: skip


@pytest.mark.parametrize(("text", "names"), FOUND.values(), ids=FOUND)
def test_which_functions_are_jobs(script, text, names):
    assert [job.name for job in read_script(script(text)).jobs] == names


def test_a_script_may_declare_its_encoding(script):
    text = "# -*- coding: latin-1 -*-\nfrom ml_experiment import job\n@job\ndef f(x='é'): ...\n"
    assert read_script(script(text, "latin-1")).jobs[0].params["x"].default == "é"


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("x = 1\ndef f(:\n", 2, "def f(:"),
        (b"x = '\xff'\n", None, ""),
        (b"# coding: nonsense\n", None, "nonsense"),
        (b"x = '\0'\n", None, "null bytes"),
    ],
)
def test_what_is_no_script(script, text, line, problem):
    path = script(text)
    with pytest.raises(SpecError) as caught:
        read_script(path)
    assert caught.value.file == str(path)
    assert problem in caught.value.problem
    if line:
        assert caught.value.line == line


def test_a_script_that_is_not_there(tmp_path):
    with pytest.raises(SpecError, match=r"none\.py: there is no such script"):
        read_script(tmp_path / "none.py")
    with pytest.raises(SpecError, match="can't be read: Is a directory"):
        read_script(tmp_path)


def test_signature_of_agrees_with_the_source(script):
    text = "from ml_experiment import job\n\n@job\ndef f(a, /, b: int, c=0, *args, d: 'str' = 'x', **kw): ...\n"
    scope = {}
    exec(compile(text.replace("@job", "@(lambda f: f)").replace("from ml", "# from ml"), "f", "exec"), scope)
    read = read_script(script(text)).jobs[0]
    params = {**read.params, "d": ParamInfo(False, "x", "str")}  # only Python unquotes an annotation
    assert signature_of(scope["f"]) == JobSignature("f", params, accepts_any=True, line=3)
    assert read.params["d"] == ParamInfo(False, "x", "'str'")


def test_signature_of_sees_through_a_wrapper():
    def f(a, b=1): ...

    @functools.wraps(f)
    def wrapper(*args, **kwargs): ...

    assert signature_of(wrapper) == signature_of(f)


def test_signature_of_what_has_none():
    with pytest.raises(SpecError, match="the parameters of iter can't be read"):
        signature_of(iter)


@pytest.mark.parametrize(
    ("end", "uses"),
    [
        ("", False),
        ("print('done')", False),
        ("f()", True),
        ("if __name__ == '__main__':\n    f(1)", True),
        ("def main():\n    f()\nmain()", True),
        ("fire = {'run': f}", True),
        ("globals()['f']()", True),
        ("f = f.group", True),
    ],
)
def test_whether_a_job_is_called(script, end, uses):
    text = f"from ml_experiment_nb import job\n@job\ndef f(x=1):\n    return x\n{end}\n"
    assert read_script(script(text)).uses_them is uses
