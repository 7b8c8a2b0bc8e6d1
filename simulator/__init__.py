"""Test rigs: one physical world behind the hardware interface, real Modbus meters, a CSMS with payments. Never imported by `agent`."""
