"""The files that repo2docker reads are followed, or it is said what of them isn't."""

import pytest

from ml_experiment_nb.errors import SpecError
from ml_experiment_nb.images.declared import declared


def test_the_nearest_folder_that_declares_something_is_it(tmp_path):
    inner = tmp_path / "notebooks"
    (tmp_path / "binder").mkdir()
    inner.mkdir()
    (tmp_path / "binder/apt.txt").write_text("git  # for the log\n\nlibgomp1 git\n")
    found = declared([inner, tmp_path])
    assert found.debian == ("git", "libgomp1")
    assert found.files == (tmp_path / "binder/apt.txt",)
    (inner / "apt.txt").write_text("curl\n")
    assert declared([inner, tmp_path]).debian == ("curl",)
    assert declared([]).debian == ()


def test_requirements_of_pip_and_conda(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "numpy>=2  # arrays\n-r more.txt\nscipy==1.17 --hash=sha256:0\n./local\n    --hash=sha256:1\n"
    )
    (tmp_path / "environment.yml").write_text(
        "channels: [conda-forge]\ndependencies:\n  - python=3.11.*\n  - conda-forge::PyTables>=3\n  - pip\n"
        "  - pip:\n    - humanize\n"
    )
    (tmp_path / "postBuild").write_text("#!/bin/sh\n")
    found = declared([tmp_path])
    assert found.requirements == ("numpy>=2", "scipy==1.17", "humanize")
    assert found.conda == ("pytables>=3",)
    assert found.python == "3.11"
    assert found.post_build == tmp_path / "postBuild"
    assert found.notes == (
        f"requirements.txt:2: there is no {tmp_path / 'more.txt'}, which is not followed",
        "requirements.txt:4: ./local is no requirement by a name, and is not followed",
    )


def test_what_a_requirements_file_or_pip_s_part_of_an_environment_names_is_followed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "requirements.txt").write_text("-r sub/more.txt\n-c limits.txt\n--extra-index-url=https://a:b@h/\n")
    (tmp_path / "sub/more.txt").write_text("scipy\n-r ../requirements.txt\n--requirement=last.txt\n")
    (tmp_path / "sub/last.txt").write_text("polars; python_version > '3'\n")
    (tmp_path / "environment.yml").write_text(
        "dependencies:\n  - pip:\n    - -r sub/last.txt\n    - -r other.txt\n    - -e .\n"
        "    - git+https://me:tok@h/x\n    - humanize>=4  # sizes\n    - scipy\n"
    )
    (tmp_path / "other.txt").write_text("yarl\n")
    found = declared([tmp_path])
    assert found.requirements == ("scipy", "polars; python_version > '3'", "yarl", "humanize>=4")
    assert found.notes == (
        "requirements.txt:2: -c is an option of pip's, and is not followed",
        "requirements.txt:3: --extra-index-url is an option of pip's, and is not followed",
        "environment.yml (pip): -e is an option of pip's, and is not followed",
        "environment.yml (pip): git+https://h/x is no requirement by a name, and is not followed",
    )
    assert set(found.files) == {
        tmp_path / name for name in ("requirements.txt", "environment.yml", "sub/more.txt", "sub/last.txt", "other.txt")
    }


@pytest.mark.parametrize(
    ("conda", "requirement"),
    [
        ("numpy=1.20", "numpy==1.20.*"),
        ("numpy=1.20.*", "numpy==1.20.*"),
        ("numpy==1.20.3", "numpy==1.20.3"),
        ("numpy=1.20.3=py38_0", "numpy"),
        ("Numpy>=1.3,<2", "numpy<2,>=1.3"),
        ("numpy 1.20|1.21", "numpy"),
        ("r-base", "r-base"),
    ],
)
def test_what_conda_is_asked_for_is_told_as_a_requirement(tmp_path, conda, requirement):
    (tmp_path / "environment.yml").write_text(f"dependencies: ['{conda}']\n")
    assert declared([tmp_path]).conda == (requirement,)


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("apt.txt", "git; rm -rf /\n", "'git;' is no name of a Debian package"),
        ("environment.yml", "dependencies: numpy\n", "has no list `dependencies`"),
        ("environment.yml", "a: [\n", "is no YAML"),
        ("environment.yml", "dependencies: [{pip: humanize}]\n", "`pip` is no list"),
    ],
)
def test_what_can_not_be_read_is_said_with_its_file(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecError) as error:
        declared([tmp_path])
    assert problem in str(error.value)
    assert str(tmp_path / name) in str(error.value)
