"""A container that can't be looked at once it is started is removed; the engine is a stand-in that fails there."""

from contextlib import nullcontext
from unittest.mock import Mock

import pytest

from ml_experiment_nb.errors import EngineError
from ml_experiment_nb.images.containers import Launch, start


def test_one_whose_state_can_not_be_had_is_not_left():
    engine = Mock(translated=lambda what: nullcontext(), info={})
    engine.client.api.create_container.return_value = {"Id": "1"}
    engine.client.api.inspect_container.side_effect = EngineError("gone")
    with pytest.raises(EngineError):
        start(engine, Launch("base:1"))
    engine.client.api.start.assert_called_once_with("1")
    engine.client.api.remove_container.assert_called_once_with("1", force=True, v=True)
