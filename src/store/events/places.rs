//! Where the steps of a unit stand in SQLite: steps are stored in the order of their coming, and found by unit through
//! `step_places`.
//!
//! A step's place by unit is on a page of its own, wherever the unit sorts; tens of thousands of places share their
//! pages. So a step is only appended before it is acknowledged, and its place follows with many others. Until then it is
//! known here, in memory; `meta` says up to which number all are placed, and what a crash leaves beyond it is placed
//! before anything else is stored.
//!
//! Whoever looks for steps by unit calls [`Store::place_steps`] before, or makes do with what is older than a minute. Steps
//! that come late are placed at once: the hours that they mark are counted again at any moment (see
//! [`crate::store::LATE_AFTER_MS`]).

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use sqlx::error::BoxDynError;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::{Instant, timeout};

use super::StepKey;
use super::known::Known;
use super::plan::{NewStep, begins_with};
use super::rows::KeyRow;
use crate::store::bulk::{Bulk, Row, Values};
use crate::store::error::StoreError;
use crate::store::lent::{Lent, each};
use crate::store::{Db, Store};

/// So many wait for their places before they are brought there.
const MANY: usize = 50_000;
/// Most that may wait. Whoever appends more brings them there first.
const MOST: usize = 4 * MANY;
/// They are brought there after this long, however few they are.
const SOON: Duration = Duration::from_secs(10);
/// Longest that any may wait: well under what reports wait beyond [`crate::store::LATE_AFTER_MS`] before they count an hour.
const LONGEST: Duration = Duration::from_secs(60);
/// Fewest and most places of one transaction: events are stored in between.
const PIECE: (usize, usize) = (64, 1_024);
/// A transaction that took longer is followed by a smaller one, one that took less by a larger.
const PIECE_TOOK: (Duration, Duration) = (Duration::from_millis(15), Duration::from_millis(6));
/// How often what came meanwhile is moved before others are kept from coming.
const ROUNDS: usize = 4;

static APPEND: Bulk = Bulk::new(
    "INSERT OR FAIL INTO steps (environment, unit, unit_attribute, step, id, flag, stage, rule, value, currency,
                                order_id, at, attributes) VALUES ",
    13,
    "",
);

// What was erased meanwhile gets no place.
static PLACE: Bulk = Bulk::new(
    "INSERT OR FAIL INTO step_places (environment, unit, unit_attribute, step, id, number)
     SELECT s.environment, s.unit, s.unit_attribute, s.step, s.id, s.number FROM (VALUES ",
    1,
    ") AS j CROSS JOIN steps AS s ON s.number = j.column1 WHERE true ON CONFLICT DO NOTHING",
);

static PLACED: Bulk = Bulk::new(
    "SELECT p.environment, p.unit, p.unit_attribute, p.step, p.id FROM (VALUES ",
    5,
    ") AS j CROSS JOIN step_places AS p
       ON p.environment = j.column1 AND p.unit = j.column2 AND p.unit_attribute = j.column3 AND p.step = j.column4
      AND p.id = j.column5",
);

/// What is known of steps that have no place yet.
#[derive(Debug, Default)]
pub(in crate::store) struct Places {
    /// One at a time brings steps to their places.
    turn: Mutex<()>,
    /// `None`: what the database holds has to be placed before more is stored.
    tail: Mutex<Option<Tail>>,
    /// Of every tail the same, so that what was hashed for one is right for the next.
    hasher: RandomState,
}

/// Steps and their numbers. Looked up for each event, so in no order: a step's neighbours in memory are others' steps.
type Numbers = HashMap<Place, i64, BuildHasherDefault<Hashed>>;

/// Takes the hash that a place knows.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Steps without a place. All that is stored beyond the mark stands in it.
#[derive(Debug)]
pub(super) struct Tail {
    /// The number of the last step.
    last: i64,
    waiting: Numbers,
    /// When the first step came that the mark says nothing of.
    since: Option<Instant>,
    /// Those that are being brought to their places.
    moving: Arc<Numbers>,
    /// The keys of all steps, by their hashes.
    known: Known,
    hasher: RandomState,
}

/// A tail that nobody else has, and where to put it back. If that is not done, it is not known what is stored.
pub(super) type Taken<'s> = (MutexGuard<'s, Option<Tail>>, Tail);

