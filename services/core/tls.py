"""The server's side of TLS: a certificate and its key, and whose certificates callers must show.

The files may be replaced under a running server. gRPC asks for the pair at each handshake; connections that stand keep
theirs until they age. A pair that gRPC could not serve with is refused here, where it can be said why.
"""

from __future__ import annotations

import datetime as dt
import logging
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from services.core.followed import DamagedError, Followed
from services.core.metrics import CERTIFICATE_EXPIRY

if TYPE_CHECKING:
    from pathlib import Path

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

# Tags of DER, in which certificates are written (X.690), and of fields of a certificate (RFC 5280, 4.1).
_VERSION = 0xA0
_UTC_TIME = 0x17
_LONG_FORM = 0x80

# Object identifiers of keys (RFC 3279, RFC 5480).
_RSA = bytes.fromhex("2a864886f70d010101")
_ELLIPTIC = bytes.fromhex("2a8648ce3d0201")
_P256 = bytes.fromhex("2a8648ce3d030107")
_P384 = bytes.fromhex("2b81040022")
_KEYS = {(_RSA, b""), (_ELLIPTIC, _P256), (_ELLIPTIC, _P384)}
"""What gRPC's TLS agrees on with its clients: with other keys the server would start, and every handshake fail."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """What a handshake is made with, and until when it is good."""

    configuration: grpc.ServerCertificateConfiguration
    expires: dt.datetime


class ServerTls:
    """The certificate in force."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        """Without `client_ca`, callers need no certificate.

        Raises:
            SettingsError: the files are missing or of no use.
        """
        self._certificate = certificate
        self._key = key
        self._mutual = client_ca is not None
        paths = (certificate, key) if client_ca is None else (certificate, key, client_ca)
        self._files = Followed("REGULARS_TLS_CERTIFICATE", paths, self._read)
        self._given: Identity | None = None
        self._said: Identity | None = None
        self._look_at_expiry()

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is bound with."""
        self._given = self._files.value
        return grpc.dynamic_ssl_server_credentials(
            self._given.configuration,
            self._fetch,  # type: ignore[arg-type]  # may give None, says gRPC
            require_client_authentication=self._mutual,
        )

    def look(self) -> None:
        """Takes up files that have changed, and says once when the certificate has expired; never raises."""
        self._files.look()
        self._look_at_expiry()

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC at each handshake; None where nothing has changed, which spares it its preparations."""
        identity = self._files.value
        if identity is self._given:
            return None
        self._given = identity
        return identity.configuration

    def _look_at_expiry(self) -> None:
        identity = self._files.value
        CERTIFICATE_EXPIRY.set(identity.expires.timestamp())
        if identity is not self._said and identity.expires <= dt.datetime.now(dt.UTC):
            self._said = identity
            fields = {"certificate": str(self._certificate), "expired": identity.expires.isoformat()}
            _log.error("the certificate has expired and callers refuse it, replace it", extra={"fields": fields})

    def _read(self, contents: tuple[bytes, ...]) -> Identity:
        certificate, key, *authorities = contents
        expires = _check_chain(certificate)
        _check_pair(self._certificate, self._key)
        if (self._certificate.read_bytes(), self._key.read_bytes()) != (certificate, key):
            # The files were what was checked, not these contents.
            raise DamagedError("the files changed while they were read")
        for authority in authorities:
            check_authorities("REGULARS_TLS_CLIENT_CA", authority)
        configuration = grpc.ssl_server_certificate_configuration([(key, certificate)], *authorities)
        return Identity(configuration, expires)


def _check_pair(certificate: Path, key: Path) -> None:
    try:
        # The password of a key that has one: the library would ask for it on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise DamagedError("the key in REGULARS_TLS_KEY is not the certificate's") from error
        raise DamagedError("REGULARS_TLS_KEY holds no private key without a password, in PEM") from error


def check_authorities(setting: str, pem: bytes) -> None:
    """Raises DamagedError unless the file of the setting holds certificates."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=pem.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError) as error:
        raise DamagedError(f"{setting} holds no certificate in PEM") from error


def _check_chain(pem: bytes) -> dt.datetime:
    """When the first of the certificates expires; the first one stands for the server."""
    try:
        chain = [
            _read_certificate(ssl.PEM_cert_to_DER_cert(one)) for one in _PEM.findall(pem.decode("ascii", "replace"))
        ]
    except (ValueError, IndexError) as error:
        raise DamagedError("a certificate in it cannot be read") from error
    if not chain:
        raise DamagedError("it holds no certificate in PEM")
    if chain[0][1] not in _KEYS:
        raise DamagedError("gRPC cannot serve with keys of its sort; take RSA, or ECDSA on the curve P-256 or P-384")
    return min(expires for expires, _ in chain)


def _read_certificate(der: bytes) -> tuple[dt.datetime, tuple[bytes, ...]]:
    """When a certificate expires and the sort of its key (RFC 5280, 4.1)."""
    ((_, certificate),) = _elements(der)
    _, body = _elements(certificate)[0]
    fields = [content for tag, content in _elements(body) if tag != _VERSION]
    _serial, _signature, _issuer, validity, _subject, key = fields[:6]
    _, algorithm = _elements(key)[0]
    return _time(*_elements(validity)[1]), tuple(content for _, content in _elements(algorithm))


def _time(tag: int, content: bytes) -> dt.datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:
        # Two digits of the year: from 50 on, of the last century.
        text = ("19" if text >= "5" else "20") + text
    return dt.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=dt.UTC)


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """The elements of DER one after the other, as tag and content."""
    elements = []
    at = 0
    while at < len(der):
        tag, length = der[at], der[at + 1]
        at += 2
        if length & _LONG_FORM:
            octets = length - _LONG_FORM
            length = int.from_bytes(der[at : at + octets])
            at += octets
        elements.append((tag, der[at : at + length]))
        at += length
    return elements
