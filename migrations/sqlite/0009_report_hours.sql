-- What reports count of the exposures of one hour (hours since 1970). `form` says what was counted, `level` how many of
-- the windows had closed, `seen` which mark had been seen.
CREATE TABLE report_hours (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    form INTEGER NOT NULL,
    level INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    cells BLOB NOT NULL,
    again BLOB NOT NULL,
    segments BLOB NOT NULL,
    overlap BLOB NOT NULL,
    PRIMARY KEY (environment, flag, hour)
) STRICT;

-- Hours whose rows changed after they may have been counted; the mark grows with each batch that changed them.
CREATE TABLE report_marks (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    mark INTEGER NOT NULL,
    PRIMARY KEY (environment, flag, hour)
) STRICT, WITHOUT ROWID;
