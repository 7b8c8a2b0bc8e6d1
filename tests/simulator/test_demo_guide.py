"""The guide ticks what has happened, in whatever order a person does it."""

from dataclasses import replace

from simulator.demo.guide import Guide, Seen, Step

IDLE = Seen(is_plugged=False, payment=None, has_energy=False, is_ended=False)
PLUGGED = replace(IDLE, is_plugged=True)
PAID = replace(PLUGGED, payment="first")
CHARGING = replace(PAID, has_energy=True)
ENDED = replace(PAID, is_ended=True)
UNPLUGGED = replace(IDLE, payment="first")


def guide_after(*moments: Seen) -> Guide:
    guide = Guide()
    for moment in moments:
        guide.observe(moment)
    return guide


def steps(guide: Guide) -> list[str]:
    return [step.value for step in Step if step in guide.done]


def test_the_story_in_its_order() -> None:
    """Every step is the next one exactly once, and the round ends with nothing left to do."""
    guide = Guide()
    seen: list[Step | None] = []
    guide.observe(IDLE)
    seen.append(guide.next())
    guide.observe(PLUGGED)
    seen.append(guide.next())
    guide.scanned()
    seen.append(guide.next())
    for moment in (PAID, CHARGING, ENDED, UNPLUGGED):
        guide.observe(moment)
        seen.append(guide.next())
    guide.looked()
    seen.append(guide.next())
    assert seen == [*Step, None]


def test_who_pays_before_plugging_in_is_told_to_plug_in() -> None:
    guide = guide_after(IDLE, UNPLUGGED)
    assert steps(guide) == ["scan", "pay"]
    assert guide.next() is Step.PLUG_IN


def test_unplugging_before_anything_was_charged_undoes_the_plug() -> None:
    guide = guide_after(PLUGGED, IDLE)
    assert steps(guide) == []
    assert guide.next() is Step.PLUG_IN


def test_a_voided_payment_is_asked_for_again() -> None:
    guide = guide_after(PLUGGED, PAID, PLUGGED)
    assert guide.next() is Step.PAY


def test_with_a_card_nothing_is_to_be_scanned_or_paid() -> None:
    guide = guide_after(PLUGGED, replace(PLUGGED, has_energy=True))
    assert steps(guide) == ["plug-in", "watch"]
    assert guide.next() is Step.STOP


def test_pulling_the_plug_while_charging_also_stops() -> None:
    assert steps(guide_after(CHARGING, UNPLUGGED)) == ["plug-in", "scan", "pay", "watch", "stop", "unplug"]


def test_looking_at_the_payments_counts_only_when_there_is_something_to_see() -> None:
    guide = guide_after(CHARGING)
    guide.looked()
    assert Step.SEE not in guide.done


def test_the_next_car_begins_a_new_round() -> None:
    """The payment of the round before does not count for this one."""
    guide = guide_after(CHARGING, ENDED, UNPLUGGED)
    guide.looked()
    guide.observe(PAID)
    assert steps(guide) == ["plug-in"]
    guide.observe(replace(PAID, payment="second"))
    assert steps(guide) == ["plug-in", "scan", "pay"]


def test_the_next_payment_or_scan_begins_a_new_round_too() -> None:
    guide = guide_after(CHARGING, ENDED, UNPLUGGED, replace(UNPLUGGED, payment="second"))
    assert steps(guide) == ["scan", "pay"]
    guide = guide_after(CHARGING, ENDED, UNPLUGGED)
    guide.scanned()
    guide.observe(UNPLUGGED)
    assert steps(guide) == ["scan"]


def test_a_payment_of_an_earlier_run_does_not_count() -> None:
    guide = Guide("first")
    guide.observe(UNPLUGGED)
    assert steps(guide) == []