/// As long as it is held, no step is stored.
pub(in crate::store) struct Held<'s> {
    _place: MutexGuard<'s, Option<Tail>>,
}

/// The key of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// Of all of it, made once: it is looked for in several places.
    hash: u64,
    environment: i64,
    /// Unit, unit attribute, step and id.
    texts: Box<str>,
    /// Where the first three of them end.
    ends: [usize; 3],
}

impl Place {
    fn of((environment, unit, unit_attribute, step, id): StepKey<'_>, hasher: &RandomState) -> Self {
        let first = unit.len();
        let second = first + unit_attribute.len();
        let ends = [first, second, second + step.len()];
        let texts: Box<str> = [unit, unit_attribute, step, id].concat().into();
        Self { hash: hasher.hash_one((environment, &texts, ends)), environment, texts, ends }
    }

    fn key(&self) -> StepKey<'_> {
        let [first, second, third] = self.ends;
        let text = |from, to| self.texts.get(from..to).unwrap_or_default();
        let id = self.texts.get(third..).unwrap_or_default();
        (self.environment, text(0, first), text(first, second), text(second, third), id)
    }
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// What became of rows that were appended.
pub(super) struct Appended {
    /// Of each whether it was new.
    pub(super) added: Vec<bool>,
    /// Those that are stored with the commit, and have no number before.
    last: Vec<Place>,
}

/// A stored step without a place.
#[derive(sqlx::FromRow)]
struct Unplaced {
    number: i64,
    #[sqlx(flatten)]
    key: KeyRow,
}

impl Tail {
    /// Behind the number `last`, with nothing in it: all up to there have their places.
    fn new(last: i64, hasher: RandomState) -> Self {
        let known = Known::new(last);
        Self { last, waiting: Numbers::default(), since: None, moving: Arc::default(), known, hasher }
    }

    fn holds(&self, place: &Place) -> bool {
        self.waiting.contains_key(place) || self.moving.contains_key(place)
    }

    fn is_due(&self) -> bool {
        // Asked by whose turn it is: whoever moved some was stopped.
        let left = !self.moving.is_empty();
        left || self.waiting.len() >= MANY || self.since.is_some_and(|since| since.elapsed() >= SOON)
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= MOST || self.since.is_some_and(|since| since.elapsed() >= LONGEST)
    }

    fn learn(&mut self, stored: &[Unplaced]) {
        for row in stored {
            self.wait(Place::of(row.key.key(), &self.hasher), row.number);
        }
        self.last = stored.last().map_or(self.last, |row| row.number);
    }

    fn wait(&mut self, place: Place, number: i64) {
        self.known.add(place.hash);
        self.since.get_or_insert_with(Instant::now);
        self.waiting.insert(place, number);
    }

