"""Configuration keys of 1.6: each stands for a variable of the registry, and some have a notation of their own.

Which keys exist is said by the registry (`VariableDefinition.key_1_6`); only `DefaultPrice` stands for several variables at once.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Protocol

from agent.domain.commands import VariableAssignment
from agent.domain.values import dataclass
from agent.domain.variables import DataType, Mutability, VariableDefinition, VariableKey, parse_variable_key
from agent.ocpp_client.rpc import is_text

_log = logging.getLogger(__name__)

MAX_VALUE = 500
"""1.6 7.29: CiString500."""
_DEFAULT_MAX_KEYS = 100
_LISTS = frozenset({DataType.MEMBER_LIST, DataType.SEQUENCE_LIST})
_UNKNOWN_COMPONENT = "OCPP16Key"
"""Component of no variable: the registry answers UnknownComponent, and the name survives until the answer is written."""

_PRICES: Mapping[str, VariableKey] = {
    name: parse_variable_key(f"TariffCostCtrlr.OfflineChargingPrice[{name}]") for name in ("kWhPrice", "hourPrice", "flatFee")
}
_PRICE_TEXT = parse_variable_key("TariffCostCtrlr.TariffFallbackMessage")
_PRICE_TEXT_OFFLINE = parse_variable_key("TariffCostCtrlr.TariffFallbackMessage[Offline]")
_PRICE_DECIMALS = 6
_PRICE_DIGITS = 9

_MIN_PASSWORD_BYTES, _MAX_PASSWORD_BYTES = 16, 20

Values = Mapping[VariableKey, str]
"""Present values by folded key; a variable that may not be read is absent."""


class KeyCodec(Protocol):
    """One configuration key."""

    @property
    def name(self) -> str:
        """The key as 1.6 writes it."""

    @property
    def variables(self) -> tuple[VariableDefinition, ...]:
        """What it stands for."""

    def decode(self, value: str) -> tuple[VariableAssignment, ...]:
        """What a ChangeConfiguration sets. Raises ValueError saying what is allowed."""

    def encode(self, values: Values) -> str | None:
        """The value for GetConfiguration, None where there is none to show."""


class Keys:
    """Every configuration key of this station, found without regard to case (1.6: CiString50Type)."""

    def __init__(self, definitions: Sequence[VariableDefinition]) -> None:
        codecs: list[KeyCodec] = [_codec(definition) for definition in definitions if definition.key_1_6 is not None]
        default_price = _default_price(definitions)
        if default_price is not None:
            codecs.append(default_price)
        self._by_name = {codec.name.casefold(): codec for codec in codecs}
        self._by_variable = {definition.key.folded(): codec for codec in codecs for definition in codec.variables}
        limits = [int(definition.default) for definition in definitions if definition.key_1_6 == "GetConfigurationMaxKeys"]
        self.max_keys = next(iter(limits), _DEFAULT_MAX_KEYS)

    def all(self) -> tuple[KeyCodec, ...]:
        """In the order of the registry."""
        return tuple(self._by_name.values())

    def variables_of(self, name: str) -> tuple[VariableKey, ...]:
        """The variables behind a key; for an unknown one a variable that does not exist, from which `name_of_unknown` reads it again."""
        codec = self._by_name.get(name.casefold())
        return (_unknown(name),) if codec is None else tuple(definition.key for definition in codec.variables)

    def codec_of(self, variable: VariableKey) -> KeyCodec | None:
        """The key behind which a variable stands."""
        return self._by_variable.get(variable.folded())

    def assignments(self, name: str, value: str) -> tuple[VariableAssignment, ...]:
        """What a ChangeConfiguration sets; nothing when the value is refused here already (the log says why)."""
        codec = self._by_name.get(name.casefold())
        if codec is None:
            return (VariableAssignment(key=_unknown(name), value=value),)
        try:
            return codec.decode(value)
        except ValueError as error:
            _log.warning("configuration key refused: key=%s reason=%s", codec.name, error)
            return ()


def is_read_only(codec: KeyCodec) -> bool:
    """Whether every variable of a key is read-only."""
    return all(definition.mutability is Mutability.READ_ONLY for definition in codec.variables)


def shown_value(codec: KeyCodec, values: Values) -> str | None:
    """The value of a key for GetConfiguration. One that 1.6 has no room for is left out and logged: half a value would be a wrong one."""
    value = codec.encode(values)
    if value is not None and len(value) > MAX_VALUE:
        _log.warning("configuration value is not shown: key=%s length=%d allowed=%d", codec.name, len(value), MAX_VALUE)
        return None
    return value


@dataclass(frozen=True, slots=True)
class PlainKey:
    """A key whose value is the variable's text: booleans in any case, lists with or without spaces."""

    definition: VariableDefinition

    @property
    def name(self) -> str:
        return str(self.definition.key_1_6)

    @property
    def variables(self) -> tuple[VariableDefinition, ...]:
        return (self.definition,)

    def decode(self, value: str) -> tuple[VariableAssignment, ...]:
        data_type = self.definition.data_type
        if data_type in _LISTS:
            value = ",".join(item.strip() for item in value.split(",") if item.strip())
        elif data_type is DataType.BOOLEAN:
            value = value.strip().lower()
        elif data_type is not DataType.STRING:
            value = value.strip()
        return (VariableAssignment(key=self.definition.key, value=value),)

    def encode(self, values: Values) -> str | None:
        return values.get(self.definition.key.folded())


