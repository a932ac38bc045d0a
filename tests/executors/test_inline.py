import pytest
from contract import ExecutorContract

from ml_experiment_nb.executors.inline import InlineExecutor


class TestInline(ExecutorContract):
    @pytest.fixture
    def executor(self, project):
        found = InlineExecutor(2)
        yield found
        found.close()


class TestInlineForked(TestInline):
    warm = True
