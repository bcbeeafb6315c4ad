-- What reports count of the exposures of one hour (hours since 1970). `form` says what was counted, `level` how many of
-- the windows had closed, `seen` which mark had been seen.
CREATE TABLE report_hours (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    form BIGINT NOT NULL,
    level BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    cells BYTEA NOT NULL,
    again BYTEA NOT NULL,
    segments BYTEA NOT NULL,
    overlap BYTEA NOT NULL,
    PRIMARY KEY (environment, flag, hour)
);

-- Hours whose rows changed after they may have been counted; the mark grows with each batch that changed them.
CREATE TABLE report_marks (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    mark BIGINT NOT NULL,
    PRIMARY KEY (environment, flag, hour)
);
