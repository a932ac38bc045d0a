import importlib
import inspect
import sys

import pytest

from ml_experiment_nb.observing.imports import around_imports, when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module's name; the module can be imported and has not been."""
    name = "mlexp_test_module_that_is_waited_for"
    (tmp_path / f"{name}.py").write_text("value = 1\n\n\ndef f():\n    return value\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    before = list(sys.meta_path)
    yield name
    sys.modules.pop(name, None)
    assert sys.meta_path == before  # nothing is left where nothing is waited for


def test_acts_when_a_modules_import_has_finished(module):
    seen = []
    when_imported(module, lambda found: seen.append(found.value))
    assert (seen, module in sys.modules) == ([], False)
    importlib.import_module(module)
    assert seen == [1]
    sys.modules.pop(module)
    importlib.import_module(module)
    assert seen == [1]  # once


def test_acts_at_once_on_a_module_that_is_there(module):
    found = importlib.import_module(module)
    seen = []
    when_imported(module, seen.append)
    assert seen == [found]


def test_several_may_wait_and_one_may_go(module):
    seen = []
    when_imported(module, lambda found: seen.append("first"))
    take_back = when_imported(module, lambda found: seen.append("second"))
    when_imported(module, lambda found: 1 / 0)  # it is no fault of the import
    when_imported(module, lambda found: seen.append("last"))
    take_back()
    importlib.import_module(module)
    assert seen == ["first", "last"]
    take_back()


def test_a_module_keeps_its_own_loader(module):
    when_imported(module, lambda found: None)
    found = importlib.import_module(module)
    assert type(found.__loader__).__module__.startswith(("importlib", "_frozen_importlib"))
    assert found.__spec__.loader is found.__loader__
    assert "return value" in inspect.getsource(found.f)


def test_a_module_that_is_not_there_fails_as_ever(module):
    take_back = when_imported("mlexp_no_such_module", lambda found: None)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("mlexp_no_such_module")
    take_back()


def test_a_submodule_is_waited_for_too():
    for name in [one for one in sys.modules if one == "wave" or one.startswith("xmlrpc")]:
        del sys.modules[name]
    seen = []
    when_imported("xmlrpc.client", lambda found: seen.append(found.__name__))
    import xmlrpc.client  # noqa: F401

    assert seen == ["xmlrpc.client"]


def test_code_is_run_by_what_is_put_around_it_and_who_waits_is_told_within(module):
    seen = []

    def around(found, load):
        seen.append((found.__name__, hasattr(found, "value")))
        load()
        seen.append(found.value)

    when_imported(module, lambda found: seen.append("told"))
    with around_imports(module.__eq__, around):
        found = importlib.import_module(module)
    assert seen == [(module, False), "told", 1]
    assert type(found.__loader__).__module__.startswith(("importlib", "_frozen_importlib"))
    sys.modules.pop(module)
    importlib.import_module(module)
    assert len(seen) == 3  # the block has ended


def test_of_two_around_the_same_code_each_is_asked(module):
    seen = []

    def named(name):
        def around(found, load):
            seen.append(name)
            load()

        return around

    with around_imports(module.__eq__, named("outer")), around_imports(module.__eq__, named("inner")):
        importlib.import_module(module)
    assert seen == ["inner", "outer"]


def test_an_import_that_fails_fails_through_what_is_around_it_and_may_be_tried_again(module, tmp_path):
    (tmp_path / f"{module}.py").write_text("raise RuntimeError('half done')\n")
    tries = []

    def around(found, load):
        try:
            load()
            tries.append("done")
        except RuntimeError:
            tries.append("failed")
            raise

    with around_imports(module.__eq__, around):
        with pytest.raises(RuntimeError, match="half done"):
            importlib.import_module(module)
        assert module not in sys.modules
        (tmp_path / f"{module}.py").write_text("value = 'it is another size now'\n")
        importlib.invalidate_caches()
        importlib.import_module(module)
    assert tries == ["failed", "done"]
