"""Looking at what came of it: ``ls``, ``show``, ``logs`` and ``ui``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ml_experiment_nb.cli.record import print_record
from ml_experiment_nb.cli.tables import print_csv, print_json, print_table

if TYPE_CHECKING:
    from ml_experiment_nb.records import Record


@click.command("ls")
@click.option("-e", "--experiment", help="Only this experiment's runs.")
@click.option("-g", "--group", help="Only the trials of this group (its run id, or the beginning of it).")
@click.option("-s", "--status", type=click.Choice(["running", "finished", "failed", "pruned", "killed"]))
@click.option("-k", "--kind", type=click.Choice(["experiment", "group", "trial"]))
@click.option(
    "-w", "--where", metavar="CONDITION", help='Only runs that meet it: "metrics.loss < 0.1 and params.C = 1".'
)
@click.option("--sort", metavar="NAME", help="Order by a metric, a parameter, started, seconds or name; lowest first.")
@click.option("-r", "--reverse", is_flag=True, help="The other way round: the highest first, or the oldest.")
@click.option("-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@click.option("--json", "as_json", is_flag=True, help="Print each record as a line of JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a table that other programs read.")
def list_runs(
    experiment: str | None, group: str | None, status: str | None, kind: str | None, where: str | None,
    sort: str | None, reverse: bool, limit: int, as_json: bool, as_csv: bool,
) -> None:  # fmt: skip
    """List runs, the newest first."""
    from ml_experiment_nb.projects import find_root, has_store

    root = find_root()
    if not has_store(root):
        click.echo("no runs yet: `ml-experiment run` makes one", err=True)
        return
    from ml_experiment_nb.listing import listed, unknown_name
    from ml_experiment_nb.readings import wanted

    order = sort or ("started" if reverse else None)
    asked = wanted(
        experiment=experiment, kind=kind, status=status, condition=where, limit=limit, tags=as_json,
        order_by=f"{order} DESC" if sort and reverse else order,
    )  # fmt: skip
    records = listed(root, asked, group=group, closed=say_closed)
    if (problem := unknown_name(root, asked, records, group=group)) is not None:
        click.echo(f"note: {problem}", err=True)
    if as_json:
        print_json(records)
    elif as_csv:
        print_csv(records)
    elif records:
        print_table(records, dated=True)
    else:
        click.echo("no such runs", err=True)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Print the record as a line of JSON.")
@click.option(
    "--as", "form", type=click.Choice(["yaml", "json", "cell", "command", "notebook", "script"]),
    help="Print what was asked as a spec, a cell or a shell line, or its code as a notebook or script that runs.",
)  # fmt: skip
@click.option("--all", "every", is_flag=True, help="Also what is kept for comparing runs: hashes, driver, machine.")
@click.option("--html", "as_pages", is_flag=True, help="Keep its notebooks as pages, too, and say where they are.")
def show(run_id: str, as_json: bool, form: str | None, every: bool, as_pages: bool) -> None:
    """Show a run: its parameters, metrics, code, environment and artifacts. RUN is its id or the beginning of it."""
    from ml_experiment_nb.looking import opened_archive

    store = opened_archive(closed=say_closed)
    record = store.record(run_id)
    if form is not None:
        from ml_experiment_nb.archive import SPEC
        from ml_experiment_nb.command_requests.forms import form_of

        found = form_of(record, store.text(record, SPEC), form, partial(store.kept, record))
        for loss in found.losses:
            click.echo(f"note: {loss}", err=True)
        click.echo(found.text.rstrip("\n"))
        return
    if as_pages:
        _print_pages(record)
        return
    if as_json:
        print_json([record])
        return
    print_record(record, _artifacts(store, record), every=every)
    if record.kind in ("group", "experiment"):
        from ml_experiment_nb.groups import trials_of

        if trials := trials_of(store, record):
            print_table(trials)
        if record.kind == "group" and (text := store.text(record, "record/failures.txt")):
            click.echo(text, nl=False)


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, until it has ended.")
def logs(run_id: str, follow: bool) -> None:
    """Print what a run has printed. RUN is its id or the beginning of it."""
    from ml_experiment_nb.looking import opened_archive

    store = opened_archive(closed=say_closed)
    record = store.record(run_id)
    if not follow:
        text = store.log_text(record)
        click.echo(text, nl=False)
        if not text:
            click.echo(f"note: {record.name} has printed nothing", err=True)
        return
    from ml_experiment_nb import attached

    for text in attached.log(store, record):
        click.echo(text, nl=False)


@click.command()
@click.option("-p", "--port", type=int, default=5000, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True)
def ui(port: int, host: str) -> None:
    """Open MLflow's web page on the store in use."""
    from ml_experiment_nb.addresses import without_password
    from ml_experiment_nb.mlflow_page import announce
    from ml_experiment_nb.projects import find_root, home
    from ml_experiment_nb.sweeps import opened_store

    store = opened_store(make=True, closed=say_closed)
    if store.uri.startswith("http"):
        click.echo(f"the store is a server: its page is {without_password(store.uri)}")
        if sys.stdout.isatty() and (sys.platform == "darwin" or {"DISPLAY", "WAYLAND_DISPLAY"} & {*os.environ}):
            click.launch(re.sub(r"://[^/]*@", "://", store.uri))
        return
    click.echo(f"MLflow's page on {without_password(store.uri)}: http://{host}:{port} (Ctrl-C ends it)", err=True)
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    # Others of this machine see a command's words, and a database's address may have a password in it.
    os.environ |= {"MLFLOW_BACKEND_STORE_URI": store.uri, "MLFLOW_DEFAULT_ARTIFACT_ROOT": str(store.artifact_root)}
    os.environ.pop("MLFLOW_TRACKING_URI", None)
    root = find_root()
    announce(root, store.uri, host, port)
    # A json.py or an mlflow.py in the project is no library, for this process and for uvicorn, which MLflow starts.
    os.environ |= {"PYTHONSAFEPATH": "1", "UVICORN_APP_DIR": str(home(root))}
    words = [sys.executable, "-P", "-m", "mlflow", "ui", "--no-serve-artifacts", "--workers", "1"]
    os.execv(sys.executable, [*words, "--host", host, "--port", str(port)])


def _artifacts(store: Any, record: Record) -> list[str]:
    from ml_experiment_nb.errors import StoreError

    try:
        found: list[str] = store.artifacts(record)
        return found
    except StoreError as error:  # the rest of the record is worth showing
        click.echo(f"note: its files can't be listed: {error}", err=True)
        return []


def say_closed(records: Sequence[Record]) -> None:
    """Say that runs were closed, if any were."""
    if records:
        which = "a run had died; it is" if len(records) == 1 else f"{len(records)} runs had died; they are"
        click.echo(f"note: the driver of {which} closed now", err=True)


def _print_pages(record: Record) -> None:
    from ml_experiment_nb.pages import add_pages
    from ml_experiment_nb.sweeps import opened_store

    pages = add_pages(opened_store(), record)
    for path in pages:
        click.echo(f"{record.artifact_uri}/{path}")
    if not pages:
        click.echo("the run has no notebook among its artifacts", err=True)
