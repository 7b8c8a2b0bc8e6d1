"""What may stand in the configuration: one dataclass per section, and with each key its unit, its range and a sentence.

The loader checks by it and the reference page is written from it. Secrets are never in it, only the files that hold them.
"""

from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from agent.domain.values import dataclass

BUILT_VERSIONS: Final = ("1.6", "2.0.1")
"""OCPP versions that this agent speaks."""
BUILT_SECURITY_PROFILES: Final = (0, 1, 2)
"""Profile 3 (client certificates) is defined by OCPP, and not built yet."""
BUILT_LAYOUTS: Final = ((320, 240), (800, 480))
"""Sizes in pixels that the screens are drawn for."""

TomlTable: TypeAlias = Mapping[str, object]
"""A table whose keys belong to a driver; it checks them itself when it is opened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one key beside its type. `minimum` and `maximum` are inclusive, in `unit` (of an array: its length).

    `allowed` says in words what `pattern`, which must match the whole text, asks for. A `secret` value is not repeated in an error.
    `default_says` stands on the reference page in place of the default.
    """

    doc: str
    unit: str = ""
    minimum: int | None = None
    maximum: int | None = None
    max_length: int = 500
    pattern: str = ""
    allowed: str = ""
    choices: tuple[str | int, ...] = ()
    example: str = ""
    default_says: str = ""
    secret: bool = False


class Grid(StrEnum):
    """Earthing system of the supply (IEC 60364-1, 312.2). IT has no neutral: 230 V between the phases."""

    TN = "TN"
    TT = "TT"
    IT = "IT"


class Cable(StrEnum):
    """How the vehicle is connected: IEC 61851-1 case C (fixed cable) or case B (socket-outlet)."""

    TETHERED = "tethered"
    SOCKET = "socket"


class PowerLossPolicy(StrEnum):
    """What becomes of a transaction that was open when the power, or the process, went away."""

    STOP = "stop"
    RESUME = "resume"
    RESUME_IF_SAME_EV_WITHIN = "resume_if_same_ev_within"


class MeterLossPolicy(StrEnum):
    """What becomes of a transaction whose meter is silent."""

    STOP = "stop"
    STOP_AFTER = "stop_after"
    CONTINUE = "continue"


class Language(StrEnum):
    """Languages of the display."""

    ENGLISH = "en"
    BOKMAL = "nb"


