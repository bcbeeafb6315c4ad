//! Where conditions get their facts: the request, an item of it, memberships.

use crate::engine::attributes::Slot;
use crate::engine::compile::Rule;
use crate::engine::condition::{Cause, Condition, Subject, Test, Truth};
use crate::engine::context::{Context, Item, Operand};
use crate::engine::explain::{Asked, Trace};
use crate::engine::index::AudienceIndex;
use crate::engine::membership::{Membership, Memberships};
use crate::engine::memo::Memo;
use crate::engine::snapshot::Snapshot;

/// What conditions are evaluated in.
pub(in crate::engine) struct Scene<'e, 'a, M> {
    pub(in crate::engine) snapshot: &'e Snapshot,
    pub(in crate::engine) context: &'e Context<'a>,
    pub(in crate::engine) memberships: &'e M,
    pub(in crate::engine) item: Option<&'e Item<'a>>,
    /// What flags before this one found out of the request.
    pub(in crate::engine) memo: Option<&'e Memo>,
}

impl<M: Memberships> Scene<'_, '_, M> {
    /// The truth of `condition` here.
    #[inline(always)]
    pub(in crate::engine) fn truth<T: Trace>(&self, condition: &Condition, trace: &mut T) -> Truth {
        match condition {
            // A condition of its own level costs nothing more: most rules are one attribute.
            Condition::Attribute { slot, of_item, test } => {
                self.attribute(condition, *slot, *of_item, test, trace)
            }
            Condition::Audience { audience, subject } => {
                self.membership(condition, *audience, *subject, trace)
            }
            Condition::Not(_) | Condition::AllOf(_) | Condition::AnyOf(_) => self.group(condition, trace),
        }
    }

    /// The truth of a rule's condition. A recording trace sees how it came to be, each time.
    #[inline(always)]
    pub(in crate::engine) fn rule<T: Trace>(&self, rule: &Rule, trace: &mut T) -> Truth {
        let memo = self.memo.filter(|_| !T::RECORDS);
        if let Some(known) = memo.and_then(|memo| memo.known(rule.fingerprint)) {
            return known;
        }
        let truth = self.truth(&rule.when, trace);
        if let Some(memo) = memo {
            memo.keep(rule.fingerprint, truth);
        }
        truth
    }

    /// What is made of other conditions. `all_of` begins true and ends at false; `any_of` the other way round. A recording
    /// trace sees them all.
    fn group<T: Trace>(&self, condition: &Condition, trace: &mut T) -> Truth {
        trace.group(condition);
        let truth = match condition {
            Condition::Not(inner) => !self.truth(inner, trace),
            Condition::AllOf(inner) => self.each(inner, Truth::True, Truth::False, trace),
            Condition::AnyOf(inner) => self.each(inner, Truth::False, Truth::True, trace),
            leaf @ (Condition::Attribute { .. } | Condition::Audience { .. }) => self.truth(leaf, trace),
        };
        trace.end_group(truth);
        truth
    }

    #[inline]
    fn each<T: Trace>(&self, inner: &[Condition], begin: Truth, end: Truth, trace: &mut T) -> Truth {
        let mut truth = begin;
        for condition in inner {
            let one = self.truth(condition, trace);
            truth = if begin == Truth::True { truth.and(one) } else { truth.or(one) };
            if truth == end && !T::RECORDS {
                break;
            }
        }
        truth
    }

    fn attribute<T: Trace>(
        &self,
        condition: &Condition,
        slot: Slot,
        of_item: bool,
        test: &Test,
        trace: &mut T,
    ) -> Truth {
        let operand = if of_item {
            self.item.and_then(|item| item.attribute(slot))
        } else {
            self.context.attribute(slot)
        };
        let truth = match (test, operand) {
            (Test::Version(order, bound), Some(Operand::Text(text))) if !of_item => {
                Test::version(*order, bound, self.context.version(slot, text))
            }
            _ => test.holds(operand),
        };
        trace.condition(condition, Asked::Attribute(operand), truth);
        truth
    }

    fn membership<T: Trace>(
        &self,
        condition: &Condition,
        audience: AudienceIndex,
        subject: Subject,
        trace: &mut T,
    ) -> Truth {
        let text = match subject {
            Subject::Unit(slot) => self.context.unit(slot).map(Operand::Text),
            Subject::Attribute(slot) => self.context.attribute(slot),
            Subject::Item => self.item.map(|item| Operand::Text(item.id())),
            Subject::ItemAttribute(slot) => self.item.and_then(|item| item.attribute(slot)),
        };
        let truth = match text {
            None => Truth::Unknown(Cause::Missing),
            Some(Operand::Text(id)) => {
                let hasher = self.snapshot.hasher();
                let membership = self.snapshot.membership(audience, id, self.memberships, || match subject {
                    Subject::Unit(slot) => self.context.unit_hash(slot, id, hasher),
                    Subject::Item => self.item.map_or_else(|| hasher.hash(id), |item| item.id_hash(hasher)),
                    Subject::Attribute(_) | Subject::ItemAttribute(_) => hasher.hash(id),
                });
                match membership {
                    Membership::Member => Truth::True,
                    Membership::Stranger => Truth::False,
                    Membership::Unreadable => Truth::Unknown(Cause::Unreadable),
                }
            }
            Some(_) => Truth::Unknown(Cause::WrongType),
        };
        trace.condition(condition, Asked::Membership(text), truth);
        truth
    }
}
