"""charger-agent: the software that runs inside an EV charger."""
