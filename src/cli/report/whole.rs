//! The report of a flag: the plain sentences first, then the figures that they rest on. Pure.

use serde_json::Value;

use super::answer::Part;
use super::compared;
use super::layout::{self, Cell, Column};
use super::page::{Look, Page};
use super::words::{Language, SILENT, Words};
use crate::cli::output::Tone;
use crate::events::check::REPORTED_RULE;
use crate::report::sentence::figure::count;

/// Characters of a full bar.
const BAR: usize = 14;
/// Fields that are not shown, so that notes about them are not either.
const UNSHOWN: [&str; 10] = [
    "relative_lift",
    "relative_ci",
    "always_valid_relative_ci",
    "probability_better",
    "expected_loss",
    "look_again",
    "days_fixed",
    "days_always_valid",
    "treatment_removed_share",
    "control_removed_share",
];

/// An answer as people read it; `by` is the attribute by which it was split.
pub(super) fn shown(answer: &Value, by: &str, look: &Look) -> String {
    let (mut page, answer) = (Page::new(look), Part(answer));
    page.head(answer, "");
    result(&mut page, answer);
    variants(&mut page, answer);
    funnels(&mut page, answer);
    compared::comparisons(&mut page, answer);
    compared::guardrails(&mut page, answer);
    metrics(&mut page, answer);
    compared::values(&mut page, answer);
    compared::ratios(&mut page, answer);
    compared::segments(&mut page, answer, by);
    compared::overlap(&mut page, answer);
    stages(&mut page, answer);
    notes(&mut page, answer);
    page.text()
}

/// What the figures come to, in sentences of the service.
fn result(page: &mut Page, answer: Part<'_>) {
    let (field, goal) = (page.language().field(), answer.text("goal"));
    page.heading(page.words.result);
    let srm = answer.part("srm");
    if srm.0.get("ok").and_then(Value::as_bool) == Some(false) {
        let chance = page.figures.chance(srm.number("sequential_p").unwrap_or_default());
        page.paragraph("  ", &Language::filled(page.words.srm_bad, &chance), Some(Tone::Bad));
    }
    let decides = |row: &Part<'_>| row.text("metric") == goal && row.0.get("adjusted_p").is_none();
    let decisive: Vec<Part<'_>> = answer.list("comparisons").filter(decides).collect();
    for row in &decisive {
        page.verdict_line(if decisive.len() > 1 { row.text("variant") } else { "" }, row.text("verdict"));
        page.paragraph("  ", row.part("sentence").text(field), None);
        if row.text("verdict") == "undecided" {
            let found = page.figures.found(row.part("smallest_effect"));
            if !found.is_empty() {
                page.paragraph("  ", &found, Some(Tone::Faint));
            }
        }
    }
    if decisive.is_empty() {
        page.verdict_line("", "no_comparison");
    }
    for row in answer.list("guardrails").filter(|row| matches!(row.text("state"), "harmed" | "broken")) {
        page.verdict_line(&format!("{} · {}", row.text("step"), row.text("variant")), row.text("state"));
        page.paragraph("  ", row.part("sentence").text(field), None);
    }
}

/// The rule of each row, where there are several; else nothing.
pub(super) fn rules<'a>(rows: &[Part<'a>], words: &Words) -> Vec<&'a str> {
    let named = |row: &Part<'a>| match row.text("rule") {
        REPORTED_RULE => words.reported,
        rule => rule,
    };
    let rules: Vec<&str> = rows.iter().map(named).collect();
    let is_one = rules.iter().all(|rule| Some(rule) == rules.first());
    if is_one { vec![""; rules.len()] } else { rules }
}

