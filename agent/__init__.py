"""charger-agent: the software that runs inside an EV charger."""

__version__ = "0.1.0"
