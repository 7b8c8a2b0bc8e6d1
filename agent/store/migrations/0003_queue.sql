-- By what the moments of a boot that were recorded without a time get one on the wire: the first anchor of the boot, and no later one, so
-- that a message says the same at every sending and a session keeps its length.
CREATE TABLE boot_times (
    boot_id TEXT PRIMARY KEY,
    mono_ms INTEGER NOT NULL,
    utc     TEXT NOT NULL
) STRICT;

INSERT INTO boot_times SELECT boot_id, mono_ms, utc FROM clock_anchors;
