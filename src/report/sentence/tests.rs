//! Every kind of result as people read it: `sentences.txt` is compared word by word. After a change of words, copy the
//! file that the failing test names over it, and read the difference.

use super::{About, Words, comparison, limit_guardrail, margin_guardrail};
use crate::stats::compare::{Better, Comparison, Question, Role, compare};
use crate::stats::counts::{Count, Strata, Stratum, Waiting};
use crate::stats::figures::{Verdict, Why};
use crate::stats::guardrail;
use crate::stats::power::Pace;

const PACE: Pace = Pace { information_per_day: 250.0, users_per_day: 866.0 };
const FAST: Pace = Pace { information_per_day: 8_000.0, users_per_day: 32_000.0 };
const ABOUT: About<'_> = About {
    goal: "order_paid",
    variant: "qr",
    treatments: 1,
    better: Better::More,
    maturing_users: 0,
    among: 12,
    min_effect: 0.05,
};

fn strata(treatment: (u64, u64), control: (u64, u64)) -> [Stratum; 1] {
    let count = |(converted, units)| Count { units, converted };
    [Stratum { stage: 1, treatment: count(treatment), control: count(control) }]
}

fn question<'a>(strata: &'a [Stratum], about: &About<'_>) -> Question<'a> {
    Question {
        counts: Strata { strata, ..Strata::default() },
        maturing_users: about.maturing_users,
        role: Role::Goal,
        better: about.better,
        treatments: about.treatments,
        srm_ok: true,
        margin: None,
        min_effect: about.min_effect,
        pace: Some(PACE),
        window_hours: 24,
    }
}

fn said(treatment: (u64, u64), control: (u64, u64), about: About<'_>) -> Words {
    comparison(&compare(&question(&strata(treatment, control), &about)), &about)
}

fn none(why: Why, about: About<'_>) -> Words {
    comparison(&Comparison::none(why), &about)
}

fn guarded(failed: (u64, u64), control: (u64, u64), margin: f64) -> Words {
    let strata = strata(failed, control);
    let found = guardrail::margin(&Strata { strata: &strata, ..Strata::default() }, margin);
    margin_guardrail(&found, "payment_failed")
}

fn maturing_guardrail() -> Words {
    let found = guardrail::margin(&Strata::default(), 0.005);
    margin_guardrail(&found.explained(|_| Why::Maturing), "payment_failed")
}

fn distrusted_guardrail(failed: (u64, u64)) -> Words {
    let strata = strata(failed, (2_000, 100_000));
    let found = guardrail::margin(&Strata { strata: &strata, ..Strata::default() }, 0.005);
    margin_guardrail(&found.distrusted(), "payment_failed")
}

fn distrusted_limit(converted: u64) -> Words {
    let found = guardrail::limit(Count { units: 1_000, converted }, 0.03);
    limit_guardrail(&found.distrusted(), "complaint")
}

fn maturing_limit() -> Words {
    let found = guardrail::limit(Count::default(), 0.03);
    limit_guardrail(&found.explained(|_| Why::Maturing), "complaint")
}

fn limited(converted: u64, units: u64, limit: f64) -> Words {
    limit_guardrail(&guardrail::limit(Count { units, converted }, limit), "complaint")
}

/// Failures as a metric beside the goal.
fn beside(failed: (u64, u64), maturing_users: u64, verdict: Option<Verdict>) -> Words {
    let about = About { goal: "payment_failed", better: Better::Less, maturing_users, ..ABOUT };
    let strata = strata(failed, (2_000, 100_000));
    let found = compare(&Question { role: Role::Metric, pace: None, ..question(&strata, &about) });
    comparison(&Comparison { verdict: verdict.unwrap_or(found.verdict), ..found }, &about)
}

/// The variant's windows have closed, control's have not.
fn half_matured() -> Words {
    let strata = strata((130, 1_000), (0, 0));
    let waiting = Waiting { control: 310, ..Waiting::default() };
    let about = About { maturing_users: 310, ..ABOUT };
    comparison(&compare(&question(&strata, &about)).explained(|why| waiting.explains(why)), &about)
}

fn shut() -> Words {
    let strata = strata((130, 1_000), (120, 1_000));
    let found = compare(&Question { pace: None, ..question(&strata, &ABOUT) });
    let shut = |why| if why == Why::NoGrowth { Why::NotOpen } else { why };
    comparison(&found.explained(shut), &ABOUT)
}

