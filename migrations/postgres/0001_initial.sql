CREATE TABLE meta (
    key TEXT COLLATE "C" PRIMARY KEY,
    value TEXT NOT NULL
);

-- Locked by changes of keys, counted up by each.
INSERT INTO meta (key, value) VALUES ('keys_sequence', '0');
-- Locked by whoever writes a batch of events.
INSERT INTO meta (key, value) VALUES ('events_lock', '');

CREATE TABLE secrets (
    purpose TEXT COLLATE "C" NOT NULL,
    number BIGINT NOT NULL,
    value BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT,
    PRIMARY KEY (purpose, number)
);

CREATE TABLE environments (
    number BIGINT PRIMARY KEY,
    key TEXT COLLATE "C" NOT NULL UNIQUE,
    name TEXT NOT NULL,
    settings TEXT NOT NULL,
    snapshot BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE flags (
    environment BIGINT NOT NULL,
    number BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    stage_open BIGINT,
    stages BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (environment, key),
    UNIQUE (environment, number)
);

CREATE TABLE flag_versions (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    version BIGINT NOT NULL,
    document TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    state TEXT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    action TEXT NOT NULL,
    diff TEXT,
    PRIMARY KEY (environment, flag, version)
);

CREATE TABLE stages (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    stage BIGINT NOT NULL,
    opened_at BIGINT NOT NULL,
    closed_at BIGINT,
    version BIGINT NOT NULL,
    deciding TEXT NOT NULL,
    PRIMARY KEY (environment, flag, stage)
);

CREATE TABLE audiences (
    environment BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    kind TEXT NOT NULL,
    version BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    size BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (environment, key)
);

-- Rows outlive their audience, so that one made anew takes no version or generation twice.
CREATE TABLE audience_versions (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    generation BIGINT NOT NULL,
    size BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT,
    action TEXT NOT NULL,
    PRIMARY KEY (environment, audience, version)
);

CREATE TABLE audience_ids (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (environment, audience, generation, id)
);

CREATE TABLE audience_parts (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    part BIGINT NOT NULL,
    hashes BYTEA NOT NULL,
    hash_key BIGINT NOT NULL,
    checksum BYTEA NOT NULL,
    PRIMARY KEY (environment, audience, generation, part)
);

CREATE TABLE audience_generations (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    finished_at BIGINT,
    PRIMARY KEY (environment, audience, generation)
);

CREATE TABLE changes (
    environment BIGINT NOT NULL,
    number BIGINT NOT NULL,
    at BIGINT NOT NULL,
    subjects TEXT NOT NULL,
    PRIMARY KEY (environment, number)
);

CREATE TABLE audit (
    environment BIGINT NOT NULL,
    id BIGINT NOT NULL,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject_kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    reason TEXT,
    request_id TEXT,
    detail TEXT NOT NULL,
    PRIMARY KEY (environment, id)
);

CREATE INDEX audit_by_subject ON audit (environment, subject_kind, subject, id);

CREATE TABLE api_keys (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    environment BIGINT,
    hash BYTEA NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    created_by TEXT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    last_used_at BIGINT
);

CREATE TABLE exposures (
    environment BIGINT NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    flag BIGINT NOT NULL,
    stage BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    unit_attribute TEXT COLLATE "C" NOT NULL,
    arm BIGINT NOT NULL,
    variant TEXT COLLATE "C" NOT NULL,
    bucket BIGINT,
    at BIGINT NOT NULL,
    captured TEXT,
    replaced BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (environment, unit, flag, stage, rule)
);

CREATE TABLE steps (
    environment BIGINT NOT NULL,
    unit TEXT COLLATE "C" NOT NULL,
    unit_attribute TEXT COLLATE "C" NOT NULL,
    step TEXT COLLATE "C" NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    flag BIGINT,
    stage BIGINT,
    rule TEXT COLLATE "C",
    value BIGINT,
    currency TEXT,
    order_id TEXT,
    at BIGINT NOT NULL,
    attributes TEXT,
    PRIMARY KEY (environment, unit, unit_attribute, step, id)
);

CREATE TABLE exposed_users (
    environment BIGINT NOT NULL,
    flag BIGINT NOT NULL,
    variant TEXT COLLATE "C" NOT NULL,
    arm BIGINT NOT NULL,
    users BIGINT NOT NULL,
    PRIMARY KEY (environment, flag, variant, arm)
);

-- Made before the first migration too, by whoever migrates: its row is the lock.
CREATE TABLE IF NOT EXISTS migration_lock (
    id BIGINT PRIMARY KEY
);
