//! What stands beside a compiled flag: its counters, and what answers and tokens say of it whoever asks, made ready when
//! its snapshot is published. The engine knows neither metrics nor tokens.

use smallvec::SmallVec;

use super::meters::FlagMeters;
use crate::engine::compile::{CompiledFlag, Variant};
use crate::engine::decision::{Arm, Decision};
use crate::engine::flag::Rule;
use crate::engine::key::VariantKey;
use crate::telemetry::metrics::Metrics;
use crate::token::{Decided, decided};

/// A variant's place, an arm, and what a token says of them.
type Statement = (u16, Arm, Box<[u8]>);

/// Those of a rule: a rollout has two where it has a control.
type Statements = SmallVec<[Statement; 2]>;

/// What stands beside one flag. Of what nearly all flags have few it lies in one piece: an answer about many flags reads all
/// of it once.
#[derive(Debug)]
pub struct Beside {
    pub(super) meters: FlagMeters,
    /// By rule.
    statements: SmallVec<[Statements; 2]>,
    /// By variant, how OFREP's answer begins: everything but reason, rule and token.
    ofrep: SmallVec<[Box<str>; 2]>,
}

impl Beside {
    /// Makes it ready for `flag`, whose form before was `old`.
    pub(super) fn new(
        metrics: &Metrics,
        environment: &str,
        flag: &CompiledFlag,
        old: Option<&CompiledFlag>,
    ) -> Self {
        Self {
            meters: FlagMeters::new(metrics, environment, flag, old),
            statements: statements(flag),
            ofrep: flag.variants().iter().map(|variant| ofrep(environment, flag, variant)).collect(),
        }
    }

    /// What a token says of `decision`, but for its unit; `None` where nothing is measured.
    pub(super) fn decided(&self, decision: &Decision<'_>) -> Option<&[u8]> {
        let served = decision.result.ok()?;
        let statements = self.statements.get(usize::from(served.rule?))?;
        let of = |(variant, arm, _): &&Statement| (*variant, Some(*arm)) == (served.variant, served.arm);
        statements.iter().find(of).map(|(_, _, statement)| &**statement)
    }

    /// How an answer of OFREP begins that serves the variant at `variant`: all that is the same whoever asks, its metadata open.
    #[must_use]
    #[inline]
    pub fn ofrep(&self, variant: u16) -> Option<&str> {
        self.ofrep.get(usize::from(variant)).map(|text| &**text)
    }
}

/// Keys need no escape.
fn ofrep(environment: &str, flag: &CompiledFlag, variant: &Variant) -> Box<str> {
    let (key, version, Variant { key: served, json }) = (&flag.key, flag.version, variant);
    let metadata = format!(r#"{{"flagSetId":"{environment}","version":{version}"#);
    format!(r#"{{"key":"{key}","value":{json},"variant":"{served}","metadata":{metadata}"#).into()
}

fn statements(flag: &CompiledFlag) -> SmallVec<[Statements; 2]> {
    let (Some(stage), Some(document)) = (flag.stage, &flag.document) else { return SmallVec::new() };
    let of_rule = |rule: &Rule| -> Statements {
        let outcomes = rule.serve.outcomes(&document.off_variant).into_iter();
        let statement = |(variant, arm): (&VariantKey, Arm)| {
            let said = Decided {
                flag: flag.key.as_str(),
                stage,
                rule: rule.id.as_str(),
                arm,
                variant: variant.as_str(),
                unit_attribute: &flag.unit_attribute,
            };
            Some((flag.variant_index(variant.as_str())?, arm, decided(&said).into()))
        };
        outcomes.filter_map(statement).collect()
    };
    document.rules.iter().map(of_rule).collect()
}
