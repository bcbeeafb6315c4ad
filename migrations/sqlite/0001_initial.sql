CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Locked by changes of keys, counted up by each.
INSERT INTO meta (key, value) VALUES ('keys_sequence', '0');
-- Locked by whoever writes a batch of events.
INSERT INTO meta (key, value) VALUES ('events_lock', '');

CREATE TABLE secrets (
    purpose TEXT NOT NULL,
    number INTEGER NOT NULL,
    value BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    retired_at INTEGER,
    PRIMARY KEY (purpose, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE environments (
    number INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    snapshot INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE flags (
    environment INTEGER NOT NULL,
    number INTEGER NOT NULL,
    key TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    stage_open INTEGER,
    stages INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (environment, key),
    UNIQUE (environment, number)
) STRICT;

CREATE TABLE flag_versions (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    action TEXT NOT NULL,
    diff TEXT,
    PRIMARY KEY (environment, flag, version)
) STRICT;

CREATE TABLE stages (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    closed_at INTEGER,
    version INTEGER NOT NULL,
    deciding TEXT NOT NULL,
    PRIMARY KEY (environment, flag, stage)
) STRICT;

CREATE TABLE audiences (
    environment INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    size INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (environment, key)
) STRICT, WITHOUT ROWID;

-- Rows outlive their audience, so that one made anew takes no version or generation twice.
CREATE TABLE audience_versions (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    version INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    size INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    action TEXT NOT NULL,
    PRIMARY KEY (environment, audience, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE audience_ids (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    generation INTEGER NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (environment, audience, generation, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE audience_parts (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    generation INTEGER NOT NULL,
    part INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    hash_key INTEGER NOT NULL,
    checksum BLOB NOT NULL,
    PRIMARY KEY (environment, audience, generation, part)
) STRICT;

CREATE TABLE audience_generations (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    generation INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    finished_at INTEGER,
    PRIMARY KEY (environment, audience, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    environment INTEGER NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    subjects TEXT NOT NULL,
    PRIMARY KEY (environment, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
    environment INTEGER NOT NULL,
    id INTEGER NOT NULL,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject_kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    reason TEXT,
    request_id TEXT,
    detail TEXT NOT NULL,
    PRIMARY KEY (environment, id)
) STRICT;

CREATE INDEX audit_by_subject ON audit (environment, subject_kind, subject, id);

CREATE TABLE api_keys (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    environment INTEGER,
    hash BLOB NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_at INTEGER,
    revoked_at INTEGER,
    last_used_at INTEGER
) STRICT;

CREATE TABLE exposures (
    environment INTEGER NOT NULL,
    unit TEXT NOT NULL,
    flag INTEGER NOT NULL,
    stage INTEGER NOT NULL,
    rule TEXT NOT NULL,
    unit_attribute TEXT NOT NULL,
    arm INTEGER NOT NULL,
    variant TEXT NOT NULL,
    bucket INTEGER,
    at INTEGER NOT NULL,
    captured TEXT,
    replaced INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (environment, unit, flag, stage, rule)
) STRICT, WITHOUT ROWID;

CREATE TABLE steps (
    environment INTEGER NOT NULL,
    unit TEXT NOT NULL,
    unit_attribute TEXT NOT NULL,
    step TEXT NOT NULL,
    id TEXT NOT NULL,
    flag INTEGER,
    stage INTEGER,
    rule TEXT,
    value INTEGER,
    currency TEXT,
    order_id TEXT,
    at INTEGER NOT NULL,
    attributes TEXT,
    PRIMARY KEY (environment, unit, unit_attribute, step, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE exposed_users (
    environment INTEGER NOT NULL,
    flag INTEGER NOT NULL,
    variant TEXT NOT NULL,
    arm INTEGER NOT NULL,
    users INTEGER NOT NULL,
    PRIMARY KEY (environment, flag, variant, arm)
) STRICT, WITHOUT ROWID;
