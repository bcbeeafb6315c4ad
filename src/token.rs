//! Sealed tokens: what huidu decided, and who may listen to a stream, handed to a browser that can neither read nor
//! forge it.
//!
//! Deterministic authenticated encryption (AES-GCM-SIV, RFC 8452): the nonce is made of purpose, day and
//! environment, so the same statement gives the same token all day, and clients see no change where there
//! is none. In clear at the front, and authenticated: format, key number, purpose, day, environment.
//!
//! ```text
//! format u8 | key u16 | purpose u8 | day u16 | environment u32 | sealed(body) | tag 16     (big-endian, base64url)
//! body: flag | stage | rule | arm u8 | variant | unit attribute | unit | bucket + 1 | names and values captured
//! body of a stream's token: half of the day u8 | key id
//! ```
//! Texts are length-prefixed, numbers are LEB128. An empty unit attribute is `user.id`.

#![deny(clippy::disallowed_types, clippy::disallowed_methods)]

pub mod batch;
mod siv;
pub mod unit;

use std::borrow::Cow;
use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::NO_PAD;
use batch::Batch;
use siv::{MasterKey, NONCE, NonceKeys, TAG};
use smallvec::SmallVec;

use crate::engine::decision::Arm;
use crate::engine::map::Map;

/// Days that a token is accepted: clients keep answers for up to 30.
pub const TOKEN_DAYS_MAX: i64 = 31;
/// Milliseconds of the epoch that a stream's token is made for: all day's polls must not see a new one each time.
pub const STREAM_EPOCH_MS: i64 = 12 * 3_600_000;
/// Epochs that a stream's token is accepted in: its own and the next.
pub const STREAM_EPOCHS_MAX: i64 = 2;
/// Longest token that is looked at, in bytes.
const TOKEN_BYTES_MAX: usize = 4_096;
const FORMAT: u8 = 1;
const HEAD: usize = 10;
/// Most nonces whose keys are kept: of a month's days in a handful of environments.
const NONCES_MAX: usize = 256;
/// Most passes that are kept: an environment has a handful of keys.
const PASSES_MAX: usize = 256;
const USER_ID: &str = "user.id";

/// What a token is for; part of the authenticated bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Purpose {
    /// A statement about a decision.
    Exposure = 1,
    /// Leave to listen to an environment's changes.
    Stream = 2,
    /// The mark of an answer: no token, but its keys are of a nonce of their own, so that no mark is a token's tag.
    Answer = 3,
}

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not made by this service, changed, or of another purpose.
    #[error("the token was not made by this service, or was changed")]
    Invalid,
    /// Older than 31 days.
    #[error("the token is older than {TOKEN_DAYS_MAX} days")]
    Expired,
    /// Of another environment.
    #[error("the token belongs to another environment")]
    Foreign,
}

impl TokenError {
    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Invalid => "token_invalid",
            Self::Expired => "token_expired",
            Self::Foreign => "token_foreign",
        }
    }
}

/// A statement about one decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposure<'t> {
    /// Number of the environment.
    pub environment: i64,
    /// Days since 1970, UTC.
    pub day: i64,
    /// The flag's key.
    pub flag: Cow<'t, str>,
    /// The flag's open stage.
    pub stage: i64,
    /// The rule's id.
    pub rule: Cow<'t, str>,
    /// How the unit came to its variant.
    pub arm: Arm,
    /// The variant's key.
    pub variant: Cow<'t, str>,
    /// What the unit is, such as `user.id`.
    pub unit_attribute: Cow<'t, str>,
    /// The unit.
    pub unit: Cow<'t, str>,
    /// The unit's bucket on the flag's line.
    pub bucket: Option<u32>,
    /// Attributes kept with the exposure: name without `user.`, value as text.
    pub captured: SmallVec<[(Cow<'t, str>, Cow<'t, str>); 4]>,
}

