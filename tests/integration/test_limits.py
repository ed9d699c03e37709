"""What one caller can cost a server: nothing that it cannot bear. Every test ends with the proof that it serves on."""

from __future__ import annotations

import queue
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.core.health import THREADS
from services.core.server import MAX_METADATA_BYTES
from tests.support.bundles import columns, probability, release_bundle
from tests.support.calls import failure_of, predict, predict_batch, table_of
from tests.support.http2 import RawCall
from tests.support.polling import PATIENCE_SECONDS, eventually
from tests.support.server import ServerProcess, running

if TYPE_CHECKING:
    from collections.abc import Iterator

SERVICE = "/regulars.churn.v1.ChurnService"
GOOD = columns((10, 2, "web"))

CONNECTIONS = 20
STREAMS = 100
"""As many as one connection may open, and more than the server has threads."""

MEBIBYTE = 1 << 20
GIBIBYTE = 1 << 30


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    bundles = tmp_path_factory.mktemp("bundles")
    release_bundle(bundles, "1")
    with running(bundles, connections=CONNECTIONS) as server:
        yield server


@pytest.fixture
def served(process: ServerProcess) -> Iterator[ServerProcess]:
    yield process
    with process.channel() as channel:
        eventually(lambda: process.metric("regulars_calls_in_flight") == 0, "calls to end")
        assert predict(channel, GOOD).prediction.churn_probability == pytest.approx(probability(10, 2, "web"))


def bomb(inflated: int) -> bytes:
    """Zeros, as gzip. Every block stands for itself, so that one of them can be repeated."""
    block_size = 16 * MEBIBYTE
    compress = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    block = compress.compress(bytes(block_size)) + compress.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    # The checksum at its end is wrong, and nobody gets that far.
    return header + block * (inflated // block_size) + compress.flush() + bytes(8)


def most_memory(server: ServerProcess) -> int:
    """The most that the process has ever held, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_message_that_inflates_to_gibibytes_is_refused_and_costs_no_memory(served: ServerProcess) -> None:
    message = bomb(4 * GIBIBYTE)
    assert len(message) < 4 * MEBIBYTE, "the limit on messages would stop it as it came"
    before = most_memory(served)
    call = RawCall(served.port, f"{SERVICE}/BatchPredictChurn", {"grpc-encoding": "gzip"})
    call.send(message, compressed=True)
    assert call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert most_memory(served) - before < 64 * MEBIBYTE


def test_a_message_that_inflates_to_what_is_allowed_is_read(served: ServerProcess) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(f"127.0.0.1:{served.port}", options, grpc.Compression.Gzip) as channel:
        assert predict(channel, GOOD).model_version.version == "1"


def hold(channel: grpc.Channel, path: str) -> list[Any]:
    """Calls that send their headers and never a message."""
    call = channel.stream_stream(path, bytes, bytes)
    return [call(iter(queue.SimpleQueue[bytes]().get, None)) for _ in range(STREAMS)]


def check(channel: grpc.Channel) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE_SECONDS).status)


@pytest.mark.parametrize("method", ["PredictChurn", "BatchPredictChurn", "StreamPredictChurn"])
def test_calls_without_a_message_fill_their_own_lane_and_nothing_else(served: ServerProcess, method: str) -> None:
    with served.channel() as channel, served.channel() as other:
        held = hold(channel, f"{SERVICE}/{method}")
        eventually(lambda: any(not call.is_active() for call in held), "the lane to fill")
        refused = next(call for call in held if not call.is_active())
        assert failure_of(refused.result).reason == "SATURATED"
        assert check(other) == health_pb2.HealthCheckResponse.SERVING
        if method == "PredictChurn":
            assert predict_batch(other, table_of(GOOD)).model_version.version == "1"
        else:
            assert predict(other, GOOD).model_version.version == "1"
        for call in held:
            call.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_health_checks_without_a_message_take_no_threads_from_scoring(served: ServerProcess, method: str) -> None:
    with served.channel() as channel, served.channel() as other:
        held = hold(channel, f"/grpc.health.v1.Health/{method}")
        assert len(held) > THREADS
        for _ in range(3):
            assert predict(other, GOOD).model_version.version == "1"
        for call in held:
            call.cancel()
        eventually(lambda: check(other) == health_pb2.HealthCheckResponse.SERVING, "health to answer again")


def test_metadata_has_a_limit(served: ServerProcess) -> None:
    with served.channel() as channel:
        call = channel.unary_unary("/regulars.scoring.v1.ModelService/GetModel", bytes, bytes)
        assert call(b"", timeout=PATIENCE_SECONDS, metadata=(("trace", "x" * (MAX_METADATA_BYTES - 1024)),))
        flood = (("trace", "x" * MAX_METADATA_BYTES),)
        failure = failure_of(lambda: call(b"", timeout=PATIENCE_SECONDS, metadata=flood))
        assert failure.code == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("depth", [101, 1_000_000])
def test_a_message_nested_deeper_than_any_of_ours_is_malformed(served: ServerProcess, depth: int) -> None:
    # Groups of a field that the message does not have, begun and ended.
    nested = b"\x7b" * depth + b"\x7c" * depth
    with served.channel() as channel:
        call = channel.unary_unary(f"{SERVICE}/PredictChurn", bytes, bytes)
        failure = failure_of(lambda: call(nested, timeout=PATIENCE_SECONDS))
        assert (failure.code, failure.reason) == ("INTERNAL", "MALFORMED_MESSAGE")


def test_connections_beyond_the_limit_are_closed_and_room_is_made_again(served: ServerProcess) -> None:
    channels = [served.channel() for _ in range(CONNECTIONS)]
    for channel in channels:
        predict(channel, GOOD)
    with served.channel() as more:
        assert failure_of(lambda: predict(more, GOOD)).code == "UNAVAILABLE"
        assert predict(channels[0], GOOD).model_version.version == "1"
        for channel in channels:
            channel.close()

        def admitted() -> bool:
            try:
                return predict(more, GOOD).model_version.version == "1"
            except grpc.RpcError:
                return False

        eventually(admitted, "a place")
