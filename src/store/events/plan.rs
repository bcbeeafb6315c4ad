//! What a batch does to what is stored, worked out in memory.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::Late;
use super::{EventBatch, ExposureOutcome, ExposureRow, StepKey, StepOutcome, StepRow};

/// A unit and a flag: environment, unit, flag.
type UnitFlag<'a> = (i64, &'a str, i64);

/// A stored exposure, as far as the plan needs it.
#[derive(sqlx::FromRow)]
pub(super) struct StoredRow {
    environment: i64,
    unit: String,
    flag: i64,
    stage: i64,
    rule: String,
    unit_attribute: String,
    arm: i64,
    variant: String,
    at: i64,
}

/// A unit and a flag. The letters, here and below, are those of the statements.
pub(super) struct Touched<'a> {
    pub(super) e: i64,
    pub(super) u: &'a str,
    pub(super) f: i64,
}

/// An exposure to be written.
pub(super) struct ChangedRow<'a> {
    pub(super) e: i64,
    pub(super) u: &'a str,
    pub(super) f: i64,
    pub(super) s: i64,
    pub(super) r: &'a str,
    pub(super) k: &'a str,
    pub(super) a: i64,
    pub(super) v: &'a str,
    pub(super) b: Option<i64>,
    pub(super) t: i64,
    pub(super) c: Option<&'a str>,
    pub(super) n: i64,
}

/// A change of a count of exposed users as JSON.
#[derive(Serialize)]
pub(super) struct Difference<'a> {
    e: i64,
    f: i64,
    v: &'a str,
    a: i64,
    d: i64,
}

/// A step to be written.
#[derive(Clone, Copy)]
pub(super) struct NewStep<'a> {
    pub(super) e: i64,
    pub(super) u: &'a str,
    pub(super) k: &'a str,
    pub(super) p: &'a str,
    pub(super) i: &'a str,
    pub(super) f: Option<i64>,
    pub(super) s: Option<i64>,
    pub(super) r: Option<&'a str>,
    pub(super) v: Option<i64>,
    pub(super) c: Option<&'a str>,
    pub(super) o: Option<&'a str>,
    pub(super) t: i64,
    pub(super) a: Option<&'a str>,
}

/// An exposure as it stands now.
struct Held<'a> {
    unit_attribute: &'a str,
    arm: i64,
    variant: &'a str,
    at: i64,
    /// The row of this batch that it is, if it is one.
    new: Option<&'a ExposureRow>,
    /// How often this batch replaced it.
    moves: i64,
    /// The time that it had before this batch, if it was there.
    was: Option<i64>,
}

/// The exposures of one unit and flag.
#[derive(Default)]
struct Page<'a> {
    before: BTreeSet<(&'a str, i64)>,
    /// By stage and rule.
    rows: BTreeMap<(i64, &'a str), Held<'a>>,
}

/// All exposures that a batch touches. Sorted as the tables are, so that rows are always written in one order.
#[derive(Default)]
pub(super) struct Book<'a>(BTreeMap<UnitFlag<'a>, Page<'a>>);

/// The units and flags whose stored exposures a batch needs.
pub(super) fn touched(batch: &EventBatch) -> Vec<Touched<'_>> {
    let shown = batch.exposures.iter().map(|x| (x.environment, x.unit.as_str(), x.flag));
    let resolved = batch.steps.iter().filter(|s| s.resolve);
    let resolved = resolved.filter_map(|s| s.flag.map(|flag| (s.environment, s.unit.as_str(), flag)));
    let once: BTreeSet<UnitFlag<'_>> = shown.chain(resolved).collect();
    once.into_iter().map(|(e, u, f)| Touched { e, u, f }).collect()
}

