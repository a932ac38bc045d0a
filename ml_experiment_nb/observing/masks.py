"""What MLflow's own calls in user code write, autologging among them, masked as all that is recorded is."""

from __future__ import annotations

import copy
import functools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_experiment_nb import events, reports, secrecy
from ml_experiment_nb.masking import Veil
from ml_experiment_nb.observing import ObservingOptions
from ml_experiment_nb.observing.imports import when_imported

_CLIENT = "mlflow.tracking._tracking_service.client"  # all of its calls come by it
_REGISTRY = "mlflow.tracking._model_registry.client"  # and those of its models and prompts by this
_OF_TEXTS = (
    *("create_run", "update_run", "log_batch", "log_metric", "log_param", "set_tag", "log_inputs"),
    *("create_logged_model", "log_model_params", "set_logged_model_tags"),
    *("create_experiment", "rename_experiment", "set_experiment_tag", "create_dataset", "set_dataset_tags"),
)
_OF_REGISTRY = (
    *("create_registered_model", "update_registered_model", "rename_registered_model", "set_registered_model_tag"),
    *("create_model_version", "update_model_version", "set_model_version_tag", "set_registered_model_alias"),
    *("create_prompt", "create_prompt_version", "set_prompt_tag", "set_prompt_version_tag", "set_prompt_alias"),
)
_OF_FILES = ("log_artifact", "log_artifacts", "log_model_artifact", "log_model_artifacts")


@contextmanager
def observing(sink: reports.Sink, asked: ObservingOptions) -> Iterator[None]:
    """Have this process know the secrets that its task was given, and MLflow write none of them from now on."""
    secrecy.learn_those_given()
    when_imported(_CLIENT, _mask_calls)
    when_imported(_REGISTRY, _mask_registry)
    yield


def _mask_calls(module: ModuleType) -> None:
    _wrap(module.TrackingServiceClient, _of_texts, _OF_TEXTS)
    _wrap(module.TrackingServiceClient, _of_files, _OF_FILES)


def _mask_registry(module: ModuleType) -> None:
    _wrap(module.ModelRegistryClient, _of_texts, _OF_REGISTRY)


def _wrap(client: Any, wrap: Callable[..., Any], names: Iterable[str]) -> None:
    for name in names:
        plain = getattr(client, name, None)
        if plain is not None and not hasattr(plain, "masks"):
            setattr(client, name, wrap(plain))


def _of_texts(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(*given: Any, **options: Any) -> Any:
        if not secrecy.secrets_seen:
            return plain(*given, **options)
        veil = Veil()
        self, *rest = given
        rest = [_without(one, veil) for one in rest]
        options = {name: _without(one, veil) for name, one in options.items()}
        _tell(veil)
        return plain(self, *rest, **options)

    call.masks = True  # type: ignore[attr-defined]
    return call


def _of_files(plain: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(plain)
    def call(self: Any, owner: str, place: str, *given: Any, **options: Any) -> Any:
        if not secrecy.secrets_seen:
            return plain(self, owner, place, *given, **options)
        veil = Veil()
        with tempfile.TemporaryDirectory(prefix="mlexp-masked-") as folder:
            source = Path(place)
            if source.is_dir():
                shutil.copytree(source, Path(folder, source.name), copy_function=_link, symlinks=True)
            else:
                _link(str(source), str(Path(folder, source.name)))
            veil.folder(Path(folder))
            _tell(veil)
            kept = list(Path(folder).iterdir())
            return plain(self, owner, str(kept[0]), *given, **options) if kept else None

    call.masks = True  # type: ignore[attr-defined]
    return call


def _link(source: str, target: str) -> str:
    """Give a file another name, under which it can be replaced; copy it where that can't be done."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
    return target


def _without(value: Any, veil: Veil) -> Any:
    """Return what MLflow is given, without secrets."""
    where = "what was written by MLflow's own calls"
    match value:
        case str():
            return veil.text(value, where)
        case None | bool() | int() | float():
            return value
        case dict():
            return {_without(name, veil): _without(one, veil) for name, one in value.items()}
        case list() | tuple():
            return [_without(one, veil) for one in value]
    if type(value).__module__.startswith("mlflow.entities"):
        made = copy.copy(value)
        with suppress(TypeError):  # an enumeration's member, which has no text
            vars(made).update({name: _without(one, veil) for name, one in vars(value).items()})
        return made
    with suppress(Exception):  # the user's own class, of which MLflow keeps the text
        text = str(value)
        return value if veil.text(text, where) == text else veil.text(text, where)
    return value


def _tell(veil: Veil) -> None:
    if (notes := veil.notes()) and (sink := reports.active_sink()) is not None:
        for note in notes:
            sink.send(events.Note(note))
