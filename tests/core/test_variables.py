"""The registry: which values each variable takes, what it keeps of them, and how it answers (2.0.1 B05, B06; 1.6 5.2 and 9)."""

from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.core.variables import Variables, definitions, key, normalize
from agent.domain.commands import VariableAssignment
from agent.domain.metering import Measurand
from agent.domain.variables import (
    DataType,
    GetVariableStatus,
    Mutability,
    SetVariableStatus,
    ValueSource,
    VariableDefinition,
)


def table() -> dict[str, VariableDefinition]:
    return {str(one.key): one for one in definitions()}


def fresh() -> Variables:
    return Variables.of(definitions())


RANGES = {
    "OCPPCommCtrlr.HeartbeatInterval": (1, 86_400),
    "OCPPCommCtrlr.WebSocketPingInterval": (0, 86_400),
    "OCPPCommCtrlr.MessageTimeout[Default]": (5, 600),
    "OCPPCommCtrlr.MessageAttempts[TransactionEvent]": (1, 100),
    "OCPPCommCtrlr.MessageAttemptInterval[TransactionEvent]": (0, 86_400),
    "OCPPCommCtrlr.OfflineThreshold": (0, 7 * 86_400),
    "OCPPCommCtrlr.RetryBackOffWaitMinimum": (1, 3_600),
    "OCPPCommCtrlr.RetryBackOffRandomRange": (0, 3_600),
    "OCPPCommCtrlr.RetryBackOffRepeatTimes": (0, 20),
    "OCPPCommCtrlr.ResetRetries": (0, 10),
    "TxCtrlr.EVConnectionTimeOut": (1, 3_600),
    "SampledDataCtrlr.TxUpdatedInterval": (0, 86_400),
    "SampledDataCtrlr.TxEndedInterval": (0, 86_400),
    "AlignedDataCtrlr.Interval": (0, 86_400),
    "AlignedDataCtrlr.TxEndedInterval": (0, 86_400),
    "TariffCostCtrlr.VatPercent": (0, 100),
    "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": (0, None),
    "TariffCostCtrlr.OfflineChargingPrice[hourPrice]": (0, None),
    "TariffCostCtrlr.OfflineChargingPrice[flatFee]": (0, None),
}
"""What a CSMS may set at least and at most; no number that it may set is without bounds."""


def put(variables: Variables, name: str, value: str, source: ValueSource = ValueSource.CSMS) -> tuple[Variables, SetVariableStatus, str]:
    after, (result,) = variables.assign([VariableAssignment(key=key(name), value=value)], source)
    return after, result.status, result.reason


def test_every_number_that_can_be_set_has_its_range() -> None:
    numbers = {name for name, one in table().items() if one.data_type in {DataType.INTEGER, DataType.DECIMAL}}
    assert {name for name in numbers if table()[name].mutability is not Mutability.READ_ONLY} == set(RANGES)


@pytest.mark.parametrize(("name", "lowest", "highest"), [(name, *bounds) for name, bounds in RANGES.items()])
def test_a_number_is_taken_up_to_its_bounds_and_refused_beyond(name: str, lowest: int, highest: int | None) -> None:
    before = fresh()
    allowed = {lowest} if highest is None else {lowest, lowest + 1, highest}
    for number in allowed:
        after, status, _ = put(before, name, str(number))
        assert status is SetVariableStatus.ACCEPTED
        assert after.decimal(key(name)) == number
        assert after.source(key(name)) is ValueSource.CSMS
    for number in {lowest - 1} if highest is None else {lowest - 1, highest + 1}:
        after, status, reason = put(before, name, str(number))
        assert status is SetVariableStatus.REJECTED
        assert after is before
        assert str(number) in reason
        assert (f"at least {lowest}" if highest is None else f"{lowest} to {highest}") in reason
        unit = table()[name].unit
        assert reason.endswith(f" {unit}" if unit else str(lowest if highest is None else highest))


@pytest.mark.parametrize("name", sorted(table()))
def test_every_default_is_a_value_that_the_variable_itself_would_take(name: str) -> None:
    definition = table()[name]
    assert normalize(definition, definition.default) == definition.default
    if name in RANGES and definition.default:
        assert RANGES[name][0] <= Decimal(definition.default)


