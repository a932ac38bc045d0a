"""Processes of ours are not led astray by a project's own files."""

import ast
from pathlib import Path

import pytest

import ml_experiment_nb

SOURCES = Path(ml_experiment_nb.__file__).parent
OF_THE_USER = {"work/kernels.py", "images/context.py"}  # kernels, which import from the folder that they start in


@pytest.mark.slow
def test_no_process_takes_a_project_s_json_py_for_the_library():
    led_astray = []
    for path in SOURCES.rglob("*.py"):
        name = path.relative_to(SOURCES).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.List | ast.Tuple) or name in OF_THE_USER:
                continue
            words = [ast.unparse(one) for one in node.elts]
            is_python = bool(words) and ("executable" in words[0] or "python" in words[0])
            if is_python and "'-m'" in words and "'-P'" not in words:
                led_astray.append(f"{name}:{node.lineno}")
    assert led_astray == []
