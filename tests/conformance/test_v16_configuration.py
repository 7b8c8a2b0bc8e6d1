"""OCPP 1.6J: every configuration key of Core is readable, and each writable one has its effect.

`EFFECTS` is the table: the key, the value that the CSMS sets on a running station, and what is then seen from outside.
"""

from collections.abc import Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.csms import Frame, Refusal, sampled
from tests.conformance.laboratory import CARD, OTHER_CARD, Bench, laboratory

pytestmark = pytest.mark.virtual_time

REQUIRED = {
    "AuthorizeRemoteTxRequests": "RW",
    "ClockAlignedDataInterval": "RW",
    "ConnectionTimeOut": "RW",
    "ConnectorPhaseRotation": "RW",
    "GetConfigurationMaxKeys": "R",
    "HeartbeatInterval": "RW",
    "LocalAuthorizeOffline": "RW",
    "LocalPreAuthorize": "RW",
    "MeterValuesAlignedData": "RW",
    "MeterValuesSampledData": "RW",
    "MeterValueSampleInterval": "RW",
    "NumberOfConnectors": "R",
    "ResetRetries": "RW",
    "StopTransactionOnEVSideDisconnect": "RW",
    "StopTransactionOnInvalidId": "RW",
    "StopTxnAlignedData": "RW",
    "StopTxnSampledData": "RW",
    "SupportedFeatureProfiles": "R",
    "TransactionMessageAttempts": "RW",
    "TransactionMessageRetryInterval": "RW",
    "UnlockConnectorOnEVSideDisconnect": "RW",
}
"""1.6 chapter 9.1: required in Core, and whether the CSMS may set it (the last one: with a socket-outlet)."""

WITHOUT_EFFECT = frozenset({"ConnectorPhaseRotation", "ResetRetries"})
"""The first is information that the installer gives to the CSMS. The second cannot take effect: a reset of this station does not fail."""

ENERGY, VOLTAGE = "Energy.Active.Import.Register", "Voltage"


async def change(bench: Bench, key: str, value: str) -> None:
    assert await bench.csms.call("ChangeConfiguration", {"key": key, "value": value}) == {"status": "Accepted"}


async def read(bench: Bench, *keys: str) -> dict[str, Any]:
    answer = await bench.csms.call("GetConfiguration", {"key": list(keys)} if keys else {})
    return {entry["key"]: entry for entry in answer["configurationKey"]}


def measurands(frame: Frame) -> set[str]:
    return {value["measurand"] for group in frame["meterValue"] for value in group["sampledValue"]}


# ------------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.tc("TC_019_CS")
async def test_every_required_key_can_be_read(tmp_path: Path) -> None:
    """Without keys: every mandatory key of each supported profile, with its access. With keys: those only, and unknown ones by name."""
    async with laboratory(tmp_path, "1.6", socket=True, evses=2) as bench:
        everything = await read(bench)
        assert REQUIRED.keys() <= everything.keys()
        assert {key: "R" if everything[key]["readonly"] else "RW" for key in REQUIRED} == REQUIRED
        assert all("value" in everything[key] for key in REQUIRED)
        assert everything["NumberOfConnectors"]["value"] == "2"
        assert everything["SupportedFeatureProfiles"]["value"].split(",")[0] == "Core"
        two = await bench.csms.call("GetConfiguration", {"key": ["heartbeatinterval", "ConnectionTimeOut", "Nothing"]})
        assert [entry["key"] for entry in two["configurationKey"]] == ["HeartbeatInterval", "ConnectionTimeOut"]
        assert two["unknownKey"] == ["Nothing"]


async def test_more_keys_than_the_maximum_are_refused(tmp_path: Path) -> None:
    """GetConfigurationMaxKeys."""
    async with laboratory(tmp_path, "1.6") as bench:
        most = int((await read(bench, "GetConfigurationMaxKeys"))["GetConfigurationMaxKeys"]["value"])
        with pytest.raises(Refusal, match="OccurenceConstraintViolation"):
            await bench.csms.call("GetConfiguration", {"key": [f"Key{number}" for number in range(most + 1)]})
        answer = await bench.csms.call("GetConfiguration", {"key": [f"Key{number}" for number in range(most)]})
        assert len(answer["unknownKey"]) == most