impl<'a> Book<'a> {
    pub(super) fn new(stored: &'a [StoredRow]) -> Self {
        let mut book = Self::default();
        for row in stored {
            let page = book.0.entry((row.environment, &row.unit, row.flag)).or_default();
            page.before.insert((&row.variant, row.arm));
            let held = Held {
                unit_attribute: &row.unit_attribute,
                arm: row.arm,
                variant: &row.variant,
                at: row.at,
                new: None,
                moves: 0,
                was: Some(row.at),
            };
            page.rows.insert((row.stage, &row.rule), held);
        }
        book
    }

    /// Takes in the next exposure. An earlier one replaces the whole row; of equal times the first stays.
    pub(super) fn enter(&mut self, row: &'a ExposureRow) -> ExposureOutcome {
        let page = self.0.entry((row.environment, &row.unit, row.flag)).or_default();
        let held = |moves, was| Held {
            unit_attribute: &row.unit_attribute,
            arm: row.arm,
            variant: &row.variant,
            at: row.at,
            new: Some(row),
            moves,
            was,
        };
        match page.rows.entry((row.stage, &row.rule)) {
            Entry::Vacant(place) => {
                place.insert(held(0, None));
                ExposureOutcome::Added
            }
            Entry::Occupied(mut place) if row.at < place.get().at => {
                let (moves, was) = (place.get().moves + 1, place.get().was);
                place.insert(held(moves, was));
                ExposureOutcome::Moved
            }
            Entry::Occupied(_) => ExposureOutcome::Duplicate,
        }
    }

    /// The rows to be written, one a key.
    pub(super) fn changed(&self) -> Vec<ChangedRow<'a>> {
        let held = self.0.values().flat_map(|page| page.rows.values());
        held.filter_map(|held| {
            held.new.map(|row| ChangedRow {
                e: row.environment,
                u: &row.unit,
                f: row.flag,
                s: row.stage,
                r: &row.rule,
                k: &row.unit_attribute,
                a: row.arm,
                v: &row.variant,
                b: row.bucket,
                t: row.at,
                c: row.captured.as_deref(),
                n: held.moves,
            })
        })
        .collect()
    }

    /// Adds the rows to be written that are from before `late_before_ms`, with the times that they had.
    pub(super) fn late(&self, late_before_ms: i64, late: &mut Late<'a>) {
        let held = self.0.values().flat_map(|page| page.rows.values());
        for (row, was) in held.filter_map(|held| held.new.map(|row| (row, held.was))) {
            if row.at < late_before_ms {
                let times: Vec<i64> = [Some(row.at), was].into_iter().flatten().collect();
                late.exposure(row.environment, &row.unit, row.flag, &times);
            }
        }
    }

    /// By how much the counts of exposed users change.
    pub(super) fn differences(&self) -> Vec<Difference<'a>> {
        let mut sums: BTreeMap<(i64, i64, &'a str, i64), i64> = BTreeMap::new();
        for ((environment, _, flag), page) in &self.0 {
            let after: BTreeSet<(&'a str, i64)> = page.rows.values().map(|h| (h.variant, h.arm)).collect();
            for (variant, arm) in after.difference(&page.before) {
                *sums.entry((*environment, *flag, variant, *arm)).or_default() += 1;
            }
            for (variant, arm) in page.before.difference(&after) {
                *sums.entry((*environment, *flag, variant, *arm)).or_default() -= 1;
            }
        }
        let changed = sums.into_iter().filter(|(_, d)| *d != 0);
        changed.map(|((e, f, v, a), d)| Difference { e, f, v, a, d }).collect()
    }

    /// The unit's latest exposure of the step's flag at or before the step; of equal times the latest stage's.
    fn latest(&self, step: &StepRow) -> Option<Found<'a>> {
        let page = self.0.get(&(step.environment, step.unit.as_str(), step.flag?))?;
        let fitting = page
            .rows
            .iter()
            .filter(|(_, held)| held.at <= step.at && held.unit_attribute == step.unit_attribute);
        let ((stage, rule), held) = fitting.max_by_key(|(_, held)| held.at)?;
        Some(Found { stage: *stage, rule, variant: held.variant, arm: held.arm })
    }
}

