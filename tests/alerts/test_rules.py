"""The rules as promtool, which comes with Prometheus, takes them: whether they are any, and when they fire."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from cli.reference import ROOT
from tests.support.alerts import RULES, TRIALS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.prometheus


def promtool(*words: str | Path) -> None:
    path = shutil.which("promtool")
    assert path, "promtool is not on PATH: install Debian's package prometheus"
    done = subprocess.run([path, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", sorted(RULES.glob("*.yaml")), ids=lambda file: file.stem)
def test_prometheus_takes_the_rules(file: Path) -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", file)


def test_prometheus_takes_the_configuration_of_the_runbooks(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "runbooks.md").read_text(), re.DOTALL)
    (tmp_path / "prometheus.yml").write_text(example)
    promtool("check", "config", "--syntax-only", tmp_path / "prometheus.yml")


@pytest.mark.parametrize("file", sorted(TRIALS.glob("*.yaml")), ids=lambda file: file.stem)
def test_alerts_fire_when_they_are_to_and_only_then(file: Path) -> None:
    promtool("test", "rules", file)
