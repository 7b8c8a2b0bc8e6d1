"""When a technician hears that the queue fills."""

import pytest

from agent.runtime.queue_gauge import QueueGauge


class Notes:
    def __init__(self) -> None:
        self.said: list[tuple[str, str, bool]] = []

    def note(self, name: str, detail: str, *, is_warning: bool) -> None:
        self.said.append((name, detail, is_warning))


@pytest.mark.pain(13)
def test_each_mark_is_told_once_and_again_after_the_queue_was_empty() -> None:
    notes = Notes()
    gauge = QueueGauge(notes)
    for depth in (0, 99, 100, 120, 159, 160, 200, 120, 199, 200, 300, 81, 79, 10, 100):
        gauge.look(depth, 200)
    assert notes.said == [
        ("queue_fills", "100 messages wait, 50 % of the room for them", True),
        ("queue_fills", "160 messages wait, 80 % of the room for them", True),
        ("queue_fills", "200 messages wait, 100 % of the room for them", True),
        ("queue_emptied", "79 messages wait", False),
        ("queue_fills", "100 messages wait, 50 % of the room for them", True),
    ]


def test_a_jump_over_two_marks_is_told_once() -> None:
    notes = Notes()
    QueueGauge(notes).look(190, 200)
    assert notes.said == [("queue_fills", "190 messages wait, 95 % of the room for them", True)]
