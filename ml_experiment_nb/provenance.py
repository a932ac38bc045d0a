"""Where a run comes from, kept with it: its spec, its sources, its data, its notebook, and what was asked, as tags."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ml_experiment_nb import events
from ml_experiment_nb.capture import Snapshot
from ml_experiment_nb.capture.gallery import PLOTLY
from ml_experiment_nb.capture.inputs import Input, as_text, inputs_of, values_here
from ml_experiment_nb.capture.notebook import notebook_text
from ml_experiment_nb.capture.page import page, without_page
from ml_experiment_nb.capture.sources import sources
from ml_experiment_nb.identity import Code, as_experiment, code_of, identity_tags
from ml_experiment_nb.openings import open_run
from ml_experiment_nb.plans import Plan, Spec, Task
from ml_experiment_nb.recording import OpenRun
from ml_experiment_nb.specs import Group
from ml_experiment_nb.targets import Cell, Notebook, Script, Target
from ml_experiment_nb.tracking import Store

RUN_ID = "ML_EXPERIMENT_RUN"
_LONG_PAGE = 2_000_000  # bytes of a notebook whose page costs more time than a cell should: `show --html` makes it
_page = lru_cache(maxsize=2)(page)  # most runs of a session find the file as the one before did


def open_for(
    store: Store, spec: Spec, *, name: str, kind: str, params: Mapping[str, Any], taken: Snapshot, cwd: str,
    identity: Mapping[str, str], parent_id: str | None = None, number: int | None = None, more: Mapping[str, str] = {},
    at_once: bool = True,
) -> OpenRun:  # fmt: skip
    """Open a run of a spec; see `open_run`."""
    names = [_source_name(target, taken.notebook) for target in spec.run]
    tags = {
        "mlflow.source.name": ", ".join(names),
        "mlflow.source.type": "LOCAL",
        "mlexp.cwd": cwd,
        **identity,
    }
    tags |= {"mlflow.note.content": spec.description} if spec.description else {}
    parts = [target.part for target in spec.run if isinstance(target, Notebook) and target.part]
    tags |= {"mlexp.partial": "; ".join(parts)} if parts else {}
    return open_run(
        store,
        name=name,
        experiment=spec.name,
        kind=kind,
        params=params,
        tags={**tags, **spec.tags, **more},
        snapshot=taken,
        parent_id=parent_id or os.environ.get(RUN_ID),
        number=number,
        at_once=at_once,
    )


def _source_name(target: Target, notebook: Path | None) -> str:
    """Return what a run's source is called: its file, a function's name, or the notebook that a cell stands in."""
    if isinstance(target, Script | Notebook):
        return target.path
    if isinstance(target, Cell) and notebook is not None:
        return os.path.relpath(notebook) if notebook.is_relative_to(Path.cwd()) else str(notebook)
    return target.name


def identity_of(plan: Plan, code: Code, task: Task | None = None) -> dict[str, str]:
    """Return the tags that say what was asked: of a trial, it alone as an experiment; of a step, its target."""
    spec = plan.spec
    if task is not None and isinstance(spec, Group):
        spec = as_experiment(spec, task.params)
    elif task is not None and len(plan.targets) > 1:
        targets = tuple(step.target for step in task.steps)
        spec = spec.model_copy(update={"run": targets, "params": dict(task.params)})
        code = code_of(targets, Path(plan.cwd))
    return identity_tags(spec, code)


def environment_of(store: Store | None, live: OpenRun, root: Path) -> dict[str, str]:
    """Return what a task's processes are told: MLflow's own variables, so that its fluent API meets the same run."""
    if store is None or live.run_id is None:
        return {"ML_EXPERIMENT_ROOT": str(root)}
    return {
        "ML_EXPERIMENT_ROOT": str(root),
        RUN_ID: live.run_id,
        "MLFLOW_TRACKING_URI": store.uri,
        "MLFLOW_RUN_ID": live.run_id,
        "MLFLOW_EXPERIMENT_ID": store.experiment_id(live.first.experiment),
    }


def keep_sources(live: OpenRun, spec_yaml: str, targets: Iterable[Target]) -> None:
    """Keep the source of what runs with its run, and the spec."""
    for name, text in sources(targets).items():
        live.save(f"source/{name}", text)
    live.save("spec.yaml", spec_yaml)


def plan_inputs(plan: Plan, root: Path) -> list[Input]:
    """Return the data that a plan's tasks read, all of them the same."""
    spec = plan.spec
    values = {**values_here(spec.data), **plan.values, **spec.params}
    return inputs_of(spec.data, Path(spec.root_path or plan.cwd), values, root)


def keep_inputs(live: OpenRun, inputs: Sequence[Input], whole: bool = True) -> None:
    """Say in a run's record which data it reads; `whole`: with the digest of each file."""
    live.use(inputs)
    if whole and (text := as_text(inputs)):
        live.save("data.sha256", text)


def keep_notebook(live: OpenRun, notebook: Path | None) -> None:
    """Keep the notebook that a run's code stands in, as its file is, and as a page."""
    if notebook is None or (found := notebook_text(notebook)) is None:
        return
    text, is_cut = found
    live.save(f"notebook/{notebook.name}", text)
    if is_cut:
        live.add(events.Note(f"{notebook.name} is large: it is kept without its outputs"))
    if len(text) > _LONG_PAGE or PLOTLY in text:  # plotly's own script is five million characters
        return
    try:
        live.save(f"notebook/{notebook.stem}.html", _page(text, notebook.stem))
    except Exception as error:  # whatever stands in a notebook, its run is still to be recorded
        live.add(events.Note(without_page(notebook.name, error)))