fn variants(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.variant, 0),
        Column::text(words.arm, 2),
        Column::text(words.rule, 1),
        Column::number(words.exposed, 0),
        Column::number(words.maturing, 3),
        Column::number(words.converted, 4),
        Column::number(words.rate, 0),
        Column::text(words.interval, 0),
        Column::text("", 5),
    ];
    let listed: Vec<Part<'_>> = answer.list("variants").collect();
    let most = listed.iter().filter_map(|row| row.number("rate")).fold(0.0, f64::max);
    let rows = listed.iter().zip(rules(&listed, words)).map(|(row, rule)| {
        let interval = row.interval("rate_ci");
        let bar = row.number("rate").filter(|_| most > 0.0).map(|rate| layout::bar(rate / most, BAR - 2));
        let maturing = row.count("maturing_users");
        vec![
            Cell::toned(Tone::Strong, row.text("variant")),
            page.language().term(row.text("arm")).into(),
            rule.into(),
            count(row.count("exposed_users")).into(),
            if maturing > 0 { count(maturing).into() } else { "".into() },
            row.part("converted_users").0.as_u64().map(count).unwrap_or_default().into(),
            page.figures.rate(row.number("rate"), interval).into(),
            page.figures.rates(interval).into(),
            bar.unwrap_or_default().into(),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(words.variants, &columns, &rows);
}

/// The way of those who saw the entry, stop by stop.
fn funnels(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.step, 0),
        Column::number(words.users, 0),
        Column::text("", 1),
        Column::number(words.of_exposed, 2),
        Column::number(words.lost, 0),
        Column::number(words.time, 0),
        Column::text(words.remark, 3),
    ];
    let listed: Vec<Part<'_>> = answer.list("variants").collect();
    for (row, rule) in listed.iter().zip(rules(&listed, words)) {
        // Control sees no entry.
        if row.list("funnel").all(|stop| stop.count("users") == 0) {
            continue;
        }
        let exposed = row.count("funnel_exposed_users");
        let mut rows = vec![vec![
            words.exposed.into(),
            count(exposed).into(),
            layout::bar(1.0, BAR).into(),
            page.figures.share(Some(1.0)).into(),
        ]];
        for stop in row.list("funnel") {
            let share = stop.number("of_exposed");
            let lost = stop.number("of_previous").map(|kept| kept - 1.0);
            let remark = |words: &str, field: &str| {
                Some(stop.count(field))
                    .filter(|users| *users > 0)
                    .map(|users| Language::filled(words, &count(users)))
            };
            let remarks = [remark(words.inferred, "inferred"), remark(words.out_of_order, "out_of_order")];
            rows.push(vec![
                stop.text("step").into(),
                count(stop.count("users")).into(),
                layout::bar(share.unwrap_or_default(), BAR).into(),
                page.figures.share(share).into(),
                page.figures.share(lost).into(),
                page.figures.duration(stop.number("median_seconds_from_previous")).into(),
                remarks.into_iter().flatten().collect::<Vec<_>>().join(words.comma).into(),
            ]);
        }
        let name = if rule.is_empty() {
            row.text("variant").to_owned()
        } else {
            format!("{} ({rule})", row.text("variant"))
        };
        page.table(&Language::filled(words.funnel, &name), &columns, &rows);
    }
}

/// What users of each variant did, with what it was worth and how it splits.
fn metrics(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::text(words.metric, 0),
        Column::text(words.variant, 0),
        Column::text(words.rule, 1),
        Column::number(words.users, 0),
        Column::number(words.rate, 0),
        Column::number(words.value, 2),
    ];
    let listed: Vec<Part<'_>> = answer.list("variants").collect();
    let named = rules(&listed, words);
    let steps: Vec<&str> = listed
        .first()
        .into_iter()
        .flat_map(|row| row.list("metrics"))
        .map(|metric| metric.text("step"))
        .collect();
    let (mut rows, mut splits) = (Vec::new(), Vec::new());
    for step in steps {
        for (row, rule) in listed.iter().zip(&named) {
            for metric in row.list("metrics").filter(|metric| metric.text("step") == step) {
                rows.push(vec![
                    step.into(),
                    row.text("variant").into(),
                    (*rule).into(),
                    count(metric.count("users")).into(),
                    page.figures.rate(metric.number("rate"), metric.interval("rate_ci")).into(),
                    page.figures.sums(metric).into(),
                ]);
                let split = page.figures.split(metric);
                if !split.is_empty() {
                    splits.push((format!("  {step} · {}{}", row.text("variant"), words.colon), split));
                }
            }
        }
    }
    page.table(words.metrics, &columns, &rows);
    splits.iter().for_each(|(lead, split)| page.paragraph(lead, split, None));
}

