//! From a document to a compiled flag: everything that does not depend on the request is done here, once.

use std::sync::Arc;

use super::asks::Ask;
use super::attributes::{Attributes, Slot};
use super::bucket::{Bucket, Salted};
use super::condition::{Condition, Names};
use super::flag::{self, Attribute, Document, Match, Scope, State};
use super::index::{AudienceIndex, FlagIndex};
use super::key::{FlagKey, PlacementKey, RuleId, VariantKey};
use super::memo::Fingerprint;
use super::share::{PPM, Share};

/// Finds what a document names.
pub trait Lookup {
    /// The place of a flag.
    fn flag_index(&self, key: &str) -> Option<FlagIndex>;
    /// The place of an audience.
    fn audience_index(&self, key: &str) -> Option<AudienceIndex>;
}

/// A stored flag, as loading hands it over.
#[derive(Debug, Clone)]
pub struct StoredFlag {
    /// Its key; a document with another one is not its own.
    pub key: FlagKey,
    /// Its number in the environment, for events.
    pub number: i64,
    /// Its version.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// The number of its open stage.
    pub stage: Option<i64>,
    /// How many stages it has had, if that is known.
    pub stages: Option<i64>,
    /// Whether its end has passed.
    pub expired: bool,
    /// Milliseconds since 1970 of the last change.
    pub updated_at: i64,
    /// Who made it.
    pub updated_by: Arc<str>,
    /// The document; `Err`: why it cannot be read, so that the flag answers an error and the others go on.
    pub document: Result<Arc<Document>, Arc<str>>,
    /// The document's JSON as stored.
    pub json: Arc<str>,
}

/// A variant of a compiled flag.
#[derive(Debug)]
pub struct Variant {
    /// Its key.
    pub key: VariantKey,
    /// Its value as JSON text.
    pub json: Box<str>,
}

/// A compiled rule.
#[derive(Debug)]
pub struct Rule {
    /// Its id.
    pub id: RuleId,
    pub(super) when: Condition,
    /// What `when` is, whichever flag it stands in.
    pub(super) fingerprint: Fingerprint,
    pub(super) serve: Serve,
}

#[derive(Debug)]
pub(super) enum Serve {
    Variant(u16),
    Rollout { percent: Share, control: Share, split: Split },
}

/// How the treated are split between variants.
#[derive(Debug)]
pub(super) enum Split {
    One(u16),
    /// Ends of the variants' parts in units of `total`, in the order of their keys.
    Weighted {
        total: u64,
        ends: Box<[(u64, u16)]>,
    },
}

impl Split {
    /// The variant whose cumulative weights satisfy `low * 10^6 <= bucket * total < high * 10^6`.
    pub(super) fn choose(&self, bucket: impl FnOnce() -> Bucket) -> Option<u16> {
        match self {
            Self::One(variant) => Some(*variant),
            Self::Weighted { total, ends } => {
                let place = u64::from(bucket().ppm()) * total;
                ends.iter().find(|(high, _)| place < high * u64::from(PPM)).map(|(_, variant)| *variant)
            }
        }
    }
}

/// A compiled goods gate.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) matching: Match,
    pub(super) required: bool,
    pub(super) include: Box<[Condition]>,
    pub(super) exclude: Box<[Condition]>,
    pub(super) rollout: Share,
    pub(super) hash: Salted,
}

/// A compiled layer range.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) hash: Salted,
    pub(super) from: Share,
    pub(super) to: Share,
}

/// A prerequisite, found.
#[derive(Debug)]
pub(super) struct Prerequisite {
    pub(super) flag: FlagIndex,
    pub(super) variants: Vec<VariantKey>,
}

