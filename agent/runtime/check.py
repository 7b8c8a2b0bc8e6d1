"""What only the parts know of the configuration: variables, drivers, templates, bus addresses. The loader reports it with the rest."""

from collections.abc import Mapping

from agent.config.loader import Validator
from agent.core.variables import Variables, definitions
from agent.hal.registry import installed
from agent.metering.api import MeterConfigError, find_driver
from agent.qr_display.content import validate_template
from agent.runtime.variables import assign_configured


def _variables(value: object) -> str | None:
    if not isinstance(value, Mapping):
        return None
    given = {str(name): str(text) for name, text in value.items()}
    # Only this section is seen here, so every connector may be a socket-outlet; `initial_variables` judges by the one that there is.
    _, problems = assign_configured(Variables.of(definitions(is_tethered=False)), given)
    return "; ".join(problems) or None


def _hal_driver(value: object) -> str | None:
    drivers = installed()
    return None if value in drivers else f"is not installed; installed: {', '.join(sorted(drivers)) or 'none'}"


def _meter_driver(value: object) -> str | None:
    try:
        find_driver(str(value))
    except MeterConfigError as error:
        return str(error)
    return None


def _meter_template(value: object) -> str | None:
    from agent.metering.template import TemplateError, load_template, template_names

    if value not in template_names():
        return f"there is no such template; there are {', '.join(template_names())}"
    try:
        load_template(str(value))
    except TemplateError as error:
        return str(error)
    return None


def _meter_url(value: object) -> str | None:
    from agent.fieldbus.errors import BusUrlError
    from agent.fieldbus.url import parse_bus_url

    try:
        parse_bus_url(str(value))
    except BusUrlError as error:
        return str(error)
    return None


def _qr_template(value: object) -> str | None:
    return validate_template(str(value)) if value else None


VALIDATORS: Mapping[str, Validator] = {
    "variables": _variables,
    "hal.driver": _hal_driver,
    "qr.template": _qr_template,
    "evse.meter.driver": _meter_driver,
    "evse.meter.template": _meter_template,
    "evse.meter.url": _meter_url,
}
"""By the key that each judges."""