/// What an exposure says that is the same for many units.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'d> {
    /// The flag's key.
    pub flag: &'d str,
    /// The flag's open stage.
    pub stage: i64,
    /// The rule's id.
    pub rule: &'d str,
    /// How units come to the variant.
    pub arm: Arm,
    /// The variant's key.
    pub variant: &'d str,
    /// What the unit is, such as `user.id`.
    pub unit_attribute: &'d str,
}

/// Leave to listen to an environment's changes, for whoever cannot send a key in a header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamPass<'t> {
    /// Number of the environment.
    pub environment: i64,
    /// Id of the key that it stands for: it ends with it.
    pub key: Cow<'t, str>,
    /// Half days since 1970, UTC: see [`stream_epoch`].
    pub epoch: i64,
}

/// The epoch of `now_ms`, milliseconds since 1970.
#[must_use]
pub fn stream_epoch(now_ms: i64) -> i64 {
    now_ms.div_euclid(STREAM_EPOCH_MS)
}

struct NumberedKey {
    number: u16,
    master: MasterKey,
    /// By nonce.
    derived: ArcSwap<Map<[u8; NONCE], Arc<NonceKeys>>>,
}

impl NumberedKey {
    /// What `work` makes of the keys of `nonce`. They are kept only if it makes anything: whoever sends forged tokens must not
    /// fill the memory with keys.
    fn with<T>(&self, nonce: [u8; NONCE], work: impl FnOnce(&Arc<NonceKeys>) -> Option<T>) -> Option<T> {
        if let Some(keys) = self.derived.load().get(&nonce) {
            return work(keys);
        }
        let keys = Arc::new(self.master.derive(nonce));
        let made = work(&keys)?;
        self.derived.rcu(|known| {
            let mut known = if known.len() < NONCES_MAX { Map::clone(known) } else { Map::default() };
            known.insert(nonce, keys.clone());
            known
        });
        Some(made)
    }
}

/// Writes and reads base64url by vector instructions where the machine has them, which is asked once.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
type Base64 = base64::engine::Simd;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
type Base64 = base64::engine::GeneralPurpose;

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
fn base64url() -> Base64 {
    Base64::url_safe(NO_PAD)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn base64url() -> Base64 {
    Base64::new(&base64::alphabet::URL_SAFE, NO_PAD)
}

/// The keys that tokens are sealed with, expanded once. The newest seals, all of them open.
pub struct TokenKeys {
    /// The newest first.
    keys: Vec<NumberedKey>,
    base64: Base64,
    /// The newest passes, by the id of a key.
    passes: ArcSwap<Map<Box<str>, KeptPass>>,
}

/// A pass and its token.
#[derive(Clone)]
struct KeptPass {
    environment: i64,
    epoch: i64,
    token: Arc<[u8]>,
}

impl std::fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenKeys({})", self.keys.len())
    }
}

