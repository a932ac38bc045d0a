"""The second step: train on what the first has written."""

import numpy as np
from ml_experiment import job
from sklearn.svm import SVC


@job
def train(C, n_components=20):
    data = np.load(f"prepared/digits-{n_components}.npz")
    model = SVC(C=C).fit(data["X_train"], data["y_train"])
    return {"val_accuracy": model.score(data["X_val"], data["y_val"])}


if __name__ == "__main__":
    train()
