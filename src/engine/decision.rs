//! The result of one flag for one context.

use super::bucket::Bucket;
use super::compile::{CompiledFlag, Rule, Variant};
use super::context::GOODS_MAX;

/// Why a variant was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The flag has no rules.
    Static,
    /// The flag is shut.
    Disabled,
    /// A rule's fixed variant, the goods gate or a prerequisite.
    TargetingMatch,
    /// A percentage or a layer.
    Split,
    /// No rule matched.
    Default,
}

impl Reason {
    /// All reasons, in the order of [`Reason::at`].
    pub const ALL: [Self; 5] =
        [Self::Static, Self::Disabled, Self::TargetingMatch, Self::Split, Self::Default];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Static => "STATIC",
            Self::Disabled => "DISABLED",
            Self::TargetingMatch => "TARGETING_MATCH",
            Self::Split => "SPLIT",
            Self::Default => "DEFAULT",
        }
    }

    /// The word of OFREP, whose enum lacks `DEFAULT`.
    #[must_use]
    pub fn as_ofrep(self) -> &'static str {
        match self {
            Self::Default => "UNKNOWN",
            reason => reason.as_str(),
        }
    }

    /// Its place in tables.
    #[must_use]
    pub fn at(self) -> usize {
        self as usize
    }
}

/// How a unit came to its variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arm {
    /// Outside the percentage, measured, served off.
    Control,
    /// Inside the percentage.
    Treatment,
    /// A rule's fixed variant: testers.
    Fixed,
}

impl Arm {
    /// All arms, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Control, Self::Treatment, Self::Fixed];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Treatment => "treatment",
            Self::Fixed => "fixed",
        }
    }

    /// Its number in tables and tokens.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The arm of a number.
    #[must_use]
    pub fn from_number(number: i64) -> Option<Self> {
        usize::try_from(number).ok().and_then(|at| Self::ALL.get(at)).copied()
    }
}

/// Why a flag gave no variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecisionError {
    /// The flag, or a prerequisite, hashes a unit that the context does not have.
    #[error("the context has no unit for this flag")]
    UnitMissing,
    /// An audience could not be read; going on could open what it blocks.
    #[error("an audience of this flag cannot be read")]
    AudienceUnavailable,
    /// The stored flag cannot be compiled.
    #[error("this flag cannot be read")]
    Broken,
    /// The flag, or a prerequisite, has a unit that nobody signed, where only signed ones count.
    #[error("this flag has a unit other than user.id, and only a signed user.id counts here")]
    UnitUnsigned,
}

impl DecisionError {
    /// All errors, in the order of their places in tables.
    pub const ALL: [Self; 4] =
        [Self::UnitMissing, Self::AudienceUnavailable, Self::Broken, Self::UnitUnsigned];

    /// Stable code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::UnitMissing => "unit_missing",
            Self::AudienceUnavailable => "audience_unavailable",
            Self::Broken => "flag_unreadable",
            Self::UnitUnsigned => "unit_signature_invalid",
        }
    }
}

/// Which goods passed the gate, in the order sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Eligibility {
    bits: [u64; GOODS_MAX.div_ceil(64)],
}

impl Eligibility {
    /// Marks item `at` as eligible.
    pub(super) fn mark(&mut self, at: usize) {
        if let Some(word) = self.bits.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
    }

    /// Whether item `at` is eligible.
    #[must_use]
    pub fn is_eligible(&self, at: usize) -> bool {
        self.bits.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }
}

/// A served variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Place of the variant.
    pub variant: u16,
    /// Why.
    pub reason: Reason,
    /// Place of the rule that acted.
    pub rule: Option<u16>,
    /// How it is measured; `None`: not at all.
    pub arm: Option<Arm>,
    /// The unit's bucket on the flag's own line, where the rule asked for it.
    pub bucket: Option<Bucket>,
}

/// The result of one flag for one context.
#[derive(Debug)]
pub struct Decision<'s> {
    /// The flag.
    pub flag: &'s CompiledFlag,
    /// What it serves, or why nothing.
    pub result: Result<Served, DecisionError>,
    /// Which goods passed, where the gate was evaluated.
    pub goods: Option<Eligibility>,
}

impl<'s> Decision<'s> {
    /// The served variant.
    #[must_use]
    pub fn variant(&self) -> Option<&'s Variant> {
        self.result.ok().and_then(|served| self.flag.variants().get(usize::from(served.variant)))
    }

    /// The rule that acted.
    #[must_use]
    pub fn rule(&self) -> Option<&'s Rule> {
        self.result.ok()?.rule.and_then(|at| self.flag.rules().get(usize::from(at)))
    }

    /// Whether the entry is shown: the served variant is not `off_variant`.
    #[must_use]
    pub fn is_visible(&self) -> bool {
        self.result.is_ok_and(|served| served.variant != self.flag.off_variant())
    }
}
