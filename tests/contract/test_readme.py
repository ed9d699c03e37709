from __future__ import annotations

import pytest

from cli.reference import README, REFERENCES, refresh, section


@pytest.mark.parametrize("name", REFERENCES)
def test_readme_says_what_the_code_says(name: str) -> None:
    assert section(name) in README.read_text(), "README.md is behind the code; run python -m cli.reference"


def test_refreshing_changes_nothing_twice() -> None:
    text = README.read_text()
    assert refresh(refresh(text)) == refresh(text)


def test_refreshing_replaces_what_is_old() -> None:
    stale = README.read_text().replace("| `REGULARS_PORT` |", "| `REGULARS_HARBOUR` |")
    assert refresh(stale) == refresh(README.read_text())


def test_a_readme_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="settings"):
        refresh(README.read_text().replace("<!-- settings -->", ""))