# ------------------------------------------------------------------------------------------------------------------ writing


@pytest.mark.tc("TC_021_CS")
async def test_changed_keys_read_back_and_survive_a_restart(tmp_path: Path) -> None:
    """Every writable key: Accepted, GetConfiguration shows the new value, also after a restart."""
    async with laboratory(tmp_path, "1.6", socket=True) as bench:
        wanted: dict[str, str] = {}
        for key in sorted(key for key, access in REQUIRED.items() if access == "RW"):
            before = (await read(bench, key))[key]["value"]
            after = {"true": "false", "false": "true"}.get(before) or (str(int(before) + 7) if before.isdigit() else _other_list(key))
            await change(bench, key, after)
            wanted[key] = after
        assert {key: entry["value"] for key, entry in (await read(bench, *wanted)).items()} == wanted
        await bench.stop_agent()
        bench.csms.mark()
        await bench.start_agent()
        await bench.booted()
        wanted["HeartbeatInterval"] = "300"  # the accepted boot sets this one (4.2)
        assert {key: entry["value"] for key, entry in (await read(bench, *wanted)).items()} == wanted


def _other_list(key: str) -> str:
    return "0.RTS,1.RTS" if key == "ConnectorPhaseRotation" else f"{ENERGY},{VOLTAGE}"


@pytest.mark.tc("TC_040_1_CS")
async def test_an_unknown_key_is_not_supported(tmp_path: Path) -> None:
    """NotSupported."""
    async with laboratory(tmp_path, "1.6") as bench:
        answer = await bench.csms.call("ChangeConfiguration", {"key": "NoSuchKey", "value": "1"})
        assert answer == {"status": "NotSupported"}


BAD_VALUES = [
    ("MeterValueSampleInterval", "-1"),
    ("MeterValueSampleInterval", "often"),
    ("MeterValueSampleInterval", ""),
    ("WebSocketPingInterval", "-5"),
    ("HeartbeatInterval", "1.5"),
    ("HeartbeatInterval", "9" * 400),
    ("LocalPreAuthorize", "perhaps"),
    ("MeterValuesSampledData", "Energy.Active.Import.Register,Unheard.Of"),
    ("NumberOfConnectors", "3"),
    ("SupportedFeatureProfiles", "Core"),
]


@pytest.mark.tc("TC_040_2_CS")
async def test_a_bad_value_is_rejected(tmp_path: Path) -> None:
    """Rejected, and the value stays; so is a key that may only be read."""
    async with laboratory(tmp_path, "1.6") as bench:
        for key, value in BAD_VALUES:
            before = await read(bench, key)
            answer = await bench.csms.call("ChangeConfiguration", {"key": key, "value": value})
            assert answer == {"status": "Rejected"}, (key, value)
            assert await read(bench, key) == before


# ------------------------------------------------------------------------------------------------------------------ effects


async def _asks_about_a_remote_token(bench: Bench, value: str) -> None:
    await bench.plug_in()
    await bench.csms.status("Preparing")
    await bench.csms.call("RemoteStartTransaction", {"connectorId": 1, "idTag": "REMOTE1"})
    await bench.csms.expect("StartTransaction", idTag="REMOTE1")
    assert bool(bench.csms.calls("Authorize")) is (value == "true")


async def _sends_aligned_values(bench: Bench, value: str) -> None:
    if value == "0":
        await bench.csms.silence(200, "MeterValues")
        return
    first = await bench.csms.expect("MeterValues", within=int(value) + 1)
    second = await bench.csms.expect("MeterValues", after=first.number + 1, within=int(value) + 1)
    assert second.at - first.at == pytest.approx(int(value), abs=1)


