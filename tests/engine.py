"""A Docker engine that tests start for themselves, and a base image for it; neither asks a registry.

``python tests/engine.py fetch`` unpacks Debian's packages of it below the temporary folder, where later sessions find
them; nothing of the machine's own is installed or changed. Each session's engine has a folder, a socket and a group of
processes of its own, so that several run at once and none meets another engine of the machine.
"""

from __future__ import annotations

import compileall
import fcntl
import hashlib
import os
import platform
import py_compile
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

SUITE = "trixie"  # Debian's, which has an engine with BuildKit; it runs on this suite's C library, its runc doesn't
PACKAGES = [f"{name}/{SUITE}" for name in ("docker.io", "docker-cli", "docker-buildx", "containerd", "tini")]
CACHE = Path("/tmp") / f"mlexp-engine-packages-{os.getuid()}"
PROGRAMS = CACHE / "root"
REGISTRY = CACHE / "registry"
BASE = f"mlexp-base:py{sys.version_info.major}.{sys.version_info.minor}"
TOOLS = [
    *("sh", "bash", "cat", "ls", "mkdir", "rm", "cp", "mv", "ln", "chmod", "chown", "env", "id", "sed", "grep", "find"),
    *("tar", "gzip", "ldconfig", "du", "uname", "touch", "head", "tail", "sort", "tr", "wc", "test", "dirname"),
    *("basename", "sleep", "sha256sum", "true", "false"),
]
LEFT_OUT = ("__pycache__", "site-packages", "test", "tests", "idlelib", "turtledemo")
LIBC = ("librt.so.1", "libpthread.so.0", "libdl.so.2", "libutil.so.1", "libm.so.6")  # what extensions may name
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


class Unavailable(Exception):
    """Why there can be no engine here."""


@dataclass(frozen=True)
class Engine:
    """An engine that runs: what the environment of its clients says."""

    address: str
    config: str

    @property
    def environment(self) -> dict[str, str]:
        path = os.environ["PATH"]
        clients = path if shutil.which("docker") else f"{path}{os.pathsep}{PROGRAMS / 'usr/bin'}"
        return {"DOCKER_HOST": self.address, "DOCKER_CONFIG": self.config, "PATH": clients}


# ------------------------------------------------------------------------------------------------- the programs


