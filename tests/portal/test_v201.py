"""OCPP 2.0.1 names and values."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from simulator.portal.dialect import PublicSettings
from simulator.portal.schemas import check_request
from simulator.portal.v201 import Dialect201
from tests.portal.rig import NOK

DIALECT = Dialect201()
PUBLIC = PublicSettings(tariff=NOK, qr_template="http://127.0.0.1:1/pay/{chargingstationid}/{evse}", enabled=True)


def test_price_and_switch_are_variables_with_exact_values() -> None:
    assert DIALECT.public_settings(PUBLIC) == {
        "TariffCostCtrlr.Currency": "NOK",
        "TariffCostCtrlr.VatPercent": "25",
        "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]": "4.5",
        "TariffCostCtrlr.OfflineChargingPrice[hourPrice]": "15",
        "TariffCostCtrlr.OfflineChargingPrice[flatFee]": "5",
        "WebPaymentsCtrlr.URLTemplate": "http://127.0.0.1:1/pay/{chargingstationid}/{evse}",
        "WebPaymentsCtrlr.Enabled": "true",
    }
    assert DIALECT.public_settings(replace(PUBLIC, tariff=None))["WebPaymentsCtrlr.Enabled"] == "false"


def test_all_settings_go_in_one_request() -> None:
    (command,) = DIALECT.set_settings(DIALECT.public_settings(PUBLIC))
    assert check_request("2.0.1", command.action, command.payload) is None
    assert DIALECT.set_settings({}) == ()


def test_every_command_satisfies_the_official_schema() -> None:
    commands = [
        DIALECT.remote_start(1, "QR-0123456789ABCD", 7),
        DIALECT.remote_start(1, "QR-0123456789ABCD", 7, Decimal("500.00")),
        DIALECT.remote_stop("tx-1"),
        DIALECT.get_settings(("OCPPCommCtrlr.HeartbeatInterval", "TariffCostCtrlr.OfflineChargingPrice[kWhPrice]")),
        DIALECT.change_availability(0, operative=False),
        DIALECT.change_availability(2, operative=True),
        DIALECT.reset(hard=False),
        DIALECT.unlock(1),
        DIALECT.trigger("StatusNotification", 1),
        DIALECT.trigger("BootNotification", None),
    ]
    for command in commands:
        assert check_request("2.0.1", command.action, command.payload) is None, command


def test_a_variable_that_is_refused_or_not_answered_is_told_by_name() -> None:
    (command,) = DIALECT.set_settings({"A.B[c]": "1", "A.D": "2", "A.E": "3"})
    result: list[Any] = [
        {"attributeStatus": "UnknownVariable", "component": {"name": "A"}, "variable": {"name": "B", "instance": "c"}},
        {"attributeStatus": "Accepted", "component": {"name": "A"}, "variable": {"name": "D"}},
    ]
    assert DIALECT.refused_settings(command, {"setVariableResult": [*result]}) == ("A.B[c]: UnknownVariable", "A.E: not answered")


@pytest.mark.parametrize("name", ["HeartbeatInterval", "A.B[", "A.B.C", ""])
def test_a_name_that_is_no_variable_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"Component\.Variable"):
        DIALECT.set_settings({name: "1"})
