-- The ids of a generation in blocks: sorted, a line feed before and after each, found by the first of them.
-- A row an id would make ten million random insertions of one upload.
CREATE TABLE audience_blocks (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    first TEXT COLLATE "C" NOT NULL,
    size BIGINT NOT NULL,
    ids TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (environment, audience, generation, first)
);

INSERT INTO audience_blocks (environment, audience, generation, first, size, ids)
SELECT environment, audience, generation, MIN(id), COUNT(*),
       E'\n' || string_agg(id, E'\n' ORDER BY id) || E'\n'
FROM (SELECT environment, audience, generation, id,
             (row_number() OVER (PARTITION BY environment, audience, generation ORDER BY id) - 1) / 256 AS block
      FROM audience_ids) AS numbered
GROUP BY environment, audience, generation, block;

DROP TABLE audience_ids;

-- What single ids became after their generation was made: each row turns its id over, from that version on.
CREATE TABLE audience_deltas (
    environment BIGINT NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    generation BIGINT NOT NULL,
    id TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    member BIGINT NOT NULL,
    PRIMARY KEY (environment, audience, generation, id, version)
);

CREATE INDEX audience_deltas_by_version ON audience_deltas (environment, audience, generation, version);

-- When it was begun or last fed: what is fed no more is abandoned.
ALTER TABLE audience_generations RENAME COLUMN created_at TO fed_at;
-- Ids in its blocks; -1 once it is being swept.
ALTER TABLE audience_generations ADD COLUMN size BIGINT NOT NULL DEFAULT 0;

UPDATE audience_generations SET size = COALESCE((
    SELECT SUM(b.size) FROM audience_blocks AS b
    WHERE b.environment = audience_generations.environment AND b.audience = audience_generations.audience
      AND b.generation = audience_generations.generation), 0);
