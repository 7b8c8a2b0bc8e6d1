"""OCPP 2.0.1: the neutral vocabulary is its own, so its codecs mostly give it the spelling of the wire."""
