"""Random numbers without a seed, each finding compared whole."""

import pytest

DRAWN = "it draws other numbers each time"


def test_numpy_s_global_generator(found):
    text = "numpy.random.rand() draws from NumPy's global generator, and nothing above seeds it"
    assert found("import numpy as np", "x = np.random.rand(3)\ny = np.random.normal()") == [
        ("unseeded", 2, "c2", 1, text, "call numpy.random.seed(1) first")
    ]


def test_a_seed_comes_first(brief):
    cells = ["import numpy as np", "np.random.seed(1)", "np.random.rand()"]
    assert brief(*cells) == []
    assert brief(cells[0], cells[2], cells[1]) == [("unseeded", 2, 1)]
    assert brief(cells[0], "np.random.seed()", cells[2]) == [("unseeded", 3, 1)]
    assert brief(cells[0], "np.random.seed(None)", cells[2]) == [("unseeded", 3, 1)]


def test_a_function_draws_when_it_is_called(found, brief):
    function = "import random\ndef f():\n    return random.random()"
    text = "random.random() draws from random's global generator, and nothing seeds it"
    assert found(function) == [("unseeded", 1, "c1", 3, text, "call random.seed(1) first")]
    assert brief(function, "random.seed(1)", "f()") == []


def test_default_rng(found):
    assert found("import numpy as np\nrng = np.random.default_rng()") == [
        ("unseeded", 1, "c1", 2, f"default_rng() is given no seed: {DRAWN}", "give it one, such as default_rng(1)")
    ]


def test_an_estimator(found):
    cell = "from sklearn.ensemble import RandomForestClassifier as Forest\nmodel = Forest(\n    n_estimators=3,\n)"
    text = f"RandomForestClassifier() is given no random_state: {DRAWN}"
    advice = "give it random_state=1, or call numpy.random.seed(1) above"
    assert found(cell) == [("unseeded", 1, "c1", 2, text, advice)]


def test_a_tracked_cell_can_be_seeded_by_its_magic(found, brief):
    cell = "%%experiment 'x'\nimport random\nprint(random.random())"
    [finding] = found(cell)
    assert finding[-1] == "call random.seed(1) first, or run it with --seed 1"
    assert brief(cell.replace("'x'", "'x' --seed 1")) == []


UNSEEDED = {
    "import random\nrandom.shuffle([1])": 2,
    "from random import choice\nchoice([1])": 2,
    "import random\nr = random.Random()": 2,
    "import numpy\nnumpy.random.permutation(3)": 2,
    "from numpy import random\nrandom.randn()": 2,
    "from numpy.random import default_rng as rng\nr = rng(seed=None)": 2,
    "import numpy as np\nr = np.random.RandomState()": 2,
    "import numpy as np\nr = np.random.Generator(np.random.PCG64())": 2,
    "from scipy import stats\nstats.norm.rvs(size=3)": 2,
    "from sklearn.model_selection import train_test_split\ntrain_test_split([1], [2])": 2,
    "from sklearn import model_selection as ms\nms.KFold(3, shuffle=True)": 2,
    "from sklearn.model_selection import ShuffleSplit\nShuffleSplit(3, random_state=None)": 2,
    "import sklearn.svm\nsklearn.svm.SVC(probability=True)": 2,
    "from sklearn.linear_model import LogisticRegression\nLogisticRegression(solver='saga')": 2,
    "from sklearn.datasets import make_blobs\nX, y = make_blobs(100)": 2,
    "from sklearn.cluster import KMeans\ndef f(k):\n    return KMeans(k)": 3,
    "from sklearn.cluster import KMeans\nm = KMeans()\nm.set_params(max_depth=3)": 2,
    "from sklearn.cluster import KMeans\nm = KMeans()\nm.set_params(random_state=None)": 2,
    "import random\nfrom mine import random_crop\nrandom_crop([1], 3)\nrandom.random()": 4,
    "import random\nfrom mine import set_random_weights\nset_random_weights(3)\nrandom.random()": 4,
    "import torch\ntorch.use_deterministic_algorithms(True)\ntorch.randn(3)": 3,
    "import torch\ntorch.randn(3)": 2,
    "from torch import nn\nnet = nn.Sequential(nn.Linear(1, 2), nn.ReLU())": 2,
    "import torch.nn as nn\nclass Net(nn.Module):\n    def __init__(self):\n        self.a = nn.Linear(1, 2)": 4,
    "from torch import nn\nnn.init.xavier_uniform_([1])\nnn.init.trunc_normal_([1])": 2,
    "from torch.utils.data import DataLoader\nDataLoader([1], shuffle=True)": 2,
    "import tensorflow as tf\ntf.random.normal((2,))": 2,
    "import keras\nkeras.layers.Dense(3)": 2,
    "from tensorflow import keras\nkeras.layers.Dense(3)": 2,
    "from tensorflow.keras import layers\nlayers.Dropout(0.5)": 2,
}