impl TokenKeys {
    /// Keys by number. With none, nothing can be sealed or opened.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (u16, [u8; 32])>) -> Self {
        let mut keys: Vec<_> = keys
            .into_iter()
            .map(|(number, key)| NumberedKey {
                number,
                master: MasterKey::new(&key),
                derived: ArcSwap::default(),
            })
            .collect();
        keys.sort_by_key(|key| std::cmp::Reverse(key.number));
        Self { keys, base64: base64url(), passes: ArcSwap::default() }
    }

    /// What seals statements about `environment` made on `day`; `None` without a key, or for numbers out of range.
    #[must_use]
    pub fn sealer(&self, environment: i64, day: i64) -> Option<Sealer<'_>> {
        self.sealer_for(Purpose::Exposure, environment, day)
    }

    /// Appends the token of `pass` to `out`, as base64url text. `false`: it cannot be sealed, nothing is appended.
    #[must_use]
    pub fn seal_stream(&self, pass: &StreamPass<'_>, out: &mut Vec<u8>) -> bool {
        let known = self.passes.load();
        // Every answer about all flags holds one, the same for half a day.
        if let Some(kept) = known.get(&*pass.key)
            && (kept.environment, kept.epoch) == (pass.environment, pass.epoch)
        {
            out.extend_from_slice(&kept.token);
            return true;
        }
        let Some(token) = self.sealed_stream(pass) else { return false };
        out.extend_from_slice(&token);
        self.passes.rcu(|known| {
            let mut known = if known.len() < PASSES_MAX { Map::clone(known) } else { Map::default() };
            let kept = KeptPass { environment: pass.environment, epoch: pass.epoch, token: token.clone() };
            known.insert((*pass.key).into(), kept);
            known
        });
        true
    }

    fn sealed_stream(&self, pass: &StreamPass<'_>) -> Option<Arc<[u8]>> {
        let sealer = self.sealer_for(Purpose::Stream, pass.environment, pass.epoch.div_euclid(2))?;
        let mut batch = Batch::new(sealer, 1);
        let place = batch.push_with(|bytes| {
            bytes.push(u8::from(pass.epoch.rem_euclid(2) == 1));
            write_text(&pass.key, bytes);
        });
        batch.seal().text(place).map(Into::into)
    }

    /// A mark of `body` and of what stands `beside` it, both read as they are: equal for equal ones of one environment, day and
    /// newest key, and for others only by a chance of 2^-127. It says nothing of either. `None` as for [`Self::sealer`].
    #[must_use]
    pub fn mark(&self, environment: i64, day: i64, body: &[u8], beside: &[u8]) -> Option<u128> {
        let sealer = self.sealer_for(Purpose::Answer, environment, day)?;
        Some(u128::from_be_bytes(sealer.keys.tag(body, beside)))
    }

    fn sealer_for(&self, purpose: Purpose, environment: i64, day: i64) -> Option<Sealer<'_>> {
        let key = self.keys.first()?;
        let [number_a, number_b] = key.number.to_be_bytes();
        let [day_a, day_b] = u16::try_from(day).ok()?.to_be_bytes();
        let [env_a, env_b, env_c, env_d] = u32::try_from(environment).ok()?.to_be_bytes();
        let head = [FORMAT, number_a, number_b, purpose as u8, day_a, day_b, env_a, env_b, env_c, env_d];
        let keys = key.with(nonce(&head), |keys| Some(keys.clone()))?;
        Some(Sealer { base64: &self.base64, keys, head })
    }

    /// Opens a token of `environment` on day `today`.
    ///
    /// # Errors
    /// [`TokenError`]: nothing of the token may be believed.
    pub fn open(&self, token: &str, environment: i64, today: i64) -> Result<Exposure<'static>, TokenError> {
        let mut bytes = Bytes::new();
        let Opened { environment: of, day, body } = self.open_body(token, Purpose::Exposure, &mut bytes)?;
        if of != environment {
            return Err(TokenError::Foreign);
        }
        if today - day > TOKEN_DAYS_MAX {
            return Err(TokenError::Expired);
        }
        // One day ahead is another instance's clock just past midnight.
        if day > today + 1 {
            return Err(TokenError::Invalid);
        }
        read_body(body, environment, day).ok_or(TokenError::Invalid)
    }

    /// Opens a stream's token in `epoch`. Its environment is told by the token, which nobody else can make.
    ///
    /// # Errors
    /// [`TokenError`]: nothing of the token may be believed.
    pub fn open_stream(&self, token: &str, epoch: i64) -> Result<StreamPass<'static>, TokenError> {
        let mut bytes = Bytes::new();
        let Opened { environment, day, body } = self.open_body(token, Purpose::Stream, &mut bytes)?;
        let mut body = Body(body);
        let pass = (body.byte(), body.text());
        let (Some(half @ 0..=1), Some(key), true) = (pass.0, pass.1, body.0.is_empty()) else {
            return Err(TokenError::Invalid);
        };
        let of = day * 2 + i64::from(half);
        if epoch - of >= STREAM_EPOCHS_MAX {
            return Err(TokenError::Expired);
        }
        if of > epoch + 1 {
            return Err(TokenError::Invalid);
        }
        Ok(StreamPass { environment, key, epoch: of })
    }

    /// Decodes into `bytes` and opens what is there, if it was sealed for `purpose`.
    fn open_body<'b>(
        &self,
        token: &str,
        purpose: Purpose,
        bytes: &'b mut Bytes,
    ) -> Result<Opened<'b>, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::Invalid);
        }
        bytes.resize(token.len() / 4 * 3 + 3, 0);
        let length = self.base64.decode_slice(token, bytes).map_err(|_error| TokenError::Invalid)?;
        bytes.truncate(length);
        if bytes.len() < HEAD + TAG {
            return Err(TokenError::Invalid);
        }
        let sealed = bytes.len() - TAG;
        let (front, tag) = bytes.split_at_mut(sealed);
        let (head, body) = front.split_at_mut(HEAD);
        let &[format, key_a, key_b, of, day_a, day_b, ref env @ ..] = &*head else {
            return Err(TokenError::Invalid);
        };
        let number = u16::from_be_bytes([key_a, key_b]);
        let key = self.keys.iter().find(|key| key.number == number);
        let (true, Some(key)) = (format == FORMAT && of == purpose as u8, key) else {
            return Err(TokenError::Invalid);
        };
        let tag = tag.first_chunk().copied().ok_or(TokenError::Invalid)?;
        let day = i64::from(u16::from_be_bytes([day_a, day_b]));
        let environment = i64::from(env.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes)));
        key.with(nonce(head), |keys| keys.open(head, body, tag).then_some(())).ok_or(TokenError::Invalid)?;
        Ok(Opened { environment, day, body })
    }
}

