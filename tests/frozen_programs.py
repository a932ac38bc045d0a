"""What a notebook needs, frozen."""

import sys

from ml_experiment_nb.images.choices import Choices
from ml_experiment_nb.images.freeze import freeze
from ml_experiment_nb.images.program import read_program


def frozen(path, *, recorded=(), **choices):
    return freeze(read_program(path), Choices(**choices), caller=sys.executable, recorded=recorded)


def names(found):
    return {one.name for one in found.kernel.packages}
