import pytest
from frozen_programs import frozen


@pytest.mark.slow
def test_bytecode_is_that_of_what_the_code_imports_and_of_what_runs_it(book):
    found = frozen(book("import sklearn, ml_experiment_nb"), only_imports=True).bytecode[0]
    assert {"sklearn", "numpy", "scipy", "joblib", "import mlflow"} <= set(found)
    assert not {"mlflow", "pandas", "ml_experiment_nb", "import optuna", "import jupyterlab.labapp"} & set(found)
    again = frozen(book("from sklearn.svm import SVC\nimport ml_experiment_nb.specs"), only_imports=True)
    assert again.bytecode[0] == found  # a changed cell leaves the layer as it is
    assert "import optuna" in frozen(book("%%group 'a'\nx = 1"), only_imports=True).bytecode[0]