fn comparisons() -> Vec<(&'static str, Words)> {
    let counts = strata((13_200, 100_000), (12_000, 100_000));
    let narrow = strata((12_010, 100_000), (12_000, 100_000));
    let counts_near = strata((1_320, 10_000), (1_200, 10_000));
    let small = strata((130, 1_000), (120, 1_000));
    let asked = |strata: &[Stratum], change: fn(&mut Question<'_>)| {
        let mut question = question(strata, &ABOUT);
        change(&mut question);
        comparison(&compare(&question), &ABOUT)
    };
    let several = About { treatments: 3, ..ABOUT };
    let failures = About { goal: "payment_failed", better: Better::Less, ..ABOUT };
    let own = About { goal: "coupon_used", ..ABOUT };
    vec![
        ("gains", said((13_200, 100_000), (12_000, 100_000), ABOUT)),
        ("gains, barely: no limit is written as 0", said((13_500, 100_000), (12_830, 100_000), ABOUT)),
        ("gains at a tiny rate", said((900, 1_000_000), (500, 1_000_000), ABOUT)),
        ("loses", said((11_000, 100_000), (12_000, 100_000), ABOUT)),
        ("one of three variants gains", said((13_500, 100_000), (12_000, 100_000), several)),
        ("control has none", said((500, 10_000), (0, 10_000), ABOUT)),
        ("fewer failures", said((1_600, 100_000), (2_000, 100_000), failures)),
        ("more failures", said((2_600, 100_000), (2_000, 100_000), failures)),
        ("a goal of one's own", said((13_200, 100_000), (12_000, 100_000), own)),
        ("undecided", said((1_320, 10_000), (1_200, 10_000), ABOUT)),
        ("undecided, one of three variants", said((1_320, 10_000), (1_200, 10_000), several)),
        (
            "undecided, others maturing",
            said((132, 1_000), (120, 1_000), About { maturing_users: 1_310, ..ABOUT }),
        ),
        ("undecided, days away", asked(&counts_near, |question| question.pace = Some(FAST))),
        ("undecided, nobody joins", asked(&small, |question| question.pace = None)),
        ("undecided, shut", shut()),
        ("another metric, undecided", beside((2_010, 100_000), 0, None)),
        ("another metric, undecided, others maturing", beside((2_010, 100_000), 517, None)),
        ("another metric, more", beside((2_600, 100_000), 0, None)),
        ("another metric, not beyond chance", beside((2_600, 100_000), 0, Some(Verdict::Undecided))),
        ("undecided, tight enough", asked(&narrow, |question| question.min_effect = 0.05)),
        ("undecided, not worse", asked(&narrow, |question| question.margin = Some(0.01))),
        ("undecided, a year or more", asked(&small, |question| question.min_effect = 0.005)),
        ("nobody converted", said((0, 1_000), (0, 100), ABOUT)),
        ("everybody converted", said((40, 40), (40, 40), ABOUT)),
        ("one unit each", said((1, 1), (0, 1), ABOUT)),
        ("shares do not fit", asked(&counts, |question| question.srm_ok = false)),
        ("no control", none(Why::NoControl, ABOUT)),
        ("no treatment, one of three variants", none(Why::NoTreatment, several)),
        ("no common stage", none(Why::NoCommonStage, ABOUT)),
        ("only testers", none(Why::OnlyFixed, ABOUT)),
        ("the goal is in the funnel", none(Why::GoalInFunnel, About { goal: "entry_paid", ..ABOUT })),
        ("nobody yet", none(Why::NothingExposed, ABOUT)),
        ("control maturing", half_matured()),
        ("maturing only", none(Why::Maturing, About { maturing_users: 310, ..ABOUT })),
    ]
}