    /// Appends those of `rows`, which are of different keys, that are not stored. They are in the tail, and the tail is true,
    /// once the transaction is committed and [`Tail::commit`] was told. If nothing else is written before that, some are sent
    /// with the commit.
    pub(super) async fn append(
        &mut self,
        lent: &mut Lent,
        rows: &[NewStep<'_>],
        late_before_ms: i64,
        is_last: bool,
    ) -> Result<Appended, StoreError> {
        // Of another process on the same file.
        self.learn(&after(lent, self.last).await?);
        let place_of = |row: &NewStep<'_>| Some(Place::of(row.key(), &self.hasher));
        let mut places: Vec<Option<Place>> = rows.iter().map(place_of).collect();
        for place in &mut places {
            place.take_if(|place| self.holds(place));
        }
        let asked = places.iter().flatten().filter(|place| self.known.may_hold(place.hash));
        let asked: Vec<&Place> = asked.collect();
        let placed = placed(lent, &asked).await?;
        let placed: BTreeSet<StepKey<'_>> = placed.iter().map(KeyRow::key).collect();
        for place in &mut places {
            place.take_if(|place| placed.contains(&place.key()));
        }
        let added = places.iter().map(Option::is_some).collect();
        let new: Vec<NewStep<'_>> =
            rows.iter().zip(&places).filter_map(|(row, place)| place.as_ref().map(|_| *row)).collect();
        let is_late = |row: &NewStep<'_>| row.t < late_before_ms;
        let numbers = append(lent, &new, is_last && !new.iter().any(is_late)).await?;
        self.last = numbers.last().copied().unwrap_or(self.last);
        let (mut late, mut places) = (Vec::new(), places.into_iter().flatten());
        for ((row, number), place) in new.iter().zip(numbers).zip(places.by_ref()) {
            if is_late(row) {
                self.known.add(place.hash);
                // It has its place, but the mark has to follow.
                self.since.get_or_insert_with(Instant::now);
                late.push(number);
            } else {
                self.wait(place, number);
            }
        }
        place(lent, &late).await?;
        Ok(Appended { added, last: places.collect() })
    }

    /// Knows what was sent with a commit.
    pub(super) fn commit(&mut self, appended: Appended, lent: &Lent) {
        if appended.last.is_empty() {
            return;
        }
        self.last = lent.inserted();
        let first = self.last + 1 - appended.last.len() as i64;
        for (number, place) in (first..).zip(appended.last) {
            self.wait(place, number);
        }
    }
}

impl Store {
    /// Brings the steps that are stored to their places, so that all of them are found by unit. Events are stored meanwhile.
    /// PostgreSQL needs none of it.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn place_steps(&self) -> Result<(), StoreError> {
        if matches!(self.db, Db::Postgres(_)) {
            return Ok(());
        }
        let _turn = self.places.turn.lock().await;
        self.move_waiting().await.map(drop)
    }

    /// The same, if there are many, or they wait for long. No step that was stored a minute ago is without its place then.
    ///
    /// # Errors
    /// Any [`StoreError`] of a write.
    pub async fn place_waiting_steps(&self) -> Result<(), StoreError> {
        if matches!(self.db, Db::Postgres(_)) {
            return Ok(());
        }
        let _turn = self.places.turn.lock().await;
        let is_due = self.places.tail.lock().await.as_ref().is_none_or(Tail::is_due);
        if is_due { self.move_waiting().await.map(drop) } else { Ok(()) }
    }

    /// Reads the keys of some steps that were stored before this process stored any, so that new steps need not be looked up;
    /// whether there are more.
    ///
    /// # Errors
    /// Any [`StoreError`] of a read.
    pub async fn know_steps(&self) -> Result<bool, StoreError> {
        let unread = |tail: &Option<Tail>| tail.as_ref().and_then(|tail| tail.known.unread());
        let Some((from, until)) = unread(&*self.places.tail.lock().await) else { return Ok(false) };
        let mut lent = self.reader("keys of steps").await?;
        let found = first_after(&mut lent, from).await?;
        drop(lent);
        let read = found.last().map_or(until, |row| row.number);
        let hash = |row: Unplaced| Place::of(row.key.key(), &self.places.hasher).hash;
        // Before events have to wait.
        let hashes: Vec<u64> = found.into_iter().map(hash).collect();
        let mut place = self.places.tail.lock().await;
        // Another one by now, if somebody failed to store steps.
        if let Some(tail) = place.as_mut().filter(|tail| tail.known.unread() == Some((from, until))) {
            tail.known.learn(&hashes, read);
        }
        Ok(unread(&place).is_some())
    }