/// A flag, ready to decide.
#[derive(Debug, Clone)]
pub struct CompiledFlag {
    /// Its key.
    pub key: FlagKey,
    /// Its place.
    pub index: FlagIndex,
    /// Its number in the environment, for events.
    pub number: i64,
    /// Its version.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// The number of its open stage; `None` while shut.
    pub stage: Option<i64>,
    /// How many stages it has had, if that is known.
    pub stages: Option<i64>,
    /// Whether its end has passed.
    pub expired: bool,
    /// Milliseconds since 1970 of the last change.
    pub updated_at: i64,
    /// Who made it.
    pub updated_by: Arc<str>,
    /// The typed document; `None`: it could not be read.
    pub document: Option<Arc<Document>>,
    /// The document's JSON as stored.
    pub json: Arc<str>,
    /// Why it cannot decide, if it cannot.
    pub broken: Option<Arc<str>>,
    /// Why its newest stored form is not the one that decides, where an older one goes on.
    pub frozen: Option<Arc<str>>,
    /// Where its entry is shown; known of many documents that cannot be read as a whole.
    pub(super) placement: Option<PlacementKey>,
    /// The unit's attribute, such as `user.id`.
    pub unit_attribute: Box<str>,
    pub(super) compiled: Arc<Compiled>,
}

/// What evaluation reads; shared where only the state beside the document changes.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) unit: Slot,
    pub(super) needs_unit: bool,
    pub(super) variants: Box<[Variant]>,
    pub(super) off: u16,
    pub(super) default: u16,
    pub(super) rollout_hash: Salted,
    pub(super) split_hash: Salted,
    pub(super) layer: Option<Layer>,
    pub(super) prerequisites: Box<[Prerequisite]>,
    pub(super) gate: Option<Gate>,
    pub(super) rules: Box<[Rule]>,
    pub(super) capture: Box<[(Slot, Box<str>)]>,
    pub(super) asks: Box<[Ask]>,
}

impl CompiledFlag {
    pub(super) fn placeholder(key: FlagKey, index: FlagIndex) -> Self {
        Self {
            key,
            index,
            number: 0,
            version: 0,
            state: State::Archived,
            stage: None,
            stages: None,
            expired: false,
            updated_at: 0,
            updated_by: "".into(),
            document: None,
            json: "".into(),
            broken: Some("not loaded".into()),
            frozen: None,
            placement: None,
            unit_attribute: "".into(),
            compiled: Arc::new(Compiled::nothing()),
        }
    }

    /// What stands in the place of `old` once `flag` is stored: its compiled form, or, where that cannot decide, the
    /// old one, frozen.
    pub(super) fn after(
        flag: StoredFlag,
        old: &Self,
        lookup: &dyn Lookup,
        attributes: &mut Attributes,
    ) -> Self {
        if flag.version < old.version {
            let why = format!("its version fell from {} to {}", old.version, flag.version);
            return old.frozen_as(old.state, why.into());
        }
        let compiled = Self::compile(flag, old, lookup, attributes);
        match &compiled.broken {
            // What shuts it needs no document. What opens it does.
            Some(why) if old.broken.is_none() => {
                let state = if compiled.state == State::Live { old.state } else { compiled.state };
                old.frozen_as(state, why.clone())
            }
            _ => compiled,
        }
    }

    /// This form, which goes on in `state` because the newest one cannot decide.
    pub(super) fn frozen_as(&self, state: State, why: Arc<str>) -> Self {
        let stage = self.stage.filter(|_| state == State::Live);
        Self { state, stage, frozen: Some(why), ..self.clone() }
    }

    /// Compiles `flag` into the place of `old`.
    fn compile(flag: StoredFlag, old: &Self, lookup: &dyn Lookup, attributes: &mut Attributes) -> Self {
        let (document, compiled, broken) = match flag.document {
            Ok(document) => match Compiled::new(&document, lookup, attributes) {
                Ok(compiled) => (Some(document), compiled, None),
                Err(why) => (Some(document), Compiled::nothing(), Some(why.into())),
            },
            Err(why) => (None, Compiled::nothing(), Some(why)),
        };
        let unit = document.as_ref().map_or_else(Attribute::user_id, |document| document.unit.clone());
        let placement = match &document {
            Some(document) => document.placement.clone(),
            None => placement_of(&flag.json),
        };
        Self {
            key: old.key.clone(),
            index: old.index,
            number: flag.number,
            version: flag.version,
            state: flag.state,
            stage: if flag.expired { None } else { flag.stage },
            stages: flag.stages,
            expired: flag.expired,
            updated_at: flag.updated_at,
            updated_by: flag.updated_by,
            document,
            json: flag.json,
            broken,
            frozen: None,
            placement,
            unit_attribute: unit.to_string().into(),
            compiled: Arc::new(compiled),
        }
    }

