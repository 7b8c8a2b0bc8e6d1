"""The OCPP side: frames, connection, queue and one adapter per version."""