    /// Brings all steps to their places, and keeps others from being stored as long as what is answered is held.
    pub(in crate::store) async fn hold_placed(&self) -> Result<Option<Held<'_>>, StoreError> {
        if matches!(self.db, Db::Postgres(_)) {
            return Ok(None);
        }
        let _turn = self.places.turn.lock().await;
        // What comes while many are moved is less, and less again.
        for _ in 0..ROUNDS {
            if self.move_waiting().await? < PIECE.1 {
                break;
            }
        }
        let (mut place, mut tail) = self.tail().await?;
        if let Some(rows) = self.take_waiting(&mut tail).await? {
            self.write_places(&rows, tail.last).await?;
            tail.moving = Arc::default();
        }
        *place = Some(tail);
        Ok(Some(Held { _place: place }))
    }

    /// Moves what waits, while others are stored; how many that were. It must be the caller's turn.
    async fn move_waiting(&self) -> Result<usize, StoreError> {
        let (mut place, mut tail) = self.tail().await?;
        let Some(rows) = self.take_waiting(&mut tail).await? else {
            *place = Some(tail);
            return Ok(0);
        };
        let (rows, last) = (Arc::new(rows), tail.last);
        tail.moving = rows.clone();
        *place = Some(tail);
        drop(place);
        self.write_places(&rows, last).await?;
        if let Some(tail) = self.places.tail.lock().await.as_mut() {
            tail.moving = Arc::default();
        }
        Ok(rows.len())
    }

    /// All that has to be moved, as far as it is stored now; `None` if the mark is where it should be.
    async fn take_waiting(&self, tail: &mut Tail) -> Result<Option<Numbers>, StoreError> {
        let mut lent = self.reader("steps without a place").await?;
        tail.learn(&after(&mut lent, tail.last).await?);
        drop(lent);
        if tail.since.take().is_none() && tail.moving.is_empty() {
            return Ok(None);
        }
        let mut rows = std::mem::take(&mut tail.waiting);
        // Left by whoever was stopped on the way; those that have their places by now keep them.
        rows.extend(tail.moving.iter().map(|(place, number)| (place.clone(), *number)));
        Ok(Some(rows))
    }

    /// The tail, for whoever appends to it.
    pub(super) async fn tail_to_append(&self) -> Result<Taken<'_>, StoreError> {
        let (mut place, tail) = self.tail().await?;
        if !tail.is_full() {
            return Ok((place, tail));
        }
        *place = Some(tail);
        drop(place);
        Box::pin(self.place_steps()).await?;
        self.tail().await
    }

    async fn tail(&self) -> Result<Taken<'_>, StoreError> {
        let what = "steps without a place";
        let locked = timeout(self.deadlines.write, self.places.tail.lock());
        let mut place = locked.await.map_err(|_elapsed| StoreError::Timeout { what })?;
        let tail = match place.take() {
            Some(tail) => tail,
            None => self.read_tail().await?,
        };
        Ok((place, tail))
    }

    /// Places all that is stored beyond the mark.
    async fn read_tail(&self) -> Result<Tail, StoreError> {
        let mut lent = self.reader("placed steps").await?;
        let mut placed = each!(&mut lent, "placed steps",
            sqlite c => sqlx::query_scalar::<_, i64>(
                "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'steps_placed'").fetch_one(c),
            postgres _c => std::future::ready(Ok(0)))?;
        drop(lent);
        loop {
            let mut lent = self.reader("steps without a place").await?;
            let found = first_after(&mut lent, placed).await?;
            drop(lent);
            let Some(last) = found.last().map(|row| row.number) else {
                return Ok(Tail::new(placed, self.places.hasher.clone()));
            };
            let place = |row: &Unplaced| (Place::of(row.key.key(), &self.places.hasher), row.number);
            let rows = found.iter().map(place).collect();
            self.write_places(&rows, last).await?;
            placed = last;
        }
    }

    /// Places `rows`, piece by piece, and says then that all up to `last` are placed.
    async fn write_places(&self, rows: &Numbers, last: i64) -> Result<(), StoreError> {
        let mut rows: Vec<(&Place, i64)> = rows.iter().map(|(place, number)| (place, *number)).collect();
        // Neighbours share their pages, in whatever order they come there.
        rows.sort_by_cached_key(|(place, _)| begins_with(place.key()));
        let numbers: Vec<i64> = rows.into_iter().map(|(_, number)| number).collect();
        let (mut rest, mut size) = (numbers.as_slice(), PIECE.1 / 4);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(size.min(rest.len()));
            let mut lent = self.write_transaction("place steps", self.deadlines.write).await?;
            // From here on events wait.
            let began = Instant::now();
            place(&mut lent, piece).await?;
            lent.commit().await?;
            rest = after;
            size = match began.elapsed() {
                long if long > PIECE_TOOK.0 => (size / 2).max(PIECE.0),
                short if short < PIECE_TOOK.1 => (size * 2).min(PIECE.1),
                _ => size,
            };
            self.events_written.fetch_add(piece.len() as u64, std::sync::atomic::Ordering::Release);
        }
        let mut lent = self.writer("mark placed steps", self.deadlines.write).await?;
        each!(&mut lent, "mark placed steps",
            sqlite c => async {
                let mark = "UPDATE meta SET value = CAST(MAX(CAST(value AS INTEGER), $1) AS TEXT) WHERE key = 'steps_placed'";
                sqlx::query(mark).bind(last).execute(c).await.map(drop)
            },
            postgres _c => std::future::ready(Ok(())))
    }
}

