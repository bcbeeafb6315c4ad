//! English.

use super::{Figures, GuardFigures, Guarded, LONG_DAYS, Limited, Next, Told};
use crate::stats::compare::Better;
use crate::stats::figures::{Verdict, Why};
use crate::stats::guardrail::State;

/// A step as a noun and as what a shopper did.
fn step(key: &str) -> (String, String) {
    let (noun, did) = match key {
        "order_paid" => ("orders", "ordered"),
        "payment_failed" => ("failed payments", "had a payment fail"),
        "complaint" => ("complaints", "complained"),
        other => return (format!("“{other}”"), format!("did “{other}”")),
    };
    (noun.to_owned(), did.to_owned())
}

/// "The entry" or "Variant "qr"".
fn subject(told: &Told<'_>) -> String {
    told.variant.map_or_else(|| "The entry".to_owned(), |variant| format!("Variant “{variant}”"))
}

pub(super) fn comparison(told: &Told<'_>) -> String {
    let (noun, did) = step(told.goal);
    match (told.verdict, &told.figures) {
        (Verdict::Better | Verdict::Worse, Some(figures)) => decided(told, &noun, &did, figures),
        (Verdict::Undecided, Some(figures)) => undecided(told, &did, figures),
        _ => nothing(told, &did),
    }
}

fn decided(told: &Told<'_>, noun: &str, did: &str, figures: &Figures) -> String {
    let better = told.verdict == Verdict::Better;
    let verb = match (told.better, better) {
        (Better::More, true) => "gains",
        (Better::More, false) => "loses",
        (Better::Less, true) => "has fewer",
        (Better::Less, false) => "has more",
    };
    let todo = if better { "You can open it further." } else { "Narrow it or close it, and find out why." };
    let Figures { low, high, confidence, .. } = figures;
    let lift = figures
        .lift
        .as_ref()
        .map(|(size, more)| format!(" or {size} % {}", if *more { "more" } else { "less" }));
    format!(
        "{} {verb} {noun}: {}, {} points{} ({confidence} % sure: {low} to {high} points). {todo}",
        subject(told),
        rates(did, figures),
        figures.difference,
        lift.unwrap_or_default(),
    )
}

fn points(number: &str) -> String {
    if number == "1" { "1 point".to_owned() } else { format!("{number} points") }
}

fn rates(did: &str, figures: &Figures) -> String {
    format!(
        "{} % of shoppers who saw it {did}, against {} % of those without it",
        figures.treatment, figures.control
    )
}

fn undecided(told: &Told<'_>, did: &str, figures: &Figures) -> String {
    let Figures { difference, low, high, confidence, .. } = figures;
    let lead = told.variant.map_or_else(String::new, |variant| format!("Variant “{variant}”: "));
    let mut text = if let Some(among) = told.among {
        format!(
            "{lead}Not beyond chance among the {among} compared: {}, {difference} points; by itself {low} to {high} points ({confidence} % sure), but of so many some look so without a difference.",
            rates(did, figures)
        )
    } else if told.nobody_converted {
        format!(
            "{lead}Nobody {did} yet, with it or without it; a difference of {low} to {high} points is possible ({confidence} % sure)."
        )
    } else {
        format!(
            "{lead}No difference is proven: {}, {difference} points, but it may be anything from {low} to {high} points ({confidence} % sure).",
            rates(did, figures)
        )
    };
    if let Some(margin) = &told.not_worse_than {
        text.push_str(&format!(" It is proven not to be worse by {} or more.", points(margin)));
    }
    text.push_str(&match &told.next {
        Next::In { days, users } if *days >= 365 => {
            format!(" At this pace it takes a year or more ({users} more shoppers by then): open it, or its control, wider.")
        }
        Next::In { days, users } if *days > LONG_DAYS => {
            format!(" At this pace it takes {days} days and {users} more shoppers: opening it, or its control, wider is faster.")
        }
        Next::In { days, users } => {
            let days = if *days == 1 { "1 day".to_owned() } else { format!("{days} days") };
            format!(" Change nothing; look again in {days}, after about {users} more shoppers.")
        }
        Next::Enough => format!(
            " An effect of {} % would have shown by now in four of five cases: do not wait for one of that size.",
            told.min_effect
        ),
        Next::Untold => String::new(),
        Next::Shut => " It is shut, so nobody joins: waiting will not settle it.".to_owned(),
        Next::Standing => " Nobody joined in the last days: waiting will not settle it, opening it wider can.".to_owned(),
        Next::Unknown => " It is too early to say when to look again.".to_owned(),
    });
    if let Some(maturing) = &told.maturing {
        text.push_str(&format!(" {maturing} shoppers still have time to act and are not counted yet."));
    }
    text
}