/// The exposure that a step was resolved to.
#[derive(Clone, Copy)]
struct Found<'a> {
    stage: i64,
    rule: &'a str,
    variant: &'a str,
    arm: i64,
}

/// The steps to be written, the first of each key, sorted as their table is.
pub(super) struct StepPlan<'a> {
    pub(super) rows: Vec<NewStep<'a>>,
    /// Of each row, its place in the batch.
    places: Vec<usize>,
    /// Of each row, the exposure that was found for it.
    found: Vec<Option<Found<'a>>>,
    /// How many steps the batch has.
    steps: usize,
}

impl StepPlan<'_> {
    /// What became of each step of the batch, where `added` tells it of each row.
    pub(super) fn outcome(&self, added: &[bool]) -> Vec<StepOutcome> {
        let mut outcome = vec![StepOutcome::Duplicate; self.steps];
        let rows = self.rows.iter().zip(&self.places).zip(&self.found).zip(added);
        for (((row, place), found), _) in rows.filter(|(_, added)| **added) {
            if let Some(own) = outcome.get_mut(*place) {
                *own = StepOutcome::Added {
                    stage: row.s,
                    rule: row.r.map(str::to_owned),
                    variant: found.map(|f| f.variant.to_owned()),
                    arm: found.map(|f| f.arm),
                };
            }
        }
        outcome
    }
}

impl<'a> NewStep<'a> {
    /// What it is unique by.
    pub(super) fn key(&self) -> StepKey<'a> {
        (self.e, self.u, self.k, self.p, self.i)
    }

    fn new(step: &'a StepRow, found: Option<Found<'a>>) -> Self {
        let (stage, rule) = if step.resolve {
            (found.map(|f| f.stage), found.map(|f| f.rule))
        } else {
            (step.stage, step.rule.as_deref())
        };
        Self {
            e: step.environment,
            u: &step.unit,
            k: &step.unit_attribute,
            p: &step.step,
            i: &step.id,
            f: step.flag,
            s: stage,
            r: rule,
            v: step.value,
            c: step.currency.as_deref(),
            o: step.order_id.as_deref(),
            t: step.at,
            a: step.attributes.as_deref(),
        }
    }
}

fn step_key(step: &StepRow) -> StepKey<'_> {
    (step.environment, &step.unit, &step.unit_attribute, &step.step, &step.id)
}

/// The environment and the first bytes of the unit, which sort as they do.
pub(super) fn begins_with((environment, unit, ..): StepKey<'_>) -> (i64, u128) {
    let mut first = [0; 16];
    first.iter_mut().zip(unit.bytes()).for_each(|(place, byte)| *place = byte);
    (environment, u128::from_be_bytes(first))
}

pub(super) fn steps<'a>(steps: &'a [StepRow], book: &Book<'a>) -> StepPlan<'a> {
    let mut sorted: Vec<_> =
        steps.iter().enumerate().map(|(place, step)| (begins_with(step_key(step)), place, step)).collect();
    // Of one key, in the order of their coming. What most differ in stands beside them: their texts are far apart in memory.
    sorted.sort_by(|(a, _, one), (b, _, other)| a.cmp(b).then_with(|| step_key(one).cmp(&step_key(other))));
    sorted.dedup_by(|(a, _, next), (b, _, kept)| a == b && step_key(next) == step_key(kept));
    let first: Vec<(usize, &StepRow)> = sorted.into_iter().map(|(_, place, step)| (place, step)).collect();
    let found: Vec<_> =
        first.iter().map(|(_, step)| if step.resolve { book.latest(step) } else { None }).collect();
    StepPlan {
        rows: first.iter().zip(&found).map(|((_, step), found)| NewStep::new(step, *found)).collect(),
        places: first.iter().map(|(place, _)| *place).collect(),
        found,
        steps: steps.len(),
    }
}
