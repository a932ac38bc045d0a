"""What a run's driver is told of it: parameters, metrics, tags, data and notes, and what its store hasn't got yet."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlflow.entities import Metric, Param

from ml_experiment_nb import events
from ml_experiment_nb.absences import Waiting
from ml_experiment_nb.capture.inputs import Input
from ml_experiment_nb.entries import PARAM_LENGTH, TAG_LENGTH, is_plain, key_of, notes_text
from ml_experiment_nb.literals import value_of
from ml_experiment_nb.masking import Veil, masked
from ml_experiment_nb.quantities import text_of
from ml_experiment_nb.readings import AUTOLOGGED, OWN_METRICS, TEXTS
from ml_experiment_nb.records import SYSTEM, number
from ml_experiment_nb.secrecy import recognised, secrets_seen


class Told:
    """What is known of a run while it goes on, and what of that is still to be written.

    Args:
        veil: What masks the run's secrets.
        save: Keeps a file of the record itself, by its name and text.

    Attributes:
        params: What the code was given, and ran with.
        autologged: A library's own parameters, which the user didn't name.
        metrics: The last value of each, in the order in which they came; see `metrics_by_worth`.
        notes: What the record should say.
        tags: The run's tags, besides those it was opened with.
        pending: Values of metrics that aren't written yet; so are `new_params`, `new_tags` and `new_inputs`.
    """

    def __init__(self, veil: Veil, save: Callable[[str, str], None]) -> None:
        self._veil = veil
        self._save = save
        self.params: dict[str, Any] = {}
        self.autologged: dict[str, Any] = {}
        self.metrics: dict[str, float] = {}
        self.notes: list[str] = []
        self.tags: dict[str, str] = {}
        self.pending: list[Metric] = []
        self.new_params: list[Param] = []
        self.new_tags: dict[str, str] = {}
        self.new_inputs: list[Input] = []
        self._inputs: list[Input] = []
        self._looking_otherwise: list[str] = []  # names of texts that look like values of another type
        self._fitted: dict[str, dict[str, Any]] = {}  # the values that libraries' fits had, by name and text
        self._own_metrics: dict[str, None] = {}  # those that the code itself has told
        self._last: dict[str, tuple[int, int]] = {}  # the last step of each metric, and its time

    def use(self, inputs: Sequence[Input]) -> None:
        """Take which data the run reads."""
        new = [one for one in inputs if str(one) not in map(str, self._inputs)]
        self._inputs += new
        self.new_inputs += new
        if new:
            self.set({"mlexp.data": "; ".join(map(str, self._inputs))})

    def set(self, tags: Mapping[str, str]) -> None:
        """Take tags."""
        self.tags |= tags
        self.new_tags |= tags

    @property
    def is_written(self) -> bool:
        """Whether the store has all parameters, metrics and data."""
        return not (self.pending or self.new_params or self.new_inputs)

    def waiting(self) -> Waiting:
        """Return all that isn't written yet."""
        return Waiting(self.pending, self.new_params, self.new_inputs, self.new_tags, self.notes)

    def noted(self) -> dict[str, str]:
        """Return the tag of the notes, if there are any."""
        return {"mlexp.notes": notes_text(self.notes)} if self.notes else {}

    def take_over(self, waiting: Waiting) -> None:
        """Take what another driver was told and has not written, in place of what is to be written.

        Its tags are left to the caller.
        """
        self.pending, self.new_params = list(waiting.metrics), list(waiting.params)
        self.new_inputs = list(waiting.inputs)
        self.notes += [note for note in waiting.notes if note not in self.notes]
        self.metrics |= {one.key: one.value for one in self.pending if not one.key.startswith(SYSTEM)}

    def add_params(self, values: Mapping[str, Any]) -> None:
        """Take parameters as the code got them; the first value of each is the run's."""
        for name, given in recognised(dict(values)).items():
            value = given
            if secrets_seen and not is_plain(given) and (text := masked(whole := text_of(given))) != whole:
                value = text  # an object that holds a secret, and would show it
            if name not in self.params:
                self.params[name] = value
                if isinstance(value, str) and value_of(value) != value:
                    self._looking_otherwise.append(key_of(name))
                    self.new_tags[TEXTS] = json.dumps(self._looking_otherwise)[:TAG_LENGTH]
                if name not in self.autologged:  # else it is written: a store takes no other value
                    self.new_params.append(self._param(name, value))
                    continue
                del self.autologged[name]
                self._name_autologged()
                self._compare_with_fits(name)
            elif is_plain(value) and is_plain(self.params[name]) and value != self.params[name]:
                self.note(f"parameter {name!r} was given as {self.params[name]!r}; the code ran with {value!r}")

    def add_autologged(self, values: Mapping[str, Any]) -> None:
        """Take a library's own parameters: in the store beside the run's, in its record apart from them."""
        for name, value in recognised(dict(values)).items():
            fitted = self._fitted.setdefault(name, {})
            fitted.setdefault(text_of(value), value)
            if name not in self.params and name not in self.autologged:
                self.autologged[name] = value
                self.new_params.append(self._param(name, value))
            elif name in self.params:
                self._compare_with_fits(name)
            elif name in self.autologged and value != self.autologged[name]:
                self.note("fits differ in their libraries' parameters: those of the first one are recorded")
        self._name_autologged()

    def _compare_with_fits(self, name: str) -> None:
        """Note that a parameter was given as something that no fit had, as long as none has."""
        given, fitted = self.params[name], self._fitted[name]
        told = f"parameter {name!r} was given as {number(given)}; a library's fit had "
        self.notes[:] = [note for note in self.notes if not note.startswith(masked(told))]
        if text_of(given) not in fitted:
            self.note(told + number(next(iter(fitted.values()))))

    def _name_autologged(self) -> None:
        self.new_tags[AUTOLOGGED] = json.dumps([key_of(one) for one in self.autologged])[:TAG_LENGTH]

    def _param(self, name: str, value: Any) -> Param:
        key, text = key_of(name), self._veil.text(text_of(value), f"the parameter {name}")
        text = text.encode("utf-8", "backslashreplace").decode()  # a file's name may hold bytes that are no text
        if len(text) > PARAM_LENGTH:
            self._save(f"params/{key}.txt", text)
            self.note(f"parameter {name!r} is cut at {PARAM_LENGTH} characters; record/params/ has it whole")
        return Param(key, text[:PARAM_LENGTH])

    def add_metrics(self, event: events.Metrics) -> None:
        """Take values of metrics."""
        if not event.autologged:
            self._own_metrics |= dict.fromkeys(event.values)
        for name, value in event.values.items():
            key, moment = key_of(name), int(event.time * 1000)
            if key != name:
                self.note(f"metric {name!r} is called {key!r} in MLflow, which doesn't take some of its characters")
            # MLflow's latest value is that of the highest step, then of the latest time: a value without a step
            # belongs to the last step, and comes after what was reported there.
            last_step, last_moment = self._last.get(name, (0, 0))
            step = last_step if event.step is None else event.step
            if step == last_step:
                moment = max(moment, last_moment + 1)
            if step >= last_step:
                self._last[name] = step, moment
            if not name.startswith(SYSTEM):
                self.metrics[name] = value
            self.pending.append(Metric(key, value, moment, step))
        named = [key_of(name) for name in self._own_metrics if not name.startswith(SYSTEM)]
        text = json.dumps(named)[:TAG_LENGTH] if 0 < len(named) < len(self.metrics) else None
        if text is not None and text != self.tags.get(OWN_METRICS):
            self.set({OWN_METRICS: text})

    def metrics_by_worth(self) -> dict[str, float]:
        """Return the metrics, those first that the code itself has told: a library's own come after."""
        own = {name: self.metrics[name] for name in self._own_metrics if name in self.metrics}
        return {**own, **self.metrics}

    def note(self, text: str) -> None:
        """Take something that the record should say, once."""
        text = masked(text)
        if text not in self.notes:
            self.notes.append(text)
