//! Whether an event is accepted, and the rows that it makes; or why not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use smallvec::{SmallVec, smallvec};
use smol_str::SmolStr;

use super::parse::{EventType, Scalar, Sent, id_of, whole};
use crate::access::Role;
use crate::clock::{DAY_MS, MINUTE_MS, parse_rfc3339};
use crate::decide;
use crate::engine::asks::{Fetched, Wanted};
use crate::engine::compile::CompiledFlag;
use crate::engine::context::{Context, ID_BYTES_MAX, parse_ofrep};
use crate::engine::decision::Arm;
use crate::engine::flag::{Attribute, Scope};
use crate::engine::number::SAFE_INTEGER_MAX;
use crate::engine::snapshot::{Snapshot, StepUse};
use crate::engine::validate::StepKind;
use crate::live::Published;
use crate::store::{ExposureRow, StepRow};
use crate::token::{Exposure, TokenKeys};

/// How far ahead of the clock an event may be before its time is moved.
pub const AHEAD_MS_MAX: i64 = 5 * MINUTE_MS;
/// How old an event may be.
pub const AGE_MS_MAX: i64 = 31 * DAY_MS;
/// The rule of exposures that a backend reports without a decision of huidu's.
pub const REPORTED_RULE: &str = "(reported)";
/// The attribute of `user_id`.
const USER_ID: &str = "user.id";
/// Most units of one event.
const UNITS_MAX: usize = 10;
/// Most attributes of one event.
const ATTRIBUTES_MAX: usize = 100;

/// How unit ids are stored: recorded in the database at first start.
#[derive(Clone)]
pub enum UnitIds {
    /// As sent.
    Plain,
    /// As a hash keyed with a secret of the database.
    Hashed([u8; 32]),
}

impl std::fmt::Debug for UnitIds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Plain => "Plain",
            Self::Hashed(_) => "Hashed(..)",
        })
    }
}

impl UnitIds {
    /// The unit as it is stored.
    #[must_use]
    pub fn stored(&self, unit: &str) -> SmolStr {
        match self {
            Self::Plain => unit.into(),
            Self::Hashed(secret) => {
                blake3::keyed_hash(secret, unit.as_bytes()).to_hex().chars().take(32).collect()
            }
        }
    }
}

/// Why one event is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// Its place in the call.
    pub index: usize,
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Stable code.
    pub code: &'static str,
    /// What is wrong, for people.
    pub detail: String,
}

/// The rows of one accepted event.
#[derive(Debug)]
pub enum Rows {
    /// One exposure.
    Exposure(ExposureRow),
    /// A step, one row a unit.
    Steps(SmallVec<[CheckedStep; 1]>),
}

/// A step's row, and what its token says was measured.
#[derive(Debug, Clone)]
pub struct CheckedStep {
    /// The row.
    pub row: StepRow,
    /// Variant and arm of the token's exposure, for a stop.
    pub measured: Option<(String, Arm)>,
}

impl From<StepRow> for CheckedStep {
    fn from(row: StepRow) -> Self {
        Self { row, measured: None }
    }
}

/// What events are checked against.
pub struct Checker<'c> {
    /// The snapshot that decides now.
    pub published: &'c Published,
    /// Opens tokens.
    pub tokens: &'c TokenKeys,
    /// Who sends.
    pub role: Role,
    /// Milliseconds since 1970.
    pub now_ms: i64,
    /// How units are stored.
    pub unit_ids: &'c UnitIds,
    /// Currencies that are taken.
    pub currencies: &'c [String],
    /// What deciding reported exposures needs of audiences that are not in memory.
    pub fetched: &'c Fetched,
}

/// A refusal without its place.
type Refused = (&'static str, Cow<'static, str>);

/// Attributes and their units, in the order of the attributes: nearly always one.
struct Units<'s>(SmallVec<[(&'s str, &'s str); 2]>);

impl<'s> Units<'s> {
    /// The unit of `attribute`.
    fn of(&self, attribute: &str) -> Option<&'s str> {
        self.0.iter().find(|(known, _)| *known == attribute).map(|(_, unit)| *unit)
    }

    /// Adds a unit; the one that `attribute` had instead, if it had one.
    fn insert(&mut self, attribute: &'s str, unit: &'s str) -> Option<&'s str> {
        match self.0.binary_search_by_key(&attribute, |(known, _)| *known) {
            Ok(at) => self.0.get_mut(at).map(|(_, known)| std::mem::replace(known, unit)),
            Err(at) => {
                self.0.insert(at, (attribute, unit));
                None
            }
        }
    }
}