class LogLevel(StrEnum):
    """Who reads the log: `error` lost data or a bug, `warning` degraded, `info` an operator's years, `debug` one line per event."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class StationConfig:
    """What this charger is. It is written at the factory or by the installer, and is what the CSMS and the portal know it by."""

    id: Annotated[
        str,
        Option(
            doc="OCPP identity, the last part of the URL. The CSMS must know it under this name.",
            max_length=48,
            pattern=r"[A-Za-z0-9_\-:.*]+",
            allowed="1 to 48 letters, digits and _ - . * : (no : with security_profile 1 or 2, where it ends the user name)",
            example='"CP001"',
        ),
    ]
    serial_number: Annotated[
        str,
        Option(
            doc="Serial number of the charger. OCPP carries 25 characters.",
            max_length=25,
            pattern=r"[\x21-\x7e]+",
            allowed="1 to 25 visible ASCII characters without spaces",
            example='"SN-0001"',
        ),
    ]
    uid: Annotated[
        str,
        Option(
            doc="Code on the label with which an owner adds the charger to a portal. It is never in a QR code, on the display or in a log.",
            max_length=40,
            pattern=r"[A-Za-z0-9\-]+",
            allowed="1 to 40 letters, digits and -",
            example='"7F3K-22QX"',
            default_says="none: the charger cannot be claimed",
            secret=True,
        ),
    ] = field(default="", repr=False)
    vendor: Annotated[
        str,
        Option(
            doc="Manufacturer, as BootNotification reports it. OCPP 1.6 carries 20 characters, 2.0.1 carries 50.",
            max_length=50,
            pattern=r"[^\x00-\x1f\x7f]+",
            allowed="1 to 50 characters (20 where OCPP 1.6 is offered)",
            example='"Example"',
        ),
    ]
    model: Annotated[
        str,
        Option(
            doc="Model, as BootNotification reports it.",
            max_length=20,
            pattern=r"[^\x00-\x1f\x7f]+",
            allowed="1 to 20 characters",
            example='"AC22"',
        ),
    ]
    firmware_version: Annotated[
        str,
        Option(
            doc="Version of the image, as BootNotification reports it.",
            max_length=50,
            pattern=r"[\x20-\x7e]+",
            allowed="1 to 50 visible ASCII characters",
            default_says="the agent's own version",
        ),
    ] = ""
    country: Annotated[
        str,
        Option(
            doc="Country in which the charger stands: the portal's books need it.",
            pattern=r"[A-Z]{2}",
            allowed="two capital letters of ISO 3166-1",
            example='"NO"',
        ),
    ]
    region: Annotated[
        str,
        Option(doc="Region, county or state, in the portal's words.", max_length=50, default_says="none", example='"Viken"'),
    ] = ""
    grid: Annotated[
        Grid,
        Option(doc="Earthing system of the supply. An IT grid gives 230 V between phases and has no neutral."),
    ] = Grid.TN
    device_key_file: Annotated[
        Path | None,
        Option(
            doc="PEM file with this device's private key (P-256), with which it signs the head of its chain of sessions. Needs the extra "
            "`signing`.",
            allowed="an absolute path",
            default_says="none: heads are not signed",
            example='"/etc/charger-agent/device-key.pem"',
        ),
    ] = None
    lab: Annotated[
        bool,
        Option(
            doc="Test rigs only: allows what a public charger must refuse (OCPP 2.0.1 without security, hardware whose permission does not "
            "expire, a password file that everybody can read)."
        ),
    ] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OcppConfig:
    """The way to the CSMS."""

    url: Annotated[
        str,
        Option(
            doc="Address of the CSMS; the identity is appended to it as the last part.",
            pattern=r"wss?://[^\s@#?]+",
            allowed="ws://host[:port]/path or wss://host[:port]/path, without user name, ? and #",
            example='"ws://127.0.0.1:9000/"',
        ),
    ]
    versions: Annotated[
        tuple[str, ...],
        Option(doc="OCPP versions that are offered, the most wanted first. The CSMS chooses.", choices=BUILT_VERSIONS),
    ] = ("2.0.1", "1.6")
    security_profile: Annotated[
        int,
        Option(
            doc="0: no security. 1: password, no encryption. 2: TLS and password. 0 and 1 are for laboratories and closed networks.",
            choices=BUILT_SECURITY_PROFILES,
            example="2",
        ),
    ]
    password_file: Annotated[
        Path | None,
        Option(
            doc="File with the password for Basic authentication; needed with security_profile 1 and 2. A line end at the end is ignored.",
            allowed="an absolute path; 16 to 40 bytes in it",
            default_says="none",
            example='"/etc/charger-agent/ocpp-password"',
        ),
    ] = None
    ca_file: Annotated[
        Path | None,
        Option(
            doc="PEM file with the root certificates that the CSMS's certificate must lead to.",
            allowed="an absolute path",
            default_says="the system's roots",
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """The disk: sessions, the queue of messages, variables."""

    directory: Annotated[
        Path,
        Option(doc="Directory of the database. It must survive restarts and updates.", allowed="an absolute path"),
    ] = Path("/var/lib/charger-agent")
    retention_days: Annotated[
        int,
        Option(
            doc="Sessions that ended longer ago are removed with everything personal in them, once they were delivered and NTP or the CSMS "
            "has told the time. 0: they stay as long as there is room.",
            unit="days",
            minimum=0,
            maximum=36_500,
        ),
    ] = 0
    max_bytes: Annotated[
        int,
        Option(
            doc="What the database and all beside it may take. Old delivered sessions go first; the last part is for running sessions.",
            unit="bytes",
            minimum=24 * 1024 * 1024,
            maximum=4 * 1024 * 1024 * 1024,
        ),
    ] = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class DiagnosticsConfig:
    """The technician's socket."""

    socket: Annotated[
        Path,
        Option(
            doc="Unix socket that `chargerctl` speaks to.",
            max_length=107,
            allowed="an absolute path of at most 107 bytes (the kernel's limit)",
        ),
    ] = Path("/run/charger-agent/diag.sock")


