"""The checksum with which each stored text ends, as its last member: a bit that flips in a digit leaves good JSON and a wrong bill.

Texts from before there was one are taken as they are.
"""

from typing import Final
from zlib import crc32

_SEAL: Final = ',"crc32":"'
_LENGTH: Final = len(_SEAL) + len('01234567"}')


class UnreadableError(ValueError):
    """A stored text is not what it should be: the file was damaged, or written by a newer version."""


def sealed(body: bytes) -> str:
    """Give the text of a JSON object of at least one member, with its checksum. Raises ValueError for what is no UTF-8."""
    return f'{body[:-1].decode()}{_SEAL}{crc32(body):08x}"}}'


def unsealed(text: str) -> str:
    """Give the JSON without its checksum. Raises UnreadableError when it does not fit, ValueError for what UTF-8 cannot hold."""
    seal = text[-_LENGTH:]
    if not seal.startswith(_SEAL):
        return text
    body = f"{text[:-_LENGTH]}}}"
    if f"{crc32(body.encode()):08x}" != seal[len(_SEAL) : -2]:
        raise UnreadableError("it does not fit its checksum, so a part of it was changed")
    return body
