"""What draws random numbers, and what seeds it: of `random`, NumPy, scikit-learn, torch, TensorFlow and Keras."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Final

PYTHON, NUMPY, TORCH, TENSORFLOW = "random", "NumPy", "torch", "TensorFlow"
ALL: Final = frozenset({PYTHON, NUMPY, TORCH, TENSORFLOW})
HOW: Final = {
    PYTHON: "random.seed(1)",
    NUMPY: "numpy.random.seed(1)",
    TORCH: "torch.manual_seed(1)",
    TENSORFLOW: "keras.utils.set_random_seed(1)",
}

SEEDS: Final[Mapping[str, frozenset[str]]] = {
    "random.seed": frozenset({PYTHON}),
    "random.setstate": frozenset({PYTHON}),
    "numpy.random.seed": frozenset({NUMPY}),
    "numpy.random.set_state": frozenset({NUMPY}),
    "torch.manual_seed": frozenset({TORCH}),
    "torch.random.manual_seed": frozenset({TORCH}),
    "torch.set_rng_state": frozenset({TORCH}),
    "tensorflow.random.set_seed": frozenset({TENSORFLOW}),
    "tensorflow.keras.utils.set_random_seed": ALL,
    "keras.utils.set_random_seed": ALL,
}

_DRAWS_PYTHON: Final = frozenset(
    {
        "random", "randint", "randrange", "randbytes", "getrandbits", "choice", "choices", "shuffle", "sample",
        "uniform", "triangular", "betavariate", "expovariate", "gammavariate", "gauss", "lognormvariate",
        "normalvariate", "vonmisesvariate", "paretovariate", "weibullvariate", "binomialvariate",
    }
)  # fmt: skip
_DRAWS_NUMPY: Final = frozenset(
    {
        "rand", "randn", "randint", "random", "random_sample", "random_integers", "ranf", "sample", "choice", "bytes",
        "shuffle", "permutation", "beta", "binomial", "chisquare", "dirichlet", "exponential", "f", "gamma",
        "geometric", "gumbel", "hypergeometric", "laplace", "logistic", "lognormal", "logseries", "multinomial",
        "multivariate_normal", "negative_binomial", "noncentral_chisquare", "noncentral_f", "normal", "pareto",
        "poisson", "power", "rayleigh", "standard_cauchy", "standard_exponential", "standard_gamma",
        "standard_normal", "standard_t", "triangular", "uniform", "vonmises", "wald", "weibull", "zipf",
    }
)  # fmt: skip
GENERATORS: Final = frozenset(
    {
        "numpy.random.default_rng", "numpy.random.RandomState", "numpy.random.SeedSequence", "numpy.random.PCG64",
        "numpy.random.PCG64DXSM", "numpy.random.MT19937", "numpy.random.Philox", "numpy.random.SFC64",
        "random.Random", "sklearn.utils.check_random_state",
    }
)  # fmt: skip
"""What gives a generator of its own, which takes entropy where it is given no seed."""

_DRAWS_TORCH: Final = frozenset(
    {
        "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "normal", "bernoulli",
        "multinomial", "poisson",
    }
)  # fmt: skip
_FILLS_TORCH: Final = ("uniform", "normal", "trunc_normal", "xavier", "kaiming", "orthogonal", "sparse")
"""How what of torch.nn.init draws begins; the rest fills in constants."""
_LAYERS_TORCH: Final = frozenset(
    {
        "Linear", "LazyLinear", "Bilinear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d",
        "ConvTranspose3d", "RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "Embedding", "EmbeddingBag",
        "MultiheadAttention", "Transformer", "TransformerEncoderLayer", "TransformerDecoderLayer", "Dropout",
        "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout",
    }
)  # fmt: skip
_DRAWS_TENSORFLOW: Final = frozenset(
    {"normal", "uniform", "truncated_normal", "shuffle", "categorical", "gamma", "poisson"}
)
_LAYERS_KERAS: Final = frozenset(
    {
        "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "SeparableConv1D",
        "SeparableConv2D", "DepthwiseConv2D", "SimpleRNN", "LSTM", "GRU", "Embedding", "MultiHeadAttention",
        "Dropout", "SpatialDropout1D", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "RandomFlip",
        "RandomRotation", "RandomZoom", "RandomCrop", "RandomContrast", "RandomTranslation", "RandomBrightness",
    }
)  # fmt: skip

_SKLEARN: Final = frozenset(
    {
        # models and transformers that draw whatever their options are
        "RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor",
        "ExtraTreeClassifier", "ExtraTreeRegressor", "RandomTreesEmbedding", "GradientBoostingClassifier",
        "GradientBoostingRegressor", "DecisionTreeClassifier", "DecisionTreeRegressor", "BaggingClassifier",
        "BaggingRegressor", "AdaBoostClassifier", "AdaBoostRegressor", "IsolationForest", "MLPClassifier",
        "MLPRegressor", "BernoulliRBM", "SGDClassifier", "SGDRegressor", "SGDOneClassSVM", "Perceptron",
        "PassiveAggressiveClassifier", "PassiveAggressiveRegressor", "LinearSVC", "KMeans", "MiniBatchKMeans",
        "BisectingKMeans", "SpectralClustering", "GaussianMixture", "BayesianGaussianMixture", "MiniBatchNMF",
        "LatentDirichletAllocation", "DictionaryLearning", "MiniBatchDictionaryLearning", "FastICA", "TruncatedSVD",
        "SparsePCA", "MiniBatchSparsePCA", "TSNE", "MDS", "SpectralEmbedding", "RBFSampler", "Nystroem",
        "SkewedChi2Sampler", "PolynomialCountSketch", "GaussianRandomProjection", "SparseRandomProjection",
        "RANSACRegressor", "TheilSenRegressor", "MinCovDet", "EllipticEnvelope",
        # splitters, searches and functions
        "train_test_split", "ShuffleSplit", "StratifiedShuffleSplit", "GroupShuffleSplit", "RepeatedKFold",
        "RepeatedStratifiedKFold", "RandomizedSearchCV", "HalvingRandomSearchCV", "ParameterSampler", "resample",
        "shuffle", "permutation_importance", "mutual_info_classif", "mutual_info_regression", "make_classification",
        "make_regression", "make_blobs", "make_moons", "make_circles", "make_friedman1", "make_friedman2",
        "make_friedman3", "make_s_curve", "make_swiss_roll", "make_low_rank_matrix", "make_sparse_coded_signal",
        "make_multilabel_classification", "make_hastie_10_2", "make_gaussian_quantiles", "make_biclusters",
        "make_checkerboard", "make_spd_matrix", "make_sparse_spd_matrix", "make_sparse_uncorrelated", "k_means",
    }
)  # fmt: skip
"""What of scikit-learn draws without a `random_state`, by default."""

_WHERE: Final[Mapping[str, tuple[str, frozenset[object]]]] = {
    "KFold": ("shuffle", frozenset({True})),
    "StratifiedKFold": ("shuffle", frozenset({True})),
    "GroupKFold": ("shuffle", frozenset({True})),
    "StratifiedGroupKFold": ("shuffle", frozenset({True})),
    "SVC": ("probability", frozenset({True})),
    "NuSVC": ("probability", frozenset({True})),
    "LogisticRegression": ("solver", frozenset({"sag", "saga", "liblinear"})),
    "LogisticRegressionCV": ("solver", frozenset({"sag", "saga", "liblinear"})),
    "Ridge": ("solver", frozenset({"sag", "saga"})),
    "RidgeClassifier": ("solver", frozenset({"sag", "saga"})),
    "Lasso": ("selection", frozenset({"random"})),
    "ElasticNet": ("selection", frozenset({"random"})),
    "PCA": ("svd_solver", frozenset({"randomized"})),
    "NMF": ("init", frozenset({"random", "nndsvdar"})),
    "DummyClassifier": ("strategy", frozenset({"stratified", "uniform"})),
}
"""What of scikit-learn draws where an option has one of these values."""
_NOT_WHERE: Final[Mapping[str, tuple[str, frozenset[object]]]] = {
    "train_test_split": ("shuffle", frozenset({False})),
    "SGDClassifier": ("shuffle", frozenset({False})),
    "SGDRegressor": ("shuffle", frozenset({False})),
    "Perceptron": ("shuffle", frozenset({False})),
    "TruncatedSVD": ("algorithm", frozenset({"arpack"})),
}


def family_of(module: str, last: str, call: ast.Call) -> str:
    """Return the generator that a call draws from; empty for none."""
    parts = module.split(".")
    if module == "random" and last in _DRAWS_PYTHON:
        return PYTHON
    if module == "numpy.random" and last in _DRAWS_NUMPY:
        return NUMPY
    if module.startswith("scipy.stats.") and last == "rvs":
        return NUMPY
    if parts[0] == "sklearn" and _draws_in_sklearn(last, call):
        return NUMPY
    if parts[0] == "torch":
        loads = last == "DataLoader" and _option(call, "shuffle") is True
        drawn = (module == "torch" and last in _DRAWS_TORCH) or (parts[-1] == "nn" and last in _LAYERS_TORCH)
        fills = module == "torch.nn.init" and last.startswith(_FILLS_TORCH)
        return TORCH if drawn or loads or fills or last == "random_split" else ""
    if module == "tensorflow.random" and last in _DRAWS_TENSORFLOW:
        return TENSORFLOW
    if parts[0] in ("keras", "tensorflow", "tf_keras") and parts[-1] == "layers" and last in _LAYERS_KERAS:
        return TENSORFLOW
    return ""


def _draws_in_sklearn(last: str, call: ast.Call) -> bool:
    if last in _WHERE:
        option, values = _WHERE[last]
        return _option(call, option) in values
    option, values = _NOT_WHERE.get(last, ("", frozenset()))
    return last in _SKLEARN and not (option and _option(call, option) in values)


def _option(call: ast.Call, name: str) -> object:
    """Return an option's value; None where it is not given, or is no constant."""
    found = next((one.value for one in call.keywords if one.arg == name), None)
    return found.value if isinstance(found, ast.Constant) else None


def is_none(node: ast.expr) -> bool:
    """Return whether an expression is a written None."""
    return isinstance(node, ast.Constant) and node.value is None
