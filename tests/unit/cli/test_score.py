"""The command scores with every model, here and through servers, goes on where it stopped, and says what came of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cli import main as command
from cli import score
from cli.models import MODELS
from model_registry.distributions import distribution_of_numbers
from services.batch import source
from services.batch.engines import LocalEngine
from services.cltv import servicer as cltv
from tests.support.bundles import SAMPLES, SCHEMA, random_columns
from tests.support.gateway import Gateway
from tests.support.server import running, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from services.batch.shards import ShardReport, Task
    from services.batch.source import Shard

REPOSITORY = Path(__file__).parents[3]

CUSTOMERS = pa.table(
    {
        "customer_id": ["a", "b", "c"],
        "recency_days": [10.0, 100.0, 30.0],
        "frequency": [1.0, None, 2.0],
        "channel": ["web", None, "shop"],
    }
)
STATUSES = ["OK", "INACTIVE", "OK"]

PROJECT = """
[project]
name = "shop"
[tables.customers]
source = "c.csv"
customer = "id"
churned = "left"
"""


class Business:
    """A folder with customers and released bundles, and the command in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bundles = folder / "bundles"
        self.customers = folder / "customers.parquet"
        self.scores = folder / "scores"
        self.project = folder / "regulars.toml"
        self.project.write_text(PROJECT)
        pq.write_table(CUSTOMERS, self.customers)

    def score(self, *words: object) -> int:
        given = ["score", *map(str, words), "--project", str(self.project)]
        if not {"--as-of", "--input"} & {*given}:
            given += ["--input", str(self.customers)]
        if not {"--bundles", "--target", "--engine"} & {*given}:
            given += ["--bundles", str(self.bundles)]
        return command.main([*given, "--output", str(self.scores)])

    def read(self) -> pa.Table:
        return pq.read_table(self.scores)


@pytest.fixture
def business(tmp_path: Path) -> Business:
    return Business(tmp_path)


@pytest.fixture
def one_row_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SHARD_ROWS", 1)
    monkeypatch.setattr(score, "LocalEngine", lambda workers: LocalEngine(1))


class TestModels:
    @pytest.mark.parametrize("model", SAMPLES)
    def test_every_model_scores_a_file(
        self, business: Business, capsys: pytest.CaptureFixture[str], model: str
    ) -> None:
        release = SAMPLES[model].release(business.bundles, "1")
        assert business.score(model) == 0
        said = capsys.readouterr()
        assert f"1 ({release.digest[:12]})   inactive   1           33.3%" in said.out
        assert "scoring 3 rows" in said.err
        assert business.read().column(f"{model}_status").to_pylist() == STATUSES

    def test_all_of_them_score_in_one_pass(self, business: Business, capsys: pytest.CaptureFixture[str]) -> None:
        for sample in SAMPLES.values():
            sample.release(business.bundles, "1")
        assert business.score("all") == 0
        assert [business.read().column(f"{model}_status").to_pylist() for model in MODELS] == [STATUSES] * 4
        said = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert ["expected_value_band", "SILVER", "2", "100.0%"] in said
        assert business.score("churn", "cltv", "churn") == command.EXIT_FAILED, "another run lies there"
        assert "clustering was version 1, is nothing" in capsys.readouterr().err

    def test_bands_are_listed_from_low_to_high(self, business: Business, capsys: pytest.CaptureFixture[str]) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        pq.write_table(CUSTOMERS.set_column(2, "frequency", [[1.0, 1.0, -0.5]]), business.customers)
        assert business.score("churn") == 0
        said = capsys.readouterr().out.split()
        assert said.index("LOW") < said.index("HIGH")

    def test_a_pattern_names_files_and_is_told_as_it_was_given(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        pattern = business.folder / "[c]ustomers.parquet"
        assert business.score("churn", "--input", pattern) == 0
        assert f"reading {pattern}" in capsys.readouterr().err.replace("\n", "")
        assert business.read().num_rows == 3

    def test_features_stand_beside_the_scores_on_request(self, business: Business) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn", "--with-features") == 0
        assert business.read().column("channel").to_pylist() == ["web", None, "shop"]


class TestServers:
    def test_a_server_of_another_model_is_refused(self, business: Business, capsys: pytest.CaptureFixture[str]) -> None:
        SAMPLES["cltv"].release(business.bundles, "1")
        with running(business.bundles, command=server_of("cltv")) as server:
            target = f"127.0.0.1:{server.port}"
            assert business.score("churn", "--target", target) == command.EXIT_FAILED
            assert f"{target} serves cltv, not churn; give the port of churn" in capsys.readouterr().err
            assert business.score("cltv", "--target", f"cltv={target}") == 0
        assert business.read().column("expected_value").to_pylist() == [110.0, None, 100.0]

    def test_without_targets_those_of_up_are_asked(self, business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
        SAMPLES["cltv"].release(business.bundles, "1")
        with running(business.bundles, command=server_of("cltv")) as server:
            monkeypatch.setattr(cltv, "PORT", server.port)
            assert business.score("cltv", "--engine", "grpc") == 0
        assert business.read().column("cltv_status").to_pylist() == STATUSES

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            ("churn cltv --target host:1", "--target host:1 does not say of which model; write for example churn=HOST"),
            ("churn --target cltv=host:1", "does not say of which model"),
            ("churn cltv --target churn=127.0.0.1:1", "no server is given for cltv; add --target cltv=HOST:PORT"),
            ("churn --target 127.0.0.1:1", "cannot ask the server of churn at 127.0.0.1:1 what it serves: UNAVAILABLE"),
            ("churn --target host:1 --bundles b", "not both"),
            ("churn --engine grpc --bundles b", "not both"),
            ("churn --target host:1 --engine local", "--engine local scores with bundles"),
            ("churn --engine spark --workers 2 --bundles b", "Spark's configuration"),
        ],
    )
    def test_what_contradicts_itself_says_what_to_do(
        self, business: Business, capsys: pytest.CaptureFixture[str], words: str, complaint: str
    ) -> None:
        assert business.score(*words.split()) == command.EXIT_FAILED
        assert complaint in capsys.readouterr().err
        assert not business.scores.exists()


