import json
import logging
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.domain.commands import VariableAssignment
from agent.domain.variables import DataType, VariableDefinition, VariableKey, parse_variable_key
from agent.ocpp_client.v16.keys import Keys, is_read_only, name_of_unknown, shown_value
from tests.ocpp_client.samples import DEFINITIONS, PASSWORD

KEYS = Keys((*DEFINITIONS, PASSWORD))
OFFLINE_TEXT = VariableDefinition(
    key=parse_variable_key("TariffCostCtrlr.TariffFallbackMessage[Offline]"),
    data_type=DataType.STRING,
    default="",
    description="The price in words while offline.",
    max_length=255,
)


def _set(keys: Keys, name: str, value: str) -> dict[str, str]:
    return {str(assignment.key): assignment.value for assignment in keys.assignments(name, value)}


def _show(keys: Keys, name: str, values: dict[str, str]) -> str | None:
    codec = keys.codec_of(keys.variables_of(name)[0])
    assert codec is not None
    assert codec.name == name
    return shown_value(codec, {parse_variable_key(key).folded(): value for key, value in values.items()})


@pytest.mark.parametrize(
    ("name", "value", "variable", "text"),
    [
        ("HeartbeatInterval", " 60 ", "OCPPCommCtrlr.HeartbeatInterval", "60"),
        ("heartbeatINTERVAL", "60", "OCPPCommCtrlr.HeartbeatInterval", "60"),
        ("LocalPreAuthorize", "TRUE", "AuthCtrlr.LocalPreAuthorize", "true"),
        ("LocalPreAuthorize", " False ", "AuthCtrlr.LocalPreAuthorize", "false"),
        ("LocalPreAuthorize", "maybe", "AuthCtrlr.LocalPreAuthorize", "maybe"),
        ("MeterValuesSampledData", " Voltage , Frequency,, ", "SampledDataCtrlr.TxUpdatedMeasurands", "Voltage,Frequency"),
        ("MeterValuesSampledData", "", "SampledDataCtrlr.TxUpdatedMeasurands", ""),
        ("WebPaymentsCtrlr.URLTemplate", "https://a/ b", "WebPaymentsCtrlr.URLTemplate", "https://a/ b"),
        ("TariffCostCtrlr.Currency", "NOK", "TariffCostCtrlr.Currency", "NOK"),
    ],
)
def test_key_sets_its_variable(name: str, value: str, variable: str, text: str) -> None:
    assert _set(KEYS, name, value) == {variable: text}


def test_unknown_key_is_a_variable_that_does_not_exist() -> None:
    (assignment,) = KEYS.assignments("FooBar", "1")
    assert assignment == VariableAssignment(key=VariableKey(component="OCPP16Key", variable="FooBar"), value="1")
    (key,) = KEYS.variables_of("FooBar")
    assert KEYS.codec_of(key) is None
    assert name_of_unknown(key) == "FooBar"


def test_read_only_is_told_from_the_registry() -> None:
    read_only = {codec.name for codec in KEYS.all() if is_read_only(codec)}
    assert {"NumberOfConnectors", "SupportedFeatureProfiles", "GetConfigurationMaxKeys"} <= read_only
    assert not {"HeartbeatInterval", "AuthorizationKey", "DefaultPrice"} & read_only


def test_limit_of_asked_keys_comes_from_the_registry() -> None:
    assert KEYS.max_keys == 100
    assert Keys(()).max_keys == 100