    /// The same flag after its end.
    pub(super) fn as_expired(&self) -> Self {
        Self { stage: None, expired: true, ..self.clone() }
    }

    /// Whether the environment's tables (keys, placements, steps) see this flag as they saw `other`.
    pub(super) fn stands_like(&self, other: &Self) -> bool {
        let tables = |flag: &Self| {
            let document = flag.document.as_ref();
            let document = document.map(|d| (d.position, d.funnel.clone(), d.metrics.clone()));
            (flag.placement.clone(), document)
        };
        let archived = |flag: &Self| flag.state == State::Archived;
        self.number == other.number && archived(self) == archived(other) && tables(self) == tables(other)
    }

    /// Its place among the entries of its placement.
    #[must_use]
    pub fn position(&self) -> i64 {
        self.document.as_ref().map_or(0, |document| document.position)
    }

    /// Its end, milliseconds since 1970.
    #[must_use]
    pub fn expire_at(&self) -> Option<i64> {
        self.document.as_ref().and_then(|document| document.expire_at)
    }

    /// Whether it decides by its rules now.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == State::Live && !self.expired
    }

    /// Its variants, in the order of their keys.
    #[must_use]
    pub fn variants(&self) -> &[Variant] {
        &self.compiled.variants
    }

    /// The place of the variant named `key`.
    #[must_use]
    pub fn variant_index(&self, key: &str) -> Option<u16> {
        self.variants()
            .iter()
            .position(|variant| variant.key.as_str() == key)
            .and_then(|at| u16::try_from(at).ok())
    }

    /// The place of `off_variant`.
    #[must_use]
    pub fn off_variant(&self) -> u16 {
        self.compiled.off
    }

    /// Its rules in order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.compiled.rules
    }

    /// Where its unit is read from.
    #[must_use]
    pub fn unit(&self) -> Slot {
        self.compiled.unit
    }

    /// The unit's bucket on the flag's own line.
    #[must_use]
    pub fn bucket(&self, unit: &str) -> Bucket {
        self.compiled.rollout_hash.bucket(unit)
    }

    /// The user attributes kept with an exposure: slot and name without `user.`.
    #[must_use]
    pub fn capture(&self) -> &[(Slot, Box<str>)] {
        &self.compiled.capture
    }

    /// What its own conditions ask of audiences, each once.
    pub(super) fn asks(&self) -> &[Ask] {
        &self.compiled.asks
    }

    /// The flags that it requires.
    pub(super) fn requires(&self) -> impl Iterator<Item = FlagIndex> {
        self.compiled.prerequisites.iter().map(|prerequisite| prerequisite.flag)
    }

    /// Audiences that its conditions ask for, each once.
    #[must_use]
    pub fn audiences(&self) -> Vec<AudienceIndex> {
        let mut audiences: Vec<_> = self.asks().iter().map(|ask| ask.audience).collect();
        audiences.sort_unstable();
        audiences.dedup();
        audiences
    }
}

impl Compiled {
    fn nothing() -> Self {
        let unsalted = Salted::new("");
        Self {
            unit: Slot::USER_ID,
            needs_unit: false,
            variants: Box::default(),
            off: 0,
            default: 0,
            rollout_hash: unsalted,
            split_hash: unsalted,
            layer: None,
            prerequisites: Box::default(),
            gate: None,
            rules: Box::default(),
            capture: Box::default(),
            asks: Box::default(),
        }
    }