@dataclass(frozen=True, slots=True)
class AuthorizationKey:
    """The HTTP Basic password, 16 to 20 bytes in hexadecimal (security whitepaper edition 3). The variable keeps the hexadecimal text."""

    definition: VariableDefinition

    @property
    def name(self) -> str:
        return str(self.definition.key_1_6)

    @property
    def variables(self) -> tuple[VariableDefinition, ...]:
        return (self.definition,)

    def decode(self, value: str) -> tuple[VariableAssignment, ...]:
        text = value.strip()
        try:
            length = len(bytes.fromhex(text)) if text.isalnum() else 0
        except ValueError:
            length = 0
        if not _MIN_PASSWORD_BYTES <= length <= _MAX_PASSWORD_BYTES:
            msg = f"allowed: {2 * _MIN_PASSWORD_BYTES} to {2 * _MAX_PASSWORD_BYTES} hexadecimal digits, got {len(text)} characters"
            raise ValueError(msg)
        return (VariableAssignment(key=self.definition.key, value=text.lower()),)

    def encode(self, values: Values) -> str | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultPrice:
    """The California Pricing key: a JSON text with the price in words and in numbers, per kWh, per hour and per session, VAT included.

    `offline_text` is None where the station shows one text online and offline; `priceText` then serves both.
    """

    text: VariableDefinition
    offline_text: VariableDefinition | None
    prices: Mapping[str, VariableDefinition]

    @property
    def name(self) -> str:
        return "DefaultPrice"

    @property
    def variables(self) -> tuple[VariableDefinition, ...]:
        texts = (self.text,) if self.offline_text is None else (self.text, self.offline_text)
        return (*texts, *self.prices.values())

    def decode(self, value: str) -> tuple[VariableAssignment, ...]:
        """Everything is judged before anything is set: half a price would be a wrong one. An empty value removes the price."""
        document = _json_object(value) if value.strip() else {"priceText": ""}
        charging_price = document.get("chargingPrice", {})
        if not isinstance(charging_price, dict):
            msg = "chargingPrice must be an object"
            raise ValueError(msg)  # noqa: TRY004 - wrong content of a text, not a wrong Python type
        unknown = {name for name in document if name != "chargingPrice" and not name.startswith("priceText")}
        unknown |= charging_price.keys() - self.prices.keys()
        if unknown:
            msg = f"{', '.join(sorted(unknown))[:100]}: not known here, and a part of a price may not be ignored"
            raise ValueError(msg)
        words = _words(document, "priceText", self.text)
        assignments = [VariableAssignment(key=self.text.key, value=words)]
        if self.offline_text is not None:
            offline_words = _words(document, "priceTextOffline", self.offline_text) if "priceTextOffline" in document else words
            assignments.append(VariableAssignment(key=self.offline_text.key, value=offline_words))
        for name, definition in self.prices.items():
            number = _price(name, charging_price[name], definition) if name in charging_price else ""
            assignments.append(VariableAssignment(key=definition.key, value=number))
        return tuple(assignments)

    def encode(self, values: Values) -> str | None:
        words = values.get(self.text.key.folded(), "")
        offline_words = words if self.offline_text is None else values.get(self.offline_text.key.folded(), "")
        prices = {name: values.get(definition.key.folded(), "") for name, definition in self.prices.items()}
        numbers = ",".join(f'"{name}":{number}' for name, number in prices.items() if number)
        if not words and not offline_words and not numbers:
            return ""
        members = [f'"priceText":{_quoted(words)}', f'"priceTextOffline":{_quoted(offline_words)}']
        if numbers:
            members.append(f'"chargingPrice":{{{numbers}}}')
        return "{" + ",".join(members) + "}"


