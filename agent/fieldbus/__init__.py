"""Field buses: serial lines and Modbus TCP connections, one owner task each, shared by meters and Modbus charge controllers.

The only place that imports pymodbus and pyserial, and only when a bus is opened (`agent.fieldbus.link`).
"""
