"""The text of an image's Dockerfile, from what it is to have: the same for the same, byte for byte."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

WORK: Final = "/project"
"""Where the project stands in an image."""

MODULES: Final = "/opt/modules"
"""Where modules stand that lie outside of the project."""

USER: Final = 1000

_ENTRY: Final = "ml_experiment_nb.images.entry"
_SLIM: Final = ("bullseye", "bookworm", "trixie")
# Bytecode that is made here and trusted: each container would have to compile all of it anew, for ten seconds.
_COMPILING: Final = "export UV_COMPILE_BYTECODE=1 PYC_INVALIDATION_MODE=UNCHECKED_HASH PYTHONHASHSEED=0"
_INSTALLING: Final = "export UV_OFFLINE=1 UV_NO_CACHE=1 UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy SOURCE_DATE_EPOCH=0"


@dataclass(frozen=True)
class Installed:
    """A virtual environment of an image.

    Attributes:
        name: Its folder's name, in ``/opt`` as in the build context.
        has_local: Whether some of its packages are built from folders of the machine that it is made on.
    """

    name: str
    has_local: bool = False


@dataclass(frozen=True)
class Image:
    """What a Dockerfile says.

    Attributes:
        source: What the image is made of, for its first line.
        version: This package's version.
        base: The image that it begins with.
        python: The Python that this has, ``3.11``.
        environments: The kernel's environment first, that of what runs it last; often the same.
        debian: Debian packages.
        folder: The folder that the code runs in, below `WORK`.
        file: What is run, relative to that.
        post_build: The project's ``postBuild``, below `WORK`; empty without.
        has_kernels: Whether the context has kernelspecs.
        has_modules: Whether it has modules of outside.
        labels: The image's labels.
    """

    source: str
    version: str
    base: str
    python: str
    environments: tuple[Installed, ...]
    folder: str
    file: str
    debian: tuple[str, ...] = ()
    post_build: str = ""
    has_kernels: bool = False
    has_modules: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def uses_network(self) -> bool:
        """Whether its build has steps that may use a network: Debian's packages, and what the project runs itself."""
        return bool(self.debian or self.post_build)


def dockerfile(image: Image) -> str:
    """Return the Dockerfile: what changes seldom stands first, so that a changed notebook is the last layer alone."""
    runner = image.environments[-1].name
    steps = [
        f"# {image.source}, made an image by ml-experiment-nb {image.version}; BuildKit builds it, without a network.",
        f"FROM {image.base}",
        "USER root",  # a base may have another one
        *([_apt(image.debian)] if image.debian else []),
        _user(),
        *(_install(one.name, image.python) for one in image.environments),
        *(_bytecode(one.name) for one in image.environments),
        *(_install_local(one.name) for one in image.environments if one.has_local),
        *([f"COPY kernels/ /opt/{runner}/share/jupyter/kernels/"] if image.has_kernels else []),
        *([f"COPY modules/ {MODULES}/"] if image.has_modules else []),
        f"COPY work/ {WORK}/",
        *([_post_build(image)] if image.post_build else []),
        "COPY frozen.json /opt/frozen.json",
        _labels(image.labels),
        _environment(image, runner),
        f"USER {USER}",
        f"WORKDIR {_folder(image)}",
        f"ENTRYPOINT {json.dumps([f'/opt/{runner}/bin/python', '-P', '-m', _ENTRY, image.file], ensure_ascii=False)}",
    ]
    return "\n\n".join(steps) + "\n"


def default_base(version: str, release: Mapping[str, str]) -> str:
    """Return the image to begin with: Python's own, of this Debian where this is one.

    Args:
        version: The kernel's Python.
        release: What ``/etc/os-release`` says here.
    """
    codename = release.get("VERSION_CODENAME", "")
    of_debian = release.get("ID") == "debian" and codename in _SLIM
    return f"python:{version}-slim" + (f"-{codename}" if of_debian else "")