@pytest.mark.parametrize("name", sorted(table()))
def test_only_the_installer_changes_what_is_read_only(name: str) -> None:
    definition = table()[name]
    value = definition.default or {"TariffCostCtrlr.Currency": "NOK", "WebPaymentsCtrlr.URLTemplate": "https://pay.example"}.get(name, "")
    _, status, reason = put(fresh(), name, value)
    if definition.mutability is Mutability.READ_ONLY:
        assert status is SetVariableStatus.REJECTED
        assert reason == f"{name} is read-only"
        _, status, reason = put(fresh(), name, value, ValueSource.CONFIGURATION)
    assert (status, reason) == (SetVariableStatus.ACCEPTED, "")


@pytest.mark.parametrize(("name", "longest"), [("TariffCostCtrlr.TariffFallbackMessage", 255), ("SecurityCtrlr.Identity", 48)])
def test_a_text_is_kept_up_to_its_length(name: str, longest: int) -> None:
    after, status, _ = put(fresh(), name, "x" * longest, ValueSource.CONFIGURATION)
    assert status is SetVariableStatus.ACCEPTED
    assert after.text(key(name)) == "x" * longest
    after, status, reason = put(fresh(), name, "x" * (longest + 1), ValueSource.CONFIGURATION)
    assert status is SetVariableStatus.REJECTED
    assert reason == f"{name}: {longest + 1} characters; at most {longest}"


def test_a_payment_address_may_be_as_long_as_a_value_of_1_6() -> None:
    """1.6 7.20: a value has at most 500 characters."""
    address = "https://pay.example/"
    name = "WebPaymentsCtrlr.URLTemplate"
    assert put(fresh(), name, address + "a" * (500 - len(address)))[1] is SetVariableStatus.ACCEPTED
    assert put(fresh(), name, address + "a" * (501 - len(address)))[1] is SetVariableStatus.REJECTED


@pytest.mark.parametrize(
    ("name", "given", "kept"),
    [
        ("TxCtrlr.StopTxOnInvalidId", "FALSE", "false"),
        ("TxCtrlr.StopTxOnInvalidId", " True ", "true"),
        ("TxCtrlr.StopTxOnInvalidId", "1", None),
        ("TxCtrlr.StopTxOnInvalidId", "", None),
        ("TxCtrlr.EVConnectionTimeOut", " +090 ", "90"),
        ("TxCtrlr.EVConnectionTimeOut", "000000000090", "90"),
        ("TxCtrlr.EVConnectionTimeOut", "0000000000090", None),
        ("TxCtrlr.EVConnectionTimeOut", "9.5", None),
        ("TxCtrlr.EVConnectionTimeOut", "1e2", None),
        ("TxCtrlr.EVConnectionTimeOut", "٣", None),
        ("TxCtrlr.EVConnectionTimeOut", "²", None),
        ("TxCtrlr.EVConnectionTimeOut", "", None),
        ("TariffCostCtrlr.VatPercent", "25.0", "25.0"),
        ("TariffCostCtrlr.VatPercent", "1E+1", "10"),
        ("TariffCostCtrlr.VatPercent", "", ""),
        ("TariffCostCtrlr.VatPercent", "25 %", None),
        ("TariffCostCtrlr.VatPercent", "NaN", None),
        ("TariffCostCtrlr.VatPercent", "Infinity", None),
        ("TariffCostCtrlr.VatPercent", "1." + "0" * 22, "1." + "0" * 22),
        ("TariffCostCtrlr.VatPercent", "1." + "0" * 23, None),
        ("TariffCostCtrlr.Currency", "NOK", "NOK"),
        ("TariffCostCtrlr.Currency", "", ""),
        ("TariffCostCtrlr.Currency", "NO", None),
        ("TariffCostCtrlr.Currency", "NOKK", None),
        ("TariffCostCtrlr.Currency", "nok", None),
        ("TariffCostCtrlr.Currency", "N0K", None),
        ("TariffCostCtrlr.Currency", "ÆØÅ", None),
        ("WebPaymentsCtrlr.URLTemplate", "http://pay.example/{evse}", "http://pay.example/{evse}"),
        ("WebPaymentsCtrlr.URLTemplate", "pay.example/{evse}", None),
        ("WebPaymentsCtrlr.URLTemplate", "https://pay.example/{UID}", None),
        (
            "SampledDataCtrlr.TxUpdatedMeasurands",
            " voltage , Voltage,,Energy.Active.Import.Register",
            "Voltage,Energy.Active.Import.Register",
        ),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "Voltage,Temperature", None),
        ("SampledDataCtrlr.TxUpdatedMeasurands", "", ""),
        ("OCPP16Ctrlr.ConnectorPhaseRotation", "0.RST, 1.RTS", "0.RST,1.RTS"),
    ],
)
def test_what_is_kept_of_a_value(name: str, given: str, kept: str | None) -> None:
    after, status, reason = put(fresh(), name, given)
    assert status is (SetVariableStatus.REJECTED if kept is None else SetVariableStatus.ACCEPTED)
    assert (reason == "") is (kept is not None)
    assert after.text(key(name)) == (fresh().text(key(name)) if kept is None else kept)


