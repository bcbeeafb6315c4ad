-- Who is in the cohort: DuckDB has no murmur3, so it takes the buckets as they are. With 60 % treatment, 0 misplaced.
SELECT count(*) AS exposures,
       count(*) FILTER ((arm = 'treatment') != (bucket < $percent * 10_000)) AS misplaced
FROM read_ndjson('exposures.ndjson', columns = {stage: 'INT', rule: 'VARCHAR', arm: 'VARCHAR', bucket: 'BIGINT'})
WHERE stage = $stage AND rule = 'ramp';

-- The report's rows: units once, from their first exposure under a rule and arm; converted within 24 hours of it,
-- the funnel in order, where wechat_opened may happen where nobody sees it.
WITH shown AS (
        SELECT rule, variant, arm, unit, min("at") AS e, arg_min(stage, "at") AS stage
        FROM read_ndjson('exposures.ndjson', columns = {
            unit: 'VARCHAR', stage: 'INT', rule: 'VARCHAR', arm: 'VARCHAR', variant: 'VARCHAR', "at": 'TIMESTAMP'})
        GROUP BY ALL
        HAVING min("at") + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= CAST($as_of AS TIMESTAMP)
    ),
    did AS (
        SELECT * FROM read_ndjson('conversions.ndjson', columns = {
            unit: 'VARCHAR', step: 'VARCHAR', "at": 'TIMESTAMP', stage: 'INT', rule: 'VARCHAR', flag: 'VARCHAR'})
    ),
    goals AS (SELECT unit, list("at") AS ats FROM did WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit),
    stops AS (SELECT unit, stage, rule, list("at") FILTER (step = 'entry_clicked') AS a,
                     list("at") FILTER (step = 'qr_shown') AS b, list("at") FILTER (step = 'qr_saved') AS c,
                     list("at") FILTER (step = 'wechat_opened') AS d, list("at") FILTER (step = 'entry_paid') AS f
              FROM did WHERE flag IS NOT NULL GROUP BY unit, stage, rule),
    -- The earliest event of a stop that is not before the stop before it.
    walked AS (
        SELECT s.*, s.e + INTERVAL 24 HOUR AS ends,
               len(list_filter(g.ats, lambda t: t >= s.e AND t < ends)) > 0 AS converted,
               list_min(list_filter(k.a, lambda t: t >= s.e AND t < ends)) AS t1,
               list_min(list_filter(k.b, lambda t: t >= t1 AND t < ends)) AS t2,
               list_min(list_filter(k.c, lambda t: t >= t2 AND t < ends)) AS t3,
               list_min(list_filter(k.d, lambda t: t >= t3 AND t < ends)) AS t4,
               list_min(list_filter(k.f, lambda t: t >= t3 AND t < ends)) AS t5
        FROM shown AS s LEFT JOIN goals AS g USING (unit) LEFT JOIN stops AS k USING (unit, stage, rule)
    )
SELECT rule, variant, arm, count(*) AS exposed, count(*) FILTER (converted) AS converted,
       count(t1) AS entry_clicked, count(t2) AS qr_shown, count(t3) AS qr_saved,
       count(coalesce(t4, t5)) AS wechat_opened, count(t5) AS entry_paid
FROM walked GROUP BY ALL ORDER BY ALL;

-- Stage by stage: all units, and those that converted within a window that has closed.
WITH goals AS (
        SELECT unit, list("at") AS ats FROM read_ndjson('conversions.ndjson', columns = {
            unit: 'VARCHAR', step: 'VARCHAR', "at": 'TIMESTAMP', flag: 'VARCHAR'})
        WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit
    )
SELECT stage, rule, variant, arm, count(*) AS units,
       count(*) FILTER (x."at" + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= CAST($as_of AS TIMESTAMP)
           AND len(list_filter(g.ats, lambda t: t >= x."at" AND t < x."at" + INTERVAL 24 HOUR)) > 0) AS converted
FROM read_ndjson('exposures.ndjson', columns = {
    unit: 'VARCHAR', stage: 'INT', rule: 'VARCHAR', arm: 'VARCHAR', variant: 'VARCHAR', "at": 'TIMESTAMP'}) AS x
LEFT JOIN goals AS g USING (unit)
GROUP BY ALL ORDER BY ALL;

-- The goal against control: compared inside each stage, of units whose window has closed; then pooled by h = n1 n0 / (n1 + n0),
-- what a stage can tell (Mantel and Haenszel).
WITH goals AS (
        SELECT unit, list("at") AS ats FROM read_ndjson('conversions.ndjson', columns = {
            unit: 'VARCHAR', step: 'VARCHAR', "at": 'TIMESTAMP', flag: 'VARCHAR'})
        WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit
    ),
    came AS (
        SELECT stage, rule, arm, variant,
               coalesce(len(list_filter(g.ats, lambda t: t >= x."at" AND t < x."at" + INTERVAL 24 HOUR)) > 0, false) AS converted
        FROM read_ndjson('exposures.ndjson', columns = {
            unit: 'VARCHAR', stage: 'INT', rule: 'VARCHAR', arm: 'VARCHAR', variant: 'VARCHAR', "at": 'TIMESTAMP'}) AS x
        LEFT JOIN goals AS g USING (unit)
        WHERE x."at" + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= CAST($as_of AS TIMESTAMP)
    ),
    control AS (SELECT stage, rule, count(*) AS n0, avg(converted::INT) AS p0 FROM came WHERE arm = 'control' GROUP BY ALL),
    treated AS (SELECT stage, rule, variant, count(*) AS n1, avg(converted::INT) AS p1 FROM came WHERE arm = 'treatment' GROUP BY ALL),
    pairs AS (SELECT *, n1 * n0 / (n1 + n0) AS h FROM treated JOIN control USING (stage, rule))
SELECT rule, variant, sum(h * p1) / sum(h) AS treatment_rate, sum(h * p0) / sum(h) AS control_rate,
       sum(h * (p1 - p0)) / sum(h) AS absolute_lift
FROM pairs GROUP BY ALL ORDER BY ALL;
