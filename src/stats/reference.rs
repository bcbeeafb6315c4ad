//! Every row of `tests/vectors/statistics/reference.jsonl` (made by `reference.py` beside it with `SciPy`, `statsmodels`
//! and `mpmath`) agrees: relative 1e-9, absolute 1e-12 near 0, Bayesian figures absolute 1e-8, null where null.

use crate::stats::compare::{Better, Comparison, Question, Role, compare};
use crate::stats::counts::{Count, Strata, Stratum};
use crate::stats::figures::{Interval, Span};
use crate::stats::guardrail::ln_e_over;
use crate::stats::mean::{self, Sums, ValueStratum, Values};
use crate::stats::multiple::adjust;
use crate::stats::power::Plan;
use crate::stats::proportion::{fisher, mover_r, newcombe, pooled_z, wilson};
use crate::stats::ratio::{self, RatioStratum, RatioSums};
use crate::stats::special::{Z, two_sided};
use crate::stats::srm::{Split, check};
use crate::stats::stratified::{Cell, Link, Pool, Row, clustered, fieller};
use crate::stats::{bayes, sequential};
use serde_json::Value;

type Named = Vec<(&'static str, Option<f64>)>;

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn whole(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn list(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|item| item.as_f64().unwrap()).collect()
}

fn wholes(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|item| item.as_u64().unwrap()).collect()
}

fn table(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(list).collect()
}

fn arms(given: &Value) -> (Count, Count) {
    let count = |x, n| Count { units: whole(given, n), converted: whole(given, x) };
    (count("x1", "n1"), count("x0", "n0"))
}

fn ends(interval: Interval) -> Named {
    vec![("lo", Some(interval.low)), ("hi", Some(interval.high))]
}

/// The comparison of one stratum, as the goal.
fn asked(treatment: Count, control: Count) -> Comparison {
    let strata = [Stratum { stage: 1, treatment, control }];
    compare(&Question {
        counts: Strata { strata: &strata, ..Strata::default() },
        maturing_users: 0,
        role: Role::Goal,
        better: Better::More,
        treatments: 1,
        srm_ok: true,
        margin: None,
        min_effect: 0.05,
        pace: None,
        window_hours: 24,
    })
}

fn always_valid(given: &Value) -> Named {
    let (treatment, control) = arms(given);
    let rows = [Row { treatment: treatment.cell(), control: control.cell() }];
    let mut pool = Pool::new(&rows, &[vec![], vec![]]).unwrap();
    pool.add_one_conversion();
    let r = sequential::r(pool.information, number(given, "tuning"));
    let c = sequential::c(r, number(given, "alpha"));
    let se = pool.spread().iter().sum::<f64>().sqrt();
    let (difference, Span { low, high }) = (pool.difference(), fieller(pool.means, pool.spread(), c));
    let found = asked(treatment, control);
    let shipped = found.always_valid_relative_ci.unwrap().shift(1.0);
    assert_eq!(found.always_valid_p, Some(sequential::p(difference / se, r)));
    vec![
        ("r", Some(r)),
        ("c", Some(c)),
        ("se", found.se),
        ("lo", Some(difference - c * se)),
        ("hi", Some(difference + c * se)),
        ("p", found.always_valid_p),
        ("ratio_lo", low),
        ("ratio_hi", high),
        // What the report shows, by `spread_for_ratio`, less 1.
        ("ratio_lo", shipped.low),
        ("ratio_hi", shipped.high),
    ]
}

