"""What the doctor finds."""

from ml_experiment_nb.doctor import examine


def found(project, check):
    """Return the one finding of a check."""
    (finding,) = [one for one in examine(project, seconds=100) if one.check == check]
    return finding
