import json
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_looking_needs_no_mlflow(project):
    (project / "quad.py").write_text("from ml_experiment_nb import report\n\nreport({'loss': 1.0})\n")
    (project / "quad.yaml").write_text(
        "{name: quad, kind: group, num_trials: 2, executor: inline, param_space: {x: 'uniform(0, 5)'},"
        " metric: {name: loss, direction: minimize}, run: [quad.py]}"
    )
    command = [sys.executable, "-m", "ml_experiment_nb.cli"]
    subprocess.run([*command, "run", "-q", "quad.yaml"], check=True, capture_output=True)
    listed = subprocess.run([*command, "ls", "--json"], check=True, capture_output=True, text=True).stdout
    records = [json.loads(line) for line in listed.splitlines()]
    group = next(one["run_id"] for one in records if one["kind"] == "group")
    a, b = [one["run_id"] for one in records if one["kind"] == "trial"]
    asked = [
        (["show", a], "metrics"), (["show", group[:8]], "quad #1"), (["show", "--json", a], '"run_id"'),
        (["logs", a], ""),
        (["show", "--as", "command", a], "quad.py"), (["show", "zzzz"], "no run 'zzzz'"),
        (["diff", a, b], "parameters"),
        (["compare", group], "loss"), (["resume", group, "--trials", "2", "--plan"], "of 4 trials are done"),
        (["run", "quad.yaml", "--plan"], "2 past runs"), (["run", "quad.py", "-p", "x=1", "--plan"], "estimate"),
    ]  # fmt: skip
    code = """if True:
        import contextlib, io, json, sys
        from ml_experiment_nb.cli import commands
        for words in json.loads(sys.argv[1]):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                try:
                    commands(words, standalone_mode=False)
                except Exception as error:
                    print(error)
            loaded = sorted({'mlflow', 'pandas', 'ray'} & set(sys.modules))
            print(json.dumps([said.getvalue(), loaded]))
    """
    words = json.dumps([one for one, _ in asked])
    ran = subprocess.run([sys.executable, "-c", code, words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for (which, expected), line in zip(asked, ran.stdout.splitlines(), strict=True):
        said, loaded = json.loads(line)
        assert expected in said, (which, said)
        assert loaded == [], which
