"""What tests do with the study of a group."""

import optuna

from ml_experiment_nb.records import Outcome, Status

FINISHED = Outcome(Status.FINISHED)
SPACE = {"C": "loguniform(0.01, 1000)", "gamma": "choice(['scale', 'auto'])", "depth": "range(1, 10, 2)"}


def study_of(search):
    """Read the study as anyone with Optuna would."""
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(search.storage))
    return optuna.load_study(study_name=search.name, storage=storage)


def ask_all(search, value=0.5):
    draws = []
    while (draw := search.ask()) is not None:
        draws.append(draw)
        search.tell(draw.number, FINISHED, {"acc": value})
    return draws
