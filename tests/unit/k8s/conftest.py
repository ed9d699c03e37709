from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.manifests import MANIFESTS, Rendering, render, with_everything

if TYPE_CHECKING:
    from pathlib import Path

EVERYTHING = "everything"
"""The production overlay with all switched on that it offers."""


@pytest.fixture(scope="session")
def manifests_with_everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_everything(tmp_path_factory.mktemp("manifests"))


@pytest.fixture(scope="session")
def everything(manifests_with_everything: Path) -> Rendering:
    return Rendering(EVERYTHING, render(manifests_with_everything))


@pytest.fixture(scope="session", params=["local", "production", EVERYTHING])
def rendering(request: pytest.FixtureRequest) -> Rendering:
    """Each law holds of each of them."""
    if request.param == EVERYTHING:
        rendering: Rendering = request.getfixturevalue("everything")
        return rendering
    return Rendering(request.param, render(MANIFESTS / "overlays" / request.param))
