"""Energy meters: templates, register values, plausibility, the lifetime register, and the Modbus driver."""
