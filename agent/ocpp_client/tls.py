"""TLS for security profile 2: TLS 1.2 or newer, host name and chain verified. There is no way to switch that off.

OpenSSL judges a certificate's dates by the system's clock. A board that does not know the time would refuse every certificate as "not valid
yet", and never be told the time. For it the dates are judged here, by how late it is at least (`Dates`).
"""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol, cast

from agent.domain.values import dataclass

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""OCPP 2.0.1 A00.FR.318: ECDHE families with AES-GCM; forward secrecy always. TLS 1.3 brings its own suites."""
_NO_CHECK_TIME: Final = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""
NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
WARN_DAYS: Final = (90, 30, 7)
_WARN_WITHIN: Final = 4
"""A warning comes only in the last quarter of a certificate's life: one that lives 90 days is renewed after 60."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when a certificate of the chain is valid, aware UTC. `subject` is its common name, or its organization."""

    subject: str
    not_before: datetime
    not_after: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Dates:
    """What dates are judged by instead of the system's clock: `utc` is the present where `is_certain`, else how late it is at least."""

    utc: datetime
    is_certain: bool


class WrongDateError(ssl.SSLCertVerificationError):
    """A certificate of the chain is not valid at this time. Looks like OpenSSL's own error."""

    def __init__(self, words: str, code: int) -> None:
        super().__init__(1, words)
        self.verify_code = code
        self.verify_message = words


def client_context(ca_file: Path | None, dates: Dates | None = None) -> ssl.SSLContext:
    """A context that trusts the system's roots, or only those of `ca_file` (PEM). Reads files: not for the event loop's thread.

    With `dates` a certificate is judged by them, with None by the system's clock. Raises OSError (ssl.SSLError among them) when the file is
    missing or holds no certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    if dates is not None:
        context.verify_flags |= cast("ssl.VerifyFlags", _NO_CHECK_TIME)
        context.sslobject_class = _judging(dates)
    return context


def _judging(dates: Dates) -> type[ssl.SSLObject]:
    class Judging(ssl.SSLObject):
        """Judges the dates at the end of the handshake: before anything, a password above all, goes to the server."""

        def do_handshake(self) -> None:
            super().do_handshake()
            wrong = wrong_date(chain_of(self), dates)
            if wrong is not None:
                raise wrong

    return Judging


def wrong_date(chain: Sequence[Validity], dates: Dates) -> WrongDateError | None:
    """What is wrong with the dates of a chain, None where nothing is. An empty chain is wrong."""
    if not chain:
        return WrongDateError("the server's certificate cannot be read", 1)
    for certificate in chain:
        if certificate.not_after < dates.utc:
            when = f"{certificate.not_after:%Y-%m-%d}, and it is {dates.utc:%Y-%m-%d}" + ("" if dates.is_certain else " at least")
            return WrongDateError(f"certificate has expired: {certificate.subject} on {when}", _EXPIRED)
        if dates.is_certain and certificate.not_before > dates.utc:
            when = f"{certificate.not_before:%Y-%m-%d}, and it is {dates.utc:%Y-%m-%d}"
            return WrongDateError(f"certificate is not yet valid: {certificate.subject} from {when}", NOT_YET_VALID)
    return None


class _CertificateLike(Protocol):
    def get_info(self) -> dict[str, object]: ...


def chain_of(connection: ssl.SSLObject) -> tuple[Validity, ...]:
    """The verified chain, the server's own certificate first, the root last. Only the server's where Python does not give the others.

    Python 3.13 has `get_verified_chain`; before, the object below has it since 3.10.
    """
    below = getattr(connection, "_sslobj", None)
    get_chain = getattr(below, "get_verified_chain", None)
    certificates = cast("Sequence[_CertificateLike]", get_chain() or ()) if get_chain is not None else ()
    found = [_validity(certificate.get_info()) for certificate in certificates]
    if not found:
        found = [_validity(cast("dict[str, object]", connection.getpeercert() or {}))]
    return tuple(validity for validity in found if validity is not None)


def _validity(info: dict[str, object]) -> Validity | None:
    try:
        begin, end = (datetime.fromtimestamp(ssl.cert_time_to_seconds(str(info[key])), UTC) for key in ("notBefore", "notAfter"))
    except (KeyError, ValueError, OverflowError):
        return None
    subject = cast("tuple[tuple[tuple[str, str], ...], ...]", info.get("subject", ()))
    names = {key: value for part in subject for key, value in part}
    name = names.get("commonName") or names.get("organizationName") or "certificate"
    return Validity(subject=ascii(name)[1:-1][:60], not_before=begin, not_after=end)


def soonest(chain: Sequence[Validity]) -> Validity | None:
    """The certificate that expires first."""
    return min(chain, key=lambda certificate: certificate.not_after, default=None)


def days_warned(certificate: Validity, utc: datetime) -> int | None:
    """Which of WARN_DAYS has been reached, None while none has: an operator has to renew this certificate."""
    left = certificate.not_after - utc
    life = certificate.not_after - certificate.not_before
    reached = [days for days in WARN_DAYS if left <= timedelta(days=days) and life >= _WARN_WITHIN * timedelta(days=days)]
    return min(reached, default=None)


def cure(error: ssl.SSLError) -> str:
    """What a technician can do about a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CURES.get(
            getattr(error, "verify_code", 0),
            "let the CSMS operator check the server's certificate chain (intermediates included)",
        )
    if "version" in str(error).lower() or "protocol" in str(error).lower():
        return "the server must offer TLS 1.2 or 1.3"
    if "handshake failure" in str(error).lower() or "cipher" in str(error).lower():
        return "the server must offer an ECDHE cipher suite with AES-GCM"
    return "check that the URL's port speaks TLS"


_CERTIFICATE_CURES = {
    NOT_YET_VALID: "the certificate is not valid yet: check the station's clock",
    _EXPIRED: "the server's certificate has expired: the CSMS operator must renew it (or the station's clock is wrong)",
    18: "the server's certificate is self-signed: set ocpp.ca_file to the root that signed it",
    19: "the chain ends in a root that this station does not trust: set ocpp.ca_file to it",
    20: "the issuer is unknown: set ocpp.ca_file to the root, or let the operator send the intermediate certificates",
    21: "the chain is incomplete: let the operator send the intermediate certificates",
    62: "the certificate is for another host name: check the host in ocpp.url",
    64: "the certificate is for another IP address: check the host in ocpp.url",
}
"""OpenSSL's X509_V_ERR numbers that are met in the field."""