def fetch() -> None:
    """Unpack the packages of the engine and of a registry, unless they are there already.

    Raises:
        Unavailable: This is no Debian, or its mirror can't be reached.
    """
    CACHE.mkdir(mode=0o700, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (CACHE / "complete").exists():
            _unpack([*PACKAGES, "runc/"], PROGRAMS)
            with suppress(FileExistsError):
                (PROGRAMS / "usr/bin/docker-init").symlink_to("tini-static")
            (CACHE / "complete").touch()
        if not (CACHE / "registry-complete").exists():
            _unpack(["docker-registry/"], REGISTRY)
            (CACHE / "registry-complete").touch()


def _unpack(names: list[str], root: Path) -> None:
    """Unpack packages anew, each of the suite behind its name, or of this machine's own."""
    shutil.rmtree(root, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        for file in _downloaded(names, Path(folder)):
            subprocess.run(["dpkg", "-x", file, root], check=True)


def _downloaded(names: list[str], folder: Path) -> list[Path]:
    """Download packages by apt, which is told of lists and a state of its own."""
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    own, mirror = release.get("VERSION_CODENAME"), _mirror()
    if release.get("ID") != "debian" or own is None or mirror is None or shutil.which("apt-get") is None:
        raise Unavailable("its packages are Debian's, and this is none")
    for name in ("lists/partial", "cache/archives/partial", "packages"):
        (folder / name).mkdir(parents=True)
    (folder / "status").touch()
    signed = f"[signed-by={KEYRING}] {mirror}"
    (folder / "sources.list").write_text("".join(f"deb {signed} {suite} main\n" for suite in {own, SUITE}))
    (folder / "apt.conf").write_text(
        f'Dir::State "{folder}"; Dir::State::lists "{folder}/lists"; Dir::State::status "{folder}/status";\n'
        f'Dir::Cache "{folder}/cache"; Dir::Etc::sourcelist "{folder}/sources.list"; Dir::Etc::sourceparts "-";\n'
        'Dir::Etc::preferencesparts "/dev/null"; Acquire::Languages "none"; Acquire::Check-Valid-Until "false";\n'
        'Acquire::Check-Date "false"; APT::Sandbox::User "root"; Acquire::Retries "3";\n'
    )
    env = {**os.environ, "APT_CONFIG": str(folder / "apt.conf")}
    for words in (["update"], ["download", *(f"{one}{own}" if one.endswith("/") else one for one in names)]):
        done = subprocess.run(
            ["apt-get", "-qq", *words], cwd=folder / "packages", env=env, capture_output=True, text=True
        )
        if done.returncode:
            raise Unavailable(f"its packages can't be fetched: {done.stderr.strip()[-500:]}")
    return sorted((folder / "packages").glob("*.deb"))


def _mirror() -> str | None:
    """Return the address that this machine's apt asks for Debian's packages."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        words = path.read_text().split() if path.exists() else []
        for before, word in pairwise(words):
            if before in ("URIs:", "deb") and word.startswith("http"):
                return word
    return None


# --------------------------------------------------------------------------------------------------- the engine


@contextmanager
def engine(size: str = "") -> Iterator[Engine]:
    """Run an engine; all that it has made is gone afterwards.

    Args:
        size: What its disk takes, ``300m``; by default that of this machine.

    Raises:
        Unavailable: There can be none here; it says why.
    """
    if sys.platform != "linux" or os.getuid() != 0:
        raise Unavailable("it needs Linux and root")
    if not (CACHE / "complete").exists():
        raise Unavailable(f"it was not fetched: python {Path(__file__).name} fetch")
    _mount_cgroups()
    folder = Path(tempfile.mkdtemp(prefix="mlexp-engine-", dir="/tmp"))
    group = folder.name
    try:
        if size:
            (folder / "data").mkdir()
            words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "engine", str(folder / "data")]
            subprocess.run(words, check=True, capture_output=True)
        with _daemon(folder, group) as address:
            yield Engine(address, str(folder / "config"))
    finally:
        _clean_up(folder, group)


@contextmanager
def _daemon(folder: Path, group: str) -> Iterator[str]:
    address = f"unix://{folder}/docker.sock"
    plugins = folder / "config/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins.parent / "config.json").write_text("{}")
    (plugins / "docker-buildx").symlink_to(PROGRAMS / "usr/libexec/docker/cli-plugins/docker-buildx")
    (folder / "daemon.json").write_text("{}")
    libraries = [str(PROGRAMS / one) for one in ("usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu")]
    programs = f"{PROGRAMS}/usr/sbin:{PROGRAMS}/usr/bin"
    words = [
        *("setpriv", "--pdeathsig", "TERM"),  # it doesn't outlive tests that are killed
        *("unshare", "--mount", "--propagation", "private", "--"),  # its mounts go with it
        *(f"{PROGRAMS}/usr/sbin/dockerd", f"--config-file={folder}/daemon.json", f"--host={address}"),
        *(f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"),
        *("--exec-opt", "native.cgroupdriver=cgroupfs", f"--cgroup-parent=/{group}", "--shutdown-timeout=3"),
        # The machine's network is left as it is: no bridge, no rules, no forwarding.
        *("--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"),
    ]
    env = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "LD_LIBRARY_PATH": ":".join(libraries)}
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(
            words, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True
        )
    try:
        asked = Engine(address, str(plugins.parent))
        _wait(lambda: _answers(asked), daemon, folder / "log")
        yield address
    finally:
        _end(daemon)


def _answers(asked: Engine) -> bool:
    program = shutil.which("docker") or str(PROGRAMS / "usr/bin/docker")
    env = {**os.environ, **asked.environment}
    return subprocess.run([program, "version"], env=env, capture_output=True, timeout=60).returncode == 0


def _wait(is_up: Callable[[], bool], daemon: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 90
    while not is_up():
        if daemon.poll() is not None or time.monotonic() > until:
            end = log.read_text(errors="replace").strip().splitlines()[-3:]
            raise Unavailable("it doesn't start: " + " | ".join(end))
        time.sleep(0.1)


def _end(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _mount_cgroups() -> None:
    """Mount control groups on a machine that has none, as some that run a container themselves."""
    mounted = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    if any(kind.startswith("cgroup") for _, _, kind, *_ in mounted):
        return
    root = Path("/sys/fs/cgroup")
    known = [line.split() for line in Path("/proc/cgroups").read_text().splitlines()[1:]]
    words = ["mount", "-t", "tmpfs", "-o", "mode=755", "cgroup", str(root)]
    if subprocess.run(words, capture_output=True).returncode:
        raise Unavailable("there are no control groups here, and they can't be mounted")
    for name in [name for name, _, _, enabled in known if enabled == "1"]:
        (root / name).mkdir()
        if subprocess.run(["mount", "-t", "cgroup", "-o", name, name, root / name], capture_output=True).returncode:
            (root / name).rmdir()


def _clean_up(folder: Path, group: str) -> None:
    """End what the daemon has left, and remove its groups, mounts and files."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if any(str(folder) in word for word in words) and os.path.basename(words[0]).startswith(
                ("containerd", "runc")
            ):
                os.kill(int(process.name), signal.SIGKILL)
    groups = [
        one for one in (Path("/sys/fs/cgroup") / group, *Path("/sys/fs/cgroup").glob(f"*/{group}")) if one.exists()
    ]
    for one in groups:
        for file in one.rglob("cgroup.procs"):
            for pid in file.read_text().split():
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
    time.sleep(0.2)
    for one in groups:
        for inner in sorted((path for path in one.rglob("*") if path.is_dir()), reverse=True):
            with suppress(OSError):
                inner.rmdir()
        with suppress(OSError):
            one.rmdir()
    for line in reversed(Path("/proc/mounts").read_text().splitlines()):
        if line.split()[1].startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", line.split()[1]], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


# ------------------------------------------------------------------------------------------------- a registry


@contextmanager
def registry(folder: Path, accounts: str = "") -> Iterator[str]:
    """Run a registry that keeps its images in a folder, and yield its address.

    Args:
        folder: The folder.
        accounts: Who may use it, as ``htpasswd`` has them; by default everybody.
    """
    (folder / "accounts").write_text(accounts)
    text = f"""
        version: 0.1
        storage: {{filesystem: {{rootdirectory: {folder}/images}}}}
        http: {{addr: "127.0.0.1:0"}}
    """
    text += f"    auth: {{htpasswd: {{realm: tests, path: {folder}/accounts}}}}\n" if accounts else ""
    (folder / "registry.yml").write_text(textwrap.dedent(text))
    log = folder / "log"
    words = ["setpriv", "--pdeathsig", "TERM", str(REGISTRY / "usr/bin/docker-registry"), "serve"]
    with log.open("wb") as file:
        process = subprocess.Popen([*words, str(folder / "registry.yml")], stdout=file, stderr=file)
    try:
        _wait(lambda: "listening on" in log.read_text(), process, log)
        yield re.findall(r"listening on (127\.0\.0\.1:\d+)", log.read_text())[0]
    finally:
        _end(process)


# ----------------------------------------------------------------------------------------------- the base image


def import_base(asked: Engine) -> str:
    """Import an image that has this very interpreter, a shell and pip, and return its name."""
    env = {**os.environ, **asked.environment}
    changes = [
        "ENV PATH=/usr/local/bin:/usr/bin LANG=C.UTF-8",
        f"ENV SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES} REQUESTS_CA_BUNDLE={CERTIFICATES}",
        'CMD ["python3"]',
    ]
    words = ["docker", "import", *(word for one in changes for word in ("--change", one)), str(base_file()), BASE]
    subprocess.run(words, env=env, check=True, capture_output=True)
    return BASE


def base_file() -> Path:
    """Return the base's files as an archive, which is made once."""
    program = _interpreter()
    digest = hashlib.sha256(b"".join(Path(one).read_bytes() for one in (program, __file__))).hexdigest()[:16]
    path = CACHE / f"base-{digest}.tar"
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                root = Path(folder, "root")
                _make_base(root, program)
                _pack(root, path.with_suffix(".new"))
            path.with_suffix(".new").rename(path)
    return path


def _interpreter() -> Path:
    return Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))


