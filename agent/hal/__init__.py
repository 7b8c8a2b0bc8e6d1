"""Hardware abstraction: ports, the interlock guard and the drivers."""
