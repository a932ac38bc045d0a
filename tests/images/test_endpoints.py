"""Which engine is in use is told as Docker's own command tells it."""

import hashlib
import json
from pathlib import Path

import pytest

from ml_experiment_nb.errors import EngineError
from ml_experiment_nb.images.endpoints import LOCAL, Endpoint, endpoint


@pytest.fixture
def config(tmp_path):
    """Write contexts to a folder as Docker's command does; return what tells of it."""

    def write(*names, current=None, certificates=(), **said):
        if current:
            (tmp_path / "config.json").write_text(json.dumps({"currentContext": current}))
        for name in names:
            id = hashlib.sha256(name.encode()).hexdigest()
            folder = tmp_path / "contexts/meta" / id
            folder.mkdir(parents=True)
            docker = {"Host": f"tcp://{name}:2376", "SkipTLSVerify": False, **said}
            (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": docker}}))
            for file in certificates:
                (tmp_path / "contexts/tls" / id / "docker").mkdir(parents=True, exist_ok=True)
                (tmp_path / "contexts/tls" / id / "docker" / file).write_text("")
        return {"DOCKER_CONFIG": str(tmp_path)}

    return write


def test_without_a_word_it_is_the_one_of_this_machine(config):
    assert endpoint(config()) == Endpoint(LOCAL)
    assert endpoint({**config("a"), "DOCKER_CONTEXT": "default"}) == Endpoint(LOCAL)


def test_a_context_that_is_used_is_followed(config):
    found = endpoint(config("a", "b", current="b"))
    assert (found.address, found.told_by, found.tls) == ("tcp://b:2376", "the Docker context 'b'", None)


def test_docker_host_comes_before_docker_context_and_that_before_the_one_in_use(config):
    env = config("a", "b", current="b")
    assert endpoint({**env, "DOCKER_CONTEXT": "a"}).address == "tcp://a:2376"
    assert endpoint({**env, "DOCKER_CONTEXT": "a", "DOCKER_HOST": "unix:///x"}).address == "unix:///x"
    assert endpoint({**env, "DOCKER_CONTEXT": "default"}).address == LOCAL


def test_a_context_s_name_is_no_address(config):
    with pytest.raises(EngineError, match=r"DOCKER_HOST is 'a', which is no address .*: a Docker context is named by"):
        endpoint({**config("a"), "DOCKER_HOST": "a"})


def test_a_contexts_certificates_are_given_to_docker_py_and_to_the_command(config, tmp_path):
    env = {**config("a", certificates=("ca.pem", "cert.pem", "key.pem")), "DOCKER_CONTEXT": "a"}
    found = endpoint(env)
    folder = found.certificates
    assert folder.is_relative_to(tmp_path)
    assert found.tls == {
        "client_cert": (str(folder / "cert.pem"), str(folder / "key.pem")),
        "ca_cert": str(folder / "ca.pem"),
        "verify": True,
    }
    assert found.environment == {
        "DOCKER_HOST": "tcp://a:2376",
        "DOCKER_CERT_PATH": str(folder),
        "DOCKER_TLS_VERIFY": "1",
    }


def test_certificates_of_the_environment_are_followed(tmp_path):
    env = {"DOCKER_HOST": "tcp://a:2376", "DOCKER_CERT_PATH": str(tmp_path), "DOCKER_TLS_VERIFY": "1"}
    assert endpoint(env) == Endpoint("tcp://a:2376", "DOCKER_HOST", Path(tmp_path), True)
    assert endpoint({**env, "DOCKER_TLS_VERIFY": ""}).is_verified is False


def test_a_context_that_is_not_there_or_can_not_be_read_is_one_sentence(config, tmp_path):
    env = {**config("a"), "DOCKER_CONTEXT": "absent"}
    with pytest.raises(EngineError, match="there is no Docker context 'absent', which DOCKER_CONTEXT names: `docker"):
        endpoint(env)
    [meta] = tmp_path.rglob("meta.json")
    for text in ("no json", "{}", "[]"):
        meta.write_text(text)
        with pytest.raises(EngineError, match="the Docker context 'a', which DOCKER_CONTEXT names, can't be read"):
            endpoint({**env, "DOCKER_CONTEXT": "a"})
    (tmp_path / "config.json").write_text("no json")
    assert endpoint({"DOCKER_CONFIG": str(tmp_path)}).address == LOCAL
