"""OCPP 1.6 names and values."""

import json
from dataclasses import replace
from decimal import Decimal

from simulator.portal.dialect import PublicSettings
from simulator.portal.schemas import check_request
from simulator.portal.v16 import Dialect16, default_price
from tests.portal.rig import NOK

DIALECT = Dialect16()
PUBLIC = PublicSettings(tariff=NOK, qr_template="http://127.0.0.1:1/pay/{chargingstationid}/{evse}", enabled=True)


def test_the_order_is_currency_vat_price_template_and_the_switch_last() -> None:
    assert list(DIALECT.public_settings(PUBLIC)) == [
        "TariffCostCtrlr.Currency",
        "TariffCostCtrlr.VatPercent",
        "DefaultPrice",
        "WebPaymentsCtrlr.URLTemplate",
        "WebPaymentsCtrlr.Enabled",
    ]


def test_the_price_is_exact_and_per_hour() -> None:
    text = default_price(replace(NOK, price_minute=Decimal("0.333333")))
    assert json.loads(text, parse_float=Decimal)["chargingPrice"] == {
        "kWhPrice": Decimal("4.5"),
        "hourPrice": Decimal("19.99998"),
        "flatFee": Decimal(5),
    }
    assert "4.50 NOK/kWh" in json.loads(text)["priceText"]


def test_the_longest_price_fits_a_configuration_value() -> None:
    """1.6 section 7.17: 500 characters."""
    big = Decimal("999999.999999")
    assert len(default_price(replace(NOK, price_kwh=big, price_minute=big, price_session=big))) <= 500


def test_without_a_price_the_charger_is_not_public() -> None:
    values = DIALECT.public_settings(replace(PUBLIC, tariff=None))
    assert values["WebPaymentsCtrlr.Enabled"] == "false"
    assert "DefaultPrice" not in values


def test_every_command_satisfies_the_official_schema() -> None:
    commands = [
        DIALECT.remote_start(1, "QR-0123456789ABCD", 7),
        *filter(None, [DIALECT.announce_limit("QR-0123456789ABCD", Decimal("500.00"))]),
        DIALECT.remote_stop("1001"),
        *DIALECT.set_settings(DIALECT.public_settings(PUBLIC)),
        DIALECT.get_settings(()),
        DIALECT.get_settings(("HeartbeatInterval",)),
        DIALECT.change_availability(0, operative=False),
        DIALECT.reset(hard=True),
        DIALECT.unlock(1),
        DIALECT.trigger("StatusNotification", 1),
        DIALECT.trigger("BootNotification", None),
    ]
    for command in commands:
        assert check_request("1.6", command.action, command.payload) is None, command


def test_only_accepted_and_reboot_required_count_as_set() -> None:
    (command,) = DIALECT.set_settings({"TariffCostCtrlr.Currency": "NOK"})
    assert DIALECT.refused_settings(command, {"status": "Accepted"}) == ()
    assert DIALECT.refused_settings(command, {"status": "RebootRequired"}) == ()
    assert DIALECT.refused_settings(command, {"status": "NotSupported"}) == ("TariffCostCtrlr.Currency: NotSupported",)
