from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cli.reference import DOCUMENTS, REFERENCES, ROOT, refresh, section

if TYPE_CHECKING:
    from pathlib import Path

README = ROOT / "README.md"


def refreshed(text: str) -> str:
    return refresh(text, DOCUMENTS[README])


@pytest.mark.parametrize(("document", "name"), [(path, name) for path, names in DOCUMENTS.items() for name in names])
def test_the_documents_say_what_the_code_says(document: Path, name: str) -> None:
    assert section(name) in document.read_text(), f"{document} is behind the code; run python -m cli.reference"


def test_every_table_stands_somewhere_once() -> None:
    assert sorted(name for names in DOCUMENTS.values() for name in names) == sorted(REFERENCES)


def test_refreshing_changes_nothing_twice() -> None:
    text = README.read_text()
    assert refreshed(refreshed(text)) == refreshed(text)


def test_refreshing_replaces_what_is_old() -> None:
    stale = README.read_text().replace("| `REGULARS_PORT` |", "| `REGULARS_HARBOUR` |")
    assert refreshed(stale) == refreshed(README.read_text())


def test_a_readme_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="settings"):
        refreshed(README.read_text().replace("<!-- settings -->", ""))
