-- The instances that share this database, by the database's clock.
CREATE TABLE nodes (
    node TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When each began to decide by a number, and how many open pages it told of it.
CREATE TABLE reached (
    environment INTEGER NOT NULL,
    node TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    PRIMARY KEY (environment, node, number)
) STRICT, WITHOUT ROWID;

-- The change of a version is found by its time, the last exposure of a flag by the end of this.
CREATE INDEX changes_by_at ON changes (environment, at);
CREATE INDEX exposures_by_at ON exposures (environment, flag, at);
