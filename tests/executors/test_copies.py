from pathlib import Path

from ml_experiment_nb.executors.copies import CHUNK, Copies, Piece
from ml_experiment_nb.executors.packing import belongings, pack
from ml_experiment_nb.planning import make_plan
from ml_experiment_nb.specs import spec_from_mapping


def test_a_task_there_and_what_it_leaves_back_here(project, make_task, script, tmp_path_factory):
    away = tmp_path_factory.mktemp("away")
    target = script("print(1)", "in/train.py")
    (project / "in/beside").write_text("1")
    with (away / "archive").open("w+b") as file:
        pack(belongings(make_plan(spec_from_mapping({"run": target.path, "kind": "experiment"})), project), file)
        file.seek(0)
        copies = Copies()
        copies.unpack([file.read()], None)
    copies.take_payload("/tmp/values", lambda: [b"val", b"ues"])
    env, path = {"ML_EXPERIMENT_ROOT": str(project)}, ("/no/such", str(project))
    task = make_task(target, payload="/tmp/values", env=env, path=path)
    there = copies.of(task)
    try:
        [step] = there.steps
        assert open(step.target.path).read() == "print(1)"
        assert open(step.target.path.replace("train.py", "beside")).read() == "1"
        assert there.cwd == there.env["ML_EXPERIMENT_ROOT"] == there.path[0] != str(project)
        assert len(there.path) == 1
        assert open(there.payload, "rb").read() == b"values"
        large = bytes(range(256)) * (CHUNK // 200)
        folder = Path(there.folder) / "artifacts"
        (folder / "empty").mkdir(parents=True)
        (folder / "large").write_bytes(large)
        (folder / "nothing").touch()
        pieces = [piece for batch in copies.pieces(task) for piece in batch]
        assert max(len(piece.data) for piece in pieces if piece.data is not None) <= CHUNK
        for piece in pieces:
            assert isinstance(piece, Piece)
            piece.put()
        back = Path(task.folder) / "artifacts"
        assert {path.name for path in back.iterdir()} == {"empty", "large", "nothing"}
        assert (back / "large").read_bytes() == large
        assert not folder.exists()
    finally:
        copies.remove()
