-- Steps as they are found by unit: here all of them, always.
CREATE VIEW unit_steps AS
SELECT environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency, order_id, at, attributes
FROM steps;
