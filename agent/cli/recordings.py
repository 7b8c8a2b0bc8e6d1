"""`chargerctl recorder`: its words, and a recording put together from its pieces."""

from collections.abc import Callable

Ask = Callable[[str, dict[str, object]], object]

MOST_BYTES = 16 * 1024 * 1024
"""No recording is so large: who sends more is not the daemon."""


def question(words: list[str]) -> tuple[str, dict[str, object]] | None:
    """Method and parameters; `file` is not for the daemon. None where the words make no sense."""
    match words:
        case [] | ["list"]:
            return "recorder", {}
        case ["freeze"]:
            return "recorder.freeze", {}
        case ["freeze", detail]:
            return "recorder.freeze", {"detail": detail}
        case ["export", name]:
            return "recorder.read", {"name": name, "file": name.rpartition("/")[2]}
        case ["export", name, file]:
            return "recorder.read", {"name": name, "file": file}
        case _:
            return None


def whole(ask: Ask, name: object) -> bytes:
    """All pieces of a recording. Raises what `ask` raises, and KeyError, TypeError or ValueError where the answer has another shape."""
    from binascii import a2b_base64

    found = b""
    while True:
        piece = ask("recorder.read", {"name": name, "offset": len(found)})
        if not isinstance(piece, dict):
            raise TypeError("recorder.read gave no piece")
        data = a2b_base64(str(piece["data"]))
        found += data
        if not data or len(found) >= int(piece["size"]) or len(found) > MOST_BYTES:
            return found
