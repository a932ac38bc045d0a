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


@magic_arguments()
@argument("--maximum-depth")
@argument("--prove", action="store_true")
@argument("--into")
def other(self, line):
    """Another magic."""


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("--prove", ": --prove is an option of %%other, not of %%magic"),
        ("--maximum-d=3", ": --maximum-depth is an option of %%other, not of %%magic"),
        ("--maxi", "; did you mean '--maximize'?"),
        ("--inot", "; did you mean '--into'?"),
        ("-x", ""),
    ],
)
def test_an_option_of_another_magic_is_told_as_such(word, hint):
    with pytest.raises(UsageError) as raised:
        parsed(magic, word, magic, other)
    assert str(raised.value) == f"{word}: there is no such option{hint}"


def test_a_name_of_several_words_stands_in_quotes():
    assert parsed(magic, '"SVM search" --into found').name == "SVM search"
