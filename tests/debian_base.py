"""A base image that is a Debian, of this machine's own packages: ``apt-get`` works in it as in Python's own image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import engine

NAME = "mlexp-base:debian"
WANTED = ("apt", "ca-certificates")  # besides those without which there is no Debian
SETTINGS = (
    *("etc/apt/sources.list", "etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/apt/trusted.gpg.d"),
    *("etc/resolv.conf", "etc/hosts"),
)
LEFT_OUT = ("usr/share/doc/*", "usr/share/man/*", "usr/share/locale/*")


def import_debian(asked: engine.Engine) -> str:
    """Import the base and return its name.

    Raises:
        Unavailable: This machine is no Debian.
    """
    if shutil.which("dpkg-query") is None or shutil.which("apt-get") is None:
        raise engine.Unavailable("the base is made of Debian's packages, and this is none")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder, "root")
        root.mkdir()
        subprocess.run(["tar", "-xf", engine.base_file(), "-C", root], check=True)
        _add_packages(root, _closure())
        archive = f"{folder}/base.tar"
        subprocess.run(["tar", "-cf", archive, "-C", root, "."], check=True)
        change = f"ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin LANG=C.UTF-8 SSL_CERT_FILE={engine.CERTIFICATES}"
        words = ["docker", "import", "--change", change, archive, NAME]
        subprocess.run(words, env={**os.environ, **asked.environment}, check=True, capture_output=True)
    return NAME


def _closure() -> set[str]:
    """Return the packages that Debian can't be without, and what is wanted, with all that they depend on."""
    rows = [line.split("\t") for line in _query("${Package}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}")]
    depends = {name: text for name, _, text, _ in rows}
    provided = {one.split()[0]: name for name, *_, text in rows for one in text.split(",") if one.strip()}
    todo, found = [*WANTED, *(name for name, essential, *_ in rows if essential == "yes")], set[str]()
    while todo:
        name = todo.pop()
        name = name if name in depends else provided.get(name, "")
        if name and name not in found:
            found.add(name)
            choices = (one.split("|") for one in depends[name].split(",") if one.strip())
            todo += [next(filter(depends.__contains__, names), names[0]) for names in map(_names, choices)]
    return found


def _query(form: str) -> list[str]:
    return subprocess.check_output(["dpkg-query", "-W", "-f", f"{form}\n"], text=True).splitlines()


def _names(choices: list[str]) -> list[str]:
    return [one.split()[0].partition(":")[0] for one in choices]


def _add_packages(root: Path, names: set[str]) -> None:
    """Put the files of packages into a folder, and what dpkg and apt know of them."""
    listed = subprocess.check_output(["dpkg", "-L", *sorted(names)], text=True).splitlines()
    files = sorted({path[1:] for path in listed if path.startswith("/") and path != "/." and os.path.lexists(path)})
    (root.parent / "files").write_text("".join(f"{path}\n" for path in files))
    (root / "etc/apt/apt.conf.d").mkdir(parents=True)
    left_out = [f"--exclude={pattern}" for pattern in LEFT_OUT]
    there = [name for name in SETTINGS if Path("/", name).exists()]
    words = ["tar", *left_out, "-cf", root.parent / "files.tar", "--no-recursion", "-C", "/"]
    subprocess.run([*words, "-T", root.parent / "files", "--recursion", "-h", *there], check=True)
    subprocess.run(["tar", "-xf", root.parent / "files.tar", "--keep-directory-symlink", "-C", root], check=True)
    known = root / "var/lib/dpkg"
    for folder in ("info", "updates", "alternatives"):
        (known / folder).mkdir(parents=True, exist_ok=True)
    blocks = Path("/var/lib/dpkg/status").read_text().split("\n\n")
    kept = [one for one in blocks if one.partition("\n")[0].removeprefix("Package: ") in names]
    (known / "status").write_text("".join(f"{one}\n\n" for one in kept))
    for file in Path("/var/lib/dpkg/info").iterdir():
        if file.name == "format" or file.name.rpartition(".")[0].partition(":")[0] in names:
            shutil.copy2(file, known / "info")
    for folder in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/log/apt"):
        (root / folder).mkdir(parents=True, exist_ok=True)