async def _waits_for_the_cable(bench: Bench, value: str) -> None:
    await bench.swipe()
    preparing = await bench.csms.status("Preparing")
    available = await bench.csms.status("Available", within=int(value) + 2)
    assert available.at - preparing.at == pytest.approx(int(value), abs=1)


async def _beats(bench: Bench, value: str) -> None:
    first = await bench.csms.expect("Heartbeat", within=int(value) + 1)
    second = await bench.csms.expect("Heartbeat", after=first.number + 1, within=int(value) + 1)
    assert second.at - first.at == pytest.approx(int(value), abs=1)


async def _learn(bench: Bench) -> None:
    """Put the card into the cache, and leave the charger free."""
    await bench.swipe()
    await bench.csms.status("Preparing")
    await bench.swipe()
    await bench.csms.status("Available")
    bench.csms.mark()


async def _charges_offline(bench: Bench, token: str, *, expected: bool) -> None:
    await bench.network_down()
    await bench.plug_in()
    await bench.swipe(token)
    await bench.csms.silence(20)
    assert await bench.is_open() is not expected
    await bench.network_up()
    if expected:
        await bench.csms.expect("StartTransaction", idTag=token)
    else:
        await bench.csms.silence(10, "StartTransaction")


async def _accepts_a_known_card_offline(bench: Bench, value: str) -> None:
    await _learn(bench)
    await _charges_offline(bench, CARD, expected=value == "true")


async def _accepts_an_unknown_card_offline(bench: Bench, value: str) -> None:
    await _charges_offline(bench, OTHER_CARD, expected=value == "true")


async def _starts_without_a_question(bench: Bench, value: str) -> None:
    await _learn(bench)
    await bench.plug_in()
    await bench.csms.status("Preparing")
    await bench.swipe()
    await bench.csms.expect("StartTransaction", idTag=CARD)
    assert bool(bench.csms.calls("Authorize")) is (value == "false")


async def _remembers_cards(bench: Bench, value: str) -> None:
    await change(bench, "LocalPreAuthorize", "true")
    await _starts_without_a_question(bench, value)


async def _aligned_measurands(bench: Bench, value: str) -> None:
    await change(bench, "ClockAlignedDataInterval", "10")
    assert measurands(await bench.csms.expect("MeterValues")) == set(value.split(","))


async def _sampled_measurands(bench: Bench, value: str) -> None:
    await change(bench, "MeterValueSampleInterval", "10")
    await bench.charge()
    assert measurands(await bench.csms.expect("MeterValues")) == set(value.split(","))


async def _sample_interval(bench: Bench, value: str) -> None:
    await bench.charge()
    if value == "0":
        await bench.csms.silence(200, "MeterValues")
        return
    first = await bench.csms.expect("MeterValues", within=int(value) + 1)
    second = await bench.csms.expect("MeterValues", after=first.number + 1, within=int(value) + 1)
    assert second.at - first.at == pytest.approx(int(value), abs=1)


async def _stops_on_unplug(bench: Bench, value: str) -> None:
    await bench.charge()
    await bench.unplug(side="vehicle")
    if value == "true":
        await bench.csms.expect("StopTransaction", reason="EVDisconnected")
    else:
        await bench.csms.silence(20, "StopTransaction")


async def _unlocks_on_unplug(bench: Bench, value: str) -> None:
    await bench.charge()
    await bench.unplug(side="vehicle")
    await bench.csms.expect("StopTransaction", reason="EVDisconnected")
    await bench.csms.silence(5, "StartTransaction")
    assert await bench.is_unlocked() is (value == "true")


async def _stops_an_invalid_token(bench: Bench, value: str) -> None:
    csms = bench.csms
    csms.on["StartTransaction"] = lambda _: {"transactionId": csms.new_number(), "idTagInfo": {"status": "Blocked"}}
    await bench.plug_in()
    await csms.status("Preparing")
    await bench.swipe()
    await csms.expect("StartTransaction")
    if value == "true":
        await csms.expect("StopTransaction", reason="DeAuthorized")
    else:
        await csms.status("SuspendedEVSE")
        await csms.silence(20, "StopTransaction")
    assert await bench.is_open()