def _apt(packages: tuple[str, ...]) -> str:
    names = " \\\n        ".join(packages)
    return (
        "RUN apt-get update \\\n"
        f"    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \\\n        {names} \\\n"
        "    && rm -rf /var/lib/apt/lists/*"
    )


def _user() -> str:
    """Add a user by hand, as a small base has no ``useradd``; any user of a container may write to its folders."""
    return (
        f"RUN echo 'runner:x:{USER}:{USER}::/home/runner:/bin/sh' >> /etc/passwd \\\n"
        f"    && echo 'runner:x:{USER}:' >> /etc/group \\\n"
        f"    && mkdir -p /home/runner {WORK} \\\n"
        f"    && chmod 777 /home/runner {WORK}"
    )


def _install(name: str, python: str) -> str:
    """Install an index's wheels without what is spared of them: it is in no layer."""
    seen = {"wheels": "wheels", f"{name}/requirements.txt": "requirements.txt"}
    seen |= {"tools/settle.py": "settle.py", f"{name}/spare.txt": "spare.txt"}
    return _run(
        {"tools/uv": "uv", **seen},
        _INSTALLING,
        f"/mnt/uv venv --quiet --python {python} /opt/{name}",
        _installed(name, "wheels", "requirements.txt"),
        f"/opt/{name}/bin/python -IB /mnt/settle.py spare /mnt/spare.txt",
    )


def _bytecode(name: str) -> str:
    """Compile what runs load: in a layer of its own, as it changes with what the code imports."""
    return _run(
        {"tools/settle.py": "settle.py", f"{name}/bytecode.txt": "bytecode.txt"},
        "export PYTHONHASHSEED=0 SOURCE_DATE_EPOCH=0",
        f"/opt/{name}/bin/python -IB /mnt/settle.py bytecode /mnt/bytecode.txt",
    )


def _install_local(name: str) -> str:
    # The one list alone: beside the other one, it would be installed anew when that changes.
    seen = {"tools/uv": "uv", "local": "local", f"{name}/local.txt": "local.txt"}
    return _run(seen, _INSTALLING, _COMPILING, _installed(name, "local", "local.txt"))


def _installed(name: str, wheels: str, requirements: str) -> str:
    return (
        f"/mnt/uv pip install --quiet --python /opt/{name} --no-index --no-deps --require-hashes \\\n"
        f"        --find-links /mnt/{wheels} --requirement /mnt/{requirements}"
    )


def _run(seen: Mapping[str, str], *steps: str) -> str:
    """Run steps that see files of the context only while it is done: these are in no layer."""
    mounts = " \\\n    ".join(f"--mount=type=bind,source={source},target=/mnt/{at}" for source, at in seen.items())
    return f"RUN {mounts} \\\n    " + " \\\n    && ".join(steps)


def _post_build(image: Image) -> str:
    runner, script = image.environments[0].name, shlex.quote(f"./{image.post_build}")
    # What it writes as root is for whichever user a container has.
    env = f"PATH=/opt/{runner}/bin:$PATH HOME=/home/runner"
    return f"RUN umask 0 && cd {WORK} && chmod +x {script} \\\n    && {env} {script}"


def _labels(labels: Mapping[str, str]) -> str:
    lines = [f"{name}={_quoted(labels[name])}" for name in sorted(labels)]
    return "LABEL " + " \\\n      ".join(lines)


def _environment(image: Image, runner: str) -> str:
    first = image.environments[0].name
    folders = dict.fromkeys((f"/opt/{first}/bin", f"/opt/{runner}/bin"))
    values = {
        "HOME": "/home/runner",
        "LANG": "C.UTF-8",
        "PATH": f"{':'.join(folders)}:$PATH",
        "PYTHONUNBUFFERED": "1",
        "USER": "runner",
        **({"PYTHONPATH": MODULES} if image.has_modules else {}),
    }
    return "ENV " + " \\\n    ".join(f"{name}={values[name]}" for name in sorted(values))


def _folder(image: Image) -> str:
    inner = image.folder.strip("./") and image.folder
    return f"{WORK}/{inner}" if inner else WORK


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    return f'"{" ".join(escaped.split())}"'