def test_value_that_does_not_fit_is_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Half a value would be a wrong one."""
    caplog.set_level(logging.WARNING)
    assert _show(KEYS, "WebPaymentsCtrlr.URLTemplate", {"WebPaymentsCtrlr.URLTemplate": "h" * 500}) == "h" * 500
    assert not caplog.records
    assert _show(KEYS, "WebPaymentsCtrlr.URLTemplate", {"WebPaymentsCtrlr.URLTemplate": "h" * 501}) is None
    assert "WebPaymentsCtrlr.URLTemplate" in caplog.text


# ------------------------------------------------------------------------------------------------------ AuthorizationKey


def test_authorization_key_is_hexadecimal() -> None:
    assert _set(KEYS, "AuthorizationKey", "00112233445566778899AABBCCDDEEFF") == {
        "SecurityCtrlr.BasicAuthPassword": "00112233445566778899aabbccddeeff"
    }


@pytest.mark.parametrize("value", ["", "hunter2hunter2hunter2hunter2hunter2", "00" * 15, "00" * 21, "0" * 33, "00 " * 16, "٠٠" * 16])
def test_authorization_key_that_is_none_is_refused_without_telling_it(value: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    assert KEYS.assignments("AuthorizationKey", value) == ()
    assert "AuthorizationKey" in caplog.text
    assert not value or value not in caplog.text


def test_authorization_key_is_never_shown() -> None:
    assert _show(KEYS, "AuthorizationKey", {"SecurityCtrlr.BasicAuthPassword": "00" * 20}) is None


# ---------------------------------------------------------------------------------------------------------- DefaultPrice

PRICE = {"priceText": "4,50 kr/kWh", "priceTextOffline": "offline", "chargingPrice": {"kWhPrice": 4.50, "hourPrice": 30, "flatFee": 5}}
PRICE_TEXT = '{"priceText":"4,50 kr/kWh","priceTextOffline":"x","chargingPrice":{"kWhPrice":4.50,"hourPrice":30,"flatFee":5}}'
CLEARED = {
    "TariffCostCtrlr.TariffFallbackMessage": "",
    "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": "",
    "TariffCostCtrlr.OfflineChargingPrice[hourPrice]": "",
    "TariffCostCtrlr.OfflineChargingPrice[flatFee]": "",
}


def test_default_price_sets_words_and_exact_numbers() -> None:
    assert _set(KEYS, "DefaultPrice", PRICE_TEXT) == {
        "TariffCostCtrlr.TariffFallbackMessage": "4,50 kr/kWh",
        "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": "4.50",
        "TariffCostCtrlr.OfflineChargingPrice[hourPrice]": "30",
        "TariffCostCtrlr.OfflineChargingPrice[flatFee]": "5",
    }


def test_default_price_replaces_the_whole_price() -> None:
    """What is not in the new price must not stay from the old one."""
    assert _set(KEYS, "DefaultPrice", '{"priceText":"x"}') == {**CLEARED, "TariffCostCtrlr.TariffFallbackMessage": "x"}
    assert _set(KEYS, "DefaultPrice", '{"priceText":"","chargingPrice":{"kWhPrice":0}}') == {
        **CLEARED,
        "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": "0",
    }
    assert _set(KEYS, "DefaultPrice", "") == CLEARED


def test_offline_text_has_its_own_variable_where_there_is_one() -> None:
    keys = Keys((*DEFINITIONS, OFFLINE_TEXT))
    assert _set(keys, "DefaultPrice", json.dumps(PRICE))["TariffCostCtrlr.TariffFallbackMessage[Offline]"] == "offline"
    assert _set(keys, "DefaultPrice", '{"priceText":"x"}')["TariffCostCtrlr.TariffFallbackMessage[Offline]"] == "x"


@pytest.mark.parametrize(
    "value",
    [
        "4.50",
        "[]",
        "null",
        "{",
        '{"priceTextOffline":"x"}',
        '{"priceText":5}',
        json.dumps({"priceText": "x" * 256}),
        '{"priceText":"x","chargingPrice":null}',
        '{"priceText":"x","chargingPrice":[]}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":"4.50"}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":true}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":null}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":-0.01}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":1e400}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":1e99999999999999999999}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":NaN}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":Infinity}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":0.1234567}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":1000000000}}',
        '{"priceText":"x","chargingPrice":{"kWhPrice":1,"minimumFee":10}}',
        '{"priceText":"x","idlePrice":{"hourPrice":1}}',
        "[" * 250 + "]" * 250,
        "9" * 500,
    ],
)
def test_default_price_that_cannot_be_kept_whole_sets_nothing(value: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    assert KEYS.assignments("DefaultPrice", value) == ()
    assert "DefaultPrice" in caplog.text


@pytest.mark.parametrize(("number", "text"), [("4.5", "4.5"), ("1e2", "100"), ("-0", "0"), ("-0.0", "0.0"), ("0.000001", "0.000001")])
def test_prices_are_kept_as_plain_decimals(number: str, text: str) -> None:
    value = f'{{"priceText":"","chargingPrice":{{"kWhPrice":{number}}}}}'
    assert _set(KEYS, "DefaultPrice", value)["TariffCostCtrlr.OfflineChargingPrice[kWhPrice]"] == text


def test_unset_price_is_shown_as_empty() -> None:
    assert _show(KEYS, "DefaultPrice", CLEARED) == ""


prices = st.none() | st.decimals(min_value=0, max_value=10**6, places=4).map(lambda price: format(price, "f"))


@given(words=st.text(max_size=60), kwh=prices, hour=prices, flat=prices)
def test_default_price_round_trip(words: str, kwh: str | None, hour: str | None, flat: str | None) -> None:
    """What is shown is JSON, exact, and sets the same again."""
    values = {
        "TariffCostCtrlr.TariffFallbackMessage": words,
        "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": kwh or "",
        "TariffCostCtrlr.OfflineChargingPrice[hourPrice]": hour or "",
        "TariffCostCtrlr.OfflineChargingPrice[flatFee]": flat or "",
    }
    shown = _show(KEYS, "DefaultPrice", values)
    assert shown is not None
    if shown:
        document = json.loads(shown, parse_float=Decimal, parse_int=Decimal)
        assert document["priceText"] == document["priceTextOffline"] == words
        numbers = {"kWhPrice": kwh, "hourPrice": hour, "flatFee": flat}
        assert document.get("chargingPrice", {}) == {name: Decimal(text) for name, text in numbers.items() if text is not None}
    assert _set(KEYS, "DefaultPrice", shown) == values


names = st.sampled_from(["priceText", "chargingPrice", "kWhPrice", "flatFee", "x"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9)
documents = st.recursive(leaves, lambda inner: st.dictionaries(names, inner)).map(json.dumps)


@given(value=st.text(max_size=200) | documents)
def test_default_price_sets_all_or_nothing(value: str) -> None:
    assert len(KEYS.assignments("DefaultPrice", value)) in {0, 4}
