-- The instances that share this database, by the database's clock.
CREATE TABLE nodes (
    node TEXT COLLATE "C" PRIMARY KEY,
    started_at BIGINT NOT NULL,
    seen_at BIGINT NOT NULL
);

-- When each began to decide by a number, and how many open pages it told of it.
CREATE TABLE reached (
    environment BIGINT NOT NULL,
    node TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    PRIMARY KEY (environment, node, number)
);

-- The change of a version is found by its time, the last exposure of a flag by the end of this.
CREATE INDEX changes_by_at ON changes (environment, at);
CREATE INDEX exposures_by_at ON exposures (environment, flag, at);
