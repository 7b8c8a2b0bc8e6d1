"""The disk: records, the durable outbox and what was learned of the clock, in one SQLite file. Decides nothing about charging."""
