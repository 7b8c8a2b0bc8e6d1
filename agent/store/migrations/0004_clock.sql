-- What the board's own clock said at that moment, where it was wrong and moments had been recorded by it: they get their time by the boot's
-- first trusted one as well.
ALTER TABLE boot_times ADD COLUMN board_utc TEXT;
