"""What a program needs is found in the interpreter of its kernel."""

import json
import sys
from pathlib import Path

import nbformat
import pytest

from ml_experiment_nb.capture.packages import Package
from ml_experiment_nb.errors import ImageError, SpecError
from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.freeze import facts, freeze
from ml_experiment_nb.images.program import read_program


@pytest.fixture
def book(tmp_path, monkeypatch, image_cache):
    """Make notebooks in an empty project."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(image_cache))
    root = tmp_path / "project"
    root.mkdir()
    (root / "pyproject.toml").write_text("")

    def make(*cells, name="train.ipynb", kernel="python3"):
        nb = nbformat.v4.new_notebook(
            metadata={"kernelspec": {"name": kernel, "display_name": "", "language": "python"}}
        )
        nb.cells = [nbformat.v4.new_code_cell(cell, id=f"c{k}") for k, cell in enumerate(cells)]
        path = root / name
        path.parent.mkdir(exist_ok=True)
        nbformat.write(nb, path)
        return path

    return make


def frozen(path, *, recorded=(), **choices):
    return freeze(read_program(path), Choices(**choices), caller=sys.executable, recorded=recorded)


def names(found):
    return {one.name for one in found.kernel.packages}


def test_all_that_the_kernel_has_is_in_it(book):
    found = frozen(book("import yaml"))
    assert {"ml-experiment-nb", "pyyaml", "pytest", "numpy"} <= names(found)
    assert found.dropped == ()
    assert "polars" in names(found)  # the run itself has installed it
    assert len(found.environments) == 1
    assert found.kernel.interpreter.version == sys.version.split()[0]


@pytest.mark.slow
def test_only_imports_drops_what_nothing_imports_and_says_it(book):
    found = frozen(book("import polars"), only_imports=True)
    assert {"polars", "ml-experiment-nb", "mlflow", "ipykernel"} <= names(found)
    assert "pytest" in found.dropped
    assert not {"pytest", "playwright", "jupyterlab"} & names(found)
    assert not found.has_lab
    assert names(found) | set(found.dropped) == names(frozen(book("import polars")))


@pytest.mark.slow
def test_a_declared_package_is_not_dropped(book):
    path = book("1")
    (path.parent / "requirements.txt").write_text("pexpect>=4\n")
    assert "pexpect" in names(frozen(path, only_imports=True))


@pytest.mark.slow
def test_a_package_can_be_left_out_by_its_name(book):
    assert "pexpect" not in names(frozen(book("1"), without=("Pexpect",)))
    with pytest.raises(ImageError, match="the kernel has no package 'pexpct' that could be left out; did you mean"):
        frozen(book("1"), without=("pexpct",))


def test_what_is_left_out_is_not_fetched_again_as_it_is_declared(book):
    path = book("1")
    (path.parent / "requirements.txt").write_text("Pexpect>=4\nnumpy<1\npolars\nyarl<0; sys_platform == 'win32'\n")
    found = frozen(path, without=("pexpect",))
    assert found.declared.requirements == ("numpy<1", "polars", "yarl<0; sys_platform == 'win32'")
    assert "Pexpect>=4 is declared, and is left out as was asked" in found.notes
    [note] = [one for one in found.notes if one.startswith("numpy<1")]
    assert note.endswith(", which the image gets")
    assert not any(one.startswith(("polars", "yarl")) for one in found.notes)


def test_modules_of_the_project_are_followed(book):
    path = book("import first", name="notebooks/train.ipynb")
    (path.parent / "first.py").write_text("import package.inner\nimport absent_module")
    (path.parent / "package").mkdir()
    (path.parent / "package/__init__.py").write_text("")
    (path.parent / "package/inner.py").write_text("import sys; sys.path.append('../lib')")
    found = frozen(path)
    assert [one.place for one in found.modules] == ["notebooks/first.py", "notebooks/package"]
    assert "the code imports absent_module, which its kernel hasn't: it isn't in the image either" in found.notes


def test_a_module_outside_of_the_project_is_found_where_the_code_looks(book, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/far_module.py").write_text("x = 1")
    path = book(f"import sys\nsys.path.append({str(tmp_path / 'elsewhere')!r})\nimport far_module")
    found = frozen(path)
    assert [(one.place, one.path) for one in found.outside] == [("far_module.py", tmp_path / "elsewhere/far_module.py")]


def test_data_that_the_code_names_is_listed_with_its_size(book, tmp_path):
    path = book("open('data/a.csv'); read('big/*.bin'); x = 'no such file'; y = '.'; z = '/etc'", "read('.env')")
    root = path.parent
    for name in ("data/a.csv", "big/one.bin", "big/two.bin", ".env"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("12345")
    found = {one.place: one for one in frozen(path, exclude=("big/two*",)).data}
    assert {place for place, one in found.items() if not one.why_out} == {"data/a.csv", "big/one.bin"}
    assert found["data/a.csv"].size == 5
    assert found["big/two.bin"].why_out == "it is excluded"
    assert "mount it" in found["/etc"].why_out
    assert "holds secrets" in found[".env"].why_out


def test_what_a_shell_is_called_with_goes_in_as_what_the_code_names(book):
    path = book("!python tools/one.py --in a.csv > /dev/null", "%run two.py -v", "%%bash\ncat 'b.csv' | sh -s three")
    root = path.parent
    files = {
        "tools/one.py": "import beside", "tools/beside.py": "open('c.csv')", "two.py": "import mine\nimport yaml",
        "mine.py": "", "four.py": "", "a.csv": "1", "b.csv": "1", "c.csv": "1",
    }  # fmt: skip
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    found = frozen(path, only_imports=True)
    assert {one.place for one in found.data} == {"tools/one.py", "two.py", "a.csv", "b.csv", "c.csv"}
    assert {one.place for one in found.modules} == {"tools/beside.py", "mine.py"}
    assert "pyyaml" in names(found)


def test_the_scripts_of_a_spec_s_commands_go_in(book):
    root = book("1").parent
    (root / "s.yaml").write_text(
        "run: [{command: 'true &&\n python train.py --C {C}; python -m mine'}]\nparams: {C: 1}\n"
    )
    (root / "train.py").write_text("open('a.csv')")
    (root / "mine.py").write_text("")
    (root / "a.csv").write_text("1")
    found = frozen(root / "s.yaml")
    assert {one.place for one in (*found.data, *found.modules)} == {"train.py", "a.csv", "mine.py"}


def placed(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("12345")


def test_what_is_excluded_stays_out_of_folders_too(book):
    path = book("Path('data'); open('other/b.csv')\nimport package, single")
    placed(path.parent, "data/a.txt", "data/a.csv", "data/raw/one.bin", "other/b.csv", "extra/c.csv", "extra/c.txt")
    placed(path.parent, "package/__init__.py", "package/big.csv", "package/raw/x.py", "single.py")
    out = ("data/raw/*", "*.csv", "./package/raw/", "single.py")
    found = frozen(path, exclude=out, include=("extra",))
    data = {one.place: one for one in found.data}
    assert data["data"].files == (path.parent / "data/a.txt",)
    assert data["data"].size == 5
    assert data["other/b.csv"].why_out == "it is excluded"
    assert data["extra"].files == (path.parent / "extra/c.txt",)
    assert [one.files for one in found.modules] == [(path.parent / "package/__init__.py",)]
    assert "the code imports single, which is excluded: it isn't in the image" in found.notes
    assert not any("csv" in note for note in found.notes)  # it was asked for


def test_a_regular_expression_is_no_pattern_of_files(book):
    path = book("re.sub('.*', '', x); re.sub('[a-z]*.*', '', x); glob('.*rc'); glob('*/x.csv'); glob('.kept/*.bin')")
    placed(path.parent, ".envrc", ".bash_history", ".hiddenrc", "a.csv", "notes.txt", ".hidden/x.csv", "b/x.csv")
    placed(path.parent, ".kept/one.bin")
    assert [one.place for one in frozen(path).data] == [".kept/one.bin", "b/x.csv"]


@pytest.mark.parametrize("text", ["~5 min", "~nobody-of-this-name/x", "a\\0b", "x" * 300])
def test_a_text_that_is_no_name_of_a_file_is_passed_over(book, text):
    assert frozen(book(f"print({text!r})")).data == ()


SECRET = (
    ".envrc",
    ".npmrc",
    ".pgpass",
    ".bash_history",
    ".netrc",
    ".git-credentials",
    "secrets.toml",
    "a.pem",
    "b.key",
)


def test_what_holds_secrets_stays_out_and_is_noted(book, tmp_path):
    path = book("Path('data'); open('.envrc'); open('.ssh/config'); open('purchase_history')\nimport package")
    root = path.parent
    placed(root, ".envrc", ".ssh/config", "purchase_history", "data/a.csv", "package/__init__.py", "package/server.pem")
    placed(root, *(f"data/{name}" for name in SECRET), *(f"data/{one}/x" for one in (".aws", ".docker", ".kube")))
    placed(tmp_path, "far/x.csv", "id_rsa")
    (root / "data/linked").symlink_to(tmp_path / "far")
    (root / "data/harmless.txt").symlink_to(tmp_path / "id_rsa")
    found = frozen(path)
    taken = {one.place: one.files for one in found.data if not one.why_out}
    assert taken == {"data": (root / "data/a.csv",), "purchase_history": (root / "purchase_history",)}
    notes = "\n".join(found.notes)
    for said in (
        "left out of package: server.pem (it holds secrets by its name)",
        "left out of data: .aws, .docker, .kube and 10 more (it holds secrets by its name)",
        "left out of data: linked (it is a link to a folder)",
        ".envrc stays out: it holds secrets by its name",
        ".ssh/config stays out: it holds secrets by its name",
    ):
        assert said in notes


def test_what_is_included_from_outside_is_not_taken_by_a_path_through_the_project(book, tmp_path):
    path = book("1")
    placed(tmp_path, "far.csv")
    with pytest.raises(ImageError, match=r"lies outside of .*: mount it"):
        frozen(path, include=("../far.csv",))


def test_data_stays_out_but_for_what_is_included(book):
    path = book("open('a.csv')")
    for name in ("a.csv", "b.csv"):
        (path.parent / name).write_text("1")
    found = {one.place: one.why_out for one in frozen(path, data=False, include=("b.csv",)).data}
    assert found == {"a.csv": "data stays out, as was asked", "b.csv": ""}
    with pytest.raises(ImageError, match="to include"):
        frozen(path, include=("c.csv",))


def test_what_can_not_be_frozen_is_listed(book):
    path = book(
        "!git log",
        "%conda install numba",
        "api_key = 'abcd1234'",
        "__import__(name)",
        "%pip install -i https://me:tok@host/simple x",
    )
    (path.parent / "environment.yml").write_text("dependencies: [python=2.7, numpy=1.1, libspatial, pip: [humanize]]")
    text = "\n".join(frozen(path).notes)
    for said in (
        "the code calls git in a shell",
        "the code installs by conda while it runs (numba)",
        "api_key looks like a credential",
        "a password stands in the code in the address https://host/simple",
        "by names that only running it tells",
        "environment.yml asks conda for libspatial, which no Python package of the kernel is: conda's channels are not",
        "environment.yml asks conda for numpy==1.1.*, and the kernel has 2.",
        "environment.yml asks for Python 2.7",
    ):
        assert said in text


def test_a_runs_packages_stand_for_those_of_now(book):
    recorded = (
        Package("numpy", "1.0"),
        Package("ml-experiment-nb", "0.0", "file:///absent"),
        Package("gone", "1", "file:///absent"),
    )
    found = frozen(book("import polars"), recorded=(*recorded, Package("ipykernel", "7")), lab=False)
    assert {one.name: one.version for one in found.kernel.packages if one.name == "numpy"} == {"numpy": "1.0"}
    assert "polars" in names(found)  # the run itself has installed it
    assert len(found.environments) == 1  # this package is the one that is installed now
    assert "gone 1 was installed from file:///absent, and isn't any more: left out" in found.notes


def test_a_kernel_that_is_not_there_or_not_pythons_is_refused(book, tmp_path, monkeypatch):
    with pytest.raises(SpecError, match="no kernel is called 'absent'"):
        read_program(book("1", kernel="absent"))
    spec = tmp_path / "share/jupyter/kernels/other/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["R"], "language": "R", "display_name": "R"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share/jupyter"))
    with pytest.raises(ImageError, match="the kernel 'other' is for R"):
        read_program(book("1", kernel="other"))


def test_a_spec_is_written_anew_without_what_is_not_in_an_image(book):
    path = book("C = 1")
    spec = path.parent / "svm.yaml"
    spec.write_text(
        "name: SVM\nrun: [train.ipynb]\nparams: {C: 2, token: secret(API_TOKEN)}\ndata: [a.csv]\n"
        "docker_config: {image: 'x:1'}\n"
    )
    (path.parent / "a.csv").write_text("1")
    program = read_program(spec)
    text = program.contents[Path("svm.yaml")].decode()
    assert "docker" not in text
    assert str(path.parent) not in text
    assert program.file == "svm.yaml"
    assert program.secrets == ("API_TOKEN",)
    assert program.data == (path.parent / "a.csv",)
    assert program.notes == ("docker_config is left out: the image itself is what it runs in",)


def test_outputs_are_no_part_of_a_program(book):
    path = book("1")
    before = read_program(path).contents
    nb = nbformat.read(path, 4)
    nb.cells[0].outputs = [nbformat.v4.new_output("stream", text="a secret")]
    nb.cells[0].execution_count = 7
    nbformat.write(nb, path)
    assert read_program(path).contents == before


@pytest.mark.slow
def test_the_facts_say_what_goes_in(book):
    path = book("open('a.csv')")
    (path.parent / "a.csv").write_text("1")
    rows = dict(facts(frozen(path, lab=False)))
    assert rows["data"] == "a.csv (1 B)"
    assert rows["lab"] == "JupyterLab is not in it"
    assert rows["python"].startswith(sys.version.split()[0])


def test_what_is_spared_of_packages_is_listed(book):
    path = book("import numpy")
    found = frozen(path, lab=False)
    spare = {one.place: one for one in found.spare[0]}
    assert "numpy/linalg/tests" in spare
    assert "numpy/testing" not in spare
    [row] = [text for name, text in facts(found) if name == "without" and text.startswith("tests")]
    assert "numpy" in row or "more" in row
    assert frozen(path, lab=False, whole=True).spare == ((),)
    kept = frozen(book("import numpy.linalg.tests.test_linalg"), lab=False)
    assert "numpy/linalg/tests" not in {one.place for one in kept.spare[0]}


@pytest.mark.slow
def test_bytecode_is_that_of_what_the_code_imports_and_of_what_runs_it(book):
    found = frozen(book("import sklearn, ml_experiment_nb"), only_imports=True).bytecode[0]
    assert {"sklearn", "numpy", "scipy", "joblib", "import mlflow"} <= set(found)
    assert not {"mlflow", "pandas", "ml_experiment_nb", "import optuna", "import jupyterlab.labapp"} & set(found)
    again = frozen(book("from sklearn.svm import SVC\nimport ml_experiment_nb.specs"), only_imports=True)
    assert again.bytecode[0] == found  # a changed cell leaves the layer as it is
    assert "import optuna" in frozen(book("%%group 'a'\nx = 1"), only_imports=True).bytecode[0]


@pytest.mark.slow
def test_a_single_run_needs_no_debugger_and_no_completion(book):
    found = frozen(book("1"), only_imports=True)
    assert {"debugpy", "jedi", "ray"} <= set(found.dropped)
    assert not {"debugpy", "jedi"} & set(frozen(book("1"), only_imports=True, lab=True).dropped)
    assert "jedi" not in frozen(book("import jedi"), only_imports=True).dropped


def test_what_is_declared_and_imported_but_not_installed_is_fetched(book):
    path = book("import humanize, absent_module")
    (path.parent / "environment.yml").write_text(
        "dependencies: [pip: [humanize==4.9, yarl<0; sys_platform == 'win32']]"
    )
    found = frozen(path)
    assert dict(facts(found))["  fetched"] == "humanize==4.9"
    assert [one for one in found.notes if "which its kernel hasn't" in one] == [
        "the code imports absent_module, which its kernel hasn't: it isn't in the image either"
    ]
