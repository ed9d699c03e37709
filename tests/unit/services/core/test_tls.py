from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from services.core.settings import SettingsError
from services.core.tls import ServerTls, _read_certificate
from tests.support.certificates import LONG_AGO, Certificate, Key, authority

AUTHORITY = authority()
KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    return AUTHORITY.issue().write(tmp_path)


def expiry() -> dt.datetime:
    seconds = REGISTRY.get_sample_value("regulars_certificate_expiry_seconds")
    assert seconds is not None
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


@settings(max_examples=50, deadline=None)
@given(st.integers(-500_000_000, 7_000_000_000), st.text("abc", min_size=1, max_size=60))
def test_a_certificate_expires_when_cryptography_says(timestamp: int, name: str) -> None:
    # From 2050 on, certificates write their times in another form.
    made = AUTHORITY.issue(name, dt.datetime.fromtimestamp(timestamp, dt.UTC), KEY).certificate
    read, _ = _read_certificate(made.public_bytes(Encoding.DER))
    assert read == made.not_valid_after_utc


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP384R1()),
        rsa.generate_private_key(65537, 2048),
    ],
)
def test_keys_that_grpc_serves_with_are_taken(tmp_path: Path, key: Key) -> None:
    ServerTls(*AUTHORITY.issue(key=key).write(tmp_path), client_ca=None)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP521R1()), ed25519.Ed25519PrivateKey.generate()])
def test_keys_with_which_every_handshake_would_fail_are_refused(tmp_path: Path, key: Key) -> None:
    with pytest.raises(SettingsError, match="take RSA, or ECDSA on the curve P-256 or P-384"):
        ServerTls(*AUTHORITY.issue(key=key).write(tmp_path), client_ca=None)


def damaged(pair: tuple[Path, Path], what: str) -> None:
    certificate, key = pair
    other = AUTHORITY.issue()
    match what:
        case "another key":
            key.write_bytes(other.key_pem())
        case "a key with a password":
            key.write_bytes(AUTHORITY.key_pem(b"password"))
        case "no key":
            key.write_bytes(b"")
        case "no certificate":
            certificate.write_bytes(other.key_pem())
        case "half a certificate":
            certificate.write_bytes(other.pem[: len(other.pem) // 2])
        case "a broken certificate":
            certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n")


DAMAGES = {
    "another key": "the key in REGULARS_TLS_KEY is not the certificate's",
    "a key with a password": "REGULARS_TLS_KEY holds no private key without a password",
    "no key": "REGULARS_TLS_KEY holds no private key",
    "no certificate": "it holds no certificate in PEM",
    "half a certificate": "it holds no certificate in PEM",
    "a broken certificate": "a certificate in it cannot be read",
}


@pytest.mark.parametrize(("what", "why"), DAMAGES.items())
def test_no_server_begins_with_a_damaged_pair(pair: tuple[Path, Path], what: str, why: str) -> None:
    damaged(pair, what)
    with pytest.raises(SettingsError, match=f"REGULARS_TLS_CERTIFICATE: {why}"):
        ServerTls(*pair, client_ca=None)


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_pair_displaces_no_good_one(pair: tuple[Path, Path], what: str) -> None:
    tls = ServerTls(*pair, client_ca=None)
    before = tls._files.value
    damaged(pair, what)
    tls.look()
    assert tls._files.value is before
    assert tls._fetch() is not None
    assert tls._fetch() is None


def test_a_handshake_takes_up_a_new_pair_once(pair: tuple[Path, Path]) -> None:
    tls = ServerTls(*pair, client_ca=None)
    tls.credentials()
    tls.look()
    assert tls._fetch() is None
    AUTHORITY.issue().write(pair[0].parent)
    tls.look()
    assert tls._fetch() is tls._files.value.configuration
    assert tls._fetch() is None


def test_a_pair_that_changes_while_it_is_read_is_looked_at_again(
    pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ServerTls(*pair, client_ca=None)
    folder = pair[0].parent
    first, second = AUTHORITY.issue(), AUTHORITY.issue()
    first.write(folder)
    read = Path.read_bytes
    swapped: list[Path] = []

    def swap_after(path: Path) -> bytes:
        content = read(path)
        if path == pair[1] and not swapped:
            swapped.append(path)
            second.write(folder)
        return content

    before = tls._files.value
    monkeypatch.setattr(Path, "read_bytes", swap_after)
    tls.look()
    assert tls._files.value is before
    tls.look()
    assert tls._files.value is not before


def test_the_authorities_of_callers_must_be_certificates(pair: tuple[Path, Path], tmp_path: Path) -> None:
    authorities = tmp_path / "ca.crt"
    for content in (b"", b"nonsense", AUTHORITY.key_pem()):
        authorities.write_bytes(content)
        with pytest.raises(SettingsError, match="REGULARS_TLS_CLIENT_CA holds no certificate"):
            ServerTls(*pair, client_ca=authorities)
    authorities.write_bytes(AUTHORITY.pem + authority("another").pem)
    tls = ServerTls(*pair, client_ca=authorities)
    before = tls._files.value
    authorities.write_bytes(AUTHORITY.pem)
    tls.look()
    assert tls._files.value is not before


def test_the_first_of_a_chain_that_expires_counts(tmp_path: Path) -> None:
    soon = (dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)).replace(microsecond=0)
    server = AUTHORITY.issue()
    intermediate: Certificate = AUTHORITY.issue("intermediate", soon)
    certificate, key = server.write(tmp_path)
    certificate.write_bytes(server.pem + intermediate.pem)
    ServerTls(certificate, key, client_ca=None)
    assert expiry() == soon


def test_an_expired_certificate_is_served_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tls = ServerTls(*AUTHORITY.issue(expires=LONG_AGO).write(tmp_path), client_ca=None)
    for _ in range(3):
        tls.look()
    assert [record.getMessage() for record in caplog.records] == [
        "the certificate has expired and callers refuse it, replace it"
    ]
    assert expiry() == LONG_AGO
    AUTHORITY.issue().write(tmp_path)
    tls.look()
    assert expiry() > dt.datetime.now(dt.UTC)
    assert len([record for record in caplog.records if record.levelname == "ERROR"]) == 1
