//! Two lists of steps, each oldest first, as one: a flag's own stops, and the metrics of the whole environment, of
//! which most may concern nobody who was exposed.

use std::collections::{BTreeSet, VecDeque};

use super::{PAGE_ROWS, Page, READS_MAX, Row, cursor};
use crate::store::{EventSpan, StepPlace, StepsOf, Store, StoreError, TimedStep};

/// The steps of an export, as far as it has come.
#[derive(Debug)]
pub(super) struct Steps {
    lists: [List; 2],
    metrics: BTreeSet<String>,
    /// Everything up to here is told, or concerns nobody.
    through: StepPlace,
}

#[derive(Debug)]
struct List {
    of: StepsOf,
    /// Rows that were read and not told yet.
    rows: VecDeque<TimedStep>,
    /// Everything up to here was read.
    read_through: StepPlace,
    ended: bool,
}

/// What to do next.
enum Turn {
    /// Tell the first row of a list.
    Tell(usize),
    /// Read on in a list: what it has may come before everything else.
    Read(usize),
    /// All is told.
    End,
}

impl Steps {
    /// The steps after a place; `metrics` are those that the flag declares.
    pub(super) fn after(place: StepPlace, metrics: BTreeSet<String>) -> Self {
        let list = |of, ended| List { of, rows: VecDeque::new(), read_through: place.clone(), ended };
        let lists = [list(StepsOf::Funnel, false), list(StepsOf::Metrics, metrics.is_empty())];
        Self { lists, metrics, through: place }
    }

    /// At most `most` further rows; fewer where they are far between.
    pub(super) async fn page(
        &mut self,
        store: &Store,
        span: EventSpan,
        most: usize,
    ) -> Result<Page, StoreError> {
        let (mut rows, mut reads) = (Vec::new(), 0);
        loop {
            let turn = self.turn();
            let full = rows.len() == most || (matches!(turn, Turn::Read(_)) && reads == READS_MAX);
            match turn {
                Turn::End => return Ok(Page { rows, next: None }),
                _ if full => {
                    self.skip_unconcerned();
                    return Ok(Page { rows, next: Some(cursor::of_step(&self.through)) });
                }
                Turn::Read(at) => {
                    reads += 1;
                    let Some(list) = self.lists.get_mut(at) else { continue };
                    match list.read(store, span, &self.metrics).await {
                        // What is taken out already is told; whoever goes on hears of the failure.
                        Err(_) if !rows.is_empty() => {
                            return Ok(Page { rows, next: Some(cursor::of_step(&self.through)) });
                        }
                        read => read?,
                    }
                }
                Turn::Tell(at) => {
                    if let Some(row) = self.lists.get_mut(at).and_then(|list| list.rows.pop_front()) {
                        self.through = StepPlace::of(&row);
                        rows.push(Row::Step(row));
                    }
                }
            }
        }
    }

    fn turn(&self) -> Turn {
        let fronts = self.lists.iter().enumerate();
        let fronts = fronts.filter_map(|(at, list)| Some((StepPlace::of(list.rows.front()?), at)));
        let Some((front, at)) = fronts.min() else {
            return self.lists.iter().position(|list| !list.ended).map_or(Turn::End, Turn::Read);
        };
        // A list whose rows are all told may go on with one that is earlier, unless it was read beyond.
        let earlier = |list: &List| list.rows.is_empty() && !list.ended && list.read_through < front;
        self.lists.iter().position(earlier).map_or(Turn::Tell(at), Turn::Read)
    }

    /// Moves on over what was read and concerns nobody, so that an empty page goes on too.
    fn skip_unconcerned(&mut self) {
        let open = self.lists.iter().filter(|list| list.rows.is_empty() && !list.ended);
        if let Some(read_through) = open.map(|list| &list.read_through).min() {
            let waiting = self.lists.iter().filter_map(|list| list.rows.front());
            if waiting.map(StepPlace::of).all(|front| *read_through < front) {
                self.through = self.through.clone().max(read_through.clone());
            }
        }
    }
}

impl List {
    async fn read(
        &mut self,
        store: &Store,
        span: EventSpan,
        metrics: &BTreeSet<String>,
    ) -> Result<(), StoreError> {
        let read = store.steps_by_time(span, self.of, &self.read_through, PAGE_ROWS as i64).await?;
        self.ended = read.len() < PAGE_ROWS;
        if let Some(last) = read.last() {
            self.read_through = StepPlace::of(last);
        }
        let of = self.of;
        let concerns =
            |row: &TimedStep| of == StepsOf::Funnel || (row.exposed == 1 && metrics.contains(&row.step));
        self.rows.extend(read.into_iter().filter(concerns));
        Ok(())
    }
}
