"""A store in the eyes of plain MLflow."""

from pathlib import Path


def all_runs(client):
    """Return all runs, the oldest first."""
    ids = [one.experiment_id for one in client.search_experiments()]
    return client.search_runs(ids, order_by=["attributes.start_time ASC"])


def statuses(client):
    """Return the names of all runs, each with its status."""
    return [(run.info.run_name, run.info.status) for run in all_runs(client)]


def text_of(client, run, path):
    """Return the text of one of a run's files."""
    return Path(client.download_artifacts(run.info.run_id, path)).read_text()
