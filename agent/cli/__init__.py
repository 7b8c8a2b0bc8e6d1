"""chargerctl: the technician's command line. Speaks only to the daemon's socket."""
