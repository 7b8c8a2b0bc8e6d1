"""Checks what a device signed: ECDSA on P-256 with SHA-256. The library is loaded only when somebody gives a key."""

import base64
import binascii
from collections.abc import Callable

from agent.domain.ledger import SignedHead


class SignatureError(Exception):
    """The key cannot be used; the sentence says why."""


def reader(pem: bytes) -> Callable[[SignedHead], bool]:
    """Give what judges signatures by a public key, or by the public half of a private one. Raises SignatureError."""
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
    except ImportError as error:
        raise SignatureError("signatures need the package cryptography: pip install 'charger-agent[signing]'") from error
    try:
        if b"PRIVATE KEY" in pem:
            key = serialization.load_pem_private_key(pem, None).public_key()
        else:
            key = serialization.load_pem_public_key(pem)
    except (ValueError, TypeError) as error:
        raise SignatureError("this is no PEM file with a key: openssl pkey -in KEY -pubout makes the public half") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise SignatureError("the key is not one on the curve P-256")
    public = key

    def is_valid(signed: SignedHead) -> bool:
        try:
            public.verify(base64.b64decode(signed.signature, validate=True), signed.statement.encode(), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, binascii.Error):
            return False
        return True

    return is_valid
