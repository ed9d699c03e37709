from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.peers.http1 import Response, request, take_response


def answer(status: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\nContent-Length: {len(body)}\r\nserver: x\r\n\r\n".encode() + body


@given(
    st.lists(st.tuples(st.sampled_from([200, 503]), st.binary(max_size=50)), max_size=4), st.lists(st.integers(1, 40))
)
def test_answers_are_cut_wherever_they_are_split(answers: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = b"".join(answer(*one) for one in answers)
    received, found = bytearray(), []
    for size in [*cuts, len(data)]:
        received += data[:size]
        data = data[size:]
        while (response := take_response(received)) is not None:
            found.append(response)
    assert found == [Response(*one) for one in answers]
    assert not received


def test_an_answer_must_say_how_long_it_is() -> None:
    with pytest.raises(ValueError, match="length"):
        take_response(bytearray(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"))


def test_a_request_says_how_long_it_is() -> None:
    head, _, body = request("/invocations", b"{}").partition(b"\r\n\r\n")
    assert head.startswith(b"POST /invocations HTTP/1.1\r\n")
    assert b"content-length: 2" in head
    assert body == b"{}"
