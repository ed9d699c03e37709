from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.trials.http2 import _CODES, Answer, framed, headers, read_headers, take_message

MESSAGES = st.lists(st.binary(max_size=300), max_size=5)


@given(messages=MESSAGES, cut=st.integers(min_value=1, max_value=4))
def test_messages_are_cut_apart_where_they_were_joined(messages: list[bytes], cut: int) -> None:
    whole = b"".join(framed(message) for message in messages)
    assert Answer(_CODES[0], "", {}, whole, 0.0).messages() == messages
    rest = bytearray(whole[:-cut])
    taken = []
    while (message := take_message(rest)) is not None:
        taken.append(message)
    assert taken == messages[:-1]


def test_header_blocks_are_read_as_the_server_writes_them() -> None:
    details = b"\0" + b"d" * 300
    block = b"\x20\x88@\x0bgrpc-status\x013\x00\x0cgrpc-message\x02no\x00\x17grpc-status-details-bin"
    assert read_headers(block + b"\x7f\xae\x01" + details) == {
        ":status": b"200",
        "grpc-status": b"3",
        "grpc-message": b"no",
        "grpc-status-details-bin": details[1:],
    }


def test_a_call_names_its_method_and_its_deadline() -> None:
    block = headers("/a.B/C", 0.25)
    assert b"\x06/a.B/C" in block
    assert block.endswith(b"\x0cgrpc-timeout\x04250m")
    assert b"grpc-timeout" not in headers("/a.B/C")
