from ml_experiment_nb.capture.artifacts import save_artifact
from ml_experiment_nb.events import Note
from ml_experiment_nb.observing.models import save_model
from ml_experiment_nb.observing.thisrun import ThisRun


class Kept:
    """Keeps what it is sent, and gathers files."""

    def __init__(self, artifacts):
        self.artifacts, self.events = artifacts, []

    def send(self, event):
        self.events.append(event)


def test_a_model_does_not_take_the_place_of_an_artifact_of_the_codes_own(tmp_path):
    import mlflow.sklearn
    from sklearn.linear_model import LogisticRegression

    own = tmp_path / "own"
    mlflow.sklearn.save_model(LogisticRegression(C=9.0), own, serialization_format="cloudpickle", pip_requirements=[])
    (own / "mine.txt").write_text("mine")
    sink = Kept(tmp_path / "artifacts")
    run = ThisRun("a" * 32, "0", sink)
    save_artifact(own, "model", sink.artifacts)
    for C in (1.0, 2.0):
        options = {"sk_model": LogisticRegression(C=C), "serialization_format": "cloudpickle"}
        saved = save_model(run, "model", mlflow.sklearn, **options)
    again = ThisRun("a" * 32, "0", sink)  # as in the run's next step
    save_model(again, "model", mlflow.sklearn, **options)
    assert (sink.artifacts / "model/mine.txt").read_text() == "mine"
    assert sorted(one.name for one in sink.artifacts.iterdir()) == ["model", "model-1", "record"]
    assert saved.model_uri == f"runs:/{'a' * 32}/model-1"
    assert mlflow.sklearn.load_model(str(sink.artifacts / "model-1")).C == 2.0
    notes = [event.text for event in sink.events if isinstance(event, Note)]
    assert set(notes) == {"the artifact model is the code's own: what was trained is kept as model-1"}