fn stages(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    let columns = [
        Column::number(words.stage, 0),
        Column::text(words.rule, 1),
        Column::text(words.opened, 2),
        Column::number(words.percent, 0),
        Column::number(words.control, 0),
        Column::text(words.units, 0),
    ];
    let listed: Vec<Part<'_>> = answer.list("stages").collect();
    let rows = listed.iter().zip(rules(&listed, words)).map(|(row, rule)| {
        let arms =
            row.fields("arms").map(|(arm, counts)| format!("{arm} {}", count(Part(counts).count("units"))));
        vec![
            row.count("stage").to_string().into(),
            rule.into(),
            page.time(row.text("from")).into(),
            page.figures.set(row.number("percent")).into(),
            page.figures.set(row.number("control")).into(),
            arms.collect::<Vec<_>>().join(", ").into(),
        ]
    });
    let rows: Vec<Vec<Cell>> = rows.collect();
    page.table(words.stages, &columns, &rows);
}

/// Whether the shares are right, and what else to know.
fn notes(page: &mut Page, answer: Part<'_>) {
    let words = page.words;
    page.heading(words.notes);
    let srm = answer.part("srm");
    let p = srm.number("sequential_p").filter(|_| srm.list("per_stage").next().is_some());
    match p {
        Some(p) if srm.is("ok") => {
            page.paragraph("  - ", &Language::filled(words.srm_ok, &page.figures.chance(p)), None);
        }
        Some(_) => {}
        None => page.paragraph("  - ", words.srm_none, None),
    }
    for (field, text) in [("switched_units", words.switched), ("without_exposure", words.without_exposure)] {
        if answer.count(field) > 0 {
            page.paragraph("  - ", &Language::filled(text, &count(answer.count(field))), None);
        }
    }
    told(page, answer);
}

/// The answer's notes: each text once, with what it is said of.
pub(super) fn told(page: &mut Page, answer: Part<'_>) {
    let mut said: Vec<(String, Vec<String>)> = Vec::new();
    for note in answer.list("notes") {
        let (code, pointer) = (note.text("code"), note.text("pointer"));
        let field = pointer.rsplit('/').next().unwrap_or_default();
        let is_aside = pointer.starts_with("/overlap");
        if is_aside || SILENT.contains(&code) || UNSHOWN.contains(&field) {
            continue;
        }
        let text = page.language().note(code, note.text("detail"));
        if text.is_empty() {
            continue;
        }
        let place = place(answer, pointer, page.words);
        match said.iter_mut().find(|(known, _)| *known == text) {
            Some((_, places)) if places.contains(&place) => {}
            Some((_, places)) => places.push(place),
            None => said.push((text, vec![place])),
        }
    }
    for (text, mut places) in said {
        places.retain(|place| !place.is_empty());
        let about = if places.is_empty() {
            String::new()
        } else {
            format!("{}{}", places.join(page.words.comma), page.words.colon)
        };
        page.paragraph("  - ", &format!("{about}{text}"), None);
    }
}

/// What a pointer points at, by name: the metric or step and the variant of a row.
fn place(answer: Part<'_>, pointer: &str, words: &Words) -> String {
    let row = pointer.split('/').skip(1).take(2).collect::<Vec<_>>().join("/");
    let Some(row) = answer.0.pointer(&format!("/{row}")).map(Part) else { return String::new() };
    if row.is("is_rest") {
        return words.others.to_owned();
    }
    let names = ["metric", "step", "variant", "value", "flag"].map(|name| row.text(name));
    names.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>().join(" ")
}
