-- Who does what must be done once. Times are the database's own; the token of a name only grows.
CREATE TABLE leases (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT NOT NULL,
    token BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    done_at BIGINT NOT NULL
);