fn guardrails() -> Vec<(&'static str, Words)> {
    vec![
        ("margin broken", guarded((4_000, 100_000), (2_000, 100_000), 0.005)),
        ("margin harmed", guarded((2_350, 100_000), (2_000, 100_000), 0.005)),
        ("margin holds", guarded((2_010, 100_000), (2_000, 100_000), 0.005)),
        ("margin holds, nearly touched", guarded((2_100, 100_000), (2_000, 100_000), 0.0034)),
        ("margin undecided", guarded((20, 1_000), (18, 1_000), 0.005)),
        ("margin of nothing, undecided", guarded((0, 1_000), (0, 1_000), 0.0)),
        ("margin without control", guarded((20, 1_000), (0, 0), 0.005)),
        ("margin, all maturing", maturing_guardrail()),
        ("margin holds, shares do not fit", distrusted_guardrail((2_010, 100_000))),
        ("margin broken, shares do not fit", distrusted_guardrail((4_000, 100_000))),
        ("limit holds, shares do not fit", distrusted_limit(10)),
        ("limit, all maturing", maturing_limit()),
        ("limit broken", limited(60, 1_000, 0.03)),
        ("limit holds", limited(10, 1_000, 0.03)),
        ("limit undecided", limited(28, 1_000, 0.03)),
        ("limit undecided, hardly under it", limited(29_999, 1_000_000, 0.03)),
        ("limit of nobody", limited(0, 0, 0.03)),
        ("limit of 0 broken by one", limited(1, 100_000, 0.0)),
    ]
}

#[test]
fn sentences_are_the_known_ones() {
    let cases = comparisons().into_iter().chain(guardrails());
    let told: String = cases.map(|(case, Words { en, zh })| format!("{case}\n  {en}\n  {zh}\n")).collect();
    let known = include_str!("sentences.txt");
    if told != known {
        let file = std::env::temp_dir().join("huidu-sentences.txt");
        std::fs::write(&file, &told).unwrap();
        let first = told.lines().zip(known.lines()).find(|(told, known)| told != known);
        panic!("sentences changed, see {}: {first:?}", file.display());
    }
}

#[test]
fn words_agree_with_the_verdict() {
    let words = [
        (Verdict::Better, "You can open it further", "可以继续放量"),
        (Verdict::Worse, "Narrow it or close it", "请缩小或关闭"),
        (Verdict::Undecided, "No difference is proven", "尚未证明有差异"),
    ];
    for converted in (9_000..16_000).step_by(50) {
        for better in [Better::More, Better::Less] {
            let about = About { better, ..ABOUT };
            let found = compare(&question(&strata((converted, 100_000), (12_000, 100_000)), &about));
            let Words { en, zh } = comparison(&found, &about);
            for (verdict, english, chinese) in words {
                assert_eq!(en.contains(english), found.verdict == verdict, "{converted}: {en}");
                assert_eq!(zh.contains(chinese), found.verdict == verdict, "{converted}: {zh}");
            }
            let zero_stands_as_limit = en.contains(": 0.0 to") || en.contains("to 0.0 points");
            assert!(found.verdict == Verdict::Undecided || !zero_stands_as_limit, "{converted}: {en}");
        }
    }
}

#[test]
fn limits_are_rounded_outward() {
    for converted in 12_900..13_100 {
        let found = compare(&question(&strata((converted, 100_000), (12_000, 100_000)), &ABOUT));
        let en = comparison(&found, &ABOUT).en;
        let Some((low, high)) = en.rsplit(['(', ')']).nth(1).and_then(|part| {
            let limits = part.split(": ").nth(1)?.strip_suffix(" points")?;
            let (low, high) = limits.split_once(" to ")?;
            Some((low.parse::<f64>().ok()?, high.parse::<f64>().ok()?))
        }) else {
            assert_eq!(found.verdict, Verdict::Undecided, "{en}");
            continue;
        };
        let interval = found.always_valid_ci.unwrap();
        assert!(
            low <= 100.0 * interval.low + 1e-6 && high >= 100.0 * interval.high - 1e-6,
            "{en} {interval:?}"
        );
    }
}

#[test]
fn who_still_has_time_has_joined() {
    let counts = strata((13, 100), (12, 100));
    let mut asked = question(&counts, &ABOUT);
    asked.pace = None;
    let result = compare(&asked);
    let words = |maturing_users| comparison(&result, &About { maturing_users, ..ABOUT }).en;
    assert!(words(0).contains("Nobody joined"), "{}", words(0));
    let joined = words(517);
    assert!(!joined.contains("Nobody joined") && joined.contains("517 shoppers still have time"), "{joined}");
}

#[test]
fn no_ramp_goes_on_where_shares_are_wrong() {
    for words in [distrusted_guardrail((2_010, 100_000)), distrusted_limit(10)] {
        assert!(words.en.contains("Do not open further") && !words.en.contains("may go on"), "{}", words.en);
        assert!(words.zh.contains("请勿继续放量") && !words.zh.contains("可以继续放量"), "{}", words.zh);
    }
}
