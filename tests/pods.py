"""Pods: containers as Metaflow's commands find them, on this machine and without a container.

An image is a Python with what Metaflow's bootstrap installs in a plain one (boto3 and requests),
pip, and an index of wheels made of what is installed here: so nothing is downloaded. A pod is a
home, a temporary directory and a working directory of its own.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import venv
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from tests.waiting import PATIENCE_S

PLAIN = ("boto3", "pip", "requests")  # in each image
_WHEELS = ("xxhash", "tenacity", "huggingface_hub")

# What a cluster mounts into a container, and what is in the container alone. To replace names in
# commands is not enough: Metaflow's own code has this one.
_MOUNTS = """
import builtins, os
out, opened = os.environ.get("POD_OUT"), builtins.open

def open(file, *arguments, **options):
    if out and isinstance(file, str) and file.startswith("/mnt/out/"):
        file = out + file.removeprefix("/mnt/out")
    return opened(file, *arguments, **options)

if out:
    builtins.open = open
"""


@dataclass(frozen=True)
class Image:
    """A Python that has next to nothing, and where pip finds more."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    @property
    def wheels(self) -> Path:
        return self.folder / "wheels"

    @property
    def site(self) -> Path:
        (site,) = (self.folder / "venv").glob("lib/python*/site-packages")
        return site


def image(folder: Path, plain: Iterable[str] = PLAIN) -> Image:
    """Make an image in a folder, once however many processes ask for it."""
    made = Image(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            shutil.rmtree(folder / "venv", ignore_errors=True)
            venv.create(folder / "venv", symlinks=True)
            for distribution in _with_what_they_need(plain):
                _link(distribution, made.site)
            (made.site / "sitecustomize.py").write_text(_MOUNTS)
            made.wheels.mkdir(exist_ok=True)
            for distribution in _with_what_they_need(_WHEELS):
                _wheel(distribution, made.wheels)
            (folder / "made").touch()
    return made


def _with_what_they_need(names: Iterable[str]) -> Iterator[metadata.Distribution]:
    todo, seen = list(names), set()
    while todo:
        name = re.sub(r"[-_.]+", "-", todo.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # Needed on other systems or Pythons only.
        yield distribution
        for wanted in distribution.requires or ():
            if "extra ==" not in wanted:
                todo.append(re.split(r"[^\w.-]", wanted, maxsplit=1)[0])


def _files(distribution: metadata.Distribution) -> Iterator[tuple[Path, str]]:
    for file in distribution.files or ():
        path = Path(str(distribution.locate_file(file)))
        if not file.parts[0].startswith("..") and path.suffix != ".pyc" and path.is_file():
            yield path, file.as_posix()


def _link(distribution: metadata.Distribution, site: Path) -> None:
    for top in {name.partition("/")[0] for _, name in _files(distribution)}:
        if not (site / top).exists():
            (site / top).symlink_to(Path(str(distribution.locate_file(top))))


def _wheel(distribution: metadata.Distribution, folder: Path) -> None:
    """Write the wheel that a distribution was installed from."""
    text = distribution.read_text("WHEEL") or ""
    tags = [line.partition(": ")[2] for line in text.splitlines() if line.startswith("Tag: ")]
    pythons, abis, platforms = zip(*(tag.split("-") for tag in tags), strict=True)
    parts = (
        re.sub(r"[-_.]+", "_", distribution.metadata["Name"]),
        distribution.version,
        *(".".join(dict.fromkeys(each)) for each in (pythons, abis, platforms)),
    )
    rows = []
    with zipfile.ZipFile(folder / f"{'-'.join(parts)}.whl", "w") as wheel:
        for path, name in _files(distribution):
            if name.endswith(("/RECORD", "/INSTALLER", "/REQUESTED", "/direct_url.json")):
                continue
            data = path.read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            rows.append(f"{name},sha256={digest},{len(data)}")
            wheel.writestr(name, data)
        record = next(name for _, name in _files(distribution) if name.endswith("/RECORD"))
        wheel.writestr(record, "\n".join([*rows, f"{record},,", ""]))


@dataclass
class Ran:
    """What a container came to."""

    code: int
    text: str

    @property
    def memo_lines(self) -> list[str]:
        return re.findall(r"\[memoize\] (.*)", self.text)


@dataclass
class Pod:
    """One container; `env` is all the environment that it gets."""

    image: Image
    folder: Path
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("home", "tmp", "out", "work"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.image.bin}:/usr/local/bin:/usr/bin:/bin",
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "POD_OUT": str(self.folder / "out"),
            "LANG": "C.UTF-8",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.image.wheels),
            **self.env,
        }

    def run(self, *command: str, **env: str) -> Ran:
        """Run what a container is started with."""
        process = subprocess.Popen(
            [part.replace("/tmp/mf-", f"{self.folder}/tmp/mf-") for part in command],
            cwd=self.folder / "work",
            env=self.environment | env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        try:
            text, _ = process.communicate(timeout=PATIENCE_S)
        finally:
            # Nothing of a container outlives it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        return Ran(process.returncode, text)

    def python(self, *arguments: str, **env: str) -> Ran:
        return self.run("python", *arguments, **env)

    def out(self, name: str) -> str:
        return (self.folder / "out" / name).read_text()


def unpack(archive: Path, pod: Pod) -> None:
    """Unpack a code package where the pod's commands run, as Metaflow's bootstrap does."""
    subprocess.run(["tar", "-xzf", archive, "-C", pod.folder / "work"], check=True)
    pod.env["PYTHONPATH"] = str(pod.folder / "work" / ".mf_code")
