"""Tests of `agent.diagnostics`."""
