"""A session in which the meter's register changed: what each register counted, for the books (decision 0013).

Only the first is billed, up to the last reading that continued it. What the others counted until the contactor opened is kept and shown.
"""

from dataclasses import replace
from decimal import Decimal

from agent.domain.metering import Discontinuity, MeterSegment, Reading
from agent.domain.transaction import TransactionRecord


def broken(
    record: TransactionRecord, last_good: Reading, kind: Discontinuity, first_new: Reading, counted: Reading | None = None
) -> TransactionRecord:
    """End the present segment and begin the next. `last_good` ends the billed one; a later one ends where it was `counted` last."""
    if record.segments:
        *before, present = with_counted(record, counted).segments
    else:
        before = []
        start_wh = record.meter_start.energy_wh or Decimal(0)
        serial_number = record.meter_start.serial_number
        present = MeterSegment(serial_number=serial_number, start_wh=start_wh, stop_wh=last_good.energy_wh or start_wh, ended_by=None)
        record = replace(record, last_reading=last_good)
    new_wh = first_new.energy_wh or Decimal(0)
    following = MeterSegment(serial_number=first_new.serial_number, start_wh=new_wh, stop_wh=new_wh, ended_by=None)
    return replace(record, segments=(*before, replace(present, ended_by=kind), following))


def with_counted(record: TransactionRecord, newest: Reading | None) -> TransactionRecord:
    """Note how far the present register has counted."""
    if not record.segments or newest is None or newest.energy_wh is None:
        return record
    *before, present = record.segments
    return replace(record, segments=(*before, replace(present, stop_wh=newest.energy_wh)))


def kind_at_boot(stored: Reading, now: Reading) -> Discontinuity:
    """How the register at a boot breaks with the stored one, where it does."""
    if stored.serial_number is not None and now.serial_number is not None and stored.serial_number != now.serial_number:
        return Discontinuity.SWAP
    if now.energy_wh is not None and stored.energy_wh is not None and now.energy_wh < stored.energy_wh:
        return Discontinuity.RESET
    return Discontinuity.JUMP
