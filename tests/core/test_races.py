"""What happens when something comes between the steps of a session: a new price, a late answer, a reset, a restart."""

from decimal import Decimal

import pytest

from agent.core import variables as var
from agent.domain.commands import RequestStart, SetVariables, VariableAssignment
from agent.domain.variables import VariableKey
from tests.core.rig import EVSE1, PRICED, TAG, Rig


def online(**kwargs: object) -> Rig:
    rig = Rig(**kwargs)  # type: ignore[arg-type]
    rig.online()
    rig.pass_ms(1_000)
    return rig


@pytest.mark.parametrize("key", [var.PRICE_KWH, var.PRICE_SESSION])
def test_who_paid_before_plugging_in_owes_the_price_that_he_saw(key: VariableKey) -> None:
    """The portal bills what it showed; a price that changes before the plug is in is the next driver's."""
    rig = online(values=PRICED)
    rig.command(RequestStart(id_token=TAG, evse_id=EVSE1))
    rig.command(SetVariables(assignments=(VariableAssignment(key=key, value="99"),)))
    rig.plug()
    record = rig.evse.transaction
    assert record is not None
    assert record.tariff is not None
    assert (record.tariff.price_kwh, record.tariff.price_session) == (Decimal("4.50"), Decimal(5))