fn nothing(told: &Told<'_>, did: &str) -> String {
    let lead = told.variant.map_or_else(String::new, |variant| format!("Variant “{variant}”: "));
    let text = match told.why.unwrap_or(Why::NothingExposed) {
        Why::Maturing if told.some_matured => format!(
            "Too early to compare: there are not yet shoppers on both sides whose time to act is over; {} still have time.",
            told.maturing.as_deref().unwrap_or("others")
        ),
        Why::Maturing => match &told.maturing {
            Some(many) => format!("Too early to compare: {many} shoppers are measured, and all still have time to act."),
            None => "Too early to compare: every shopper measured still has time to act.".to_owned(),
        },
        Why::Srm => {
            "Do not trust these figures: shoppers arrived in other shares than the percentages say. Find out which exposures are lost or doubled first.".to_owned()
        }
        why => format!("Nothing can be compared: {}", because(why, did)),
    };
    lead + &text
}

fn because(why: Why, did: &str) -> String {
    match why {
        Why::NoControl => {
            "no shopper is measured as control. Give the rollout a control percentage.".to_owned()
        }
        Why::NoTreatment => "no shopper has come to it by percentage yet. Open it to some.".to_owned(),
        Why::NoCommonStage => {
            "it and its control were never open at the same time. Open both in one stage.".to_owned()
        }
        Why::OnlyFixed => "only testers have it. Open a rollout with a control percentage.".to_owned(),
        Why::GoalInFunnel => {
            format!(
                "the goal is a stop of the entry itself, so no shopper without it ever {did}. Choose a goal that both can reach."
            )
        }
        Why::NothingExposed => "nobody has been measured in this time.".to_owned(),
        Why::Maturing => "shoppers are measured, but their time to act is not over yet.".to_owned(),
        other => format!("{}.", other.detail()),
    }
}

/// What a guardrail says where shares are wrong.
const DISTRUSTED: &str = "but do not trust these figures: shoppers arrived in other shares than the percentages say. Do not open further; find out why first.";

pub(super) fn margin(told: &Guarded<'_>) -> String {
    let (noun, did) = step(told.step);
    let allowed = &told.allowed;
    let Some(figures) = &told.figures else {
        return format!(
            "Guardrail on {noun}: {} Nothing is proven; do not open further.",
            sentence(&because(told.why, &did))
        );
    };
    let GuardFigures { treatment, control, difference, low, high } = figures;
    let rates = format!(
        "{treatment} % of shoppers with the entry {did}, {control} % of those without it, {difference} points"
    );
    if told.distrusted {
        return format!("Guardrail not proven, {noun}: {rates}; {DISTRUSTED}");
    }
    match told.state {
        State::Broken => format!(
            "Guardrail broken, {noun}: {rates}; a rise of at least {low} points is proven, {allowed} are allowed. Roll back now."
        ),
        State::Harmed => format!(
            "Guardrail in danger, {noun}: {rates}; a rise of at least {low} points is proven, though not yet that it is over the {allowed} allowed. Pause and find out why."
        ),
        State::Holds => format!(
            "Guardrail holds, {noun}: {rates}; at most {high} points are possible, {allowed} are allowed. The ramp may go on."
        ),
        State::Undecided => format!(
            "Guardrail not yet proven, {noun}: {rates}; {low} to {high} points are possible, {allowed} are allowed. Do not open further; wait for more shoppers."
        ),
    }
}

/// With a capital letter at the front.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

pub(super) fn limit(told: &Limited<'_>) -> String {
    let (noun, did) = step(told.step);
    let limit = &told.limit;
    let rate = match &told.rate {
        Ok(rate) => rate,
        Err(Why::NothingExposed) => {
            return format!(
                "Guardrail on {noun}: nobody has been measured yet, so nothing is proven; {limit} % are allowed. Do not open further."
            );
        }
        Err(why) => {
            return format!(
                "Guardrail on {noun}: {} Nothing is proven; {limit} % are allowed. Do not open further.",
                sentence(&because(*why, &did))
            );
        }
    };
    let rates = format!("{rate} % of shoppers with the entry {did}, {limit} % are allowed");
    if told.distrusted {
        return format!("Guardrail not proven, {noun}: {rates}; {DISTRUSTED}");
    }
    match told.state {
        State::Broken => {
            format!("Guardrail broken, {noun}: {rates}, and it is proven to be over it. Roll back now.")
        }
        State::Holds => {
            format!("Guardrail holds, {noun}: {rates}, and it is proven to be under it. The ramp may go on.")
        }
        State::Harmed | State::Undecided => format!(
            "Guardrail not yet proven, {noun}: {rates}; it is proven neither to be over it nor under it. Do not open further; wait for more shoppers."
        ),
    }
}