fn invalid(detail: impl Into<Cow<'static, str>>) -> Refused {
    ("event_invalid", detail.into())
}

const SERVER_KEY: Refused = (
    "server_key_required",
    Cow::Borrowed(
        "a client key sends exposures and funnel stops with their token; metrics, values and ids need a server key",
    ),
);

impl Checker<'_> {
    /// The rows of `raw`, and whether its time was moved.
    ///
    /// # Errors
    /// [`Rejection`] with the event's place `index`.
    pub fn check(&self, index: usize, raw: &RawValue) -> Result<(Rows, bool), Rejection> {
        let reject = |id: Option<String>, (code, detail): Refused| Rejection {
            index,
            id,
            code,
            detail: detail.into_owned(),
        };
        let sent = Sent::read(raw).map_err(|detail| reject(id_of(raw), invalid(detail)))?;
        let rows = refuse_nul(&sent).and_then(|()| match sent.kind {
            EventType::Exposure => self.exposure(&sent),
            EventType::Step => self.step(&sent),
        });
        rows.map_err(|refused| reject(sent.id.as_deref().map(str::to_owned), refused))
    }

    fn snapshot(&self) -> &Snapshot {
        &self.published.snapshot
    }

    fn exposure(&self, sent: &Sent<'_>) -> Result<(Rows, bool), Refused> {
        for (field, there) in [
            ("step", sent.step.is_some()),
            ("order_id", sent.order_id.is_some()),
            ("value", sent.value.is_some()),
            ("currency", sent.currency.is_some()),
            ("attributes", sent.attributes.is_some()),
        ] {
            if there {
                return Err(invalid(format!("`{field}` does not belong to an exposure")));
            }
        }
        match &sent.token {
            Some(token) => {
                if sent.variant.is_some() || sent.context.is_some() {
                    return Err(invalid("`variant` and `context` stand in the token already"));
                }
                let exposure = self.open(token, sent)?;
                let flag = self.flag_of(&exposure)?;
                let (at, moved) = self.time(sent, exposure.day * DAY_MS)?;
                Ok((Rows::Exposure(self.exposure_row(&exposure, flag.number, at)), moved))
            }
            None => self.reported_exposure(sent),
        }
    }

    /// An exposure that a backend reports by ids.
    fn reported_exposure(&self, sent: &Sent<'_>) -> Result<(Rows, bool), Refused> {
        if self.role == Role::Client {
            return Err(SERVER_KEY);
        }
        let flag = self.named_flag(sent)?.ok_or_else(|| invalid("`flag` is required without a token"))?;
        let variant =
            sent.variant.as_deref().ok_or_else(|| invalid("`variant` is required without a token"))?;
        let variant =
            flag.variant_index(variant).ok_or_else(|| invalid("`variant`: the flag has no such variant"))?;
        let units = units(sent)?;
        let unit = units.of(&flag.unit_attribute).ok_or_else(|| missing_unit(flag))?;
        let stage =
            flag.stage.ok_or(("flag_not_open", "the flag is not live, or its end has passed".into()))?;
        let body = sent.context.map(context_body);
        let context = self.context(body.as_deref(), units.of(USER_ID))?;
        let (mut rule, mut arm) = (REPORTED_RULE, Arm::Fixed);
        if sent.context.is_some() {
            let decision = decide::uncounted(self.snapshot(), flag, &context, self.fetched);
            let served = decision.result.map_err(|error| (error.code(), error.to_string().into()))?;
            if context.unit(flag.unit()).is_some_and(|own| own != unit) {
                return Err(invalid("`context` has another unit than the event"));
            }
            if served.variant == variant {
                let own_rule = decision.rule().map(|rule| rule.id.as_str());
                (rule, arm) = match (own_rule, served.arm) {
                    (Some(rule), Some(arm)) => (rule, arm),
                    _ => {
                        return Err(("not_measured", "the decision for this context is not measured".into()));
                    }
                };
            }
        }
        let exposure = Exposure {
            environment: self.snapshot().environment_number(),
            day: 0,
            flag: Cow::Borrowed(flag.key.as_str()),
            stage,
            rule: Cow::Borrowed(rule),
            arm,
            variant: Cow::Borrowed(flag.variants().get(usize::from(variant)).map_or("", |v| v.key.as_str())),
            unit_attribute: Cow::Borrowed(&flag.unit_attribute),
            unit: Cow::Borrowed(unit),
            bucket: Some(flag.bucket(unit).ppm()),
            captured: decide::captured(flag, &context)
                .map(|(name, value)| (Cow::Borrowed(name), value))
                .collect(),
        };
        let (at, moved) = self.time(sent, i64::MIN)?;
        Ok((Rows::Exposure(self.exposure_row(&exposure, flag.number, at)), moved))
    }

    /// The context of a reported exposure; its own unit is the event's.
    fn context<'b>(&self, body: Option<&'b str>, user: Option<&'b str>) -> Result<Context<'b>, Refused> {
        let mut context = match body {
            Some(body) => {
                let parsed = parse_ofrep(body.as_bytes(), self.snapshot().attributes());
                parsed.map_err(|error| invalid(format!("`context`: {error}")))?.context
            }
            None => Context::default(),
        };
        if let Some(user) = user {
            context.set_user_id(Cow::Borrowed(user));
        }
        Ok(context)
    }

    /// Adds what deciding this event needs of audiences that are not in memory. A faulty event needs nothing.
    pub fn want(&self, raw: &RawValue, wanted: &mut Wanted) {
        let Ok(sent) = Sent::read(raw) else { return };
        let (Some(context), Ok(Some(flag)), Ok(units)) = (sent.context, self.named_flag(&sent), units(&sent))
        else {
            return;
        };
        let body = context_body(context);
        if let Ok(context) = self.context(Some(&body), units.of(USER_ID)) {
            wanted.add(self.snapshot(), flag, &context);
        }
    }

    fn exposure_row(&self, exposure: &Exposure<'_>, flag: i64, at: i64) -> ExposureRow {
        let captured: BTreeMap<_, _> =
            exposure.captured.iter().map(|(name, value)| (&**name, &**value)).collect();
        ExposureRow {
            environment: exposure.environment,
            unit: self.unit_ids.stored(&exposure.unit).into(),
            flag,
            stage: exposure.stage,
            rule: exposure.rule.clone().into_owned(),
            unit_attribute: exposure.unit_attribute.clone().into_owned(),
            arm: i64::from(exposure.arm.number()),
            variant: exposure.variant.clone().into_owned(),
            bucket: exposure.bucket.map(i64::from),
            at,
            captured: (!captured.is_empty()).then(|| serde_json::json!(captured).to_string()),
        }
    }

    fn step(&self, sent: &Sent<'_>) -> Result<(Rows, bool), Refused> {
        for (field, there) in [("variant", sent.variant.is_some()), ("context", sent.context.is_some())] {
            if there {
                return Err(invalid(format!("`{field}` does not belong to a step")));
            }
        }
        let id = sent.id.as_deref().ok_or_else(|| invalid("`id` is required for a step"))?;
        let id = text_id("id", id)?;
        let step = sent.step.as_deref().ok_or_else(|| invalid("`step` is required"))?;
        let used = self.snapshot().step(step).ok_or(("unknown_step", "no flag declares this step".into()))?;
        let (value, currency) = self.value(sent)?;
        let (at, moved) = self.time(sent, i64::MIN)?;
        let row = StepRow {
            environment: self.snapshot().environment_number(),
            step: step.into(),
            id: id.into(),
            order_id: sent
                .order_id
                .as_deref()
                .map(|id| text_id("order_id", id).map(SmolStr::from))
                .transpose()?,
            attributes: self.declared(sent, step, used)?,
            value,
            currency,
            at,
            unit: SmolStr::default(),
            unit_attribute: SmolStr::default(),
            flag: None,
            stage: None,
            rule: None,
            resolve: false,
        };
        let rows = match &sent.token {
            Some(token) => smallvec![self.step_of_token(token, sent, used, row)?],
            None => self.step_of_units(sent, used, row)?,
        };
        Ok((Rows::Steps(rows), moved))
    }

    fn step_of_token(
        &self,
        token: &str,
        sent: &Sent<'_>,
        used: &StepUse,
        mut row: StepRow,
    ) -> Result<CheckedStep, Refused> {
        let exposure = self.open(token, sent)?;
        let flag = self.flag_of(&exposure)?;
        row.unit = self.unit_ids.stored(&exposure.unit);
        row.unit_attribute = SmolStr::from(&*exposure.unit_attribute);
        match used.kind {
            StepKind::Metric if self.role == Role::Client => return Err(SERVER_KEY),
            StepKind::Metric => {}
            StepKind::Stop if used.flags.contains(&flag.index) => {
                row.flag = Some(flag.number);
                row.stage = Some(exposure.stage);
                row.rule = Some(SmolStr::from(&*exposure.rule));
                return Ok(CheckedStep {
                    row,
                    measured: Some((exposure.variant.into_owned(), exposure.arm)),
                });
            }
            StepKind::Stop => return Err(("unknown_step", "the step is no stop of the token's flag".into())),
        }
        Ok(row.into())
    }

    fn step_of_units(
        &self,
        sent: &Sent<'_>,
        used: &StepUse,
        row: StepRow,
    ) -> Result<SmallVec<[CheckedStep; 1]>, Refused> {
        if self.role == Role::Client {
            return Err(SERVER_KEY);
        }
        let mut units = units(sent)?;
        let of = |(attribute, unit): (&str, &str), row| StepRow {
            unit: self.unit_ids.stored(unit),
            unit_attribute: attribute.into(),
            ..row
        };
        match used.kind {
            StepKind::Metric => {
                let last = units.0.pop();
                let last = last.ok_or_else(|| invalid("`user_id` or `units` is required without a token"))?;
                let mut rows: SmallVec<_> =
                    units.0.into_iter().map(|unit| of(unit, row.clone()).into()).collect();
                rows.push(of(last, row).into());
                Ok(rows)
            }
            StepKind::Stop => {
                let flag = self
                    .named_flag(sent)?
                    .ok_or(("flag_required", "a stop without a token names its `flag`".into()))?;
                if !used.flags.contains(&flag.index) {
                    return Err(("unknown_step", "the step is no stop of this flag".into()));
                }
                // Only the flag's own unit can have been exposed to it.
                let own = units.of(&flag.unit_attribute).ok_or_else(|| missing_unit(flag))?;
                let unit = of((&flag.unit_attribute, own), row);
                Ok(smallvec![StepRow { flag: Some(flag.number), resolve: true, ..unit }.into()])
            }
        }
    }

    fn open(&self, token: &str, sent: &Sent<'_>) -> Result<Exposure<'static>, Refused> {
        for (field, there) in [
            ("user_id", sent.user_id.is_some()),
            ("units", sent.units.is_some()),
            ("flag", sent.flag.is_some()),
        ] {
            if there {
                return Err(invalid(format!("`{field}` beside a token: the token says it already")));
            }
        }
        let opened =
            self.tokens.open(token, self.snapshot().environment_number(), self.now_ms.div_euclid(DAY_MS));
        opened.map_err(|error| (error.code(), error.to_string().into()))
    }

    fn flag_of(&self, exposure: &Exposure<'_>) -> Result<&Arc<CompiledFlag>, Refused> {
        self.snapshot()
            .find(&exposure.flag)
            .ok_or(("token_invalid", "the token's flag is not known here".into()))
    }

    fn named_flag(&self, sent: &Sent<'_>) -> Result<Option<&Arc<CompiledFlag>>, Refused> {
        let Some(key) = sent.flag.as_deref() else { return Ok(None) };
        self.snapshot().find(key).map(Some).ok_or_else(|| invalid("`flag`: there is no such flag"))
    }

    /// The event's time, not before `earliest`, and whether it was moved.
    fn time(&self, sent: &Sent<'_>, earliest: i64) -> Result<(i64, bool), Refused> {
        let at = match (&sent.at, &sent.ago_ms) {
            (Some(_), Some(_)) => return Err(invalid("`at` and `ago_ms` exclude each other")),
            (Some(at), None) => parse_rfc3339(at).ok_or_else(|| invalid("`at` is no RFC 3339 time"))?,
            (None, Some(ago)) => {
                let ago = whole(ago, 0..=SAFE_INTEGER_MAX);
                self.now_ms - ago.ok_or_else(|| invalid("`ago_ms` is a whole number of milliseconds"))?
            }
            (None, None) => self.now_ms,
        };
        if at < self.now_ms - AGE_MS_MAX {
            return Err(("event_too_old", "the event is over 31 days old".into()));
        }
        let ahead = at > self.now_ms + AHEAD_MS_MAX;
        let time = if ahead { self.now_ms } else { at }.max(earliest);
        Ok((time, time != at))
    }

    fn value(&self, sent: &Sent<'_>) -> Result<(Option<i64>, Option<SmolStr>), Refused> {
        let Some(value) = &sent.value else {
            return if sent.currency.is_some() {
                Err(invalid("`currency` needs a `value`"))
            } else {
                Ok((None, None))
            };
        };
        if self.role == Role::Client {
            return Err(SERVER_KEY);
        }
        let value = whole(value, 0..=SAFE_INTEGER_MAX).ok_or_else(|| {
            invalid("`value` is a whole number from 0 to 9007199254740991 in the currency's minor unit")
        })?;
        let currency = sent.currency.as_deref().ok_or_else(|| invalid("`value` needs a `currency`"))?;
        if !self.currencies.iter().any(|known| known == currency) {
            return Err(("currency_unknown", "the currency is not among the configured ones".into()));
        }
        Ok((Some(value), Some(currency.into())))
    }

    /// The attributes that some flag splits this metric by, each cut at 64 bytes.
    fn declared(&self, sent: &Sent<'_>, step: &str, used: &StepUse) -> Result<Option<String>, Refused> {
        let Some(attributes) = &sent.attributes else { return Ok(None) };
        if attributes.len() > ATTRIBUTES_MAX {
            return Err(invalid("`attributes` has at most 100 fields"));
        }
        let flags = used.flags.iter().filter_map(|index| self.snapshot().flag(*index));
        let documents = flags.filter_map(|flag| flag.document.as_ref());
        let by = documents.filter_map(|document| document.metric(step)?.by.as_deref());
        let mut kept = BTreeMap::new();
        for name in by {
            let text = match attributes.get(name) {
                Some(Scalar::Text(text)) => decide::cut(text).to_owned(),
                Some(Scalar::Boolean(value)) => value.to_string(),
                Some(Scalar::Number(number)) => number.to_string(),
                Some(Scalar::Null(())) | None => continue,
            };
            kept.insert(name, text);
        }
        Ok((!kept.is_empty()).then(|| serde_json::json!(kept).to_string()))
    }
}

