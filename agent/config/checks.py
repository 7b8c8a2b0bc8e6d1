"""What keys of the configuration say together: contradictions between values that are right by themselves, and the files that they name."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from agent.config.model import BUILT_LAYOUTS, Cable, DisplayConfig, EvseConfig, OcppConfig, QrConfig, StationConfig
from agent.domain.values import dataclass

KeyPath: TypeAlias = tuple[str | int, ...]
"""Where a value stands: `("evse", 0, "meter", "url")` is written `evse[0].meter.url`."""

QR_PLACEHOLDERS: Final = ("chargingstationid", "evse", "serialnumber", "roamingevseid")
_PASSWORD_BYTES: Final = range(16, 41)  # 2.0.1 SecurityCtrlr.BasicAuthPassword: 16 to 40 characters; 1.6 AuthorizationKey: 16 to 20 bytes
_P256: Final = bytes.fromhex("06082a8648ce3d030107")
"""The object identifier of secp256r1 in DER (RFC 5480)."""
_VENDOR_1_6: Final = 20  # 1.6 BootNotification.req chargePointVendor is CiString20Type


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One contradiction; the loader adds the file."""

    path: KeyPath
    problem: str
    value: object = None
    allowed: str = ""
    advice: str = ""


def contradictions(sections: Mapping[str, object]) -> Iterator[Complaint]:
    """What is wrong between keys that are right by themselves; looks only at sections that are."""
    station, ocpp = sections.get("station"), sections.get("ocpp")
    if isinstance(station, StationConfig) and station.device_key_file is not None:
        yield from _device_key(station.device_key_file, is_lab=station.lab)
    if isinstance(station, StationConfig) and isinstance(ocpp, OcppConfig):
        yield from _identity(station, ocpp)
    if isinstance(ocpp, OcppConfig):
        yield from _security(ocpp, station if isinstance(station, StationConfig) else None)
    evses = sections.get("evse")
    if isinstance(evses, tuple):
        yield from _evses(evses)
    if isinstance(qr := sections.get("qr"), QrConfig):
        yield from _qr_template(qr.template)
    if isinstance(display := sections.get("display"), DisplayConfig):
        yield from _display(display)


def _identity(station: StationConfig, ocpp: OcppConfig) -> Iterator[Complaint]:
    if ":" in station.id and ocpp.security_profile in {1, 2}:
        # RFC 7617: the user name of Basic authentication ends at the first colon, and the user name is the identity.
        yield Complaint(
            path=("station", "id"),
            value=station.id,
            problem="holds a colon, which Basic authentication cannot carry",
            advice="use another id",
        )
    if "1.6" in ocpp.versions and len(station.vendor) > _VENDOR_1_6:
        yield Complaint(
            path=("station", "vendor"),
            value=station.vendor,
            problem=f"is {len(station.vendor)} long",
            allowed=f"{_VENDOR_1_6} characters where ocpp.versions offers 1.6",
            advice="shorten it",
        )
    if ocpp.security_profile == 0 and not station.lab and any(version.startswith("2.") for version in ocpp.versions):
        yield Complaint(
            path=("ocpp", "security_profile"),
            value=0,
            problem="OCPP 2.x must not be spoken without security (2.0.1 A00.FR.001)",
            allowed="1, 2",
            advice='use 2, or offer only "1.6", or on a test rig set [station] lab = true',
        )


def _security(ocpp: OcppConfig, station: StationConfig | None) -> Iterator[Complaint]:
    scheme = "wss" if ocpp.security_profile >= 2 else "ws"
    if not ocpp.url.startswith(f"{scheme}://"):
        yield Complaint(
            path=("ocpp", "url"),
            value=ocpp.url,
            problem=f"does not fit security_profile {ocpp.security_profile}",
            allowed=f"{scheme}://…",
            advice="use security_profile 2" if scheme == "ws" else "use a wss:// address, or security_profile 1 in a closed network",
        )
    if ocpp.security_profile > 0:
        if ocpp.password_file is None:
            yield Complaint(
                path=("ocpp", "password_file"),
                problem=f"is missing, and security_profile {ocpp.security_profile} needs it",
                advice="write the password into a file and name it here",
            )
        else:
            yield from _password(ocpp.password_file, is_lab=station is not None and station.lab)
    if ocpp.ca_file is not None:
        try:
            with ocpp.ca_file.open("rb"):
                pass
        except OSError as error:
            yield Complaint(
                path=("ocpp", "ca_file"),
                value=str(ocpp.ca_file),
                problem=f"cannot be read ({error.strerror})",
                advice="let the agent's user read it, or remove the line to use the system's roots",
            )


