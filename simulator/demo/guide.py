"""The guide of the demo page: which steps of the story have happened, and which one comes next."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Step(StrEnum):
    """The story in the order in which a newcomer goes through it."""

    PLUG_IN = "plug-in"
    SCAN = "scan"
    PAY = "pay"
    WATCH = "watch"
    STOP = "stop"
    UNPLUG = "unplug"
    SEE = "see"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is to be seen of the site at one moment. `payment` is the key of the newest payment that was not voided."""

    is_plugged: bool
    payment: str | None
    has_energy: bool
    """A session runs and energy has flowed."""
    is_ended: bool
    """The session is being ended, or has ended."""


class Guide:
    """One round after another. A step that is undone (unplugged before anything was paid) is not ticked any more."""

    def __init__(self, payment: str | None = None) -> None:
        """`payment`: the newest one of an earlier run."""
        self.done: frozenset[Step] = frozenset()
        self._payment = self._earlier_payment = payment

    def observe(self, seen: Seen) -> None:
        """Take what is to be seen now. Called at any rate: only states count, no moments."""
        is_new_payment = seen.payment is not None and seen.payment != self._payment
        if Step.UNPLUG in self.done and (seen.is_plugged or is_new_payment):
            self._begin_again()
        self._payment = seen.payment
        done = set(self.done)
        if seen.is_plugged:
            done.add(Step.PLUG_IN)
        if seen.payment is not None and seen.payment != self._earlier_payment:
            done |= {Step.SCAN, Step.PAY}
        elif Step.WATCH not in done:
            done.discard(Step.PAY)
        if seen.has_energy:
            done.add(Step.WATCH)
        if Step.WATCH in done and (seen.is_ended or not seen.is_plugged):
            done.add(Step.STOP)
        if not seen.is_plugged and Step.PLUG_IN in done:
            if Step.STOP in done:
                done.add(Step.UNPLUG)
            else:
                done.discard(Step.PLUG_IN)
        self.done = frozenset(done)

    def scanned(self) -> None:
        """Somebody has followed the code."""
        if Step.UNPLUG in self.done:
            self._begin_again()
        self.done |= {Step.SCAN}

    def looked(self) -> None:
        """Somebody looks at the list of payments."""
        if Step.STOP in self.done:
            self.done |= {Step.SEE}

    def next(self) -> Step | None:
        """What to do now; None when the round is complete. With a card there is nothing to scan and to pay."""
        skipped = _PAYING if Step.WATCH in self.done else frozenset()
        return next((step for step in Step if step not in self.done | skipped), None)

    def _begin_again(self) -> None:
        self.done = frozenset()
        self._earlier_payment = self._payment


_PAYING: Final = frozenset({Step.SCAN, Step.PAY})
