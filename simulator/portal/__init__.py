"""A portal for test rigs: a CSMS with payments and web pages. Nothing here moves money, and it listens on loopback only."""

from simulator.portal.chargers import Anomaly, Charger, Group, PriceOverride, TokenVerdict, UnclaimedCharger
from simulator.portal.errors import CommandError, PortalError, UserError
from simulator.portal.payments import Payment, PaymentMethod, PaymentState
from simulator.portal.portal import Portal, Refusal
from simulator.portal.transactions import BookRow

__all__ = [
    "Anomaly",
    "BookRow",
    "Charger",
    "CommandError",
    "Group",
    "Payment",
    "PaymentMethod",
    "PaymentState",
    "Portal",
    "PortalError",
    "PriceOverride",
    "Refusal",
    "TokenVerdict",
    "UnclaimedCharger",
    "UserError",
]
