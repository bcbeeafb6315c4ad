-- Exports read steps oldest first; metric steps, which belong to no flag, stand under 0.
CREATE INDEX steps_by_time ON steps (environment, COALESCE(flag, 0), at);
