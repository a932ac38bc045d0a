"""Paths of one machine and secrets, each finding compared whole."""

import pytest

from ml_experiment_nb.preflight import check

PATHS = [
    "open('/home/me/x.csv')", "x = '/Users/me/My Drive/x'", "x = r'C:\\data\\x.csv'", "x = 'D:/data'",
    "x = '/content/drive/x'", "x = f'/home/{1}/x'", "import pandas as pd; pd.read_csv('/data/x.csv')", "%cd /mnt/data",
    "x = 'd:/data'", "import shutil; shutil.move('/data/a', 'b')", "from shutil import copy; copy('/data/a', 'b')",
    "x = 'file:///home/me/x'", "def f(path='/scratch/me'):\n    return path", "x = r'\\\\server\\share\\x'",
]  # fmt: skip


@pytest.mark.parametrize("cell", PATHS)
def test_paths(brief, cell):
    assert brief("x = 1", cell) == [("absolute-path", 2, 1)]


NO_PATHS = [
    "from google.colab import drive\ndrive.mount('/content/drive')", "f = {}\nf.copy('/group/a', 'b')",
    "f = {}\nf.move('/a/b', 'c')", "x = 'x:/y'", "x = 'e:\\\\n'",
]  # fmt: skip


@pytest.mark.parametrize("cell", NO_PATHS)
def test_no_paths(brief, cell):
    assert brief("x = 1", cell) == []


def test_a_path_is_told(found):
    assert found("x = 1\ny = '/home/me/x.csv'") == [
        (
            "absolute-path", 1, "c1", 2, "'/home/me/x.csv' is a path of this machine alone",
            "give it relative to the project, or make it a parameter that is given where it is run",
        )
    ]  # fmt: skip


CREDENTIAL = "{} is given as it is: it looks like a credential"
SECRETS = {
    "password = 'hunter2'": CREDENTIAL.format("password"),
    "connect(password='hunter2')": CREDENTIAL.format("password"),
    "options = {'api_key': 'abcd1234'}": CREDENTIAL.format("api_key"),
    "import os; os.environ['OPENAI_API_KEY'] = 'abcd1234'": CREDENTIAL.format("OPENAI_API_KEY"),
    "client.auth_token = 'abcd1234'": CREDENTIAL.format("auth_token"),
    "def f(x, secret='s3cret-value-1'): return x, secret": CREDENTIAL.format("secret"),
    "%env API_TOKEN=abcd1234": CREDENTIAL.format("API_TOKEN"),
    "!export DB_PASSWORD='hunter2' && run": CREDENTIAL.format("DB_PASSWORD"),
    "%%bash\nexport DB_PASSWORD=hunter2": CREDENTIAL.format("DB_PASSWORD"),
    "x = 'AKIAIOSFODNN7EXAMPLE'": "an AWS access key stands here in clear",
    "x = 1  # ghp_" + "a1B2" * 9: "a GitHub token stands here in clear",
    "%%bash\ncurl -H hf_" + "a1B2" * 9: "a Hugging Face token stands here in clear",
    "x = 'sk-proj-" + "a1B2" * 6 + "'": "an API key stands here in clear",
    "x = '''-----BEGIN RSA PRIVATE KEY-----\nabc'''": "a private key stands here in clear",
    "x = 'xoxb-123456789012-abcdef'": "a Slack token stands here in clear",
    "x = 'postgresql://me:hunter2@host/db'": "an address with a password in it stands here in clear",
    "headers = {'Authorization': 'Bearer abcdef123456'}": "a header with a credential stands here in clear",
}


@pytest.mark.parametrize("cell", SECRETS)
def test_secrets(book, cell):
    [finding] = check(book("f = connect = client = print", cell), ignore=["uncommitted", "undefined"])
    assert (finding.rule, finding.cell, finding.text) == ("secret", 2, SECRETS[cell])
    assert finding.line == (2 if cell.startswith("%%") else 1)
    assert not any(one in finding.text + finding.advice for one in ("hunter2", "abcd1234", "a1B2", "AKIA", "abcdef"))


def test_a_secret_in_a_cell_that_is_not_run(brief):
    assert brief(("password = 'hunter2'", "skip-execution")) == [("secret", 1, 1)]
