import pytest
from IPython.core.error import UsageError
from IPython.core.magic_arguments import argument, magic_arguments

from ml_experiment_nb.usage import parsed


@magic_arguments()
@argument("name", nargs="?")
@argument("--maximize", action="append")
@argument("--into")
def magic(self, line):
    """A magic."""


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--maximise loss", "--maximise: there is no such option; did you mean '--maximize'?"),
        ("--inot=rec", "--inot=rec: there is no such option; did you mean '--into'?"),
        ("--wholly-else 3", "--wholly-else: there is no such option"),
        ("SVM search", "'search' is one word too many: put a name of several words in quotes"),
    ],
)
def test_a_word_that_means_nothing_is_told_with_what_may_have_been_meant(line, message):
    with pytest.raises(UsageError) as raised:
        parsed(magic, line)
    assert str(raised.value) == message


def test_a_name_of_several_words_stands_in_quotes():
    assert parsed(magic, '"SVM search" --into found').name == "SVM search"