def _device_key(path: Path, *, is_lab: bool) -> Iterator[Complaint]:
    where: KeyPath = ("station", "device_key_file")
    try:
        secret = _read_secret(path, may_be_public=is_lab)
    except _SecretError as error:
        yield Complaint(path=where, value=str(path), problem=str(error))
        return
    if not _is_p256_key(secret):
        yield Complaint(
            path=where,
            value=str(path),
            problem="it holds no unencrypted private key on P-256",
            allowed="PEM, as `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out FILE` makes it",
        )
        return
    from importlib.util import find_spec

    if find_spec("cryptography") is None:
        yield Complaint(path=where, problem="needs the package cryptography", advice="pip install 'charger-agent[signing]'")


def _is_p256_key(pem: bytes) -> bool:
    """Whether a PEM text is a private key that names the curve; what is wrong deeper down shows when it signs."""
    import binascii

    match = re.search(rb"-----BEGIN (?:EC )?PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END", pem)
    try:
        return match is not None and _P256 in binascii.a2b_base64(match[1])
    except binascii.Error:
        return False


def _password(path: Path, *, is_lab: bool) -> Iterator[Complaint]:
    where: KeyPath = ("ocpp", "password_file")
    try:
        secret = _read_secret(path, may_be_public=is_lab)
    except _SecretError as error:
        yield Complaint(path=where, value=str(path), problem=str(error))
        return
    if len(secret) not in _PASSWORD_BYTES and not is_lab:
        yield Complaint(
            path=where,
            value=str(path),
            problem="the password in it is too short or too long",
            allowed=f"{_PASSWORD_BYTES.start} to {_PASSWORD_BYTES.stop - 1} bytes",
            advice="agree on another with the CSMS",
        )


def _evses(evses: tuple[EvseConfig, ...]) -> Iterator[Complaint]:
    meters: dict[str, int] = {}
    for index, evse in enumerate(evses):
        if evse.id != index + 1:
            yield Complaint(
                path=("evse", index, "id"),
                value=evse.id,
                problem="EVSEs are numbered from 1 without a gap, in the order of the file",
                allowed=str(index + 1),
            )
        if evse.meter is not None and (other := meters.setdefault(evse.meter.url, index)) != index:
            yield Complaint(
                path=("evse", index, "meter", "url"),
                value=evse.meter.url,
                problem=f"is the meter of evse[{other}] too, and one meter cannot bill two places",
                advice="give each its own device number or port",
            )
        for number, connector in enumerate(evse.connector):
            if connector.cable is Cable.TETHERED and connector.lock:
                yield Complaint(
                    path=("evse", index, "connector", number, "lock"),
                    value=True,
                    problem="a fixed cable has no plug to lock",
                    advice='remove the line, or set cable = "socket"',
                )
            if connector.type and (connector.type[0] == "s") is not (connector.cable is Cable.SOCKET):
                yield Complaint(
                    path=("evse", index, "connector", number, "type"),
                    value=connector.type,
                    problem=f'does not fit cable = "{connector.cable}"',
                    allowed="a type that begins with c for a fixed cable, with s for a socket",
                )


def _qr_template(template: str) -> Iterator[Complaint]:
    if not template:
        return
    for match in re.finditer(r"\{([^{}]*)\}", template):
        name = match[1].lower()
        if name not in QR_PLACEHOLDERS:
            is_uid = name == "uid"
            yield Complaint(
                path=("qr", "template"),
                value=template,
                problem="{uid} is the owner's claim code and never stands in a QR code"
                if is_uid
                else f"the placeholder {match[0]} is not known",
                allowed=", ".join(f"{{{placeholder}}}" for placeholder in QR_PLACEHOLDERS),
            )


def _display(display: DisplayConfig) -> Iterator[Complaint]:
    if (display.width, display.height) not in BUILT_LAYOUTS:
        yield Complaint(
            path=("display", "width"),
            value=display.width,
            problem=f"no screens are drawn for {display.width}×{display.height}",
            allowed=", ".join(f"{width}×{height}" for width, height in BUILT_LAYOUTS),
        )
    if display.output == "png" and display.path is None:
        yield Complaint(
            path=("display", "path"),
            problem='is missing, and output = "png" needs it',
            advice='write it, for example path = "/run/charger-agent/display.png"',
        )


class _SecretError(Exception):
    """Why the file of a secret cannot be used, and what to do; never what is in it."""


def _read_secret(path: Path, *, may_be_public: bool = False) -> bytes:
    """The secret in a file, without the line end that an editor leaves. Raises _SecretError."""
    try:
        mode = path.stat().st_mode
        secret = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        msg = f"cannot be read ({error.strerror}): create it, readable by the user that the agent runs as"
        raise _SecretError(msg) from error
    if mode & 0o007 and not may_be_public:
        msg = f"every user of this machine can read it: chmod 0600 {path}"
        raise _SecretError(msg)
    if not secret:
        msg = "it is empty: write the secret into it"
        raise _SecretError(msg)
    return secret