fn mantel_haenszel(given: &Value) -> Named {
    let [n1, y1, n0, y0] = ["n1", "y1", "n0", "y0"].map(|key| wholes(&given[key]));
    let cell = |units, converted| Count { units, converted }.cell();
    let rows: Vec<Row> =
        (0..n1.len()).map(|k| Row { treatment: cell(n1[k], y1[k]), control: cell(n0[k], y0[k]) }).collect();
    let mut pool = Pool::new(&rows, &[vec![], vec![]]).unwrap();
    pool.add_one_conversion();
    let [r1, r0] = pool.means;
    // The row's `var_sato` is a variance that is not used: too small with small stages.
    vec![
        ("W", Some(pool.information)),
        ("R1", Some(r1)),
        ("R0", Some(r0)),
        ("ratio", (r0 > 0.0).then_some(r1 / r0)),
        ("var_unpooled", Some(pool.variances.iter().sum())),
        ("var_pooled", Some(pool.pooled)),
    ]
}

fn by_unit(given: &Value) -> Named {
    let [nn, yn, yy] = ["nn", "yn", "yy"].map(|key| table(&given[key]));
    let many = nn.len();
    let cells: Vec<Cell> =
        (0..many).map(|k| Cell { units: nn[k][k], sum: yy[k][k], squares: yy[k][k] }).collect();
    let links: Vec<Link> = (0..many)
        .flat_map(|k| (k + 1..many).map(move |l| (k, l)))
        .map(|(k, l)| Link {
            earlier: k,
            later: l,
            units: nn[k][l],
            earlier_sum: yn[k][l],
            later_sum: yn[l][k],
            products: yy[k][l],
        })
        .collect();
    vec![("var", Some(clustered(&list(&given["w"]), &cells, &links)))]
}

fn welch(given: &Value) -> Named {
    let sums = |key| {
        let values = list(&given[key]);
        let squares = values.iter().map(|value| value * value).sum();
        Sums { units: values.len() as u64, sum: values.iter().sum(), squares }
    };
    let strata = [ValueStratum { stage: 1, treatment: sums("a"), control: sums("b") }];
    let found = mean::compare(&Values { strata: &strata, ..Values::default() });
    let ci = found.difference_ci;
    let arm = |key| -> (f64, f64) {
        let (values, n) = (list(&given[key]), list(&given[key]).len() as f64);
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
        (squares / (n - 1.0) / n, n)
    };
    let ((v1, n1), (v0, n0)) = (arm("a"), arm("b"));
    vec![
        ("df", Some(mean::welch_df([v1, v0], [n1, n0])).filter(|df| df.is_finite())),
        ("diff", found.difference),
        ("p", found.p_value),
        ("lo", ci.map(|ci| ci.low)),
        ("hi", ci.map(|ci| ci.high)),
    ]
}

fn ratio_delta(given: &Value) -> Named {
    let (y, x) = (list(&given["y"]), list(&given["x"]));
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let sums = RatioSums {
        units: y.len() as u64,
        y: y.iter().sum(),
        x: x.iter().sum(),
        yy: product(&y, &y),
        xy: product(&x, &y),
        xx: product(&x, &x),
    };
    // Both arms alike: the interval of their difference is z sqrt(2 var) wide on each side.
    let found = ratio::compare(&[RatioStratum { stage: 1, treatment: sums, control: sums }], &[], &[]);
    let half = found.difference_ci.unwrap().high;
    vec![("ratio", found.treatment_mean), ("var", Some(half * half / (2.0 * Z * Z)))]
}

fn srm(given: &Value) -> Named {
    let split = Split { shares: list(&given["share"]), observed: wholes(&given["n"]) };
    let found = check(&[split]).per_stage.remove(0);
    vec![("chi2", found.chi_square), ("p", found.p_value), ("log_e", found.ln_e)]
}

fn power(given: &Value) -> Named {
    let found = Plan {
        variance: number(given, "sigma2"),
        information: number(given, "W"),
        information_per_day: number(given, "W_per_day"),
        effect: number(given, "mde"),
        tuning: number(given, "tuning"),
        alpha: 0.05,
    }
    .power();
    vec![
        ("mde_now_fixed", found.mde_fixed),
        ("mde_now_sequential", found.mde_sequential),
        ("days_fixed", found.days_fixed.map(f64::from)),
        ("days_sequential", found.days_sequential.map(f64::from)),
    ]
}

