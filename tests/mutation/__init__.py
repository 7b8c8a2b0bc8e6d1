"""`make mutation`: small changes in core, queue and store, each of which some test must notice (docs/chaos.md)."""