fn context_body(raw: &RawValue) -> String {
    format!("{{\"context\":{}}}", raw.get())
}

fn missing_unit(flag: &CompiledFlag) -> Refused {
    invalid(format!(
        "the flag's unit `{}` is required, in `units`{}",
        flag.unit_attribute,
        if &*flag.unit_attribute == USER_ID { " or as `user_id`" } else { "" }
    ))
}

fn text_id<'i>(field: &str, id: &'i str) -> Result<&'i str, Refused> {
    if (1..=ID_BYTES_MAX).contains(&id.len()) {
        return Ok(id);
    }
    Err(invalid(format!("`{field}` has 1 to {ID_BYTES_MAX} bytes")))
}

/// The units that an event names, by attribute.
fn units<'s>(sent: &'s Sent<'_>) -> Result<Units<'s>, Refused> {
    let mut units = Units(SmallVec::new());
    for (attribute, unit) in sent.units.iter().flatten() {
        if Attribute::parse(attribute).is_none_or(|attribute| attribute.scope == Scope::Goods) {
            return Err(invalid("`units` is keyed by `user.*` or `order.*` attributes"));
        }
        units.insert(attribute, text_id("units", unit)?);
    }
    if let Some(user) = sent.user_id.as_deref()
        && units.insert(USER_ID, text_id("user_id", user)?).is_some_and(|other| other != user)
    {
        return Err(invalid("`user_id` and `units` name different users"));
    }
    if units.0.len() > UNITS_MAX {
        return Err(invalid("`units` has at most 10 fields"));
    }
    Ok(units)
}

/// No database can keep U+0000 in a text.
fn refuse_nul(sent: &Sent<'_>) -> Result<(), Refused> {
    let fields = [
        ("id", &sent.id),
        ("step", &sent.step),
        ("user_id", &sent.user_id),
        ("flag", &sent.flag),
        ("variant", &sent.variant),
        ("order_id", &sent.order_id),
        ("currency", &sent.currency),
    ];
    if let Some((field, _)) =
        fields.iter().find(|(_, text)| text.as_ref().is_some_and(|text| text.contains('\0')))
    {
        return Err(invalid(format!("`{field}` holds U+0000")));
    }
    if sent.units.iter().flatten().any(|(name, unit)| name.contains('\0') || unit.contains('\0')) {
        return Err(invalid("`units` holds U+0000"));
    }
    let nul = |scalar: &Scalar<'_>| matches!(scalar, Scalar::Text(text) if text.contains('\0'));
    if sent.attributes.iter().flatten().any(|(_, value)| nul(value)) {
        return Err(invalid("`attributes` holds U+0000"));
    }
    Ok(())
}