def _make_base(root: Path, program: Path) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for name in ("usr/local/bin", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "etc/ssl/certs"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp", "root", "proc", "sys", "dev", "run", "home"):
        (root / name).mkdir(parents=True)
    for name in ("tmp", "var/tmp"):
        (root / name).chmod(0o1777)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    shutil.copy2(program, root / f"usr/local/bin/python{version}")
    (root / "usr/local/bin/python3").symlink_to(f"python{version}")
    (root / "usr/local/bin/python").symlink_to("python3")
    standard = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix, "base": sys.base_prefix}))
    ours = root / f"usr/local/lib/python{version}"
    shutil.copytree(standard, ours, ignore=shutil.ignore_patterns(*LEFT_OUT, "config-*"), symlinks=True)
    (ours / "site-packages").mkdir()
    for library in Path(sys.base_prefix, "lib").glob(f"libpython{version}*.so*"):
        shutil.copy2(library, root / "usr/local/lib", follow_symlinks=False)
    for tool in filter(None, map(shutil.which, TOOLS)):
        shutil.copy2(os.path.realpath(tool), root / "usr/bin" / os.path.basename(tool))
    _copy_libraries(root)
    shutil.copy2(os.path.realpath(CERTIFICATES), root / CERTIFICATES.lstrip("/"))
    shutil.copy2("/etc/os-release", root / "etc/os-release", follow_symlinks=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nnogroup:x:65534:\n")
    (root / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (root / "etc/ld.so.conf").write_text("/usr/local/lib\n/usr/lib/x86_64-linux-gnu\n/usr/lib/aarch64-linux-gnu\n")
    subprocess.run(["ldconfig", "-r", root], check=True, capture_output=True)
    words = ["chroot", root, f"/usr/local/bin/python{version}", "-I", "-m", "ensurepip", "--altinstall"]
    subprocess.run(words, check=True, capture_output=True)
    compileall.compile_dir(
        ours, quiet=2, stripdir=str(root), prependdir="/",
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip


def _copy_libraries(root: Path) -> None:
    """Copy the shared libraries that the programs of a folder need, and those that the C library loads by itself."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    binaries = [path for path in files if ".so" in path.name or os.access(path, os.X_OK)]
    said = subprocess.run(["ldd", *binaries], capture_output=True, text=True).stdout
    lines = [line.split() for line in said.splitlines()]
    found = {words[2] for words in lines if "=>" in words and len(words) > 2 and words[2].startswith("/")}
    found |= {words[0] for words in lines if words and words[0].startswith("/") and "ld-linux" in words[0]}
    for library in {os.path.dirname(os.path.realpath(one)) for one in found if "libc.so" in one}:
        found |= {str(one) for name in ("libnss_*.so.2", "libresolv.so.2", *LIBC) for one in Path(library).glob(name)}
        found |= {str(one) for name in ("libgcc_s.so.1", "libstdc++.so.6") for one in Path(library).glob(name)}
    for one in found:
        if one.startswith(str(root)) or "libpython" in one:
            continue
        target = root / "usr" / one.lstrip("/").removeprefix("usr/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(os.path.realpath(one), target)


def _pack(root: Path, path: Path) -> None:
    """Write an archive that says the same for the same files."""

    def plain(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = 1_700_000_000
        return member

    with tarfile.open(path, "w") as archive:
        for one in sorted(root.rglob("*")):
            archive.add(one, arcname=str(one.relative_to(root)), recursive=False, filter=plain)


if __name__ == "__main__":
    if sys.argv[1:] != ["fetch"]:
        sys.exit(f"usage: python {sys.argv[0]} fetch")
    try:
        fetch()
    except Unavailable as why:
        sys.exit(f"no Docker engine for tests: {why}")
