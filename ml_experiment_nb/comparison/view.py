"""Several runs side by side: as a table, and in the figures that Optuna's and MLflow's users know.

Each figure is a plain plotly figure; JupyterLab draws it by itself, and nothing is fetched for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ml_experiment_nb.archive import Archive
from ml_experiment_nb.comparison.evidence import curve
from ml_experiment_nb.comparison.studies import check_metrics, importances, scored_study, study_of
from ml_experiment_nb.entries import known_as
from ml_experiment_nb.errors import ExperimentError, MetricError, ParameterError, RunNotFoundError, SpecError, nearest
from ml_experiment_nb.groups import goals_of, trials_of
from ml_experiment_nb.looking import opened_archive
from ml_experiment_nb.readings import RunQuery, id_of
from ml_experiment_nb.records import Record, Records, costs_of
from ml_experiment_nb.widgets.bundle import bundle, has_front_end, has_widgets
from ml_experiment_nb.widgets.fallback import comparison_html

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from optuna import Study

    from ml_experiment_nb.comparison.widget import ComparisonWidget

LIMIT = 1000
LINES = 20  # runs that the text has that is kept in a notebook
CURVES = 50  # runs whose curves are drawn at most
Runs = str | Record | Iterable["str | Record"]


def compare(
    *runs: Runs,
    experiment: str | None = None,
    metric: str | Sequence[str] | None = None,
    maximize: bool | Sequence[bool] | None = None,
    limit: int = LIMIT,
    store: Archive | None = None,
) -> Comparison:
    """Lay runs side by side.

    Args:
        runs: The runs: records, ids or their beginnings, or lists of these. A group stands for its trials.
        experiment: All runs of this experiment, if none are given; without it those of the whole project. Trials are
            left out then, unless there is nothing else.
        metric: What is compared first of all, or several; by default what a group among them optimised, or what
            records such as a view's `selected` were compared by.
        maximize: Whether more of it is better; by default what those say, else no.
        limit: At most so many of an experiment's, the newest; the comparison says where there are more.
        store: Where they are looked for; by default the project's store.

    Returns:
        The comparison: a table where it is a cell's value, with methods that draw.

    Raises:
        RunNotFoundError: There is no such run, or more than one; or what was given has none in it.
        StoreError: The store can't be reached.
        MetricError: None of the runs has such a metric.
    """
    store = store or opened_archive()
    given = [one for run in runs for one in _each(run)]
    if not isinstance(limit, int) or limit < 1:
        raise ExperimentError(f"limit is a whole number from 1 on, not {limit!r}")
    if isinstance(maximize, str):
        raise SpecError(f"maximize is True or False: write compare(metric={maximize!r}, maximize=True)")
    groups = [run.parent for run in runs if isinstance(run, Records) and run.parent is not None]
    if runs and not given:
        raise RunNotFoundError("no runs were given: select some, or name them")
    note = ""
    if given:
        found, more = _gathered(store, given)
        groups += more
    else:
        alone = RunQuery(experiment, "experiment", limit=limit + 1, tags=True)
        found = store.listed(alone) or store.records(experiment=experiment, limit=limit + 1)
        if len(found) > limit:
            found, note = found[:limit], f"only the newest {limit:,} of the runs: a higher limit shows more"
    known = {name: more for run in runs if isinstance(run, Records) for name, more in run.goals}
    known |= {name: more for group in groups for name, more in goals_of(store, group).items()}
    names, wanted = _goal(found, known, metric, maximize)
    return Comparison(Records(found, groups[0] if len(groups) == 1 else None, names, wanted), store, note=note)


class Comparison:
    """Runs side by side. Its figures take the metric that the runs' group optimised, unless another one is named.

    Args:
        records: The runs.
        store: Where their curves are read from.
        note: What is to be said of them, such as that there are more.
    """

    def __init__(self, records: Records, store: Archive, *, note: str = "") -> None:
        self.records = records
        self.note = note
        self._store = store
        self._widget: ComparisonWidget | None = None

    @property
    def selected(self) -> Records:
        """The runs that are selected in the view of this comparison, in the order of `ranked`; none where none is."""
        if self._widget is None:
            return self.records.like(())
        return self.records.like(self._widget.rows[k] for k in sorted(self._widget.selected))

    def to_pandas(self) -> Any:
        """Return a DataFrame with a row per run: its id, name, status, duration, parameters and metrics."""
        return self.records.to_pandas()

    def parallel_coordinate(self, params: Sequence[str] | None = None, *, metric: str | None = None) -> go.Figure:
        """Draw a line for each run through its parameters, coloured by a metric; see `history` for what is raised.

        Args:
            params: Their names; by default all that runs have in common.
            metric: The metric.
        """
        name, study = self._study(metric)
        return _drawer().plot_parallel_coordinate(study, self._params(params, study), target_name=name)

    def contour(self, x: str, y: str, *, metric: str | None = None) -> go.Figure:
        """Draw a metric over two parameters; see `history` for what is raised."""
        name, study = self._study(metric)
        return _drawer().plot_contour(study, self._params([x, y], study), target_name=name)

    def slice(self, params: Sequence[str] | None = None, *, metric: str | None = None) -> go.Figure:
        """Draw a metric against each parameter; see `history` for what is raised."""
        name, study = self._study(metric)
        return _drawer().plot_slice(study, self._params(params, study), target_name=name)

    def history(self, *, metric: str | None = None) -> go.Figure:
        """Draw a metric in the order of the runs, with the best value so far.

        Raises:
            MetricError: No run that finished has the metric.
            ParameterError: No run that finished has a parameter of that name.
        """
        name, study = self._study(metric)
        return _drawer().plot_optimization_history(study, target_name=name)

    def importances(self, *, metric: str | None = None) -> dict[str, float]:
        """Return how much of a metric's variance each parameter explains, as Optuna reckons it; they add up to 1.

        Parameters that not all runs have are left out. Where no parameter or no metric varies, nothing is explained.
        """
        return importances(self._study(metric)[1])

    def importance(self, *, metric: str | None = None) -> go.Figure:
        """Draw `importances` as bars, the largest on top."""
        name, _ = self._study(metric)
        found = sorted(self.importances(metric=name).items(), key=lambda one: one[1])
        bars = _plotly().Bar(
            x=[value for _, value in found], y=[param for param, _ in found], orientation="h",
            text=[f"{value:.2f}" for _, value in found], textposition="auto",
        )  # fmt: skip
        title = f"Importance of parameters for {name}" if found else f"No parameter makes a difference to {name}"
        return _plotly().Figure(bars, {"title": title, "xaxis": {"title": "importance", "range": [0, 1]}})

    def pareto_front(self, metrics: Sequence[str] | None = None, maximize: Sequence[bool] | None = None) -> go.Figure:
        """Draw two or three metrics against each other, and which runs none is better than.

        Args:
            metrics: Their names; by default those that the runs' group optimised.
            maximize: Of each, whether more of it is better; by default as that group says, else no.

        Raises:
            MetricError: There are not two or three, or no run that finished has them all.
        """
        goals = dict(self.records.goals)
        names = self._known(metrics if metrics is not None else goals)
        if len(names) not in (2, 3):
            raise MetricError(f"a front has two or three metrics, not {len(names)}: name them")
        wanted = list(maximize) if maximize is not None else [goals.get(name, False) for name in names]
        check_metrics(self.records, names)
        study = study_of(self.records, names, wanted)
        return _drawer().plot_pareto_front(study, target_names=names)

    def curves(
        self, metrics: str | Sequence[str] | None = None, *, smoothing: float = 0.0, runs: int = CURVES
    ) -> go.Figure:
        """Draw metrics over their steps, a line for each run and metric.

        Args:
            metrics: Their names; by default all that have more than one step, in any of the runs.
            smoothing: From 0, as they were, to 1: the weight of what came before, as in MLflow's page.
            runs: At most so many of the runs: the best ones where there is a goal, else the first.

        Raises:
            MetricError: No run has such a metric.
            StoreError: The store can't be reached.
        """
        if not 0 <= smoothing <= 1:
            raise MetricError(f"smoothing is a number from 0 to 1, not {smoothing}")
        names = None if metrics is None else self._known([metrics] if isinstance(metrics, str) else metrics)
        if names is not None:
            check_metrics(self.records, names)
        figure = _plotly().Figure(layout={"xaxis": {"title": "step"}, "hovermode": "closest"})
        for record in self._ranked()[:runs]:
            for name, points in self._histories(record, names).items():
                if names is None and len(points) < 2:
                    continue
                steps, values = zip(*points, strict=True)
                label = f"{record.name} · {name}" if names is None or len(names) > 1 else record.name
                smoothed = smooth(values, smoothing)
                mode = "lines+markers" if len(points) < 40 else "lines"
                figure.add_scatter(x=steps, y=smoothed, mode=mode, name=label, meta=record.run_id)
        if names is not None and len(names) == 1:
            figure.update_layout(yaxis_title=names[0])
        return figure

    def __len__(self) -> int:
        return len(self.records)

    def __repr__(self) -> str:
        return f"<a comparison of {len(self.records)} runs>"

    def __str__(self) -> str:
        return self._noted(str(self.ranked()))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        """Return a table and a picture, for a notebook that is read without its kernel."""
        return comparison_html(self.ranked(), note=self.note)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        """Return the view: live where a front end shows the cell, beside what is kept in the notebook."""
        return bundle("comparison", text=self._lines(), html=self._repr_html_(), widget=self._live())

    def _live(self) -> ComparisonWidget | None:
        """Return the widget; None where nobody would see it, or nothing could draw it."""
        if self._widget is None and has_front_end() and has_widgets():
            from ml_experiment_nb.comparison.widget import ComparisonWidget

            self._widget = ComparisonWidget(self.ranked(), self._store, note=self.note)
        return self._widget

    def _lines(self) -> str:
        rest = len(self) - LINES
        more = f"\n… and {rest} more: .to_pandas() has them all" if rest > 0 else ""
        return self._noted(f"{self.ranked()[:LINES]}{more}")

    def _repr_markdown_(self) -> str:
        return self._noted(self.ranked()._repr_markdown_(), "\n\n")

    def _noted(self, text: str, gap: str = "\n") -> str:
        return f"{self.note}{gap}{text}" if self.note else text

    def ranked(self) -> Records:
        """Return the runs, the best first where one metric says which that is."""
        return self.records.like(self._ranked())

    def _ranked(self) -> list[Record]:
        if len(self.records.goals) != 1:
            return list(self.records)

        def rank(record: Record) -> tuple[bool, tuple[float, ...]]:
            costs = costs_of(record, self.records.goals)
            return costs is None or not record.ok, costs or (0.0,)

        return sorted(self.records, key=rank)

    def _study(self, metric: str | None) -> tuple[str, Study]:
        goals = dict(self.records.goals)
        if metric is None and len(goals) != 1:
            known = sorted({name for record in self.records for name in record.metrics})
            raise MetricError(f"name a metric: metric=… ({', '.join(known) or 'none of the runs has one'})")
        [name] = self._known([metric]) if metric is not None else goals
        return name, scored_study(self.records, name)

    def _known(self, metrics: Iterable[str]) -> list[str]:
        measured = {name for record in self.records for name in record.metrics}
        return [known_as(name, measured) for name in metrics]

    def _params(self, names: Sequence[str] | None, study: Study) -> list[str] | None:
        """Return the parameters to draw, having checked them; without any that never change, where none are named."""
        known = {name for trial in study.get_trials(deepcopy=False) for name in trial.params}
        for name in names or ():
            if name not in known:
                raise ParameterError(f"no run that finished has a parameter {name!r}{nearest(name, known)}")
        return None if names is None else list(names)

    def _histories(self, record: Record, names: Sequence[str] | None) -> Mapping[str, list[tuple[int, float]]]:
        wanted = [name for name in (record.metrics if names is None else names) if name in record.metrics]
        found = {name: curve(self._store, record, name) for name in wanted}
        return {name: [(one.step, one.value) for one in points] for name, points in found.items()}


def _plotly() -> Any:
    """Return plotly's figures.

    Raises:
        ExperimentError: plotly isn't installed.
    """
    try:
        import plotly.graph_objects as go
    except ImportError:
        raise ExperimentError("drawing needs plotly: pip install 'ml-experiment-nb[lab]'") from None
    return go


def _drawer() -> Any:
    """Return Optuna's functions that draw a study; see `_plotly`."""
    _plotly()
    from optuna import visualization

    return visualization


