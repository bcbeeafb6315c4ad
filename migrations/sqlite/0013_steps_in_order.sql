-- Steps are stored in the order of their coming, and found by unit through their places, which follow later, many at a
-- time: a random key cost a page an event. Numbers are never used twice.
CREATE TABLE steps_in_order (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
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
    attributes TEXT
) STRICT;

INSERT INTO steps_in_order (environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at,
                            attributes)
SELECT environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at, attributes
FROM steps ORDER BY at;

DROP TABLE steps;
ALTER TABLE steps_in_order RENAME TO steps;
-- To the end, so that a page of an export begins where the last one ended, however many steps have the same time.
CREATE INDEX steps_by_time ON steps (environment, COALESCE(flag, 0), at, unit, unit_attribute, step, id);

CREATE TABLE step_places (
    environment INTEGER NOT NULL,
    unit TEXT NOT NULL,
    unit_attribute TEXT NOT NULL,
    step TEXT NOT NULL,
    id TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (environment, unit, unit_attribute, step, id)
) STRICT, WITHOUT ROWID;

INSERT INTO step_places (environment, unit, unit_attribute, step, id, number)
SELECT environment, unit, unit_attribute, step, id, number FROM steps ORDER BY 1, 2, 3, 4, 5;

-- Every step up to this number has its place.
INSERT INTO meta (key, value) SELECT 'steps_placed', CAST(COALESCE(MAX(number), 0) AS TEXT) FROM steps;

CREATE TRIGGER steps_leave_their_places AFTER DELETE ON steps BEGIN
    DELETE FROM step_places
    WHERE environment = OLD.environment AND unit = OLD.unit AND unit_attribute = OLD.unit_attribute
      AND step = OLD.step AND id = OLD.id AND number = OLD.number;
END;

-- Steps as they are found by unit: those that have their places.
CREATE VIEW unit_steps AS
SELECT p.environment, p.unit, p.unit_attribute, p.step, p.id, s.flag, s.stage, s.rule, s.value, s.currency, s.order_id,
       s.at, s.attributes, p.number
FROM step_places AS p CROSS JOIN steps AS s ON s.number = p.number;