/// Seals what is said of one environment on one day.
pub struct Sealer<'k> {
    base64: &'k Base64,
    keys: Arc<NonceKeys>,
    head: [u8; HEAD],
}

/// What stood in a token that is ours.
struct Opened<'b> {
    environment: i64,
    day: i64,
    body: &'b [u8],
}

/// Unique enough: AES-GCM-SIV keeps its promises when a nonce returns, and only equal statements look equal.
fn nonce(head: &[u8]) -> [u8; NONCE] {
    let mut nonce = [0; NONCE];
    for (place, byte) in nonce.iter_mut().zip(head) {
        *place = *byte;
    }
    nonce
}

type Bytes = SmallVec<[u8; 256]>;

fn write_number(mut number: u64, out: &mut Vec<u8>) {
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    write_number(text.len() as u64, out);
    out.extend_from_slice(text.as_bytes());
}

/// What a token says of a decision, whoever it is for: the beginning of its body.
#[must_use]
pub fn decided(decided: &Decided<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    write_text(decided.flag, &mut out);
    write_number(decided.stage.unsigned_abs(), &mut out);
    write_text(decided.rule, &mut out);
    out.push(decided.arm.number());
    write_text(decided.variant, &mut out);
    write_text(if decided.unit_attribute == USER_ID { "" } else { decided.unit_attribute }, &mut out);
    out
}

struct Body<'b>(&'b [u8]);

impl Body<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<Cow<'static, str>> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(Cow::Owned(std::str::from_utf8(text).ok()?.to_owned()))
    }
}

fn read_body(bytes: &[u8], environment: i64, day: i64) -> Option<Exposure<'static>> {
    let mut body = Body(bytes);
    let (flag, stage, rule) = (body.text()?, i64::try_from(body.number()?).ok()?, body.text()?);
    let (arm, variant) = (Arm::from_number(i64::from(body.byte()?))?, body.text()?);
    let unit_attribute =
        body.text().map(|text| if text.is_empty() { Cow::Borrowed(USER_ID) } else { text })?;
    let (unit, bucket) = (body.text()?, body.number()?);
    let bucket = bucket.checked_sub(1).map(u32::try_from).transpose().ok()?;
    let mut captured = SmallVec::new();
    for _ in 0..body.number()? {
        captured.push((body.text()?, body.text()?));
    }
    body.0.is_empty().then_some(Exposure {
        environment,
        day,
        flag,
        stage,
        rule,
        arm,
        variant,
        unit_attribute,
        unit,
        bucket,
        captured,
    })
}

#[cfg(test)]
mod tests;
