"""What the QR code says: a URL template, filled with what this charger is.

Drawing it is `render`'s business. Standard library only and quick to import: the runtime calls it wherever it builds a view.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from agent.domain.values import dataclass

if TYPE_CHECKING:
    from agent.domain.ids import EvseId

MAX_TEMPLATE_LENGTH = 500
"""OCPP 1.6 limits a configuration value to 500 characters, so that a template which 1.6 can carry works with every version."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HTTP_PORTS = {"http": 80, "https": 443}


class Placeholder(StrEnum):
    """The names that a template may hold in braces; they compare without regard to case."""

    CHARGING_STATION_ID = "chargingstationid"
    EVSE = "evse"
    SERIAL_NUMBER = "serialnumber"
    ROAMING_EVSE_ID = "roamingevseid"
    TOTP = "totp"
    VERSION = "version"


_NAMES = {placeholder.value: placeholder for placeholder in Placeholder}


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeSources:
    """What the placeholders stand for. None: this charger has no source for it now, so a template that needs it gives no code."""

    charging_station_id: str
    evse: EvseId
    serial_number: str | None = None
    roaming_evse_id: str | None = None
    totp: str | None = None
    version: str | None = None

    def value(self, placeholder: Placeholder) -> str | None:
        """The plain, not yet URL-encoded value."""
        match placeholder:
            case Placeholder.CHARGING_STATION_ID:
                return self.charging_station_id or None
            case Placeholder.EVSE:
                return str(self.evse)
            case Placeholder.SERIAL_NUMBER:
                return self.serial_number or None
            case Placeholder.ROAMING_EVSE_ID:
                return self.roaming_evse_id or None
            case Placeholder.TOTP:
                return self.totp or None
            case Placeholder.VERSION:
                return self.version or None


@dataclass(frozen=True, slots=True)
class Code:
    """The text that the QR code holds: ASCII, a complete http or https URL."""

    payload: str


@dataclass(frozen=True, slots=True)
class NoCode:
    """Why there is no code, as a sentence for the log and for `chargerctl why`."""

    reason: str


def expand_template(template: str, sources: CodeSources) -> Code | NoCode:
    """The code that `template` gives on this EVSE; values are URL-encoded (ids may hold `*`, `:` or spaces)."""
    if (problem := validate_template(template)) is not None:
        return NoCode(problem)
    values = {name: sources.value(name) for name in placeholders(template)}
    missing = [f"{{{name}}}" for name, value in values.items() if value is None]
    if missing:
        return NoCode(f"the URL template needs {', '.join(missing)}, for which this charger has no source: {template}")
    return Code(_PLACEHOLDER.sub(lambda match: quote(values[_NAMES[match[1].lower()]] or "", safe=""), template))


def placeholders(template: str) -> tuple[Placeholder, ...]:
    """The known placeholders of a template, each once, in order of appearance."""
    names = dict.fromkeys(match[1].lower() for match in _PLACEHOLDER.finditer(template))
    return tuple(_NAMES[name] for name in names if name in _NAMES)


def validate_template(template: str) -> str | None:
    """What is wrong with a template, as a sentence that says what is allowed; None when it is good."""
    return _wrong_characters(template) or _wrong_placeholders(template) or _wrong_url(template)


def host_of(payload: str) -> str | None:
    """The host name to show in clear text beside the code, with the port where it is not the usual one; None when it is not a URL.

    An international name stays in its ASCII form, so that a look-alike letter shows.
    """
    try:
        parts = urlsplit(payload)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in _HTTP_PORTS or not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return name if port in {None, _HTTP_PORTS[parts.scheme]} else f"{name}:{port}"


def _wrong_characters(template: str) -> str | None:
    if not template:
        return "the URL template is empty; expected an http or https URL such as https://pay.example.com/{chargingstationid}/{evse}"
    if len(template) > MAX_TEMPLATE_LENGTH:
        return f"the URL template has {len(template)} characters; at most {MAX_TEMPLATE_LENGTH} are allowed"
    for position, character in enumerate(template):
        if not "!" <= character <= "~":
            return f"the URL template has {character!r} at position {position}; use visible ASCII and percent-encode the rest"
    return None


def _wrong_placeholders(template: str) -> str | None:
    for match in _PLACEHOLDER.finditer(template):
        name = match[1].lower()
        if name == "uid":
            return "{uid} is not allowed in a URL template: the UID is the owner's claim code and never appears in a QR code"
        if name not in _NAMES:
            return f"unknown placeholder {match[0]} in the URL template; allowed: {', '.join(f'{{{known}}}' for known in Placeholder)}"
    if re.search(r"[{}]", _PLACEHOLDER.sub("", template)):
        return f"unbalanced brace in the URL template: {template}"
    return None


def _wrong_url(template: str) -> str | None:
    try:
        parts = urlsplit(template)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        return f"the URL template is not a URL ({error}): {template}"
    if parts.scheme.lower() not in _HTTP_PORTS:
        return f"the URL template must begin with https:// or http://, not {parts.scheme or template[:12]!r}"
    if not host:
        return f"the URL template has no host name: {template}"
    # The driver reads the host name on the screen to tell this code from a pasted one, so it must be fixed and plain.
    if "@" in parts.netloc:
        return f"the URL template must not hold a user name before the host name ({parts.netloc}): it hides where the driver goes"
    if _PLACEHOLDER.search(parts.netloc):
        return f"the host name of the URL template must not hold a placeholder: {parts.netloc}"
    return None
