import numpy as np
from ml_experiment import job
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC


def load_data():
    digits = load_digits()
    X_train, X_val, y_train, y_val = train_test_split(digits.data, digits.target, random_state=1234)
    return X_train, X_val, y_train, y_val


@job
def main(C, kernel="rbf", gamma="scale"):
    np.random.seed(1234)
    X_train, X_val, y_train, y_val = load_data()
    model = SVC(C=C, kernel=kernel, gamma=gamma)
    model.fit(X_train, y_train)
    accuracy = model.score(X_val, y_val)
    return {"val_accuracy": accuracy}


if __name__ == "__main__":
    main()
