-- Who is in the cohort: the bucket is a hash of salt and unit. 0 strangers.
SELECT count() AS exposures,
       countIf(bucket != bitShiftRight(toUInt64(murmurHash3_32(concat({salt:String}, ':', unit))) * 1000000, 32)) AS strangers
FROM file('exposures.ndjson', JSONEachRow, 'unit String, bucket UInt32')
SETTINGS input_format_skip_unknown_fields = 1;

-- The report's rows: units once, from their first exposure under a rule and arm; converted within 24 hours of it,
-- the funnel in order, where wechat_opened may happen where nobody sees it.
WITH
    shown AS (
        SELECT rule, variant, arm, unit, min(at) AS e, argMin(stage, at) AS stage
        FROM file('exposures.ndjson', JSONEachRow,
                  'unit String, stage UInt32, rule String, arm String, variant String, at DateTime64(3, \'UTC\')')
        GROUP BY rule, variant, arm, unit
        HAVING e + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= {as_of:DateTime64(3, 'UTC')}
    ),
    did AS (
        SELECT unit, flag, stage, rule, step, at
        FROM file('conversions.ndjson', JSONEachRow,
                  'unit String, step String, at DateTime64(3, \'UTC\'), stage Nullable(UInt32), rule Nullable(String), flag Nullable(String)')
    ),
    goals AS (SELECT unit, groupArray(at) AS ats FROM did WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit),
    stops AS (SELECT unit, assumeNotNull(stage) AS stage, assumeNotNull(rule) AS rule,
                     groupArrayIf(at, step = 'entry_clicked') AS a, groupArrayIf(at, step = 'qr_shown') AS b,
                     groupArrayIf(at, step = 'qr_saved') AS c, groupArrayIf(at, step = 'wechat_opened') AS d,
                     groupArrayIf(at, step = 'entry_paid') AS f
              FROM did WHERE flag IS NOT NULL AND stage IS NOT NULL GROUP BY unit, stage, rule),
    -- The earliest event of a stop that is not before the stop before it, or 9999-12-31.
    walked AS (
        SELECT s.rule AS rule, s.variant AS variant, s.arm AS arm, s.e AS e, g.ats AS ats,
               toDateTime64('2299-12-31 00:00:00', 3, 'UTC') AS never, e + INTERVAL 24 HOUR AS ends,
               arrayMin(arrayConcat([never], arrayFilter(t -> t >= e AND t < ends, k.a))) AS t1,
               arrayMin(arrayConcat([never], arrayFilter(t -> t >= t1 AND t < ends, k.b))) AS t2,
               arrayMin(arrayConcat([never], arrayFilter(t -> t >= t2 AND t < ends, k.c))) AS t3,
               arrayMin(arrayConcat([never], arrayFilter(t -> t >= t3 AND t < ends, k.d))) AS t4,
               arrayMin(arrayConcat([never], arrayFilter(t -> t >= t3 AND t < ends, k.f))) AS t5
        FROM shown AS s
        LEFT JOIN goals AS g ON g.unit = s.unit
        LEFT JOIN stops AS k ON k.unit = s.unit AND k.stage = s.stage AND k.rule = s.rule
    )
SELECT rule, variant, arm, count() AS exposed, countIf(arrayExists(t -> t >= e AND t < ends, ats)) AS converted,
       countIf(t1 < never) AS entry_clicked, countIf(t2 < never) AS qr_shown, countIf(t3 < never) AS qr_saved,
       countIf(t4 < never OR t5 < never) AS wechat_opened, countIf(t5 < never) AS entry_paid
FROM walked GROUP BY rule, variant, arm ORDER BY rule, variant, arm
SETTINGS date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1;

-- Stage by stage: all units, and those that converted within a window that has closed.
WITH did AS (
        SELECT unit, groupArray(at) AS ats
        FROM file('conversions.ndjson', JSONEachRow, 'unit String, step String, at DateTime64(3, \'UTC\'), flag Nullable(String)')
        WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit
    )
SELECT stage, rule, variant, arm, count() AS units,
       countIf(x.at + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= {as_of:DateTime64(3, 'UTC')}
               AND arrayExists(t -> t >= x.at AND t < x.at + INTERVAL 24 HOUR, d.ats)) AS converted
FROM file('exposures.ndjson', JSONEachRow,
          'unit String, stage UInt32, rule String, arm String, variant String, at DateTime64(3, \'UTC\')') AS x
LEFT JOIN did AS d ON d.unit = x.unit
GROUP BY stage, rule, variant, arm ORDER BY stage, rule, variant, arm
SETTINGS date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1;

-- The goal against control: compared inside each stage, of units whose window has closed; then pooled by h = n1 n0 / (n1 + n0),
-- what a stage can tell (Mantel and Haenszel).
WITH
    did AS (
        SELECT unit, groupArray(at) AS ats
        FROM file('conversions.ndjson', JSONEachRow, 'unit String, step String, at DateTime64(3, \'UTC\'), flag Nullable(String)')
        WHERE step = 'order_paid' AND flag IS NULL GROUP BY unit
    ),
    came AS (
        SELECT x.stage AS stage, x.rule AS rule, x.arm AS arm, x.variant AS variant,
               arrayExists(t -> t >= x.at AND t < x.at + INTERVAL 24 HOUR, d.ats) AS converted
        FROM file('exposures.ndjson', JSONEachRow,
                  'unit String, stage UInt32, rule String, arm String, variant String, at DateTime64(3, \'UTC\')') AS x
        LEFT JOIN did AS d ON d.unit = x.unit
        WHERE x.at + INTERVAL 24 HOUR + INTERVAL 10 MINUTE <= {as_of:DateTime64(3, 'UTC')}
    ),
    control AS (SELECT stage, rule, count() AS n0, avg(converted) AS p0 FROM came WHERE arm = 'control' GROUP BY stage, rule),
    treated AS (SELECT stage, rule, variant, count() AS n1, avg(converted) AS p1
                FROM came WHERE arm = 'treatment' GROUP BY stage, rule, variant),
    pairs AS (SELECT rule, variant, p1, p0, n1 * n0 / (n1 + n0) AS h FROM treated INNER JOIN control USING (stage, rule))
SELECT rule, variant, sum(h * p1) / sum(h) AS treatment_rate, sum(h * p0) / sum(h) AS control_rate,
       sum(h * (p1 - p0)) / sum(h) AS absolute_lift
FROM pairs GROUP BY rule, variant ORDER BY rule, variant
SETTINGS date_time_input_format = 'best_effort', input_format_skip_unknown_fields = 1;
