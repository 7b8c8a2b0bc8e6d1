"""What the display expects of the thing that shows its pictures."""

from typing import Protocol

from agent.qr_display.render import Frame


class Output(Protocol):
    """A screen, a file, a web page: somewhere a picture can go. Called from the display's own thread, so it may block for a moment."""

    def show(self, frame: Frame) -> None:
        """Shows the picture until the next one. Raises OSError when it cannot; the display says so and goes on."""
