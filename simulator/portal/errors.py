"""What can go wrong in the portal, by whose fault it is.

PortalError
├── UserError                 the person at the web page: the sentence is shown as it stands
│   ├── BadInputError         one or more fields of a form
│   ├── ClaimRefusedError     serial number and UID do not belong together, or the charger is taken
│   ├── ClaimRateLimitedError too many wrong UIDs
│   ├── NotPayableError       the charger cannot be paid for right now
│   ├── PriceChangedError     the price shown is no longer the price
│   └── UnknownItemError      no such charger, group, payment or session
├── CommandError              the charger, or the way to it
│   ├── ChargerOfflineError   nothing was sent
│   ├── LinkLostError         sent, and the connection went away before the answer
│   ├── CommandTimeoutError   sent, not answered in time
│   ├── CommandRefusedError   answered by CALLERROR
│   └── BadAnswerError        answered against the official schema
├── WireError                 a frame of the charger that gets a CALLERROR (knows its OCPP code)
└── LocalProtocolError        we were about to send something against the official schema: a bug of ours
"""


class PortalError(Exception):
    """Root of everything the portal raises on purpose."""


class UserError(PortalError):
    """The sentence is for the person at the page."""


class BadInputError(UserError):
    """All problems of one form at once."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class ClaimRefusedError(UserError):
    """The charger was not added."""


class ClaimRateLimitedError(UserError):
    """Too many wrong UIDs; `retry_after_s` says when the next try is looked at."""

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"Too many wrong UID codes. Try again in {retry_after_s} seconds.")
        self.retry_after_s = retry_after_s


class NotPayableError(UserError):
    """The charger cannot be paid for right now."""


class PriceChangedError(UserError):
    """The driver agreed to a price that is no longer valid."""


class UnknownItemError(UserError):
    """No such charger, group, payment or session."""

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"There is no {what} {name!r}.")


class CommandError(PortalError):
    """A call to a charger that did not end with a proper answer."""

    def __init__(self, station: str, action: str, reason: str) -> None:
        super().__init__(f"{action} to {station}: {reason}")
        self.station = station
        self.action = action
        self.reason = reason


class ChargerOfflineError(CommandError):
    """The charger is not connected, so nothing was sent."""

    def __init__(self, station: str, action: str) -> None:
        super().__init__(station, action, "the charger is not connected; nothing was sent")


class LinkLostError(CommandError):
    """Sent, but the connection went away before the answer: whether it took effect is unknown."""

    def __init__(self, station: str, action: str) -> None:
        super().__init__(station, action, "the connection was lost before the answer")


class CommandTimeoutError(CommandError):
    """Sent, not answered in time: whether it took effect is unknown."""

    def __init__(self, station: str, action: str, timeout_s: float) -> None:
        super().__init__(station, action, f"no answer within {timeout_s:g} s")


class CommandRefusedError(CommandError):
    """The charger answered by CALLERROR."""

    def __init__(self, station: str, action: str, code: str, description: str) -> None:
        super().__init__(station, action, f"CALLERROR {code}: {description}")
        self.code = code


class BadAnswerError(CommandError):
    """The answer violates the official schema."""


class WireError(PortalError):
    """A CALL of the charger that is answered by CALLERROR `code`."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(f"{code}: {description}")
        self.code = code
        self.description = description[:255]


class LocalProtocolError(PortalError):
    """We built a frame that violates the official schema."""
