"""OCPP variables: how they are named and what is known of each. The registry itself is `agent.core.variables`."""

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import StrEnum

from agent.domain.values import dataclass

_NAME = re.compile(
    r"^(?P<component>[A-Za-z][A-Za-z0-9]*)(?:\[(?P<cinst>[^\]]*)\])?(?:@(?P<evse>\d+)(?:\.(?P<conn>\d+))?)?"
    r"\.(?P<variable>[A-Za-z][A-Za-z0-9]*)(?:\[(?P<inst>[^\]]*)\])?$"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableKey:
    """A component (name, instance, EVSE, connector) and a variable (name, instance).

    Written `Component[instance]@evse.connector.Variable[instance]`: `OCPPCommCtrlr.MessageTimeout[Default]`, `EVSE@1.Power`.
    """

    component: str
    variable: str
    instance: str | None = None
    component_instance: str | None = None
    evse_id: int | None = None
    connector_id: int | None = None

    def __str__(self) -> str:
        component = self.component + (f"[{self.component_instance}]" if self.component_instance is not None else "")
        where = "" if self.evse_id is None else f"@{self.evse_id}" + ("" if self.connector_id is None else f".{self.connector_id}")
        return f"{component}{where}.{self.variable}" + (f"[{self.instance}]" if self.instance is not None else "")

    def folded(self) -> "VariableKey":
        """The key in lower case, to compare without case (2.0.1 part 2: names are identifierString, case-insensitive)."""
        return VariableKey(
            component=self.component.casefold(),
            variable=self.variable.casefold(),
            instance=None if self.instance is None else self.instance.casefold(),
            component_instance=None if self.component_instance is None else self.component_instance.casefold(),
            evse_id=self.evse_id,
            connector_id=self.connector_id,
        )


def parse_variable_key(text: str) -> VariableKey:
    """Read the written form of a key. Raises ValueError naming the text when it is not one."""
    match = _NAME.match(text)
    if match is None:
        msg = f"{text!r} is not a variable name; write Component.Variable, Component.Variable[Instance] or Component@evse.Variable"
        raise ValueError(msg)
    part = match.groupdict()
    return VariableKey(
        component=str(part["component"]),
        variable=str(part["variable"]),
        instance=part["inst"],
        component_instance=part["cinst"],
        evse_id=None if part["evse"] is None else int(part["evse"]),
        connector_id=None if part["conn"] is None else int(part["conn"]),
    )


class DataType(StrEnum):
    """OCPP 2.0.1 DataEnumType."""

    STRING = "string"
    DECIMAL = "decimal"
    INTEGER = "integer"
    DATE_TIME = "dateTime"
    BOOLEAN = "boolean"
    OPTION_LIST = "OptionList"
    SEQUENCE_LIST = "SequenceList"
    MEMBER_LIST = "MemberList"


class Mutability(StrEnum):
    """OCPP 2.0.1 MutabilityEnumType."""

    READ_ONLY = "ReadOnly"
    WRITE_ONLY = "WriteOnly"
    READ_WRITE = "ReadWrite"


@dataclass(frozen=True, slots=True, kw_only=True)
class VariableDefinition:
    """What the registry knows of one variable: type, unit, range, default, access. `values_list` are the allowed list members.

    `key_1_6` is its OCPP 1.6 configuration key, None where 1.6 has none. `max_length` bounds the text. `description` is one sentence.
    """

    key: VariableKey
    data_type: DataType
    default: str
    description: str
    mutability: Mutability = Mutability.READ_WRITE
    unit: str | None = None
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    max_length: int = 1000
    values_list: tuple[str, ...] = ()
    reboot_required: bool = False
    persistent: bool = True
    key_1_6: str | None = None


class SetVariableStatus(StrEnum):
    """OCPP 2.0.1 SetVariableStatusEnumType."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    UNKNOWN_COMPONENT = "UnknownComponent"
    UNKNOWN_VARIABLE = "UnknownVariable"
    NOT_SUPPORTED_ATTRIBUTE_TYPE = "NotSupportedAttributeType"
    REBOOT_REQUIRED = "RebootRequired"


class GetVariableStatus(StrEnum):
    """OCPP 2.0.1 GetVariableStatusEnumType."""

    ACCEPTED = "Accepted"
    REJECTED = "Rejected"
    UNKNOWN_COMPONENT = "UnknownComponent"
    UNKNOWN_VARIABLE = "UnknownVariable"
    NOT_SUPPORTED_ATTRIBUTE_TYPE = "NotSupportedAttributeType"


class ValueSource(StrEnum):
    """Where a variable's present value comes from; the later ones win."""

    DEFAULT = "default"
    CONFIGURATION = "configuration"
    CSMS = "csms"
    TECHNICIAN = "technician"


VariableValues = Mapping[VariableKey, str]
"""Present values by key, in their wire text (2.0.1 part 2, 2.1.3)."""
