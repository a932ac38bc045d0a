"""JupyterLab's and its server's extensions."""

import json

import pytest

from ml_experiment_nb.doctor import Level, examine


def extension(folder, built):
    """Write JupyterLab's extension of ours to a folder of Jupyter's data, as far as a server looks at it."""
    place = folder / "labextensions/ml-experiment-nb"
    (place / "static").mkdir(parents=True)
    said = {"name": "ml-experiment-nb", "version": "1", "jupyterlab": {"_build": {"load": "static/remoteEntry.js"}}}
    (place / "package.json").write_text(json.dumps(said))
    if built:
        (place / "static/remoteEntry.js").touch()


def configured(folder, name, content):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


@pytest.fixture
def jupyter(tmp_path_factory, monkeypatch):
    """Folders of Jupyter's data and settings that go before those of the environment."""
    pytest.importorskip("jupyterlab_server")
    data, settings = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("settings")
    monkeypatch.setenv("JUPYTER_PATH", str(data))
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", str(settings))
    monkeypatch.setenv("JUPYTER_CONFIG_DIR", str(settings / "own"))
    enabled = {"ServerApp": {"jpserver_extensions": {"ml_experiment_nb": True}}}
    configured(settings, "jupyter_server_config.d/ours.json", enabled)
    return data, settings


def of_jupyterlab(project):
    return [(one.level, one.text, one.advice) for one in examine(project, seconds=100)]


def test_jupyterlab_s_extensions_are_enabled(project, only, jupyter):
    only("jupyterlab")
    extension(jupyter[0], built=True)
    (page, text, _), (server, *_) = of_jupyterlab(project)
    assert (page, server) == (Level.OK, Level.OK)
    assert f"is enabled, in {jupyter[0]}" in text


def test_what_jupyterlab_s_extensions_lack_is_told_with_what_to_do(project, only, jupyter):
    only("jupyterlab")
    data, settings = jupyter
    extension(data, built=False)
    configured(
        settings,
        "jupyter_server_config.d/ours.json",
        {"ServerApp": {"jpserver_extensions": {"ml_experiment_nb": False}}},
    )
    page, server = of_jupyterlab(project)
    assert page[0] is server[0] is Level.WARNING
    assert "is not built" in page[1]
    assert "make labextension" in page[2]
    assert server[2] == "jupyter server extension enable ml_experiment_nb --sys-prefix"
    (data / "labextensions/ml-experiment-nb/static/remoteEntry.js").touch()
    configured(settings, "labconfig/page_config.json", {"disabledExtensions": {"ml-experiment-nb": True}})
    level, text, advice = of_jupyterlab(project)[0]
    assert (level, advice) == (Level.WARNING, "jupyter labextension enable ml-experiment-nb")
    assert "is disabled" in text
