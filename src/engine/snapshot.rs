//! The immutable, compiled state of one environment. A change makes the next snapshot from this one:
//! only what it names is compiled again, the rest is shared.

use std::sync::Arc;

use super::asks::Ask;
use super::attributes::Attributes;
use super::compile::{CompiledFlag, Lookup, StoredFlag};
use super::flag::{AudienceKind, Document, State};
use super::index::{AudienceIndex, FlagIndex};
use super::key::{AudienceKey, EnvironmentKey, FlagKey, PlacementKey, StepKey};
use super::map::Map;
use super::membership::{IdHasher, Members, Membership, Memberships};
use super::validate::{StepKind, Surroundings};

/// An audience in a snapshot.
#[derive(Debug, Clone)]
pub struct Audience {
    /// Its key.
    pub key: AudienceKey,
    /// What it holds ids of.
    pub kind: AudienceKind,
    /// Its version.
    pub version: i64,
    /// The generation of its contents: what is asked for where it is not in memory.
    pub generation: i64,
    /// How many ids it holds.
    pub size: i64,
    /// Its ids; `None`: not in memory.
    pub ids: Option<Arc<Members>>,
    /// Whether one that is not in memory can be asked for; else it is unreadable.
    pub read_through: bool,
}

/// What flags of an environment make of a step.
#[derive(Debug, Clone)]
pub struct StepUse {
    /// Stop or metric: what the first of them makes of it.
    pub kind: StepKind,
    /// Whether all of them make the same of it.
    pub agreed: bool,
    /// The flags that declare it.
    pub flags: Vec<FlagIndex>,
}

/// The compiled state of one environment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    environment: EnvironmentKey,
    environment_number: i64,
    number: i64,
    attributes: Arc<Attributes>,
    hasher: IdHasher,
    flags: Vec<Arc<CompiledFlag>>,
    by_key: Arc<Map<FlagKey, FlagIndex>>,
    sorted: Arc<[FlagIndex]>,
    placements: Arc<Map<PlacementKey, Vec<FlagIndex>>>,
    audiences: Vec<Audience>,
    audience_by_key: Arc<Map<AudienceKey, AudienceIndex>>,
    steps: Arc<Map<Box<str>, StepUse>>,
    /// By flag, what it and its prerequisites may ask of audiences that are not in memory; empty if nothing does.
    asks: Arc<[Box<[Ask]>]>,
}

impl Snapshot {
    /// An environment without flags.
    #[must_use]
    pub fn empty(environment: EnvironmentKey, environment_number: i64, hasher: IdHasher) -> Self {
        Self {
            environment,
            environment_number,
            number: 0,
            attributes: Arc::default(),
            hasher,
            flags: Vec::new(),
            by_key: Arc::default(),
            sorted: Arc::default(),
            placements: Arc::default(),
            audiences: Vec::new(),
            audience_by_key: Arc::default(),
            steps: Arc::default(),
            asks: Arc::default(),
        }
    }

    /// The next snapshot: `number`, with these audiences and flags in the place of their older forms.
    #[must_use]
    pub fn next(&self, number: i64, audiences: Vec<Audience>, flags: Vec<StoredFlag>) -> Self {
        let mut next = self.clone();
        next.number = number;
        let anything = !(audiences.is_empty() && flags.is_empty());
        for audience in audiences {
            next.put_audience(audience);
        }
        let mut attributes = (*next.attributes).clone();
        let before = attributes.len();
        // Keys first: a flag may require one that comes with it.
        for flag in &flags {
            next.index_of_stored(flag);
        }
        let mut tables_stale = false;
        for flag in flags {
            let Some(index) = next.index_of_stored(&flag) else { continue };
            let Some(old) = next.flag(index).cloned() else { continue };
            let compiled = CompiledFlag::after(flag, &old, &next, &mut attributes);
            tables_stale |= !old.stands_like(&compiled);
            if let Some(place) = next.flags.get_mut(index.at()) {
                *place = Arc::new(compiled);
            }
        }
        if attributes.len() > before {
            next.attributes = Arc::new(attributes);
        }
        if tables_stale {
            next.rebuild_tables();
        }
        if anything {
            next.rebuild_asks();
        }
        next
    }

    /// Most environments hold all their audiences in memory: then there is nothing to ask.
    fn rebuild_asks(&mut self) {
        let asked = |audience: AudienceIndex| {
            self.audience(audience).is_some_and(|audience| audience.ids.is_none() && audience.read_through)
        };
        if !self.audiences.iter().any(|audience| audience.ids.is_none() && audience.read_through) {
            self.asks = Arc::default();
            return;
        }
        let of_flag = |flag: &Arc<CompiledFlag>| {
            let (mut asks, mut way) = (Vec::new(), vec![flag.index]);
            let mut seen = Vec::new();
            while let Some(flag) = way.pop().and_then(|index| self.flag(index)) {
                if seen.contains(&flag.index) {
                    continue;
                }
                seen.push(flag.index);
                let own = flag.asks().iter().filter(|ask| asked(ask.audience));
                for ask in own {
                    if !asks.contains(ask) {
                        asks.push(*ask);
                    }
                }
                way.extend(flag.requires());
            }
            asks.into_boxed_slice()
        };
        let asks: Vec<Box<[Ask]>> = self.flags.iter().map(of_flag).collect();
        self.asks = if asks.iter().all(|asks| asks.is_empty()) { Arc::default() } else { asks.into() };
    }

