"""The technician's socket: JSON-RPC 2.0, one object per line, self-describing."""
