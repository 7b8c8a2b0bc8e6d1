"""The variable registry: the one source of GetVariables, SetVariables, GetConfiguration, ChangeConfiguration and `chargerctl config`.

A variable stands here only when it has its effect. Names are those of the OCPP 2.0.1 device model; what only 1.6 has stands in the
component `OCPP16Ctrlr`, and the extensions for public charging (VatPercent, OfflineChargingPrice[flatFee]) follow
docs/price-and-payment-wire.md.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation

from agent.domain.commands import GetVariableResult, SetVariableResult, VariableAssignment
from agent.domain.metering import Measurand
from agent.domain.values import dataclass
from agent.domain.variables import (
    DataType,
    GetVariableStatus,
    Mutability,
    SetVariableStatus,
    ValueSource,
    VariableDefinition,
    VariableKey,
    parse_variable_key,
)

SUPPORTED_MEASURANDS = (
    Measurand.ENERGY_ACTIVE_IMPORT_REGISTER,
    Measurand.POWER_ACTIVE_IMPORT,
    Measurand.CURRENT_IMPORT,
    Measurand.CURRENT_OFFERED,
    Measurand.VOLTAGE,
    Measurand.FREQUENCY,
    Measurand.POWER_FACTOR,
)
"""What may stand in a measurand list; a meter that lacks one leaves it out of the message."""


def key(text: str) -> VariableKey:
    """A key from its written form."""
    return parse_variable_key(text)


def _define(  # noqa: PLR0913 - the columns of the table below
    name: str,
    data_type: DataType,
    default: str,
    description: str,
    *,
    access: Mutability = Mutability.READ_WRITE,
    unit: str | None = None,
    minimum: int | None = None,
    maximum: int | None = None,
    values: Iterable[str] = (),
    key_1_6: str | None = None,
    max_length: int = 500,
    reboot: bool = False,
) -> VariableDefinition:
    return VariableDefinition(
        key=key(name),
        data_type=data_type,
        default=default,
        description=description,
        mutability=access,
        unit=unit,
        minimum=None if minimum is None else Decimal(minimum),
        maximum=None if maximum is None else Decimal(maximum),
        max_length=max_length,
        values_list=tuple(values),
        reboot_required=reboot,
        key_1_6=key_1_6,
    )


_BOOL, _INT, _DEC, _TEXT = DataType.BOOLEAN, DataType.INTEGER, DataType.DECIMAL, DataType.STRING
_MEMBERS, _OPTION, _SEQUENCE = DataType.MEMBER_LIST, DataType.OPTION_LIST, DataType.SEQUENCE_LIST
_RO = Mutability.READ_ONLY
_MEASURANDS = tuple(m.value for m in SUPPORTED_MEASURANDS)
_ENERGY = Measurand.ENERGY_ACTIVE_IMPORT_REGISTER.value

HEARTBEAT_INTERVAL = key("OCPPCommCtrlr.HeartbeatInterval")
WEBSOCKET_PING_INTERVAL = key("OCPPCommCtrlr.WebSocketPingInterval")
MESSAGE_TIMEOUT = key("OCPPCommCtrlr.MessageTimeout[Default]")
MESSAGE_ATTEMPTS = key("OCPPCommCtrlr.MessageAttempts[TransactionEvent]")
MESSAGE_ATTEMPT_INTERVAL = key("OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]")
OFFLINE_THRESHOLD = key("OCPPCommCtrlr.OfflineThreshold")
BACK_OFF_WAIT_MINIMUM = key("OCPPCommCtrlr.RetryBackOffWaitMinimum")
BACK_OFF_RANDOM_RANGE = key("OCPPCommCtrlr.RetryBackOffRandomRange")
BACK_OFF_REPEAT_TIMES = key("OCPPCommCtrlr.RetryBackOffRepeatTimes")
UNLOCK_ON_EV_SIDE_DISCONNECT = key("OCPPCommCtrlr.UnlockOnEVSideDisconnect")
AUTHORIZE_REMOTE_START = key("AuthCtrlr.AuthorizeRemoteStart")
LOCAL_AUTHORIZE_OFFLINE = key("AuthCtrlr.LocalAuthorizeOffline")
LOCAL_PRE_AUTHORIZE = key("AuthCtrlr.LocalPreAuthorize")
OFFLINE_UNKNOWN_ID = key("AuthCtrlr.OfflineTxForUnknownIdEnabled")
CACHE_ENABLED = key("AuthCacheCtrlr.Enabled")
EV_CONNECTION_TIME_OUT = key("TxCtrlr.EVConnectionTimeOut")
STOP_TX_ON_INVALID_ID = key("TxCtrlr.StopTxOnInvalidId")
STOP_TX_ON_EV_SIDE_DISCONNECT = key("TxCtrlr.StopTxOnEVSideDisconnect")
TX_STARTED_MEASURANDS = key("SampledDataCtrlr.TxStartedMeasurands")
TX_UPDATED_INTERVAL = key("SampledDataCtrlr.TxUpdatedInterval")
TX_UPDATED_MEASURANDS = key("SampledDataCtrlr.TxUpdatedMeasurands")
TX_ENDED_INTERVAL = key("SampledDataCtrlr.TxEndedInterval")
TX_ENDED_MEASURANDS = key("SampledDataCtrlr.TxEndedMeasurands")
ALIGNED_INTERVAL = key("AlignedDataCtrlr.Interval")
ALIGNED_MEASURANDS = key("AlignedDataCtrlr.Measurands")
ALIGNED_ENDED_MEASURANDS = key("AlignedDataCtrlr.TxEndedMeasurands")
ENDED_MAX_VALUES = key("OCPP16Ctrlr.StopTransactionMaxMeterValues")
WEB_PAYMENTS_ENABLED = key("WebPaymentsCtrlr.Enabled")
WEB_PAYMENTS_TEMPLATE = key("WebPaymentsCtrlr.URLTemplate")
CURRENCY = key("TariffCostCtrlr.Currency")
VAT_PERCENT = key("TariffCostCtrlr.VatPercent")
PRICE_KWH = key("TariffCostCtrlr.OfflineChargingPrice[kWhPrice]")
PRICE_HOUR = key("TariffCostCtrlr.OfflineChargingPrice[hourPrice]")
PRICE_SESSION = key("TariffCostCtrlr.OfflineChargingPrice[flatFee]")
TARIFF_TEXT = key("TariffCostCtrlr.TariffFallbackMessage")
LEDGER_SEND_HEAD = key("LedgerCtrlr.SendHead")


def definitions(
    *, evses: int = 1, security_profile: int = 0, identity: str = "", is_tethered: bool = True, sells: bool = True
) -> tuple[VariableDefinition, ...]:
    """Every variable of this station. The arguments are facts of the installation that some read-only variables tell.

    `sells` False: the hardware cannot let the contactor's permission expire, so public charging stays off.
    """
    unlock = "false" if is_tethered else "true"
    return (
        # --- OCPPCommCtrlr
        _define(
            "OCPPCommCtrlr.HeartbeatInterval",
            _INT,
            "300",
            "Seconds between heartbeats; an accepted boot overwrites it.",
            unit="s",
            minimum=1,
            maximum=86400,
            key_1_6="HeartbeatInterval",
        ),
        _define(
            "OCPPCommCtrlr.WebSocketPingInterval",
            _INT,
            "60",
            "Seconds between the station's own pings; 0 switches them off.",
            unit="s",
            minimum=0,
            maximum=86400,
            key_1_6="WebSocketPingInterval",
        ),
        _define(
            "OCPPCommCtrlr.MessageTimeout[Default]",
            _INT,
            "30",
            "Seconds that an answer of the CSMS may take. A shorter time than 5 s would end links that are only slow.",
            unit="s",
            minimum=5,
            maximum=600,
            key_1_6="MessageTimeout",
        ),
        _define(
            "OCPPCommCtrlr.MessageAttempts[TransactionEvent]",
            _INT,
            "5",
            "How often a refused transaction message is sent in total.",
            minimum=1,
            maximum=100,
            key_1_6="TransactionMessageAttempts",
        ),
        _define(
            "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]",
            _INT,
            "60",
            "Seconds before a refused transaction message is sent again, times the attempts so far.",
            unit="s",
            minimum=0,
            maximum=86400,
            key_1_6="TransactionMessageRetryInterval",
        ),
        _define(
            "OCPPCommCtrlr.OfflineThreshold",
            _INT,
            "300",
            "After more seconds offline the status of every connector is sent again.",
            unit="s",
            minimum=0,
            maximum=604800,
        ),
        _define(
            "OCPPCommCtrlr.RetryBackOffWaitMinimum",
            _INT,
            "5",
            "Seconds before the first try to reconnect.",
            unit="s",
            minimum=1,
            maximum=3600,
        ),
        _define(
            "OCPPCommCtrlr.RetryBackOffRandomRange", _INT, "5", "Random seconds added to each wait.", unit="s", minimum=0, maximum=3600
        ),
        _define("OCPPCommCtrlr.RetryBackOffRepeatTimes", _INT, "5", "How often the wait doubles.", minimum=0, maximum=20),
        _define(
            "OCPPCommCtrlr.ResetRetries",
            _INT,
            "1",
            "How often a failed reset is tried again.",
            minimum=0,
            maximum=10,
            key_1_6="ResetRetries",
        ),
        _define(
            "OCPPCommCtrlr.UnlockOnEVSideDisconnect",
            _BOOL,
            unlock,
            "Release the plug when the cable is pulled at the vehicle.",
            access=_RO if is_tethered else Mutability.READ_WRITE,
            key_1_6="UnlockConnectorOnEVSideDisconnect",
        ),
        _define(
            "OCPPCommCtrlr.FileTransferProtocols",
            _MEMBERS,
            "",
            "File transfer protocols; none until firmware and logs are built.",
            access=_RO,
        ),
        _define(
            "OCPPCommCtrlr.NetworkConfigurationPriority", _SEQUENCE, "0", "Order of the connection profiles; there is one.", access=_RO
        ),
        _define("OCPPCommCtrlr.NetworkProfileConnectionAttempts", _INT, "1", "Tries per connection profile.", access=_RO),
        # --- AuthCtrlr, AuthCacheCtrlr
        _define(
            "AuthCtrlr.AuthorizeRemoteStart",
            _BOOL,
            "false",
            "Ask the CSMS about a remotely started token as if it were presented.",
            key_1_6="AuthorizeRemoteTxRequests",
        ),
        _define(
            "AuthCtrlr.LocalAuthorizeOffline",
            _BOOL,
            "true",
            "While offline, tokens in the cache may charge.",
            key_1_6="LocalAuthorizeOffline",
        ),
        _define(
            "AuthCtrlr.LocalPreAuthorize",
            _BOOL,
            "false",
            "While online, tokens in the cache start without waiting for the CSMS.",
            key_1_6="LocalPreAuthorize",
        ),
        _define(
            "AuthCtrlr.OfflineTxForUnknownIdEnabled",
            _BOOL,
            "false",
            "While offline, unknown tokens may charge.",
            key_1_6="AllowOfflineTxForUnknownId",
        ),
        _define("AuthCacheCtrlr.Enabled", _BOOL, "true", "Remember the CSMS's answers about tokens.", key_1_6="AuthorizationCacheEnabled"),
        # --- TxCtrlr
        _define(
            "TxCtrlr.EVConnectionTimeOut",
            _INT,
            "60",
            "Seconds that an authorized driver has to plug in.",
            unit="s",
            minimum=1,
            maximum=3600,
            key_1_6="ConnectionTimeOut",
        ),
        _define(
            "TxCtrlr.StopTxOnInvalidId",
            _BOOL,
            "true",
            "End a transaction whose token the CSMS refuses afterwards.",
            key_1_6="StopTransactionOnInvalidId",
        ),
        _define(
            "TxCtrlr.StopTxOnEVSideDisconnect",
            _BOOL,
            "true",
            "End the transaction when the cable is pulled at the vehicle.",
            key_1_6="StopTransactionOnEVSideDisconnect",
        ),
        _define(
            "TxCtrlr.TxStartPoint",
            _MEMBERS,
            "PowerPathClosed",
            "A transaction starts when a vehicle is connected and authorized.",
            access=_RO,
            values=("PowerPathClosed",),
        ),
        _define(
            "TxCtrlr.TxStopPoint",
            _MEMBERS,
            "EVConnected,Authorized",
            "It ends when either is lost.",
            access=_RO,
            values=("EVConnected", "Authorized"),
        ),
        # --- SampledDataCtrlr, AlignedDataCtrlr
        _define("SampledDataCtrlr.TxStartedMeasurands", _MEMBERS, _ENERGY, "What a Started event carries.", values=_MEASURANDS),
        _define(
            "SampledDataCtrlr.TxUpdatedInterval",
            _INT,
            "60",
            "Seconds between meter values of a transaction; 0 sends none.",
            unit="s",
            minimum=0,
            maximum=86400,
            key_1_6="MeterValueSampleInterval",
        ),
        _define(
            "SampledDataCtrlr.TxUpdatedMeasurands",
            _MEMBERS,
            f"{_ENERGY},{Measurand.POWER_ACTIVE_IMPORT.value}",
            "What periodic meter values carry.",
            values=_MEASURANDS,
            key_1_6="MeterValuesSampledData",
        ),
        _define(
            "SampledDataCtrlr.TxEndedInterval",
            _INT,
            "0",
            "Seconds between values kept for the end message; 0 keeps the first and last.",
            unit="s",
            minimum=0,
            maximum=86400,
        ),
        _define(
            "SampledDataCtrlr.TxEndedMeasurands",
            _MEMBERS,
            _ENERGY,
            "What the values in the end message carry.",
            values=_MEASURANDS,
            key_1_6="StopTxnSampledData",
        ),
        _define(
            "AlignedDataCtrlr.Interval",
            _INT,
            "0",
            "Seconds between clock-aligned values, counted from midnight UTC; 0 sends none.",
            unit="s",
            minimum=0,
            maximum=86400,
            key_1_6="ClockAlignedDataInterval",
        ),
        _define(
            "AlignedDataCtrlr.Measurands",
            _MEMBERS,
            _ENERGY,
            "What clock-aligned values carry.",
            values=_MEASURANDS,
            key_1_6="MeterValuesAlignedData",
        ),
        _define(
            "AlignedDataCtrlr.TxEndedInterval",
            _INT,
            "0",
            "Seconds between clock-aligned values in the end message; 0 keeps none.",
            unit="s",
            minimum=0,
            maximum=86400,
        ),
        _define(
            "AlignedDataCtrlr.TxEndedMeasurands",
            _MEMBERS,
            "",
            "What clock-aligned values in the end message carry.",
            values=_MEASURANDS,
            key_1_6="StopTxnAlignedData",
        ),
        # --- what only 1.6 names
        _define(
            "OCPP16Ctrlr.NumberOfConnectors", _INT, str(evses), "Connectors of this station.", access=_RO, key_1_6="NumberOfConnectors"
        ),
        _define(
            "OCPP16Ctrlr.SupportedFeatureProfiles",
            _MEMBERS,
            "Core,RemoteTrigger",
            "Feature profiles of OCPP 1.6.",
            access=_RO,
            key_1_6="SupportedFeatureProfiles",
        ),
        _define(
            "OCPP16Ctrlr.GetConfigurationMaxKeys",
            _INT,
            "100",
            "Keys that one GetConfiguration may ask for.",
            access=_RO,
            key_1_6="GetConfigurationMaxKeys",
        ),
        _define(
            "OCPP16Ctrlr.ConnectorPhaseRotation",
            _MEMBERS,
            ",".join(f"{n}.RST" for n in range(evses + 1)),
            "Phase rotation of each connector, as the installer wired it.",
            key_1_6="ConnectorPhaseRotation",
        ),
        _define(
            "OCPP16Ctrlr.StopTransactionMaxMeterValues",
            _INT,
            "100",
            "Most values in one StopTransaction.",
            access=_RO,
            key_1_6="StopTransactionMaxMeterValues",
        ),
        # --- proof of sessions
        _define(
            "LedgerCtrlr.SendHead",
            _BOOL,
            "false",
            "Tell the CSMS the head of the chain of sessions by DataTransfer; see docs/ledger.md.",
            key_1_6="LedgerCtrlr.SendHead",
        ),
        # --- public charging
        _define(
            "WebPaymentsCtrlr.Enabled",
            _BOOL,
            "false",
            "Charge with QR: show the payment code.",
            access=Mutability.READ_WRITE if sells else _RO,
            key_1_6="WebPaymentsCtrlr.Enabled",
        ),
        _define(
            "WebPaymentsCtrlr.URLTemplate",
            _TEXT,
            "",
            "What the QR code says; see docs/price-and-payment-wire.md for the placeholders.",
            key_1_6="WebPaymentsCtrlr.URLTemplate",
        ),
        _define(
            "TariffCostCtrlr.Currency", _TEXT, "", "Currency of the prices, ISO 4217.", max_length=3, key_1_6="TariffCostCtrlr.Currency"
        ),
        _define(
            "TariffCostCtrlr.VatPercent",
            _DEC,
            "",
            "VAT contained in the prices, in percent.",
            unit="percent",
            minimum=0,
            maximum=100,
            key_1_6="TariffCostCtrlr.VatPercent",
        ),
        _define("TariffCostCtrlr.OfflineChargingPrice[kWhPrice]", _DEC, "", "Price per kWh, VAT included.", minimum=0),
        _define("TariffCostCtrlr.OfflineChargingPrice[hourPrice]", _DEC, "", "Price per hour, VAT included.", minimum=0),
        _define("TariffCostCtrlr.OfflineChargingPrice[flatFee]", _DEC, "", "Price per session, VAT included.", minimum=0),
        _define("TariffCostCtrlr.TariffFallbackMessage", _TEXT, "", "The price in the portal's own words.", max_length=255),
        # --- facts of the station
        _define("SecurityCtrlr.SecurityProfile", _INT, str(security_profile), "Security profile in use.", access=_RO),
        _define("SecurityCtrlr.Identity", _TEXT, identity, "OCPP identity of the station.", access=_RO, max_length=48),
        _define("DeviceDataCtrlr.ItemsPerMessage[GetVariables]", _INT, "100", "Variables that one GetVariables may ask for.", access=_RO),
        _define("DeviceDataCtrlr.ItemsPerMessage[SetVariables]", _INT, "100", "Variables that one SetVariables may set.", access=_RO),
        _define("DeviceDataCtrlr.BytesPerMessage[GetVariables]", _INT, "65536", "Longest GetVariables.", access=_RO, unit="B"),
        _define("DeviceDataCtrlr.BytesPerMessage[SetVariables]", _INT, "65536", "Longest SetVariables.", access=_RO, unit="B"),
    )  # fmt: skip - one variable, one or two lines: read as a table


@dataclass(frozen=True, slots=True)
class _Value:
    text: str
    source: ValueSource


@dataclass(frozen=True, slots=True, kw_only=True)
class Variables:
    """Definitions with their present values. Immutable: `assign` gives a new one. Keys are compared without case."""

    by_key: Mapping[VariableKey, VariableDefinition]
    values: Mapping[VariableKey, _Value]

    @classmethod
    def of(cls, table: Iterable[VariableDefinition]) -> "Variables":
        """A registry with every value at its default."""
        return cls(by_key={definition.key.folded(): definition for definition in table}, values={})

    def definition(self, name: VariableKey) -> VariableDefinition | None:
        """What is known of a variable, None when there is none of that name."""
        return self.by_key.get(name) or self.by_key.get(name.folded())

    def definitions(self) -> tuple[VariableDefinition, ...]:
        """All of them, in the order of the table."""
        return tuple(self.by_key.values())

    def text(self, name: VariableKey) -> str:
        """Present value as its wire text."""
        value = self.values.get(name)
        if value is not None:
            return value.text
        definition = self.definition(name)
        if definition is None:
            msg = f"variable {name} is not in the registry"
            raise LookupError(msg)
        value = self.values.get(definition.key)
        return definition.default if value is None else value.text

    def source(self, name: VariableKey) -> ValueSource:
        """Where the present value comes from."""
        value = self.values.get(name)
        return ValueSource.DEFAULT if value is None else value.source

    def integer(self, name: VariableKey) -> int:
        """Present value of an integer variable."""
        return int(self.text(name))

    def boolean(self, name: VariableKey) -> bool:
        """Present value of a boolean variable."""
        return self.text(name) == "true"

    def decimal(self, name: VariableKey) -> Decimal | None:
        """Present value of a decimal variable, None while it is not set."""
        text = self.text(name)
        return Decimal(text) if text else None

    def members(self, name: VariableKey) -> tuple[str, ...]:
        """Present value of a list variable."""
        return tuple(item for item in self.text(name).split(",") if item)

    def measurands(self, name: VariableKey) -> tuple[Measurand, ...]:
        """Present value of a measurand list."""
        return tuple(Measurand(item) for item in self.members(name))

    def assign(self, assignments: Iterable[VariableAssignment], source: ValueSource) -> tuple["Variables", tuple[SetVariableResult, ...]]:
        """Apply assignments in order; each gets a result, a refused one changes nothing."""
        values = dict(self.values)
        results = []
        for assignment in assignments:
            status, reason, text = self._judge(assignment, source)
            definition = self.definition(assignment.key)
            if status in {SetVariableStatus.ACCEPTED, SetVariableStatus.REBOOT_REQUIRED} and definition is not None:
                values[definition.key] = _Value(text, source)
            results.append(SetVariableResult(key=assignment.key, status=status, attribute_type=assignment.attribute_type, reason=reason))
        changed = values != self.values
        return (replace(self, values=values) if changed else self), tuple(results)

    def _judge(self, assignment: VariableAssignment, source: ValueSource) -> tuple[SetVariableStatus, str, str]:
        definition = self.definition(assignment.key)
        if definition is None:
            status, reason = self._unknown(assignment.key)
            return SetVariableStatus(status), reason, ""
        if assignment.attribute_type != "Actual":
            return SetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE, f"{assignment.key} has only the attribute Actual", ""
        if definition.mutability is Mutability.READ_ONLY and source is not ValueSource.CONFIGURATION:
            return SetVariableStatus.REJECTED, f"{assignment.key} is read-only", ""
        try:
            text = normalize(definition, assignment.value)
        except ValueError as error:
            return SetVariableStatus.REJECTED, str(error), ""
        status = SetVariableStatus.REBOOT_REQUIRED if definition.reboot_required else SetVariableStatus.ACCEPTED
        return status, "", text

    def _unknown(self, name: VariableKey) -> tuple[str, str]:
        component = name.component.casefold()
        if any(known.component == component for known in self.by_key):
            return "UnknownVariable", f"component {name.component} has no variable {name.variable}"
        return "UnknownComponent", f"there is no component {name.component}"

    def read(self, name: VariableKey, attribute_type: str = "Actual") -> GetVariableResult:
        """One variable as GetVariables answers it; a write-only one is never shown (B06.FR.09)."""
        definition = self.definition(name)
        if definition is None:
            return GetVariableResult(key=name, status=GetVariableStatus(self._unknown(name)[0]), attribute_type=attribute_type)
        if attribute_type != "Actual":
            status = GetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE
            return GetVariableResult(key=name, status=status, attribute_type=attribute_type)
        if definition.mutability is Mutability.WRITE_ONLY:
            return GetVariableResult(key=name, status=GetVariableStatus.REJECTED, mutability=definition.mutability)
        return GetVariableResult(
            key=definition.key,
            status=GetVariableStatus.ACCEPTED,
            value=self.text(definition.key),
            mutability=definition.mutability,
            source=self.source(definition.key),
        )


def normalize(definition: VariableDefinition, value: str) -> str:
    """The value as it is kept, or ValueError with what is allowed."""
    text = value.strip() if definition.data_type is not DataType.STRING else value
    if len(text) > definition.max_length:
        msg = f"{definition.key}: {len(text)} characters; at most {definition.max_length}"
        raise ValueError(msg)
    return _BY_TYPE[definition.data_type](definition, text)


def _boolean(definition: VariableDefinition, text: str) -> str:
    if text.casefold() not in {"true", "false"}:
        msg = f"{definition.key} = {text!r}; allowed: true or false"
        raise ValueError(msg)
    return text.casefold()


def _in_range(definition: VariableDefinition, number: Decimal, text: str) -> None:
    low, high = definition.minimum, definition.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        unit = f" {definition.unit}" if definition.unit else ""
        allowed = f"at least {low}" if high is None else f"{low} to {high}"
        msg = f"{definition.key} = {text}; allowed: {allowed}{unit}"
        raise ValueError(msg)


def _integer(definition: VariableDefinition, text: str) -> str:
    if not text.lstrip("+-").isascii() or not text.lstrip("+-").isdigit() or len(text) > 12:
        msg = f"{definition.key} = {text[:40]!r}; allowed: a whole number"
        raise ValueError(msg)
    _in_range(definition, Decimal(text), text)
    return str(int(text))


def _decimal(definition: VariableDefinition, text: str) -> str:
    if text == "" and definition.default == "":
        return ""
    try:
        number = Decimal(text)
    except InvalidOperation:
        msg = f"{definition.key} = {text[:40]!r}; allowed: a decimal number"
        raise ValueError(msg) from None
    if not number.is_finite() or len(text) > 24:
        msg = f"{definition.key} = {text[:40]!r}; allowed: a finite decimal number of at most 24 characters"
        raise ValueError(msg)
    _in_range(definition, number, text)
    return format(number, "f")


def _members(definition: VariableDefinition, text: str) -> str:
    items = [item.strip() for item in text.split(",") if item.strip()]
    allowed = {value.casefold(): value for value in definition.values_list}
    if allowed:
        for item in items:
            if item.casefold() not in allowed:
                msg = f"{definition.key}: {item[:60]!r} is not supported; allowed: {', '.join(definition.values_list)}"
                raise ValueError(msg)
        items = [allowed[item.casefold()] for item in items]
    return ",".join(dict.fromkeys(items))


def _text(definition: VariableDefinition, text: str) -> str:
    check = _TEXT_RULES.get(definition.key)
    if check is not None and text:
        problem = check(text)
        if problem:
            msg = f"{definition.key}: {problem}"
            raise ValueError(msg)
    return text


def _currency_problem(text: str) -> str | None:
    is_code = len(text) == 3 and text.isascii() and text.isalpha() and text.isupper()
    return None if is_code else f"{text!r} is not a currency; allowed: three capital letters of ISO 4217"


def _template_problem(text: str) -> str | None:
    if not text.startswith(("https://", "http://")):
        return "the payment page's address must begin with https:// or http://"
    if "{uid}" in text.casefold():
        return "the UID is the owner's claim code and may not stand in a QR code"
    return None


_TEXT_RULES: Mapping[VariableKey, Callable[[str], str | None]] = {
    CURRENCY: _currency_problem,
    WEB_PAYMENTS_TEMPLATE: _template_problem,
}

_BY_TYPE: Mapping[DataType, Callable[[VariableDefinition, str], str]] = {
    DataType.BOOLEAN: _boolean,
    DataType.INTEGER: _integer,
    DataType.DECIMAL: _decimal,
    DataType.MEMBER_LIST: _members,
    DataType.SEQUENCE_LIST: _members,
    DataType.OPTION_LIST: _members,
    DataType.STRING: _text,
    DataType.DATE_TIME: _text,
}
