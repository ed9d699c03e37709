"""Container images, built and run without an engine: debootstrap makes their base, buildah builds, runc runs.

Needs root. Where packages come from is read off this machine's apt and pip when a test runs.
"""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.server import REPOSITORY, ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap", "runc": "runc", "apt-get": "apt", "tar": "tar"}
"""Debian's packages by the commands that are needed of them."""

SUITE = "bookworm"
BASE = "localhost/regulars-base"
NOT_IN_AN_IMAGE = (
    "dev/*",
    "usr/share/doc/*",
    "usr/share/locale/*",
    "usr/share/man/*",
    "var/cache/apt/*",
    "var/lib/apt/*",
)
"""What a slim image of Debian leaves out too."""

AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")
"""Where the Dockerfile, like Debian, has them."""

USER = 10001


def hand_over(folder: Path) -> None:
    """Gives the folder and all in it to the images' user."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, USER, USER)


def run(*command: object, timeout: float = 1200.0, **environment: str) -> str:
    """What the command prints; fails with all that it said."""
    words = [str(word) for word in command]
    result = subprocess.run(
        words, env={**os.environ, **environment}, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{' '.join(words)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def check_tools() -> None:
    """Fails with what is missing on this machine, and where it comes from."""
    assert os.geteuid() == 0, "images are built and run as root"
    missing = [package for command, package in PACKAGES.items() if shutil.which(command) is None]
    assert not missing, f"these of Debian's packages are needed: {', '.join(missing)}"


def base_archive() -> Path:
    """A root file system of Debian with its Python, as a tar file; made once, and kept outside the tree."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regulars"
    archive = cache / f"{SUITE}-python3.tar"
    if not archive.exists():
        root, draft = cache / f"{SUITE}.root", archive.with_suffix(".draft")
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        run("debootstrap", "--variant=minbase", "--include=python3,python3-venv", SUITE, root, _mirror())
        left_out = (f"--exclude=./{pattern}" for pattern in NOT_IN_AN_IMAGE)
        run("tar", "--create", "--file", draft, "--directory", root, *left_out, ".")
        shutil.rmtree(root)
        draft.rename(archive)
    return archive


def _mirror() -> str:
    """Where this machine's apt has the suite from."""
    sites = run("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}").split()
    assert sites, f"apt has no source of {SUITE} on this machine; debootstrap needs one"
    return sites[0]


@dataclass(frozen=True)
class PipSettings:
    """This machine's pip as a build needs it: settings of its indexes, and the folders of this machine they name."""

    options: Mapping[str, str]
    authorities: Path
    folders: tuple[Path, ...]

    def write(self, file: Path, mark: str) -> Path:
        """As a `pip.conf` with `mark` in it."""
        lines = [f"{name} = {value}" for name, value in {**self.options, "cert": str(AUTHORITIES)}.items()]
        file.write_text("\n".join(["[global]", f"# {mark}", *lines, ""]))
        return file


def pip_settings() -> PipSettings:
    """Read from pip's files and variables, of which the latter win."""
    listed = run(REPOSITORY / ".venv-uv" / "bin" / "python", "-m", "pip", "config", "list").splitlines()
    pairs = [line.partition("=")[::2] for line in sorted(listed, key=lambda line: line.startswith(":env:"))]
    known = {name.rpartition(".")[2].removeprefix("default-"): ast.literal_eval(value) for name, value in pairs}
    of_indexes = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout")
    # Pages of an index of files name files beside the folder of its pages.
    indexes = [folder.parent for name in ("index-url", "extra-index-url") for folder in _folders(known.get(name, ""))]
    return PipSettings(
        {name: known[name] for name in of_indexes if name in known},
        Path(known.get("cert", AUTHORITIES)),
        (*indexes, *_folders(known.get("find-links", ""))),
    )


def _folders(places: str) -> list[Path]:
    """Those of the places that are folders of this machine, as URLs or as paths."""
    return [Path(urlsplit(place).path) for place in places.split() if urlsplit(place).scheme in {"", "file"}]


