-- The ids of a generation in blocks: sorted, a line feed before and after each, found by the first of them.
-- A row an id would make ten million random insertions of one upload.
CREATE TABLE audience_blocks (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    generation INTEGER NOT NULL,
    first TEXT NOT NULL,
    size INTEGER NOT NULL,
    ids TEXT NOT NULL,
    PRIMARY KEY (environment, audience, generation, first)
) STRICT;

INSERT INTO audience_blocks (environment, audience, generation, first, size, ids)
SELECT environment, audience, generation, MIN(id), COUNT(*),
       char(10) || group_concat(id, char(10) ORDER BY id) || char(10)
FROM (SELECT environment, audience, generation, id,
             (row_number() OVER (PARTITION BY environment, audience, generation ORDER BY id) - 1) / 256 AS block
      FROM audience_ids)
GROUP BY environment, audience, generation, block;

DROP TABLE audience_ids;

-- What single ids became after their generation was made: each row turns its id over, from that version on.
CREATE TABLE audience_deltas (
    environment INTEGER NOT NULL,
    audience TEXT NOT NULL,
    generation INTEGER NOT NULL,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    member INTEGER NOT NULL,
    PRIMARY KEY (environment, audience, generation, id, version)
) STRICT, WITHOUT ROWID;

CREATE INDEX audience_deltas_by_version ON audience_deltas (environment, audience, generation, version);

-- When it was begun or last fed: what is fed no more is abandoned.
ALTER TABLE audience_generations RENAME COLUMN created_at TO fed_at;
-- Ids in its blocks; -1 once it is being swept.
ALTER TABLE audience_generations ADD COLUMN size INTEGER NOT NULL DEFAULT 0;

UPDATE audience_generations SET size = COALESCE((
    SELECT SUM(b.size) FROM audience_blocks AS b
    WHERE b.environment = audience_generations.environment AND b.audience = audience_generations.audience
      AND b.generation = audience_generations.generation), 0);