async def _stop(bench: Bench) -> Frame:
    await bench.csms.call("RemoteStopTransaction", {"transactionId": bench.csms.transactions[-1]})
    return await bench.csms.expect("StopTransaction")


def _contexts(stop: Frame) -> dict[str, set[str]]:
    """Context of each value in transactionData, with its measurands."""
    found: dict[str, set[str]] = {}
    for group in stop.payload.get("transactionData", []):
        for value in group["sampledValue"]:
            found.setdefault(value["context"], set()).add(value["measurand"])
    return found


async def _stop_data_sampled(bench: Bench, value: str) -> None:
    await bench.charge()
    found = _contexts(await _stop(bench))
    if value:
        assert found == {"Transaction.Begin": set(value.split(",")), "Transaction.End": set(value.split(","))}
    else:
        assert found == {}


async def _stop_data_aligned(bench: Bench, value: str) -> None:
    await change(bench, "ClockAlignedDataInterval", "10")
    await bench.charge()
    await bench.csms.silence(30, "StopTransaction")
    found = _contexts(await _stop(bench))
    assert found.get("Sample.Clock", set()) == (set(value.split(",")) if value else set())


async def _attempts(bench: Bench, value: str) -> None:
    csms = bench.csms
    await change(bench, "TransactionMessageRetryInterval", "5")
    bench.expected_errors = ("refused for the last time",)
    csms.on["StopTransaction"] = _refuse
    await bench.charge()
    await _stop(bench)
    await bench.unplug()
    await csms.status("Available")
    await csms.silence(200, "Heartbeat")
    assert len(csms.calls("StopTransaction")) == int(value)
    await bench.charge()  # the queue goes on


async def _retry_interval(bench: Bench, value: str) -> None:
    csms = bench.csms
    await change(bench, "TransactionMessageAttempts", "4")
    bench.expected_errors = ("refused for the last time",)
    csms.on["StopTransaction"] = _refuse
    await bench.charge()
    await _stop(bench)
    await csms.until(lambda: len(csms.calls("StopTransaction")) == 4, within=8 * int(value))
    times = [frame.at for frame in csms.calls("StopTransaction")]
    assert [later - times[0] for later in times[1:]] == pytest.approx([int(value), 3 * int(value), 6 * int(value)], abs=1)
    assert len({str(frame.payload) for frame in csms.calls("StopTransaction")}) == 1


def _refuse(_: object) -> dict[str, Any]:
    raise Refusal("InternalError", "not now")


async def _pings(bench: Bench, value: str) -> None:
    await bench.network_down("blackhole")
    await bench.csms.silence(60)
    assert (bench.link_state == "offline") is (value != "0"), "only a ping finds a link that swallows everything"


async def _gives_up_waiting(bench: Bench, value: str) -> None:
    csms = bench.csms
    csms.on["Heartbeat"] = lambda _: csms.silent()
    beats = len(csms.links)
    await change(bench, "HeartbeatInterval", "5")
    beat = await csms.expect("Heartbeat")
    assert await csms.until(lambda: len(csms.links) > beats, within=int(value) + 5)
    gave_up_after = csms.requested_at[-1] - beat.at
    assert int(value) <= gave_up_after < int(value) + 4


Story = Callable[[Bench, str], Awaitable[None]]

