"""Tests of `agent.ocpp_client`."""
