-- What hours add up to stands apart from what is known of them, part by part, so that a report reads what it needs. All
-- hours are counted anew.
DROP TABLE report_hours;

-- Hours that are counted (since 1970): `form` says what was counted, `level` how many of the windows had closed, `seen`
-- which mark had been seen.
CREATE TABLE report_hours (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    form INTEGER NOT NULL,
    level INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (environment, flag, hour)
) STRICT, WITHOUT ROWID;

-- Days in UTC whose hours are summed up: `hour` is the first, `seen` says of which countings of its hours it is the sum,
-- `level` is 1 if every value of every captured attribute is kept apart.
CREATE TABLE report_days (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    form INTEGER NOT NULL,
    level INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    PRIMARY KEY (environment, flag, hour)
) STRICT, WITHOUT ROWID;

-- The sums; `part` says what of, and whether of an hour or of a day.
CREATE TABLE report_parts (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    part INTEGER NOT NULL,
    hour INTEGER NOT NULL,
    bytes BLOB NOT NULL,
    PRIMARY KEY (environment, flag, part, hour)
) STRICT;
