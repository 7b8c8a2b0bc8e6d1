"""TLS contexts for security profile 2: TLS 1.2 or newer, host name and chain verified. There is no way to switch that off."""

import ssl
from pathlib import Path

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""OCPP 2.0.1 A00.FR.318: ECDHE families with AES-GCM; forward secrecy always. TLS 1.3 brings its own suites."""


def client_context(ca_file: Path | None) -> ssl.SSLContext:
    """A context that trusts the system's roots, or only those of `ca_file` (PEM). Reads files: not for the event loop's thread.

    Raises OSError (ssl.SSLError among them) when the file is missing or holds no certificate.
    """
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=None if ca_file is None else str(ca_file))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    return context


def cure(error: ssl.SSLError) -> str:
    """What a technician can do about a failed TLS handshake."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CURES.get(
            error.verify_code,
            "let the CSMS operator check the server's certificate chain (intermediates included)",
        )
    if "version" in str(error).lower() or "protocol" in str(error).lower():
        return "the server must offer TLS 1.2 or 1.3"
    if "handshake failure" in str(error).lower() or "cipher" in str(error).lower():
        return "the server must offer an ECDHE cipher suite with AES-GCM"
    return "check that the URL's port speaks TLS"


_CERTIFICATE_CURES = {
    9: "the certificate is not valid yet: check the station's clock",
    10: "the server's certificate has expired: the CSMS operator must renew it (or the station's clock is wrong)",
    18: "the server's certificate is self-signed: set ocpp.ca_file to the root that signed it",
    19: "the chain ends in a root that this station does not trust: set ocpp.ca_file to it",
    20: "the issuer is unknown: set ocpp.ca_file to the root, or let the operator send the intermediate certificates",
    21: "the chain is incomplete: let the operator send the intermediate certificates",
    62: "the certificate is for another host name: check the host in ocpp.url",
    64: "the certificate is for another IP address: check the host in ocpp.url",
}
"""OpenSSL's X509_V_ERR numbers that are met in the field."""
