-- What of an hour depends on where a report begins is kept as sums, also by captured attribute and by other flag.
ALTER TABLE report_hours ADD COLUMN segments_again BLOB NOT NULL DEFAULT x'';
ALTER TABLE report_hours ADD COLUMN overlap_again BLOB NOT NULL DEFAULT x'';
