"""Tells in time that a certificate of the CSMS's chain, its root among them, is about to expire."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from agent.domain.values import dataclass
from agent.runtime.timekeeper import Notes

if TYPE_CHECKING:
    from agent.ocpp_client.tls import Validity


INSECURE: Final = {
    0: "everybody on the way can read, change and forge every message (security_profile 0)",
    1: "everybody on the way can read the password and change every message (security_profile 1)",
}
"""What is said aloud of a connection without TLS, by security profile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expiry:
    """The certificate that expires first: in so many whole days. `warned_days` is the limit it has come under: 90, 30, 7 or none."""

    subject: str
    is_root: bool
    not_after: datetime
    days: int
    warned_days: int | None

    @property
    def text(self) -> str:
        """A sentence for the technician."""
        what = "the root certificate" if self.is_root else "the certificate"
        end = "has expired" if self.days < 0 else f"expires in {self.days} days"
        return f"{what} {self.subject} {end}, on {self.not_after:%Y-%m-%d}"

    @property
    def cure(self) -> str:
        """What to do; empty while there is time."""
        if self.warned_days is None:
            return ""
        if self.is_root:
            return "put the CSMS's new root into ocpp.ca_file beside the old one, or update the system's roots"
        return "the CSMS operator must renew it"


def next_expiry(chain: "Sequence[Validity]", utc: datetime | None) -> Expiry | None:
    """What of a chain (server first, root last) needs a person first; None without TLS, or while the time is not known."""
    if not chain or utc is None:
        return None
    from agent.ocpp_client.tls import days_warned, soonest

    warned = [certificate for certificate in chain if days_warned(certificate, utc) is not None]
    first = soonest(warned or chain)
    if first is None:
        return None
    return Expiry(
        subject=first.subject,
        is_root=len(chain) > 1 and first is chain[-1],
        not_after=first.not_after,
        days=(first.not_after - utc) // timedelta(days=1),
        warned_days=days_warned(first, utc),
    )


class CertificateWatch:
    """`look` now and then; each limit of each certificate is told once."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._told: tuple[str, datetime, int] | None = None

    def look(self, chain: "Sequence[Validity]", utc: datetime | None) -> None:
        """Tell what has come under a limit since the last look."""
        expiry = next_expiry(chain, utc)
        if expiry is None or expiry.warned_days is None:
            return
        news = (expiry.subject, expiry.not_after, expiry.warned_days)
        if news != self._told:
            self._told = news
            self._notes.note("certificate_expires", f"{expiry.text}: {expiry.cure}", is_warning=True)
