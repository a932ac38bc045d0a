"""The widgets' scripts put together."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from ml_experiment_nb.widgets.assets import FOLDER, css, esm

_NAME = re.compile(r"^(?:export )?(?:async )?(?:function|const|let|class) (\w+)", re.MULTILINE)


def test_a_module_comes_with_what_it_imports_once_and_before_it(tmp_path, monkeypatch):
    (tmp_path / "a.js").write_text('import { c } from "./c.js";\nexport function a() { return c; }\n')
    (tmp_path / "b.js").write_text(
        'import { a } from "./a.js";\nimport { c } from "./c.js";\nexport default { render: () => a() + c };\n'
    )
    (tmp_path / "c.js").write_text("export const c = 1;\n")
    monkeypatch.setattr("ml_experiment_nb.widgets.assets.FOLDER", tmp_path)
    esm.cache_clear()
    try:
        assert esm("b") == ("const c = 1;\n\nfunction a() { return c; }\n\nexport default { render: () => a() + c };\n")
    finally:
        esm.cache_clear()


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.js")), ids=lambda path: path.name)
def test_modules_that_are_put_together_have_names_of_their_own(path):
    text = esm(path.stem)
    names = _NAME.findall(text)
    assert sorted(set(names)) == sorted(names)
    assert not re.search(r"^(import|export (?!default))", text, re.MULTILINE)


def test_the_theme_stands_before_other_sheets():
    assert css().startswith("/* The front end's own colours")


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_nothing_is_fetched(path):
    assert not re.search(r"https?://(?!www\.w3\.org/)|@import|\bimport\(", path.read_text())


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node")
@pytest.mark.parametrize("entry", ["live"])
def test_a_widget_s_script_is_javascript(entry, tmp_path):
    (tmp_path / "widget.mjs").write_text(esm(entry))
    subprocess.run(["node", "--check", tmp_path / "widget.mjs"], check=True)
