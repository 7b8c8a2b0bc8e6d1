"""OCPP 1.6J Core: a projection of the neutral vocabulary onto connectors, StartTransaction and configuration keys."""