@dataclass(frozen=True)
class Builder:
    """Buildah with a storage of its own in `folder`.

    `mark` stands beside the settings of pip, and so in no image. Where the kernel has no overlays for this process,
    the variable STORAGE_DRIVER says `vfs`, which copies instead.
    """

    folder: Path
    pip: PipSettings
    mark: str

    def __call__(self, *words: object) -> str:
        storage = ("--root", self.folder / "storage", "--runroot", self.folder / "run")
        driver = os.environ.get("STORAGE_DRIVER", "overlay")
        return run("buildah", *storage, *words, BUILDAH_ISOLATION="chroot", STORAGE_DRIVER=driver).strip()

    def import_base(self) -> None:
        container = self("from", "scratch")
        self("add", "--quiet", container, base_archive(), "/")
        self("commit", "--quiet", "--rm", container, BASE)

    def build(self, part: str) -> Image:
        """The image of that part out of the tree's Dockerfile."""
        name = f"localhost/regulars-{part}"
        secrets = {"pip": self.pip.write(self.folder / "pip.conf", self.mark), "certificates": self.pip.authorities}
        self(
            *("build", "--quiet", "--build-arg", f"BASE={BASE}", "--build-arg", f"PART={part}"),
            *(word for secret, file in secrets.items() for word in ("--secret", f"id={secret},src={file}")),
            *(word for folder in self.pip.folders for word in ("--volume", f"{folder}:{folder}:ro")),
            *("--tag", name, REPOSITORY),
        )
        described = json.loads(self("inspect", "--type", "image", name))["OCIv1"]
        root = Path(self("mount", self("from", name)))
        return Image(part, name, root, described["config"], self.folder)

    def remove(self) -> None:
        """Unmounts and removes everything."""
        self("rm", "--all")
        shutil.rmtree(self.folder)

    def archive(self, image: Image, file: Path) -> Path:
        """All of it, layers and what describes them, uncompressed in one `file`."""
        self("push", "--quiet", image.name, f"docker-archive:{file}")
        return file


@dataclass(frozen=True)
class Image:
    """An image as its registry would hand it out: its files under `root`, and its configuration."""

    part: str
    name: str
    root: Path
    config: Mapping[str, Any]
    folder: Path

    @property
    def packages(self) -> Path:
        return self.root / "opt/regulars/lib/python3.11/site-packages"

    def __call__(self, *words: object, mounts: Mapping[Path, Path] | None = None, **options: Any) -> str:
        """What the command prints; fails with all that it said. `options` as for `command`."""
        return run(*self.command(*words, mounts=mounts or {}, **options))

    @contextmanager
    def running(self, *words: object, mounts: Mapping[Path, Path], **environment: str) -> Iterator[ServerProcess]:
        """A container that runs until it is told to stop; killed at the end if it still runs."""
        command = self.command(*words, mounts=mounts, environment=environment)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        server = ServerProcess(process)
        try:
            yield server
        finally:
            if process.poll() is None:
                name = command[-1]
                run(*command[: command.index("run")], "kill", name, "KILL")
                process.wait()

    def command(
        self,
        *words: object,
        mounts: Mapping[Path, Path],
        environment: Mapping[str, str] | None = None,
        entrypoint: list[str] | None = None,
    ) -> list[str]:
        """What runs the image's entry point on the words as Kubernetes would a restricted pod.

        That is: as the image's user without a capability, as process 1, its files read-only, but /tmp and the folders
        of `mounts`, which stand there by the paths that they are mounted at. The network is this machine's.
        """
        name = f"{self.part}-{uuid.uuid4()}"
        bundle = self.folder / name
        bundle.mkdir()
        arguments = [*(entrypoint or self.config["Entrypoint"]), *map(str, words)]
        variables = [*self.config["Env"], *(f"{key}={value}" for key, value in (environment or {}).items())]
        (bundle / "config.json").write_text(json.dumps(self._specification(arguments, variables, mounts)))
        return ["runc", "--root", str(self.folder / "runc"), "run", "--bundle", str(bundle), name]

    def _specification(self, arguments: list[str], variables: list[str], mounts: Mapping[Path, Path]) -> dict[str, Any]:
        """The runtime's configuration, as the OCI's runtime specification has it."""
        user, group = map(int, self.config["User"].split(":"))
        own_files = {Path("/proc"): "proc", Path("/dev"): "tmpfs", Path("/dev/shm"): "tmpfs", Path("/tmp"): "tmpfs"}
        # As engines do it.
        names = {Path("/etc/hosts"): Path("/etc/hosts"), Path("/etc/resolv.conf"): Path("/etc/resolv.conf")}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": user, "gid": group},
                "args": arguments,
                "env": variables,
                "cwd": self.config["WorkingDir"],
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [
                *({"destination": str(at), "type": kind, "source": kind} for at, kind in own_files.items()),
                *(
                    {"destination": str(at), "type": "bind", "source": str(source), "options": ["bind"]}
                    for at, source in {**names, **mounts}.items()
                ),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc")]},
        }
