"""What a container is lent whose image hasn't got this package: the parts of it that a task's process imports.

They are mounted read-only below one folder, which a ``.pth`` file puts at the end of the interpreter's path: what the
image has installed goes before it.
"""

from __future__ import annotations

import importlib.util
from importlib import metadata
from pathlib import Path

from ml_experiment_nb.capture.packages import OWN
from ml_experiment_nb.errors import ImageError
from ml_experiment_nb.images.containers import Folder

PLACE = "/opt/ml-experiment-nb"
"""Where they are in the container."""

PTH = "ml-experiment-nb.pth"
_PARTS = (
    "ml_experiment_nb", "cloudpickle", "psutil",
    "pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection",
)  # fmt: skip


def parts() -> tuple[Folder, ...]:
    """Return what is mounted to lend this package: packages as folders, modules as files.

    Raises:
        ImageError: One of them is no file here.
    """
    found = []
    for name in _PARTS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            raise ImageError(f"{name} can't be lent to a container: it is no file here; install it in the image")
        path = Path(spec.origin)
        path = path.parent if path.name == "__init__.py" else path
        found.append(Folder(str(path), f"{PLACE}/{path.name}"))
    about = next((one for one in metadata.files(OWN) or () if one.name == "entry_points.txt"), None)
    if about is not None:  # by which papermill finds the engine that executes notebooks
        folder = Path(str(about.locate())).parent
        found.append(Folder(str(folder), f"{PLACE}/{folder.name}"))
    return tuple(found)


def told_of(folder: Path, site: str) -> Folder:
    """Write into `folder` what tells an interpreter of them, and return how it is mounted among its packages."""
    file = folder / PTH
    file.write_text(f"{PLACE}\n")
    return Folder(str(file), f"{site}/{PTH}")