@dataclass(frozen=True, slots=True, kw_only=True)
class HalConfig:
    """The hardware: which driver, and what it wants to know."""

    driver: Annotated[
        str,
        Option(
            doc="Driver of the board: a name in the entry-point group `charger_agent.hal`.",
            pattern=r"[A-Za-z0-9_.\-]+",
            allowed="the name of an installed driver",
            example='"simulator"',
        ),
    ]
    options: Annotated[
        TomlTable,
        Option(
            doc="What the driver wants to know. Its keys are the driver's; it refuses those that it does not know.", default_says="empty"
        ),
    ] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterConfig:
    """The energy meter of an EVSE. Without this section the board's own meter is used, where its driver has one."""

    driver: Annotated[
        str,
        Option(
            doc="Driver of the meter: a name in the entry-point group `charger_agent.meters`.",
            pattern=r"[A-Za-z0-9_.\-]+",
            allowed="the name of an installed driver",
        ),
    ] = "modbus"
    template: Annotated[
        str,
        Option(
            doc="Which meter it is: the name of a template.",
            pattern=r"[a-z0-9\-]+",
            allowed="the name of a template",
            example='"eastron-sdm630"',
        ),
    ]
    url: Annotated[
        str,
        Option(
            doc="Where the meter is; several meters may share a bus with different `device` numbers.",
            pattern=r"[\x21-\x7e]+",
            allowed="tcp://host:port?device=1 or serial:///dev/ttyUSB0?baudrate=9600&parity=N&device=1",
            example='"serial:///dev/ttyUSB0?baudrate=9600&parity=N&device=1"',
        ),
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorConfig:
    """The connector of an EVSE."""

    type: Annotated[
        str,
        Option(
            doc="What the vehicle plugs into or with, in the words of OCPP 2.0.1 ConnectorEnumType (c: cable, s: socket).",
            choices=("cType1", "cType2", "cCCS1", "cCCS2", "cG105", "sType2", "sType3", "sBS1361", "sCEE-7-7"),
            default_says='"cType2", with a socket "sType2"',
        ),
    ] = ""
    cable: Annotated[
        Cable, Option(doc="Whether the cable is fixed to the charger (IEC 61851-1 case C) or the driver brings it (case B).")
    ] = Cable.TETHERED
    lock: Annotated[
        bool | None,
        Option(
            doc="Whether the plug is locked in the socket-outlet while it charges.",
            default_says="true with a socket, false with a fixed cable",
        ),
    ] = None

    @property
    def has_lock(self) -> bool:
        """`lock`, or what the cable says where it is absent."""
        return self.cable is Cable.SOCKET if self.lock is None else self.lock

    @property
    def connector_type(self) -> str:
        """`type`, or the usual one in Europe where it is absent."""
        return self.type or ("sType2" if self.cable is Cable.SOCKET else "cType2")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvseConfig:
    """One place to charge. The first `[[evse]]` has id 1, the next 2, and so on."""

    id: Annotated[int, Option(doc="Number of the EVSE, from 1, without a gap.", minimum=1, maximum=64, example="1")]
    max_current_a: Annotated[
        int,
        Option(
            doc="Current that installation, wiring and cable allow; never exceeded by any limit.",
            unit="A",
            minimum=6,
            maximum=80,
            example="32",
        ),
    ]
    phases: Annotated[int, Option(doc="Number of phases that are connected.", choices=(1, 3), example="3")]
    roaming_evse_id: Annotated[
        str,
        Option(
            doc="EVSE id for roaming, which `{roamingevseid}` in a QR template stands for.",
            max_length=48,
            pattern=r"[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9*]{1,31}",
            allowed="an id by ISO 15118-2 annex H, such as NO*ABC*E1234*1",
            default_says="none",
        ),
    ] = ""
    meter: Annotated[MeterConfig | None, Option(doc="The energy meter.", default_says="the board's own meter")] = None
    connector: Annotated[
        tuple[ConnectorConfig, ...],
        Option(doc="The connector; one is supported.", default_says="one fixed cable, Type 2", minimum=1, maximum=1),
    ] = (ConnectorConfig(),)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionConfig:
    """What a session does when something goes away."""

    power_loss_policy: Annotated[
        PowerLossPolicy,
        Option(
            doc="A transaction that was open when the power or the process went away: `stop` ends it at the next start, `resume` goes on "
            "with it while a vehicle is still plugged in, `resume_if_same_ev_within` only after at most `resume_within_min`."
        ),
    ] = PowerLossPolicy.STOP
    resume_within_min: Annotated[
        int,
        Option(
            doc="The longest outage after which `resume_if_same_ev_within` goes on. Where its length is not known the transaction ends.",
            unit="min",
            minimum=1,
            maximum=1440,
        ),
    ] = 10
    on_meter_loss: Annotated[
        MeterLossPolicy,
        Option(
            doc="A meter that falls silent: `stop` ends the transaction with the last value read, `stop_after` waits "
            "`meter_loss_timeout_s` first, `continue` goes on unmeasured until the meter answers."
        ),
    ] = MeterLossPolicy.STOP
    meter_loss_timeout_s: Annotated[
        int,
        Option(doc="How long `stop_after` waits for the meter.", unit="s", minimum=5, maximum=3600),
    ] = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockConfig:
    """The time of day."""

    alarm_after_h: Annotated[
        int,
        Option(
            doc="When neither a time service (NTP) nor the CSMS has said what time it is for so long, status and events raise an alarm.",
            unit="h",
            minimum=1,
            maximum=8760,
        ),
    ] = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class QrConfig:
    """The QR code with which a driver pays, where nobody provisions it over OCPP."""

    template: Annotated[
        str,
        Option(
            doc="URL that the code on the display holds. What a CSMS sets goes before it.",
            pattern=r"https?://[\x21-\x7e]+",
            allowed="an http or https URL with {chargingstationid}, {evse}, {serialnumber}, {roamingevseid}; never the uid",
            default_says="none",
            example='"https://pay.example.com/{chargingstationid}/{evse}"',
        ),
    ] = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisplayConfig:
    """The screen. Without this section only a driver that brings a screen of its own draws; size and language are for that one too."""

    output: Annotated[
        str,
        Option(
            doc="Where the picture goes: a name in the entry-point group `charger_agent.displays`.",
            pattern=r"[A-Za-z0-9_.\-]+",
            allowed="the name of an installed output",
            example='"png"',
        ),
    ]
    width: Annotated[int, Option(doc="Width of the screen.", unit="px", minimum=1, maximum=4096)] = 800
    height: Annotated[
        int, Option(doc="Height of the screen. Sizes that are drawn: 320×240 and 800×480.", unit="px", minimum=1, maximum=4096)
    ] = 480
    language: Annotated[Language, Option(doc="Language of the screens before a driver or the CSMS chooses another.")] = Language.ENGLISH
    path: Annotated[
        Path | None,
        Option(doc="File of output `png`. On a RAM disk it spares the flash.", allowed="an absolute path", default_says="none"),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """The log, which goes to stderr and from there to the journal."""

    level: Annotated[LogLevel, Option(doc="The least important lines that are written.")] = LogLevel.INFO


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration, checked."""

    station: Annotated[StationConfig, Option(doc="")]
    ocpp: Annotated[OcppConfig, Option(doc="")]
    store: Annotated[StoreConfig, Option(doc="")] = StoreConfig()
    diagnostics: Annotated[DiagnosticsConfig, Option(doc="")] = DiagnosticsConfig()
    hal: Annotated[HalConfig, Option(doc="")]
    evse: Annotated[tuple[EvseConfig, ...], Option(doc="", minimum=1, maximum=64)]
    session: Annotated[SessionConfig, Option(doc="")] = SessionConfig()
    clock: Annotated[ClockConfig, Option(doc="")] = ClockConfig()
    qr: Annotated[QrConfig, Option(doc="")] = QrConfig()
    display: Annotated[DisplayConfig | None, Option(doc="")] = None
    log: Annotated[LogConfig, Option(doc="")] = LogConfig()
    variables: Annotated[
        Mapping[str, str],
        Option(
            doc="First values of OCPP variables, by their 2.x name in quotes (`Component.Variable[Instance]`) or their 1.6 key. "
            "A value that the CSMS or a technician sets later goes before it, also after a restart.",
            default_says="empty",
        ),
    ] = field(default_factory=dict, repr=False)