@pytest.mark.parametrize(("name", "letter"), [("TxCtrlr.EVConnectionTimeOut", "9"), *(("TariffCostCtrlr.VatPercent", one) for one in "9a")])
def test_of_a_long_wrong_number_the_reason_repeats_forty_characters(name: str, letter: str) -> None:
    reason = put(fresh(), name, letter * 100)[2]
    assert f"'{letter * 40}'" in reason


def test_of_a_long_wrong_member_sixty() -> None:
    assert f"'{'m' * 60}'" in put(fresh(), "SampledDataCtrlr.TxUpdatedMeasurands", "m" * 100)[2]


@pytest.mark.parametrize(
    ("name", "attribute", "expected"),
    [
        ("TXCTRLR.evconnectiontimeout", "Actual", SetVariableStatus.ACCEPTED),
        ("TxCtrlr.EVConnectionTimeOut", "Target", SetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE),
        ("TxCtrlr.EVConnectionTimeOut", "MinSet", SetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE),
        ("txctrlr.Nothing", "Actual", SetVariableStatus.UNKNOWN_VARIABLE),
        ("Nothing.EVConnectionTimeOut", "Actual", SetVariableStatus.UNKNOWN_COMPONENT),
        ("Aaa.Nothing", "Actual", SetVariableStatus.UNKNOWN_COMPONENT),
        ("Zzz.Nothing", "Actual", SetVariableStatus.UNKNOWN_COMPONENT),
    ],
)
def test_setting_is_answered_by_name_and_attribute(name: str, attribute: str, expected: SetVariableStatus) -> None:
    assignment = VariableAssignment(key=key(name), value="77", attribute_type=attribute)
    after, (result,) = fresh().assign([assignment], ValueSource.CSMS)
    assert (result.status, result.attribute_type, result.key) == (expected, attribute, key(name))
    is_set = expected is SetVariableStatus.ACCEPTED
    assert (result.reason == "") is is_set
    assert after.integer(var.EV_CONNECTION_TIME_OUT) == (77 if is_set else 60)
    assert (after.source(var.EV_CONNECTION_TIME_OUT) is ValueSource.DEFAULT) is not is_set


@pytest.mark.parametrize(
    ("name", "attribute", "expected"),
    [
        ("TXCTRLR.evconnectiontimeout", "Actual", GetVariableStatus.ACCEPTED),
        ("TxCtrlr.EVConnectionTimeOut", "Target", GetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE),
        ("TxCtrlr.EVConnectionTimeOut", "MinSet", GetVariableStatus.NOT_SUPPORTED_ATTRIBUTE_TYPE),
        ("txctrlr.Nothing", "Actual", GetVariableStatus.UNKNOWN_VARIABLE),
        ("Nothing.EVConnectionTimeOut", "Actual", GetVariableStatus.UNKNOWN_COMPONENT),
    ],
)
def test_reading_is_answered_by_name_and_attribute(name: str, attribute: str, expected: GetVariableStatus) -> None:
    result = fresh().read(key(name), attribute)
    assert result.status is expected
    if expected is GetVariableStatus.ACCEPTED:
        assert (str(result.key), result.value, result.mutability) == ("TxCtrlr.EVConnectionTimeOut", "60", Mutability.READ_WRITE)
        assert result.source is ValueSource.DEFAULT
    else:
        assert result.value is None
        assert result.attribute_type == attribute


