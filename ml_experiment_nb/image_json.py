"""What is planned of an image, and what was made, as JSON: for pages and programs that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ml_experiment_nb import imaging
from ml_experiment_nb.image_plans import ImagePlan
from ml_experiment_nb.images.inventory import package_rows
from ml_experiment_nb.imaging import Exported


def planned(plan: ImagePlan) -> dict[str, Any]:
    """Return what goes into an image, with sizes, and whether an engine can build it."""
    frozen, program = plan.frozen, plan.frozen.program
    return {
        "name": plan.name,
        "base": plan.image.base,
        "file": plan.image.file,
        "run": program.run_id or None,
        "python": frozen.kernel.interpreter.version,
        "kernel": program.kernel.title or frozen.kernel.interpreter.executable,
        "cuda": frozen.cuda or None,
        "lab": frozen.has_lab,
        "packages": [asdict(row) for row in package_rows(frozen)],
        "dropped": list(frozen.dropped),
        "modules": [{"path": one.place, "size": one.size} for one in (*frozen.modules, *frozen.outside)],
        "data": [{"path": one.place, "size": one.size, "why_out": one.why_out or None} for one in frozen.data],
        "secrets": list(program.secrets),
        "notes": list(frozen.notes),
        "dockerfile": plan.dockerfile,
        "uses_network": plan.image.uses_network,
        "engine": imaging.look_at_engine(plan.image.base),
    }


def made(image: Exported) -> dict[str, Any]:
    """Return an image that was made."""
    verdict = image.verdict
    return {
        "name": image.name,
        "id": image.id,
        "folder": None,
        "size": image.size,
        "layers": [{"size": size, "made_by": step} for size, step in image.layers],
        "notes": list(image.notes),
        "digest": image.digest or None,
        "verdict": {"answer": verdict.answer.value, "sentence": verdict.sentence} if verdict else None,
        "command": image.command,
    }


def written(plan: ImagePlan, folder: Path, notes: Sequence[str]) -> dict[str, Any]:
    """Return a folder that an image can be built from."""
    return {
        "name": plan.name,
        "id": None,
        "folder": str(folder),
        "size": sum(one.stat().st_size for one in folder.rglob("*") if one.is_file()),
        "layers": [],
        "notes": list(notes),
        "digest": None,
        "verdict": None,
        "command": imaging.build_command(plan.name, folder),
    }