/// The steps behind a number.
async fn after(lent: &mut Lent, number: i64) -> Result<Vec<Unplaced>, StoreError> {
    // Without a parameter for LIMIT: SQLite would plan the statement anew each time.
    let sql = "SELECT number, environment, unit, unit_attribute, step, id FROM steps WHERE number > $1 ORDER BY number";
    lent.ask("steps without a place", sql, &[number.into()]).await
}

/// Some of the steps behind a number, the first of them.
async fn first_after(lent: &mut Lent, number: i64) -> Result<Vec<Unplaced>, StoreError> {
    each!(lent, "steps without a place",
        sqlite c => sqlx::query_as::<_, Unplaced>(
            "SELECT number, environment, unit, unit_attribute, step, id FROM steps WHERE number > $1
             ORDER BY number LIMIT 10000")
            .bind(number).fetch_all(c),
        postgres _c => std::future::ready(Ok(Vec::new())))
}

/// Which of these have a place.
async fn placed(lent: &mut Lent, asked: &[&Place]) -> Result<Vec<KeyRow>, StoreError> {
    each!(lent, "known steps",
        sqlite c => async {
            let mut found = Vec::new();
            for (sql, part) in PLACED.parts(asked) {
                let query = sqlx::query_as_with::<_, KeyRow, _>(sql, PLACED.arguments(part)?);
                found.extend(query.fetch_all(&mut *c).await?);
            }
            Ok(found)
        },
        postgres _c => std::future::ready(Ok(Vec::new())))
}

/// Appends steps; tells their numbers, but for those that go with the commit if that `is_next`.
async fn append(lent: &mut Lent, rows: &[NewStep<'_>], is_next: bool) -> Result<Vec<i64>, StoreError> {
    let what = "append steps";
    let (mut numbers, mut parts) = (Vec::with_capacity(rows.len()), APPEND.parts(rows).peekable());
    while let Some((sql, part)) = parts.next() {
        let arguments = APPEND.arguments(part).map_err(|error| StoreError::of(what, &error))?;
        if is_next && parts.peek().is_none() {
            lent.insert_later(what, sql, arguments).await?;
            break;
        }
        let last = each!(lent, what,
            sqlite c => async { Ok(sqlx::query_with(sql, arguments).execute(c).await?.last_insert_rowid()) },
            postgres _c => std::future::ready(Ok(0)))?;
        // The rows of a statement take numbers that follow each other: nobody else writes.
        numbers.extend((1..=part.len() as i64).rev().map(|back| last + 1 - back));
    }
    Ok(numbers)
}

async fn place(lent: &mut Lent, rows: &[i64]) -> Result<(), StoreError> {
    each!(lent, "place steps",
        sqlite c => async {
            for (sql, part) in PLACE.parts(rows) {
                sqlx::query_with(sql, PLACE.arguments(part)?).execute(&mut *c).await?;
            }
            Ok(())
        },
        postgres _c => std::future::ready(Ok(())))
}

impl Row for &Place {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        let (environment, unit, unit_attribute, step, id) = self.key();
        to.add(environment)?;
        to.add(unit)?;
        to.add(unit_attribute)?;
        to.add(step)?;
        to.add(id)
    }
}

/// The number of a step.
impl Row for i64 {
    fn add(&self, to: &mut Values) -> Result<(), BoxDynError> {
        to.add(*self)
    }
}
