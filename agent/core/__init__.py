"""The deciding half of the agent. Pure: events in, effects out; no clock, no I/O, no await."""