def smooth(values: Sequence[float], weight: float) -> list[float]:
    """Return values smoothed exponentially, without a bias towards the first ones; NaNs stay.

    Args:
        values: The values, in the order of their steps.
        weight: From 0 to 1: that of what came before.
    """
    if weight >= 1:
        weight = 1 - 1e-6
    last, count, smoothed = 0.0, 0, []
    for value in values:
        if math.isfinite(value):
            last = weight * last + (1 - weight) * value
            count += 1
            value = last / (1 - weight**count)
        smoothed.append(value)
    return smoothed


def _each(run: object) -> Iterable[str | Record]:
    """Return the runs that one argument gives: one, or those of a list, of records, or of a table such as `runs` gives.

    Raises:
        SpecError: It gives none.
    """
    if isinstance(run, Mapping) or not isinstance(run, Iterable) or isinstance(run, str):
        return [run if isinstance(run, Record) else id_of(run)]
    column = getattr(run, "run_id", run)  # of a table's row, it is an id
    return [column] if isinstance(column, str) else column


def _gathered(store: Archive, given: Iterable[str | Record]) -> tuple[list[Record], list[Record]]:
    """Return runs, each once, and the groups that stand for some of them."""
    found: dict[str, Record] = {}
    groups = []
    for one in given:
        known = id_of(one)
        record = one if isinstance(one, Record) else store.record(known)
        if record.kind == "group":
            groups.append(record)
            found |= {str(trial.run_id): trial for trial in trials_of(store, record)}
        else:
            found[str(record.run_id)] = record
    return list(found.values()), groups


def _goal(
    found: Sequence[Record],
    known: Mapping[str, bool],
    metric: str | Sequence[str] | None,
    maximize: bool | Sequence[bool] | None,
) -> tuple[list[str], list[bool]]:
    """Return the metrics to compare by, and of each whether more of it is better.

    Args:
        found: The runs: what none of them has is no goal, unless it is named.
        known: The goals that they bring along.
        metric: The metric that is named, or several.
        maximize: Whether more is better, where that is said.
    """
    measured = {name for record in found for name in record.metrics}
    known = {known_as(name, measured): more for name, more in known.items()}
    names = [known_as(name, measured) for name in ([metric] if isinstance(metric, str) else metric or ())]
    if unknown := [name for name in names if name not in measured]:
        raise MetricError(f"none of the runs has a metric {unknown[0]!r}{nearest(unknown[0], measured)}")
    if metric is None:
        names = [name for name in known if name in measured]
    if isinstance(maximize, bool):
        return names, [maximize] * len(names)
    if maximize is None:
        return names, [known.get(name, False) for name in names]
    if len(maximize) != len(names):
        raise MetricError(f"maximize has {len(maximize)} values for {len(names)} metrics: give one for each")
    return names, list(maximize)