def _codec(definition: VariableDefinition) -> KeyCodec:
    return AuthorizationKey(definition) if definition.key_1_6 == "AuthorizationKey" else PlainKey(definition)


def _default_price(definitions: Sequence[VariableDefinition]) -> DefaultPrice | None:
    by_key = {definition.key: definition for definition in definitions}
    prices = {name: by_key[key] for name, key in _PRICES.items() if key in by_key}
    text = by_key.get(_PRICE_TEXT)
    if text is None or not prices:
        return None
    return DefaultPrice(text=text, offline_text=by_key.get(_PRICE_TEXT_OFFLINE), prices=prices)


def _unknown(name: str) -> VariableKey:
    return VariableKey(component=_UNKNOWN_COMPONENT, variable=name)


def name_of_unknown(variable: VariableKey) -> str:
    """The key that was asked for and that `Keys.variables_of` did not know."""
    return variable.variable


def _json_object(value: str) -> dict[str, object]:
    try:
        document = json.loads(value, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError, ArithmeticError):
        document = None
    if not isinstance(document, dict) or not is_text(document):
        msg = "the value must be a JSON object with priceText"
        raise ValueError(msg)
    return document


def _refuse_constant(name: str) -> object:
    msg = f"{name} is not JSON"
    raise ValueError(msg)


def _words(document: Mapping[str, object], name: str, definition: VariableDefinition) -> str:
    words = document.get(name)
    if not isinstance(words, str) or len(words) > definition.max_length:
        msg = f"{name} must be a text of at most {definition.max_length} characters"
        raise ValueError(msg)
    return words


def _price(name: str, value: object, definition: VariableDefinition) -> str:
    """A price as decimal text. OCPP 2.1 part 2, 2.1.4: what is sent to a station has at most six decimals."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        msg = f"{name} must be a number"
        raise ValueError(msg)  # noqa: TRY004 - wrong content of a text
    number = Decimal(value)
    low = definition.minimum if definition.minimum is not None else Decimal(0)
    exponent = number.as_tuple().exponent
    fits = number.is_finite() and number.adjusted() < _PRICE_DIGITS and isinstance(exponent, int) and exponent >= -_PRICE_DECIMALS
    if not fits or number < low or (definition.maximum is not None and number > definition.maximum):
        msg = f"{name} must be at least {low}, with at most {_PRICE_DIGITS} digits before and {_PRICE_DECIMALS} after the point"
        raise ValueError(msg)
    return format(number + 0, "f")  # -0 becomes 0


def _quoted(words: str) -> str:
    return json.dumps(words, ensure_ascii=False)