EFFECTS: list[tuple[str, str, Story]] = [
    ("AuthorizeRemoteTxRequests", "true", _asks_about_a_remote_token),
    ("AuthorizeRemoteTxRequests", "false", _asks_about_a_remote_token),
    ("ClockAlignedDataInterval", "30", _sends_aligned_values),
    ("ClockAlignedDataInterval", "0", _sends_aligned_values),
    ("ConnectionTimeOut", "7", _waits_for_the_cable),
    ("ConnectionTimeOut", "25", _waits_for_the_cable),
    ("HeartbeatInterval", "5", _beats),
    ("HeartbeatInterval", "45", _beats),
    ("LocalAuthorizeOffline", "true", _accepts_a_known_card_offline),
    ("LocalAuthorizeOffline", "false", _accepts_a_known_card_offline),
    ("LocalPreAuthorize", "true", _starts_without_a_question),
    ("LocalPreAuthorize", "false", _starts_without_a_question),
    ("MeterValuesAlignedData", VOLTAGE, _aligned_measurands),
    ("MeterValuesAlignedData", f"{ENERGY},{VOLTAGE}", _aligned_measurands),
    ("MeterValuesSampledData", VOLTAGE, _sampled_measurands),
    ("MeterValuesSampledData", f"{ENERGY},Power.Active.Import,Current.Offered", _sampled_measurands),
    ("MeterValueSampleInterval", "3", _sample_interval),
    ("MeterValueSampleInterval", "20", _sample_interval),
    ("MeterValueSampleInterval", "0", _sample_interval),
    ("StopTransactionOnEVSideDisconnect", "true", _stops_on_unplug),
    ("StopTransactionOnEVSideDisconnect", "false", _stops_on_unplug),
    ("StopTransactionOnInvalidId", "true", _stops_an_invalid_token),
    ("StopTransactionOnInvalidId", "false", _stops_an_invalid_token),
    ("StopTxnAlignedData", ENERGY, _stop_data_aligned),
    ("StopTxnAlignedData", "", _stop_data_aligned),
    ("StopTxnSampledData", f"{ENERGY},{VOLTAGE}", _stop_data_sampled),
    ("StopTxnSampledData", "", _stop_data_sampled),
    ("TransactionMessageAttempts", "1", _attempts),
    ("TransactionMessageAttempts", "3", _attempts),
    ("TransactionMessageRetryInterval", "10", _retry_interval),
    ("UnlockConnectorOnEVSideDisconnect", "true", _unlocks_on_unplug),
    ("UnlockConnectorOnEVSideDisconnect", "false", _unlocks_on_unplug),
    # Optional keys that are built.
    ("AllowOfflineTxForUnknownId", "true", _accepts_an_unknown_card_offline),
    ("AllowOfflineTxForUnknownId", "false", _accepts_an_unknown_card_offline),
    ("AuthorizationCacheEnabled", "true", _remembers_cards),
    ("AuthorizationCacheEnabled", "false", _remembers_cards),
    ("MessageTimeout", "10", _gives_up_waiting),
    ("WebSocketPingInterval", "10", _pings),
    ("WebSocketPingInterval", "0", _pings),
]


def test_every_writable_key_of_core_is_in_the_table() -> None:
    writable = {key for key, access in REQUIRED.items() if access == "RW"}
    assert writable - {key for key, _, _ in EFFECTS} == WITHOUT_EFFECT


@pytest.mark.tc("TC_021_CS")
@pytest.mark.parametrize(("key", "value", "story"), [pytest.param(*row, id=f"{row[0]}={row[1]}") for row in EFFECTS])
async def test_a_changed_key_takes_effect(tmp_path: Path, key: str, value: str, story: Story) -> None:
    """The value is set on a running station by ChangeConfiguration and obeyed without a restart."""
    async with laboratory(tmp_path, "1.6", socket=key == "UnlockConnectorOnEVSideDisconnect") as bench:
        await change(bench, key, value)
        bench.csms.mark()
        await story(bench, value)


async def test_begin_and_end_values_are_the_billed_registers(tmp_path: Path) -> None:
    """In transactionData the first value is meterStart, the last meterStop."""
    async with laboratory(tmp_path, "1.6") as bench:
        await bench.charge()
        (start,) = bench.csms.calls("StartTransaction", after=0)
        stop = await _stop(bench)
        assert sampled(stop) == [("Transaction.Begin", Decimal(start["meterStart"])), ("Transaction.End", Decimal(stop["meterStop"]))]