class TestRuns:
    def test_another_version_is_refused_unless_the_run_begins_anew(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn") == 0
        SAMPLES["churn"].release(business.bundles, "2", run_id="another")
        assert business.score("churn") == command.EXIT_FAILED
        assert "churn was version 1, is 2" in capsys.readouterr().err
        assert business.score("churn", "--restart") == 0
        assert json.loads((business.scores / "_manifest.json").read_text())["models"]["churn"]["version"] == "2"

    @pytest.mark.usefixtures("one_row_a_shard")
    def test_an_interrupted_run_says_how_to_go_on_and_goes_on(
        self, business: Business, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        with monkeypatch.context() as patched:
            patched.setattr(score, "LocalEngine", lambda workers: Interrupted())
            assert business.score("churn") == command.EXIT_INTERRUPTED
        said = capsys.readouterr()
        assert said.err.splitlines()[-1] == "interrupted: 1 of 3 rows are scored; the same command goes on from there"
        assert "who was scored" not in said.out
        assert business.score("churn") == 0
        assert ["done", "before", "1"] in [line.split() for line in capsys.readouterr().out.splitlines()]
        assert business.read().column("churn_status").to_pylist() == STATUSES

    @pytest.mark.usefixtures("one_row_a_shard")
    def test_a_restart_that_was_interrupted_goes_on_without_a_restart(
        self, business: Business, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        monkeypatch.setattr(score, "LocalEngine", lambda workers: Interrupted())
        assert business.score("churn", "--restart") == command.EXIT_INTERRUPTED
        assert "1 of 3 rows are scored; the same command without --restart goes on" in capsys.readouterr().err

    def test_an_interrupt_before_the_first_row_is_told_as_such(
        self, business: Business, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        SAMPLES["churn"].release(business.bundles, "1")
        monkeypatch.setattr(score, "take_in", interrupt)
        assert business.score("churn", "--restart") == command.EXIT_INTERRUPTED
        assert "no row is scored yet; the same command goes on from there" in capsys.readouterr().err

    def test_too_many_bad_rows_fail_a_run_with_its_summary(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        pq.write_table(CUSTOMERS.set_column(1, "recency_days", [[1.0, None, 2.0]]), business.customers)
        words = ("churn", "--textfile", business.folder / "batch.prom")
        assert business.score(*words) == command.EXIT_FAILED
        said = capsys.readouterr()
        assert "1 of 3 rows (33.33%) could not be scored, and at most 1.00% may not" in said.err
        assert ["set", "aside", "1", "(33.33%)"] in [line.split() for line in said.out.splitlines()]
        assert not (business.folder / "batch.prom").exists(), "it is no success"
        assert business.score(*words, "--max-rejected", 0.4) == 0


class Interrupted(LocalEngine):
    """Whose user loses patience after a shard."""

    def __init__(self) -> None:
        super().__init__(1)

    def work(self, task: Task, shards: Sequence[Shard]) -> Iterator[ShardReport]:
        yield from super().work(task, shards[:1])
        raise KeyboardInterrupt


class TestProgress:
    @pytest.mark.usefixtures("one_row_a_shard")
    @pytest.mark.parametrize(("kind", "lines"), [("json", [0, 3]), ("none", [])])
    def test_a_machine_gets_lines_and_nothing_else(
        self, business: Business, capsys: pytest.CaptureFixture[str], kind: str, lines: list[int]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn", "--progress", kind) == 0
        said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
        assert [line["rows"] for line in said] == lines
        assert all(line["of"] == 3 for line in said)


class TestDates:
    """Features are built from the tables; here, by hand."""

    BUILT = CUSTOMERS.append_column("consent", [[True, True, False]])

    @pytest.fixture
    def tables(self, monkeypatch: pytest.MonkeyPatch) -> list[pa.Table]:
        """What the next builds give."""
        given = [self.BUILT]
        monkeypatch.setattr("cli.features.customers_as_of", lambda project, as_of, progress: given.pop(0))
        return given

    def test_the_customers_of_a_date_are_scored_if_they_consent(
        self, business: Business, tables: list[pa.Table]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn", "--as-of", "2024-05-01") == 0
        assert business.read().column("churn_status").to_pylist() == ["OK", "INACTIVE", "NO_CONSENT"]
        said = json.loads((business.scores / "_manifest.json").read_text())
        assert said["input"]["files"] == ["customers of shop as of 2024-05-01"]
        assert not (business.scores / "_input").exists(), "features are not left behind"

    @pytest.mark.usefixtures("one_row_a_shard")
    def test_a_second_attempt_goes_on_with_the_customers_of_the_first(
        self,
        business: Business,
        tables: list[pa.Table],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        with monkeypatch.context() as patched:
            patched.setattr(score, "LocalEngine", lambda workers: Interrupted())
            assert business.score("churn", "--as-of", "2024-05-01") == command.EXIT_INTERRUPTED
        assert tables == []
        assert business.score("churn", "--as-of", "2024-05-01") == 0
        assert "going on with the features that were built before" in capsys.readouterr().err
        assert business.read().num_rows == 3

    @pytest.mark.usefixtures("one_row_a_shard")
    def test_a_restart_builds_anew(
        self, business: Business, tables: list[pa.Table], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        with monkeypatch.context() as patched:
            patched.setattr(score, "LocalEngine", lambda workers: Interrupted())
            assert business.score("churn", "--as-of", "2024-05-01") == command.EXIT_INTERRUPTED
        tables.append(self.BUILT.slice(1))
        assert business.score("churn", "--as-of", "2024-05-01", "--restart") == 0
        assert business.read().column("customer_id").to_pylist() == ["b", "c"]

    def test_a_complete_run_of_other_tables_is_another_run(
        self, business: Business, tables: list[pa.Table], capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        tables += [self.BUILT, self.BUILT.slice(1)]
        assert business.score("churn", "--as-of", "2024-05-01") == 0
        assert business.score("churn", "--as-of", "2024-05-01") == 0, "the same tables"
        assert business.score("churn", "--as-of", "2024-05-01") == command.EXIT_FAILED
        assert "its input was another" in capsys.readouterr().err

    def test_another_date_is_another_run(
        self, business: Business, tables: list[pa.Table], capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        tables.append(self.BUILT)
        assert business.score("churn", "--as-of", "2024-05-01") == 0
        assert business.score("churn", "--as-of", "2024-05-02") == command.EXIT_FAILED
        assert "its input was another" in capsys.readouterr().err


class TestDrift:
    def release(self, business: Business, tested: np.ndarray) -> None:
        (output,) = SCHEMA.outputs
        frozen = replace(output, distribution=distribution_of_numbers(tested.astype(np.float32)))
        SAMPLES["churn"].release(business.bundles, "7", schema=replace(SCHEMA, outputs=(frozen,)))

    def write(self, business: Business, rows: int) -> None:
        columns = random_columns(rows)
        recency, frequency = np.abs(columns.numeric.T)
        ids = pa.array([f"c{row}" for row in range(rows)])
        data = {"recency_days": recency, "frequency": frequency, "channel": columns.categorical[:, 0]}
        pq.write_table(pa.table({"customer_id": ids, **data}), business.customers)

    def test_scores_that_moved_are_told_and_where_to_look(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.release(business, np.linspace(0.0, 0.3, 2000))
        self.write(business, 2000)
        assert business.score("churn") == 0
        said = capsys.readouterr().out
        assert "- churn_probability has moved (PSI " in said
        assert "'regulars audit drift churn@7 --input FILE'" in said
        (drift,) = json.loads((business.scores / "_manifest.json").read_text())["drifts"]
        assert drift["moved"]
        assert drift["psi"] > drift["limit"] == 0.1
        assert f"PSI {drift['psi']:.3f}, limit 0.100" in said

    def test_of_few_customers_nothing_is_concluded(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.release(business, np.linspace(0.0, 0.3, 2000))
        self.write(business, 100)
        assert business.score("churn") == 0
        said = capsys.readouterr().out
        assert "has moved" not in said
        assert "too few customers to tell whether scores have moved: churn" in said

    def test_through_a_server_drift_is_the_same(self, business: Business) -> None:
        self.release(business, np.linspace(0.0, 0.3, 2000))
        self.write(business, 2000)
        assert business.score("churn") == 0
        here = json.loads((business.scores / "_manifest.json").read_text())["drifts"]
        with running(business.bundles) as server:
            assert business.score("churn", "--target", f"127.0.0.1:{server.port}", "--restart") == 0
        assert json.loads((business.scores / "_manifest.json").read_text())["drifts"] == here
        assert len(here) == 1

    def test_a_bundle_without_frozen_bins_is_told(self, business: Business, capsys: pytest.CaptureFixture[str]) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn") == 0
        assert "because an earlier release trained or serves the model: churn" in capsys.readouterr().out


class TestPublishing:
    def test_a_complete_run_is_published_both_ways(self, business: Business) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        gateway, file = Gateway(), business.folder / "batch.prom"
        with gateway.listening() as url:
            assert business.score("churn", "--push", url, "--textfile", file) == 0
        ((method, path, body),) = gateway.calls
        assert (method, path) == ("PUT", "/metrics/job/regulars_batch/models/churn")
        assert body == file.read_text()
        assert 'regulars_batch_rows{model="churn",models="churn",status="inactive"} 1.0' in body

    def test_a_gateway_that_is_not_there_fails_the_command_and_not_the_scores(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn", "--push", "http://127.0.0.1:1") == command.EXIT_FAILED
        assert "cannot reach the Pushgateway" in capsys.readouterr().err
        assert business.read().num_rows == 3

    def test_a_text_file_that_nobody_would_collect_is_refused_before_the_work(
        self, business: Business, capsys: pytest.CaptureFixture[str]
    ) -> None:
        SAMPLES["churn"].release(business.bundles, "1")
        assert business.score("churn", "--textfile", business.folder / "batch.txt") == command.EXIT_FAILED
        assert "ends in .prom" in capsys.readouterr().err
        assert not business.scores.exists()


NOT_OF_THE_BATCH_EXTRA = ("ibis", "lightgbm", "matplotlib", "mlflow", "onnx", "pandas", "pyspark", "scipy", "sklearn")

WITHOUT = """
import importlib.abc, sys

class Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocker())
import cli.main
sys.exit(cli.main.main(sys.argv[2:]))
"""


def test_the_batch_extra_is_enough_to_score_and_to_publish(business: Business) -> None:
    SAMPLES["churn"].release(business.bundles, "1")
    words = ["score", "churn", "--input", business.customers, "--output", business.scores]
    more = ["--bundles", business.bundles, "--textfile", business.folder / "batch.prom"]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, " ".join(NOT_OF_THE_BATCH_EXTRA), *map(str, words + more)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert business.read().num_rows == 3
