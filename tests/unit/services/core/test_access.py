from __future__ import annotations

import contextlib
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, generate_latest

from services.core import access
from services.core.access import Doorkeeper, Grant, Role, counted_grants, grant, new_token, read_grants
from services.core.followed import DamagedError

if TYPE_CHECKING:
    from collections.abc import Sequence

TOKENS = {"shop": new_token(), "crm": new_token(), "ops": new_token()}
GRANTS = (
    grant("shop", Role.SCORE, TOKENS["shop"]),
    grant("crm", Role.SCORE, TOKENS["crm"]),
    grant("ops", Role.ADMIN, TOKENS["ops"]),
)

ROLES = {"shop.Score": Role.SCORE, "shop.Reflection": Role.ADMIN}
HANDLER: Any = grpc.unary_unary_rpc_method_handler(lambda request, context: request)

Metadata = tuple[tuple[str, str], ...]


class FakeContext:
    """Where a refused call ends."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        self.trailers = dict(trailing_metadata)

    def abort(self, code: grpc.StatusCode, details: str) -> Any:
        self.code = code
        raise RuntimeError("aborted")


class FakeDetails:
    """What is known of a call on its headers."""

    def __init__(self, method: str, metadata: Metadata) -> None:
        self.method = method
        self.invocation_metadata = metadata


def bearing(token: str) -> Metadata:
    return (("user-agent", "test"), ("authorization", f"Bearer {token}"))


def doorkeeper(grants: Sequence[Grant] = GRANTS) -> Doorkeeper:
    return Doorkeeper(lambda: tuple(grants), ROLES, open_to_all=["shop.Health"])


def verdict(method: str, metadata: Metadata, keeper: Doorkeeper | None = None) -> str:
    """What becomes of a call of a method that is there, or, where it begins with "no.", is not."""
    there = None if method.startswith("/no.") else HANDLER
    handler: Any = (keeper or doorkeeper()).intercept_service(lambda _: there, FakeDetails(method, metadata))
    if handler is there:
        return "UNIMPLEMENTED" if handler is None else "OK"
    # Of the kind that gRPC calls before a message has come.
    assert handler.request_streaming
    context = FakeContext()
    with pytest.raises(RuntimeError, match="aborted"):
        handler.stream_stream(iter(()), context)
    assert context.code is not None
    return context.code.name


SCORE, REFLECTION = "/shop.Score/Predict", "/shop.Reflection/List"
WITHOUT_ROLE, UNKNOWN, HEALTH = "/shop.Debug/Dump", "/no.Such/Method", "/shop.Health/Check"


@pytest.mark.parametrize(
    ("holder", "method", "answer"),
    [
        ("shop", SCORE, "OK"),
        ("crm", SCORE, "OK"),
        ("ops", SCORE, "OK"),
        ("shop", REFLECTION, "PERMISSION_DENIED"),
        ("ops", REFLECTION, "OK"),
        ("shop", WITHOUT_ROLE, "PERMISSION_DENIED"),
        ("ops", WITHOUT_ROLE, "PERMISSION_DENIED"),
        ("shop", UNKNOWN, "UNIMPLEMENTED"),
        ("shop", HEALTH, "OK"),
    ],
)
def test_a_role_covers_what_it_is_for_and_nobody_a_method_without_one(holder: str, method: str, answer: str) -> None:
    assert verdict(method, bearing(TOKENS[holder])) == answer


@pytest.mark.parametrize(
    "metadata",
    [
        (),
        (("authorization", ""),),
        (("authorization", TOKENS["shop"]),),
        (("authorization", f"Basic {TOKENS['shop']}"),),
        (("authorization", f"Bearer {TOKENS['shop']} {TOKENS['shop']}"),),
        (("authorization", f"Bearer {TOKENS['shop']}x"),),
        (("authorization", f"Bearer {TOKENS['shop'][:-1]}"),),
        (("authorization", f"Bearer {GRANTS[0].digest.hex()}"),),
        (("authorization", "Bearer é"),),
        (("x-authorization", f"Bearer {TOKENS['shop']}"),),
        # Which of two would count, nobody should have to guess.
        bearing(TOKENS["shop"]) * 2,
    ],
)
def test_whoever_has_no_token_is_refused_wherever_it_calls(metadata: Metadata) -> None:
    for method in (SCORE, REFLECTION, WITHOUT_ROLE, UNKNOWN, "shop.Score/Predict", "/", ""):
        assert verdict(method, metadata) == "UNAUTHENTICATED"
    assert verdict(HEALTH, metadata) == "OK"


@pytest.mark.parametrize(
    "method", ["/shop.Health2/Check", "//shop.Health/Check", "/shop.Health/Check/", "/x/shop.Health/C"]
)
def test_what_is_not_quite_open_is_not_open(method: str) -> None:
    assert verdict(method, ()) == "UNAUTHENTICATED"


def test_the_scheme_may_be_written_in_any_case() -> None:
    assert verdict(SCORE, (("authorization", f"bearer  {TOKENS['crm']}"),)) == "OK"


@given(st.text())
def test_no_other_text_is_a_token(text: str) -> None:
    assert text in TOKENS.values() or verdict(SCORE, bearing(text)) == "UNAUTHENTICATED"


@pytest.mark.parametrize("presented", [*TOKENS.values(), "unknown"], ids=[*TOKENS, "unknown"])
def test_every_digest_is_compared_whichever_fits(monkeypatch: pytest.MonkeyPatch, presented: str) -> None:
    compared: list[bytes] = []

    def compare(left: bytes, right: bytes) -> bool:
        compared.append(left)
        return hmac.compare_digest(left, right)

    class Watched:
        compare_digest = staticmethod(compare)

    monkeypatch.setattr(access, "hmac", Watched)
    verdict(SCORE, bearing(presented))
    assert compared == [one.digest for one in GRANTS]


def test_grants_are_those_in_force_at_the_call() -> None:
    grants = list(GRANTS)
    keeper = doorkeeper(grants)
    assert verdict(SCORE, bearing(TOKENS["shop"]), keeper) == "OK"
    del grants[0]
    assert verdict(SCORE, bearing(TOKENS["shop"]), keeper) == "UNAUTHENTICATED"


def handled(method: str, code: str) -> float:
    labels = {"grpc_type": "unary", "grpc_service": "shop.Score", "grpc_method": method, "grpc_code": code}
    return REGISTRY.get_sample_value("grpc_server_handled_total", labels) or 0.0


def test_who_is_refused_is_counted_under_the_method_if_there_is_one() -> None:
    before = handled("Predict", "Unauthenticated")
    verdict(SCORE, ())
    assert handled("Predict", "Unauthenticated") == before + 1
    verdict("/no.Such/Made.up.by.a.stranger", ())
    assert "stranger" not in generate_latest().decode()


def calls(token: str) -> float:
    return REGISTRY.get_sample_value("regulars_token_calls_total", {"token": token}) or 0.0


def test_calls_are_counted_by_the_name_of_their_token() -> None:
    before = calls("crm")
    verdict(SCORE, bearing(TOKENS["crm"]))
    verdict(REFLECTION, bearing(TOKENS["crm"]))
    assert calls("crm") == before + 1


def test_calls_of_a_token_stand_at_zero_from_the_reading_of_its_file_on() -> None:
    labels = {"token": "not-called-yet"}
    assert REGISTRY.get_sample_value("regulars_token_calls_total", labels) is None
    (read,) = counted_grants(grant("not-called-yet", Role.SCORE, new_token()).line().encode())
    assert read.name == "not-called-yet"
    assert REGISTRY.get_sample_value("regulars_token_calls_total", labels) == 0


def test_a_token_is_known_by_its_prefix_and_has_256_bits() -> None:
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert all(token.startswith("regulars_") and len(token) == len("regulars_") + 43 for token in tokens)


def test_a_line_of_the_file_holds_the_digest_and_not_the_token() -> None:
    line = grant("shop", Role.SCORE, "secret").line()
    assert line == f"shop score {hashlib.sha256(b'secret').hexdigest()}\n"


def test_what_is_written_is_read() -> None:
    lines = ["# tokens of the shop", "", *(one.line().strip() for one in GRANTS), "   "]
    assert read_grants("\n".join(lines).encode()) == GRANTS


def test_a_name_may_stand_twice_while_its_token_is_replaced() -> None:
    old, new = grant("shop", Role.SCORE, "old"), grant("shop", Role.SCORE, "new")
    assert read_grants((old.line() + new.line()).encode()) == (old, new)


@pytest.mark.parametrize("name", ["", "Shop", "two words", "-shop", "a" * 64, "shop\n", "é"])
def test_a_name_that_fits_no_line_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no name of a token"):
        grant(name, Role.SCORE, "token")


LINE = GRANTS[0].line().strip()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("", "holds no token", id="empty"),
        pytest.param("# nothing\n\n", "holds no token", id="comments"),
        pytest.param(f"{LINE}\n{LINE}", "holds a token twice", id="twice"),
        pytest.param(f"{LINE}\nshop score", "line 2 is not a name", id="short"),
        pytest.param(f"{LINE}\nshop root {'0' * 64}", "line 2", id="role"),
        pytest.param(f"{LINE}\nshop score {'0' * 63}", "line 2", id="few digits"),
        pytest.param(f"{LINE}\nshop score {'0' * 63}G", "line 2", id="no hex digit"),
        pytest.param(f"{LINE} more", "line 1", id="a word more"),
        pytest.param(LINE[:-10], "line 1", id="cut"),
        pytest.param(f"{LINE}\nshop score {TOKENS['shop']}", "line 2", id="a token for a hash"),
        pytest.param("\x00\xff", "line 1", id="binary"),
    ],
)
def test_a_damaged_file_is_refused_by_line_without_its_words(text: str, why: str) -> None:
    with pytest.raises(DamagedError, match=why) as refused:
        read_grants(text.encode("latin-1"))
    assert TOKENS["shop"] not in str(refused.value)


@given(st.binary())
def test_no_bytes_break_the_reading(contents: bytes) -> None:
    with contextlib.suppress(DamagedError):
        assert read_grants(contents)
