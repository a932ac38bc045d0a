"""``python -m ml_experiment_nb.cli`` is the command."""

from ml_experiment_nb.cli import main

main()
