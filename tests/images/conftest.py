from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

import pytest

from tests.support.images import Builder, Image, check_tools, hand_over, pip_settings
from tests.support.shop import open_shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Builder]:
    check_tools()
    folder = tmp_path_factory.mktemp("images")
    made = Builder(folder, pip_settings(), secrets.token_hex())
    try:
        made.import_base()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="session")
def serving(builder: Builder) -> Image:
    return builder.build("serving")


@pytest.fixture(scope="session")
def jobs(builder: Builder) -> Image:
    return builder.build("jobs")


@pytest.fixture(scope="session")
def jobs_spark(builder: Builder) -> Image:
    return builder.build("jobs-spark")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A business of its own, in a folder that the images' user may write to."""
    folder = tmp_path_factory.mktemp("shop")
    open_shop(folder)
    hand_over(folder)
    return folder
