-- Who does what must be done once. Times are the database's own; the token of a name only grows.
CREATE TABLE leases (
    name TEXT PRIMARY KEY,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    done_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
