"""What code needs is told from its text."""

from ml_experiment_nb.images.needs import needs

CODE = [
    "import numpy as np, os.path\nfrom sklearn.svm import SVC\nfrom . import sibling",
    "import importlib\nimportlib.import_module('plugins.one')\n__import__(name)",
    "%pip install -q humanize\n!git log\nfiles = !ls data\n!pip install x\n%conda install numba",
    "import sys\nsys.path.append('../lib')\nsys.path.insert(0, str(Path('src')))",
    "open('data/t.csv')\ntoken = secret('API_TOKEN')\napi_key = 'abcd1234'\npassword = '<password>'",
    "%%experiment 'one'\nC = 1\nimport torch",
    "%%bash\necho hello",
    "this is no Python",
]


def test_modules_are_those_of_every_import_that_can_be_read():
    assert needs(CODE).modules == {"numpy", "os", "sklearn", "importlib", "plugins", "sys", "torch"}
    assert needs(CODE).dynamic
    assert not needs(CODE[:1]).dynamic


def test_a_shells_commands_are_not_its_installers():
    found = needs(CODE)
    assert found.commands == {"git", "ls", "bash"}
    assert found.installs == {"-q humanize", "x"}
    assert found.conda == {"numba"}


def test_an_address_with_a_password_or_a_token_is_seen_and_not_said():
    found = needs(
        [
            "%pip install --extra-index-url https://me:tok@one.host/simple x",
            "!pip install git+https://ghp_token@two.host/x.git git+ssh://git@four.host/y.git",
            "engine = create_engine('postgresql://u:pw@three.host/db')\nf'https://{user}:{pw}@five.host'",
            "url = 'https://<user>:<password>@six.host'; mail = 'https://seven.host/@me'",
        ]
    )
    assert found.addresses == {"https://one.host/simple", "git+https://two.host/x.git", "postgresql://three.host/db"}


def test_folders_texts_and_secrets():
    found = needs(CODE)
    assert found.folders == {"../lib", "src"}
    assert "data/t.csv" in found.texts
    assert found.secrets == {"API_TOKEN"}
    assert found.credentials == {"api_key"}
