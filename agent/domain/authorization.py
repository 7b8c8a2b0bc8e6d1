"""Identity tokens and the answers to them. A token never shows itself in a log: its repr is redacted."""

from dataclasses import field
from datetime import datetime
from enum import StrEnum

from agent.domain.values import dataclass


class IdTokenType(StrEnum):
    """OCPP 2.0.1 IdTokenEnumType."""

    CENTRAL = "Central"
    EMAID = "eMAID"
    ISO14443 = "ISO14443"
    ISO15693 = "ISO15693"
    KEY_CODE = "KeyCode"
    LOCAL = "Local"
    MAC_ADDRESS = "MacAddress"
    NO_AUTHORIZATION = "NoAuthorization"


@dataclass(frozen=True, slots=True)
class IdToken:
    """A driver's token. Compared without case (OCPP 2.0.1 IdTokenType; 1.6 IdToken is a CiString); printed as its last two characters."""

    value: str = field(repr=False)
    type: IdTokenType = IdTokenType.ISO14443

    def __str__(self) -> str:
        return f"…{self.value[-2:]}" if len(self.value) > 4 else "…"

    def same_as(self, other: "IdToken | None") -> bool:
        """Whether both are the same token. The type is not compared: 1.6 knows none."""
        return other is not None and self.value.casefold() == other.value.casefold()


class AuthorizationStatus(StrEnum):
    """OCPP 2.0.1 AuthorizationStatusEnumType; 1.6 has Accepted, Blocked, ConcurrentTx, Expired, Invalid."""

    ACCEPTED = "Accepted"
    BLOCKED = "Blocked"
    CONCURRENT_TX = "ConcurrentTx"
    EXPIRED = "Expired"
    INVALID = "Invalid"
    NO_CREDIT = "NoCredit"
    NOT_ALLOWED_TYPE_EVSE = "NotAllowedTypeEVSE"
    NOT_AT_THIS_LOCATION = "NotAtThisLocation"
    NOT_AT_THIS_TIME = "NotAtThisTime"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class IdTokenInfo:
    """The CSMS's answer about a token: status, until when it may be kept, and the group (1.6: parentIdTag) that it belongs to."""

    status: AuthorizationStatus
    cache_expiry: datetime | None = None
    group_id_token: IdToken | None = None
