-- What hours add up to stands apart from what is known of them, part by part, so that a report reads what it needs. All
-- hours are counted anew.
DROP TABLE report_hours;

-- Hours that are counted (since 1970): `form` says what was counted, `level` how many of the windows had closed, `seen`
-- which mark had been seen.
CREATE TABLE report_hours (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    form BIGINT NOT NULL,
    level BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (environment, flag, hour)
);

-- Days in UTC whose hours are summed up: `hour` is the first, `seen` says of which countings of its hours it is the sum,
-- `level` is 1 if every value of every captured attribute is kept apart.
CREATE TABLE report_days (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    form BIGINT NOT NULL,
    level BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    PRIMARY KEY (environment, flag, hour)
);

-- The sums; `part` says what of, and whether of an hour or of a day.
CREATE TABLE report_parts (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    part BIGINT NOT NULL,
    hour BIGINT NOT NULL,
    bytes BYTEA NOT NULL,
    PRIMARY KEY (environment, flag, part, hour)
);
