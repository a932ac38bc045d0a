import subprocess
import sys

import pytest

CHECK = """
import sys
import {module}
assert "nbformat" in sys.modules
assert "rfc3987_syntax" not in sys.modules
from jsonschema import FormatChecker
checker = FormatChecker()
print([checker.conforms(text, form) for form in ("iri", "iri-reference") for text in ("http://a.b/ü", "a", "a b<")])
print("rfc3987_syntax.syntax_helpers" in sys.modules)
"""


@pytest.mark.slow
@pytest.mark.parametrize("module", ["ml_experiment_nb.notebooks", "ml_experiment_nb.work.notebook"])
def test_the_grammar_is_made_when_an_address_is_checked(module):
    said = subprocess.run([sys.executable, "-c", CHECK.format(module=module)], capture_output=True, text=True)
    assert said.stderr == ""
    assert said.stdout.splitlines() == ["[True, False, False, True, True, False]", "True"]


@pytest.mark.slow
def test_what_imports_jsonschema_first_has_the_grammar_itself():
    code = "import sys, jsonschema, ml_experiment_nb.notebooks\nprint('rfc3987_syntax.syntax_helpers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "True\n"