    fn new(document: &Document, lookup: &dyn Lookup, attributes: &mut Attributes) -> Result<Self, String> {
        let salt = document.salt.as_deref().ok_or("the document has no salt")?;
        let unit = attributes.number(&document.unit);
        let variants: Box<[Variant]> = document
            .variants
            .iter()
            .map(|(key, value)| Variant { key: key.clone(), json: value.json().into() })
            .collect();
        let place = |key: &VariantKey| -> Result<u16, String> {
            let at = variants
                .iter()
                .position(|variant| variant.key == *key)
                .ok_or_else(|| format!("no variant {key:?}"))?;
            u16::try_from(at).map_err(|_error| "too many variants".to_owned())
        };
        let mut audience = |key: &str| lookup.audience_index(key);
        let mut names = Names { attributes, audience: &mut audience, unit, in_goods: false };
        let rules = document
            .rules
            .iter()
            .map(|rule| compile_rule(rule, &place, &mut names))
            .collect::<Result<Box<[Rule]>, String>>()?;
        names.in_goods = true;
        let gate = match &document.goods {
            Some(goods) => Some(Gate {
                matching: goods.matching,
                required: goods.required,
                include: Condition::compile_all(&goods.include, &mut names)?,
                exclude: Condition::compile_all(&goods.exclude, &mut names)?,
                rollout: goods.rollout,
                hash: Salted::new(&format!("{salt}/goods:")),
            }),
            None => None,
        };
        let layer = document.layer.as_ref().map(|layer| Layer {
            hash: Salted::new(&format!("{}/layer:", layer.key)),
            from: layer.from,
            to: layer.to,
        });
        let needs_unit = layer.is_some()
            || rules
                .iter()
                .any(|rule| matches!(rule.serve, Serve::Rollout { .. }) || rule.when.asks_for_unit());
        Ok(Self {
            unit,
            needs_unit,
            off: place(&document.off_variant)?,
            default: place(&document.default_variant)?,
            rollout_hash: Salted::new(&format!("{salt}:")),
            split_hash: Salted::new(&format!("{salt}/split:")),
            layer,
            prerequisites: compile_prerequisites(document, lookup)?,
            asks: compile_asks(&rules, gate.as_ref()),
            gate,
            rules,
            capture: compile_capture(document, attributes),
            variants,
        })
    }
}

/// The placement that a document names which cannot be read as a whole: its entry is then listed with its error.
fn placement_of(json: &str) -> Option<PlacementKey> {
    let value: serde_json::Value = serde_json::from_str(json).ok()?;
    PlacementKey::parse(value.get("placement")?.as_str()?).ok()
}

fn compile_asks(rules: &[Rule], gate: Option<&Gate>) -> Box<[Ask]> {
    let mut asks = Vec::new();
    let mut add = |ask| {
        if !asks.contains(&ask) {
            asks.push(ask);
        }
    };
    rules.iter().for_each(|rule| rule.when.asks(&mut add));
    if let Some(gate) = gate {
        gate.include.iter().chain(&gate.exclude).for_each(|condition| condition.asks(&mut add));
    }
    asks.into()
}

fn compile_rule(
    rule: &flag::Rule,
    place: &impl Fn(&VariantKey) -> Result<u16, String>,
    names: &mut Names<'_>,
) -> Result<Rule, String> {
    let serve = match &rule.serve {
        flag::Serve::Variant(variant) => Serve::Variant(place(variant)?),
        flag::Serve::Rollout(rollout) => {
            let mut ends = Vec::with_capacity(rollout.split.len());
            let mut total = 0;
            for (key, weight) in &rollout.split {
                total += u64::from(*weight);
                ends.push((total, place(key)?));
            }
            let split = match ends.as_slice() {
                [] => return Err(format!("rule {:?} splits between nothing", rule.id)),
                [(_, only)] => Split::One(*only),
                _ => Split::Weighted { total, ends: ends.into() },
            };
            Serve::Rollout { percent: rollout.percent, control: rollout.control, split }
        }
    };
    let fingerprint = Fingerprint::of(names.unit, &rule.when);
    Ok(Rule { id: rule.id.clone(), when: Condition::compile(&rule.when, names)?, fingerprint, serve })
}

fn compile_prerequisites(document: &Document, lookup: &dyn Lookup) -> Result<Box<[Prerequisite]>, String> {
    let find = |prerequisite: &flag::Prerequisite| {
        let flag = lookup
            .flag_index(prerequisite.flag.as_str())
            .ok_or_else(|| format!("no flag {:?}", prerequisite.flag))?;
        Ok(Prerequisite { flag, variants: prerequisite.variants.clone() })
    };
    document.prerequisites.iter().map(find).collect()
}

fn compile_capture(document: &Document, attributes: &mut Attributes) -> Box<[(Slot, Box<str>)]> {
    let user = document.capture.iter().filter(|attribute| attribute.scope == Scope::User);
    user.map(|attribute| (attributes.number(attribute), attribute.name.clone())).collect()
}
