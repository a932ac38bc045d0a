"""The first step: write the digits' principal components to a file."""

import os
from pathlib import Path

import numpy as np
from ml_experiment import job
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.model_selection import train_test_split


@job
def prepare(n_components=20):
    digits = load_digits()
    X_train, X_val, y_train, y_val = train_test_split(digits.data, digits.target, random_state=1234)
    pca = PCA(n_components=n_components, random_state=1234).fit(X_train)
    path = Path(f"prepared/digits-{n_components}.npz")
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.npz")
    np.savez(partial, X_train=pca.transform(X_train), X_val=pca.transform(X_val), y_train=y_train, y_val=y_val)
    partial.rename(path)  # at once: another trial may be reading the file
    return {"explained_variance": pca.explained_variance_ratio_.sum()}


if __name__ == "__main__":
    prepare()
