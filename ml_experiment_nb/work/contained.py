"""A container's first process: ``python -m ml_experiment_nb.work.contained FOLDER REQUEST``.

What it prints goes into the folder's pipe ``output``. Its environment comes out of the pipe ``env``, where nobody who
may look at the container reads it; it lies on no disk. The rest is what any child does.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

OUTPUT, ENV = "output", "env"
"""The pipes' names."""


def main() -> None:
    """Take what the slot hands over, and perform the step."""
    folder, request = Path(sys.argv[1]), sys.argv[2]
    output = os.open(folder / OUTPUT, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    with (folder / ENV).open(encoding="utf-8") as file:
        os.environ.update(json.loads(file.readline()))
    sys.argv[1:] = [request]

    from ml_experiment_nb.work import child

    child.main()


if __name__ == "__main__":
    main()
