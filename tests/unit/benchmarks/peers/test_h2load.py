from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.h2load import framed, read_log, read_report
from tests.trials.http2 import take_message

# As h2load 1.52 prints it, without the lines that nobody reads.
REPORT = """\
finished in 1.50s, 1331.09 req/s, 414.60KB/s
requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout
status codes: 2000 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 622.95KB (637900) total, 6.45KB (6600) headers (space savings 95.93%), 142.58KB (146000) data
"""
REFUSED = """\
finished in 9.70s, 103.06 req/s, 20.38KB/s
requests: 1000 total, 1000 started, 1000 done, 993 succeeded, 7 failed, 0 errored, 0 timeout
traffic: 197.73KB (202476) total, 136.72KB (140000) headers (space savings 0.00%), 22.81KB (23357) data
"""
UNREACHED = """\
finished in 257us, 0.00 req/s, 0B/s
requests: 8000 total, 0 started, 0 done, 0 succeeded, 8000 failed, 8000 errored, 0 timeout
traffic: 0B (0) total, 0B (0) headers (space savings 0.00%), 0B (0) data
"""


def test_a_report_says_how_many_a_second_and_how_much_was_answered() -> None:
    report = read_report(REPORT)
    assert (report.rate, report.failed, report.data) == (1331.09, 0, 146_000)


def test_calls_that_failed_or_were_never_sent_are_failures() -> None:
    assert read_report(REFUSED).failed == 7
    assert read_report(UNREACHED).failed == 8000


def test_a_call_that_was_started_and_not_done_is_a_failure() -> None:
    assert read_report(REPORT.replace("2000 done, 2000 succeeded", "1999 done, 1999 succeeded")).failed == 1


def test_a_log_has_microseconds_last() -> None:
    log = "1763868000000001\t200\t1250\n1763868000000002\t200\t80\n"
    assert read_log(log).tolist() == [1.25, 0.08]


@given(st.binary(max_size=2**17))
def test_a_frame_holds_the_message_and_nothing_else(message: bytes) -> None:
    data = bytearray(framed(message))
    assert take_message(data) == message
    assert not data