def test_a_write_only_variable_is_written_and_never_shown() -> None:
    """B06.FR.09."""
    secret = VariableDefinition(
        key=key("SecurityCtrlr.BasicAuthPassword"),
        data_type=DataType.STRING,
        default="",
        description="",
        mutability=Mutability.WRITE_ONLY,
        reboot_required=True,
    )
    variables, status, _ = put(Variables.of((secret,)), str(secret.key), "  sesame ")
    assert status is SetVariableStatus.REBOOT_REQUIRED
    assert variables.text(secret.key) == "  sesame ", "a text is kept to the letter"
    result = variables.read(secret.key)
    assert (result.status, result.value) == (GetVariableStatus.REJECTED, None)


def test_of_several_assignments_the_good_ones_are_kept_in_order() -> None:
    values = [("TxCtrlr.EVConnectionTimeOut", "70"), ("TxCtrlr.EVConnectionTimeOut", "x"), ("TxCtrlr.EVConnectionTimeOut", "80")]
    after, results = fresh().assign([VariableAssignment(key=key(name), value=value) for name, value in values], ValueSource.CSMS)
    assert [one.status for one in results] == [SetVariableStatus.ACCEPTED, SetVariableStatus.REJECTED, SetVariableStatus.ACCEPTED]
    assert after.integer(var.EV_CONNECTION_TIME_OUT) == 80
    assert after.assign([VariableAssignment(key=var.EV_CONNECTION_TIME_OUT, value="80")], ValueSource.CSMS)[0] is after


def test_a_name_that_is_not_there_cannot_be_read_by_the_core() -> None:
    with pytest.raises(LookupError, match=r"Nothing\.Here"):
        fresh().text(key("Nothing.Here"))
    assert fresh().definition(key("Nothing.Here")) is None


def test_lists_are_read_as_their_members() -> None:
    after, *_ = put(fresh(), "SampledDataCtrlr.TxUpdatedMeasurands", "Voltage,Frequency")
    assert after.measurands(var.TX_UPDATED_MEASURANDS) == (Measurand.VOLTAGE, Measurand.FREQUENCY)
    assert fresh().members(var.ALIGNED_ENDED_MEASURANDS) == ()


@pytest.mark.parametrize("evses", [1, 2, 3])
@pytest.mark.parametrize("is_tethered", [True, False])
@pytest.mark.parametrize("sells", [True, False])
def test_facts_of_the_installation(evses: int, *, is_tethered: bool, sells: bool) -> None:
    variables = Variables.of(definitions(evses=evses, is_tethered=is_tethered, sells=sells, security_profile=2, identity="CP7"))

    def is_writable(name: str) -> bool:
        return put(variables, name, variables.text(key(name)))[1] is SetVariableStatus.ACCEPTED

    assert variables.integer(key("OCPP16Ctrlr.NumberOfConnectors")) == evses
    assert [one.split(".")[0] for one in variables.members(key("OCPP16Ctrlr.ConnectorPhaseRotation"))] == [str(n) for n in range(evses + 1)]
    assert variables.boolean(var.UNLOCK_ON_EV_SIDE_DISCONNECT) is not is_tethered
    assert is_writable("OCPPCommCtrlr.UnlockOnEVSideDisconnect") is not is_tethered
    assert is_writable("WebPaymentsCtrlr.Enabled") is sells
    assert variables.integer(key("SecurityCtrlr.SecurityProfile")) == 2
    assert variables.text(key("SecurityCtrlr.Identity")) == "CP7"


def test_a_station_of_which_nothing_is_said_has_one_fixed_cable_and_sells() -> None:
    assert definitions() == definitions(evses=1, is_tethered=True, sells=True, security_profile=0, identity="")


def test_decimals_are_none_until_they_are_set() -> None:
    assert fresh().decimal(var.VAT_PERCENT) is None
    assert put(fresh(), "TariffCostCtrlr.VatPercent", "0")[0].decimal(var.VAT_PERCENT) == 0