@pytest.mark.parametrize("cell", UNSEEDED)
def test_unseeded(brief, cell):
    assert brief(cell) == [("unseeded", 1, UNSEEDED[cell])]


SEEDED = [
    "import random\nrandom.seed(1)\nrandom.shuffle([1])",
    "import random\nr = random.Random(3)\nr.random()",
    "import random\nrandom.SystemRandom().random()",
    "import numpy as np\nseed = 1\nrng = np.random.default_rng(seed)\nrng.normal()",
    "import numpy as np\nnp.random.default_rng([1, 2])",
    "import numpy as np\nrandom = np.random.RandomState(0)\nrandom.rand()\nrandom.shuffle([1])",
    "import numpy as np\nnp.random.seed(1)\nfrom sklearn.tree import DecisionTreeClassifier\nDecisionTreeClassifier()",
    "from sklearn.svm import SVC\nSVC(C=1)",
    "from sklearn.linear_model import LogisticRegression\nLogisticRegression()",
    "from sklearn.decomposition import PCA\nPCA(2)",
    "from sklearn.model_selection import KFold, StratifiedKFold\nKFold(5)\nStratifiedKFold(5)",
    "from sklearn.model_selection import train_test_split\ntrain_test_split([1], [2], shuffle=False)",
    "from sklearn.model_selection import train_test_split\nstate = 3\ntrain_test_split([1], random_state=state)",
    "from sklearn.ensemble import RandomForestClassifier\no = {'random_state': 1}\nRandomForestClassifier(**o)",
    "from sklearn.cluster import KMeans\nm = KMeans()\nm.set_params(random_state=1)",
    "from sklearn.cluster import KMeans\nm = KMeans().set_params(n_estimators=3, random_state=1)",
    "from sklearn.ensemble import RandomForestClassifier\no = {}\nm = RandomForestClassifier()\nm.set_params(**o)",
    "import numpy as np\nfrom mine import fix_random\nfix_random(3)\nnp.random.rand()",
    "import numpy as np\nfrom mine import make_deterministic\nmake_deterministic(value=3)\nnp.random.rand()",
    "import torch\ntorch.manual_seed(1)\ntorch.randn(3)",
    "import torch\ng = torch.Generator().manual_seed(1)\ntorch.randn(3, generator=g)",
    "import torch\ntorch.zeros(3), torch.nn.ReLU(), torch.nn.BatchNorm1d(3)",
    "from torch import nn\nfor f in (nn.init.zeros_([1]), nn.init.constant_([1], 0.1), nn.init.eye_([1])):\n    f",
    "import keras\nkeras.utils.set_random_seed(1)\nkeras.layers.Dense(3)",
    "import tensorflow as tf\ntf.random.set_seed(1)\ntf.keras.layers.Dense(3)\ntf.random.normal((2,))",
    "import numpy as np\nfrom lightning import seed_everything\nseed_everything(42)\nnp.random.rand()",
    "import numpy as np\nfrom mine import set_seeds\nset_seeds(42)\nnp.random.rand()",
    "import numpy as np\ndef reset(seed):\n    np.random.seed(seed)\nreset(1)\nnp.random.rand()",
    "from ml_experiment_nb import job\nimport random\n@job(seed=1)\ndef f():\n    return {'a': random.random()}",
    "def random():\n    return 4\nrandom()",
    "from secrets import choice\nchoice([1])",
    "import uuid\nuuid.uuid4()",
    "import numpy as np\nnp.random.get_state()",
]


@pytest.mark.parametrize("cell", SEEDED)
def test_seeded(brief, cell):
    assert brief(cell) == []


def test_a_spec_that_seeds(tmp_path, monkeypatch, book):
    from ml_experiment_nb.preflight import check

    monkeypatch.chdir(tmp_path)
    book("import numpy as np\nnp.random.rand()\nnp.random.default_rng()")
    spec = tmp_path / "spec.yaml"
    spec.write_text("kind: experiment\nname: x\nrun: book.ipynb\n")
    assert len(check(spec, ignore=["uncommitted"])) == 2
    spec.write_text("kind: experiment\nname: x\nrun: book.ipynb\nseed: 1\n")
    assert check(spec, ignore=["uncommitted"]) == ()
