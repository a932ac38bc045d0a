import pytest

from ml_experiment_nb.cli.image import told


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("#7 [stage-0 3/9] RUN   x", "[stage-0 3/9] RUN x"),
        ("#7 CACHED", ""),
        ("#7 0.281 sha256:0", ""),
        ("fetched 3 of 9 packages", "fetched 3 of 9 packages"),
    ],
)
def test_of_what_buildkit_says_the_steps_are_shown(line, shown):
    assert told(line) == shown