    /// Whether the flags and audiences of `other` are these very ones, whatever its number.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let same = |(own, other): (&Arc<CompiledFlag>, &Arc<CompiledFlag>)| Arc::ptr_eq(own, other);
        self.flags.len() == other.flags.len()
            && self.flags.iter().zip(&other.flags).all(same)
            && self.audience_by_key == other.audience_by_key
    }

    /// This snapshot with the flags at `places` frozen as they are, because of `why`.
    #[must_use]
    pub fn freeze(&self, places: &[FlagIndex], why: &str) -> Self {
        let mut next = self.clone();
        for index in places {
            if let Some(place) = next.flags.get_mut(index.at()) {
                *place = Arc::new(place.frozen_as(place.state, why.into()));
            }
        }
        next
    }

    /// Whether any flag may ask an audience that is not in memory.
    #[must_use]
    #[inline]
    pub fn reads_through(&self) -> bool {
        !self.asks.is_empty()
    }

    /// What the flag at `index` and its prerequisites may ask of audiences that are not in memory.
    #[must_use]
    pub fn asks(&self, index: FlagIndex) -> &[Ask] {
        self.asks.get(index.at()).map(|asks| &**asks).unwrap_or_default()
    }

    /// This snapshot without the audience named `key`, which no flag asks for.
    #[must_use]
    pub fn without_audience(&self, key: &str) -> Self {
        let mut next = self.clone();
        if let Some(AudienceIndex(at)) = Arc::make_mut(&mut next.audience_by_key).remove(key)
            && let Some(gone) = next.audiences.get_mut(at as usize)
        {
            (gone.ids, gone.read_through) = (None, false);
        }
        next
    }

    fn put_audience(&mut self, audience: Audience) {
        match self.audience_by_key.get(&audience.key) {
            Some(AudienceIndex(at)) => {
                if let Some(place) = self.audiences.get_mut(*at as usize) {
                    *place = audience;
                }
            }
            None => {
                // One that was deleted and made again takes its old place.
                let known = self.audiences.iter().position(|known| known.key == audience.key);
                let Ok(at) = u32::try_from(known.unwrap_or(self.audiences.len())) else { return };
                Arc::make_mut(&mut self.audience_by_key).insert(audience.key.clone(), AudienceIndex(at));
                match self.audiences.get_mut(at as usize) {
                    Some(place) => *place = audience,
                    None => self.audiences.push(audience),
                }
            }
        }
    }

    /// The place of a flag, a new one for a new flag.
    fn index_of_stored(&mut self, flag: &StoredFlag) -> Option<FlagIndex> {
        let key = flag.key.clone();
        if let Some(index) = self.by_key.get(&key) {
            return Some(*index);
        }
        let index = FlagIndex(u32::try_from(self.flags.len()).ok()?);
        self.flags.push(Arc::new(CompiledFlag::placeholder(key.clone(), index)));
        Arc::make_mut(&mut self.by_key).insert(key, index);
        Some(index)
    }

    fn rebuild_tables(&mut self) {
        let mut sorted: Vec<_> = self.flags.iter().map(|flag| flag.index).collect();
        sorted.sort_by(|a, b| self.key_of(*a).cmp(&self.key_of(*b)));
        self.sorted = sorted.into();
        let mut placements: Map<PlacementKey, Vec<FlagIndex>> = Map::default();
        let mut steps: Map<Box<str>, StepUse> = Map::default();
        for flag in &self.flags {
            if let Some(placement) = &flag.placement
                && flag.state != State::Archived
            {
                placements.entry(placement.clone()).or_default().push(flag.index);
            }
            let Some(document) = &flag.document else { continue };
            let stops = document.funnel.iter().map(|stop| (&stop.step, StepKind::Stop));
            let metrics = document.metrics.iter().map(|metric| (&metric.step, StepKind::Metric));
            for (step, kind) in stops.chain(metrics) {
                let first = || StepUse { kind, agreed: true, flags: Vec::new() };
                let entry = steps.entry(step.as_str().into()).or_insert_with(first);
                entry.agreed &= entry.kind == kind;
                entry.flags.push(flag.index);
            }
        }
        for entries in placements.values_mut() {
            entries.sort_by_key(|index| self.flag(*index).map(|flag| (flag.position(), flag.key.clone())));
        }
        self.placements = Arc::new(placements);
        self.steps = Arc::new(steps);
    }

    fn key_of(&self, index: FlagIndex) -> Option<&FlagKey> {
        self.flag(index).map(|flag| &flag.key)
    }

    /// The environment's key.
    #[must_use]
    pub fn environment(&self) -> &EnvironmentKey {
        &self.environment
    }

    /// The environment's number, for tokens and tables.
    #[must_use]
    pub fn environment_number(&self) -> i64 {
        self.environment_number
    }

    /// The snapshot's number, which only grows.
    #[must_use]
    pub fn number(&self) -> i64 {
        self.number
    }

    /// The attributes that flags ask for: what a context is parsed with.
    #[must_use]
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// Hashes ids for the audiences.
    #[must_use]
    pub fn hasher(&self) -> &IdHasher {
        &self.hasher
    }

    /// The flag at `index`.
    #[must_use]
    #[inline]
    pub fn flag(&self, index: FlagIndex) -> Option<&Arc<CompiledFlag>> {
        self.flags.get(index.at())
    }

    /// The flag named `key`.
    #[must_use]
    #[inline]
    pub fn find(&self, key: &str) -> Option<&Arc<CompiledFlag>> {
        self.by_key.get(key).and_then(|index| self.flag(*index))
    }

    /// The flag whose number in the environment is `number`.
    #[must_use]
    pub fn find_number(&self, number: i64) -> Option<&Arc<CompiledFlag>> {
        // Numbers are given in order of creation, as places are.
        let guess =
            usize::try_from(number).ok().and_then(|n| n.checked_sub(1)).and_then(|at| self.flags.get(at));
        guess
            .filter(|flag| flag.number == number)
            .or_else(|| self.flags.iter().find(|flag| flag.number == number))
    }

    /// All flags in order of creation.
    #[must_use]
    pub fn flags(&self) -> &[Arc<CompiledFlag>] {
        &self.flags
    }

    /// All flags in order of their keys.
    pub fn sorted(&self) -> impl Iterator<Item = &Arc<CompiledFlag>> {
        self.sorted.iter().filter_map(|index| self.flag(*index))
    }

    /// The entries of a placement in order of position, then key; archived ones are not among them.
    pub fn entries(&self, placement: &str) -> impl Iterator<Item = &Arc<CompiledFlag>> {
        let entries = self.placements.get(placement).map(Vec::as_slice).unwrap_or_default();
        entries.iter().filter_map(|index| self.flag(*index))
    }

    /// What flags make of `step`.
    #[must_use]
    pub fn step(&self, step: &str) -> Option<&StepUse> {
        self.steps.get(step)
    }

    /// All audiences.
    #[must_use]
    pub fn audiences(&self) -> &[Audience] {
        &self.audiences
    }

    /// The audience at `index`.
    #[must_use]
    pub fn audience(&self, index: AudienceIndex) -> Option<&Audience> {
        self.audiences.get(index.0 as usize)
    }

    /// The place of the audience named `key`.
    #[must_use]
    pub fn audience_index(&self, key: &str) -> Option<AudienceIndex> {
        self.audience_by_key.get(key).copied()
    }

    /// Whether `id` is in `audience`; `hash` is made only where it is needed.
    #[inline]
    pub(super) fn membership(
        &self,
        audience: AudienceIndex,
        id: &str,
        fetched: &impl Memberships,
        hash: impl FnOnce() -> u64,
    ) -> Membership {
        match self.audience(audience).and_then(|audience| audience.ids.as_deref()) {
            Some(ids) if ids.is_empty() => Membership::Stranger,
            Some(ids) if ids.contains(hash()) => Membership::Member,
            Some(_) => Membership::Stranger,
            None => fetched.of(audience, id),
        }
    }

    /// This snapshot with the flags whose end has passed marked, and whether any was.
    #[must_use]
    pub fn expire(&self, now_ms: i64) -> Option<Self> {
        let due = |flag: &CompiledFlag| !flag.expired && flag.expire_at().is_some_and(|at| at <= now_ms);
        if !self.flags.iter().any(|flag| due(flag)) {
            return None;
        }
        let mut next = self.clone();
        for place in &mut next.flags {
            if due(place) {
                *place = Arc::new(place.as_expired());
            }
        }
        Some(next)
    }
}

impl Lookup for Snapshot {
    fn flag_index(&self, key: &str) -> Option<FlagIndex> {
        self.by_key.get(key).copied()
    }

    fn audience_index(&self, key: &str) -> Option<AudienceIndex> {
        Self::audience_index(self, key)
    }
}

impl Surroundings for Snapshot {
    fn audience(&self, key: &AudienceKey) -> Option<AudienceKind> {
        self.audience_index(key.as_str()).and_then(|index| self.audience(index)).map(|audience| audience.kind)
    }

    fn document(&self, key: &FlagKey) -> Option<&Document> {
        self.find(key.as_str()).and_then(|flag| flag.document.as_deref())
    }

    fn state(&self, key: &FlagKey) -> Option<State> {
        self.find(key.as_str()).map(|flag| flag.state)
    }

    fn documents(&self) -> Box<dyn Iterator<Item = &Document> + '_> {
        Box::new(self.flags.iter().filter_map(|flag| flag.document.as_deref()))
    }

    fn agree(&self, step: &StepKey, kind: StepKind) -> bool {
        self.step(step.as_str()).is_none_or(|used| used.agreed && used.kind == kind)
    }
}