fn answer(function: &str, given: &Value) -> Named {
    match function {
        "wilson" => ends(wilson(whole(given, "x"), whole(given, "n"))),
        "newcombe" => {
            let (treatment, control) = arms(given);
            let found = newcombe(treatment, control, Z);
            let compared = asked(treatment, control).absolute_ci.unwrap();
            assert!((compared.low - found.low).abs() < 1e-12 && (compared.high - found.high).abs() < 1e-12);
            ends(found)
        }
        "mover_r" => {
            let (treatment, control) = arms(given);
            let Span { low, high } = mover_r(treatment, control, Z);
            let compared = asked(treatment, control);
            let (ratio, shipped) =
                (compared.relative_lift.map(|lift| lift + 1.0), compared.relative_ci.unwrap().shift(1.0));
            vec![("ratio", ratio), ("lo", low), ("hi", high), ("lo", shipped.low), ("hi", shipped.high)]
        }
        "pooled_z" => {
            let (treatment, control) = arms(given);
            let z = pooled_z(treatment, control);
            vec![("z", z), ("p", z.map(two_sided))]
        }
        "fisher" => {
            let (treatment, control) = arms(given);
            vec![("p", Some(fisher(treatment, control)))]
        }
        "always_valid" => always_valid(given),
        "bayes" => {
            let (treatment, control) = arms(given);
            let of = |count: Count| (count.units as f64, count.rate());
            let found = bayes::compare(of(treatment), of(control)).unwrap();
            let compared = asked(treatment, control);
            assert!((compared.probability_better.unwrap() - found.probability_better).abs() < 1e-9);
            assert!((compared.expected_loss.unwrap() - found.expected_loss).abs() < 1e-9);
            vec![
                ("prob_better", Some(found.probability_better)),
                ("expected_loss", Some(found.expected_loss)),
            ]
        }
        "mantel_haenszel" => mantel_haenszel(given),
        "clustered" => by_unit(given),
        "welch" => welch(given),
        "ratio_delta" => ratio_delta(given),
        "srm" => srm(given),
        "limit_e" => {
            let count = Count { units: whole(given, "n"), converted: whole(given, "y") };
            vec![("log_e", Some(ln_e_over(count, number(given, "limit"))))]
        }
        "power" => power(given),
        other => panic!("no function for the row `{other}`"),
    }
}

/// How far a figure is off, in units of what is allowed.
fn off(function: &str, found: f64, wanted: f64) -> f64 {
    let allowed = if function == "bayes" { 1e-8 } else { (1e-9 * wanted.abs()).max(1e-12) };
    (found - wanted).abs() / allowed
}

#[test]
fn every_row_agrees() {
    let rows = include_str!("../../tests/vectors/statistics/reference.jsonl");
    let (mut compared, mut faults) = (0, Vec::new());
    for line in rows.lines() {
        let row: Value = serde_json::from_str(line).unwrap();
        let (function, given, wanted) = (row["fn"].as_str().unwrap(), &row["in"], &row["out"]);
        if function == "benjamini_hochberg" {
            let p: Vec<Option<f64>> = list(&given["p"]).into_iter().map(Some).collect();
            for (found, wanted) in adjust(&p).into_iter().zip(list(&wanted["adjusted"])) {
                assert!(off(function, found.unwrap(), wanted) <= 1.0, "{line}");
                compared += 1;
            }
            continue;
        }
        for (key, found) in answer(function, given) {
            compared += 1;
            let agrees = match (found, &wanted[key]) {
                (None, Value::Null) => true,
                (Some(found), Value::Number(wanted)) => off(function, found, wanted.as_f64().unwrap()) <= 1.0,
                _ => false,
            };
            if !agrees {
                faults.push(format!("{function} {given}: {key} is {found:?} instead of {}", wanted[key]));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(compared >= 250, "only {compared} figures compared");
}
