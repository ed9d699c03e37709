"""Generates the typed stubs beside their protos, at set-up and when the wheel is built.

Generated code is never checked in: it must match the installed protobuf.
"""

from __future__ import annotations

import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROTOS = Path(__file__).parent


def generate() -> None:
    """Writes `*_pb2.py`, `*_pb2_grpc.py` and their type stubs for every proto of ours."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in (PROTOS / "regulars").rglob("*.proto"))
    arguments = [
        "protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={PROTOS / 'third_party'}",
        f"--proto_path={files('grpc_tools') / '_proto'}",
        f"--python_out={PROTOS}",
        f"--grpc_python_out={PROTOS}",
        f"--plugin=protoc-gen-mypy={_plugin('protoc-gen-mypy')}",
        f"--plugin=protoc-gen-mypy_grpc={_plugin('protoc-gen-mypy_grpc')}",
        f"--mypy_out={PROTOS}",
        f"--mypy_grpc_out={PROTOS}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        sys.exit("the protos do not compile; protoc says why above")
    _make_packages()


def _plugin(name: str) -> Path:
    """Scripts of an environment stand beside its interpreter, which need not be on PATH."""
    return Path(sys.executable).with_name(name)


def _make_packages() -> None:
    """Namespace packages would do for Python, but not for the import laws' checker."""
    for folder in [PROTOS / "regulars", *(path for path in (PROTOS / "regulars").rglob("*") if path.is_dir())]:
        if folder.name != "__pycache__":
            (folder / "__init__.py").touch()


class StubsHook(BuildHookInterface[Any]):
    """Tells hatchling to generate the stubs before it collects files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        generate()


if __name__ == "__main__":
    generate()
