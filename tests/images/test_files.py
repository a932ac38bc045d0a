import pytest
from frozen_programs import frozen, names

from ml_experiment_nb.errors import ImageError


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


@pytest.mark.slow
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
