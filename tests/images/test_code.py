from frozen_programs import frozen


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
