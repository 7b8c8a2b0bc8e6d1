"""The key of this device, with which it signs the head of its chain of sessions: ECDSA on P-256 with SHA-256.

The key never leaves its file, and the library is loaded when it signs, which takes a second on a small board: meant for a thread.
"""

import base64
from pathlib import Path

from agent.domain.errors import AgentError
from agent.domain.ledger import SignedHead


class DeviceKeyError(AgentError):
    """The key cannot be used; the sentence names the file and what to do."""


class DeviceKey:
    """A private key in a PEM file. Read anew at each signature: nothing of it stays in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def sign(self, statement: str) -> SignedHead:
        """The statement with signature and key id. Raises DeviceKeyError."""
        try:
            from cryptography.hazmat.primitives import hashes, serialization
            from cryptography.hazmat.primitives.asymmetric import ec
        except ImportError as error:
            raise DeviceKeyError("device_key_file needs the package cryptography: pip install 'charger-agent[signing]'") from error
        try:
            key = serialization.load_pem_private_key(self._path.read_bytes(), None)
        except OSError as error:
            raise DeviceKeyError(f"{self._path} cannot be read: {error.strerror}; let the agent's user read it") from error
        except (ValueError, TypeError) as error:
            raise DeviceKeyError(f"{self._path} holds no unencrypted private key in PEM") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
            raise DeviceKeyError(f"{self._path}: the key is not one on the curve P-256")
        public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashes.Hash(hashes.SHA256())
        digest.update(public)
        signature = key.sign(statement.encode(), ec.ECDSA(hashes.SHA256()))
        return SignedHead(statement=statement, signature=base64.b64encode(signature).decode(), key_id=digest.finalize().hex())
