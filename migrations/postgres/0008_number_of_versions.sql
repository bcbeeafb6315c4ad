-- The snapshot number that a version took; none for versions from before.
ALTER TABLE flag_versions ADD COLUMN number BIGINT;
-- A version's change is found by that number.
DROP INDEX changes_by_at;
