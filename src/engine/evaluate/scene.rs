//! Where conditions get their facts: the request, an item of it, memberships.

use crate::engine::condition::{Cause, Condition, Subject, Test, Truth};
use crate::engine::context::{Context, Item, Operand};
use crate::engine::explain::{Asked, Trace};
use crate::engine::index::AudienceIndex;
use crate::engine::membership::{Membership, Memberships};
use crate::engine::snapshot::Snapshot;

/// What conditions are evaluated in.
pub(in crate::engine) struct Scene<'e, 'a, M> {
    pub(in crate::engine) snapshot: &'e Snapshot,
    pub(in crate::engine) context: &'e Context<'a>,
    pub(in crate::engine) memberships: &'e M,
    pub(in crate::engine) item: Option<&'e Item<'a>>,
}

impl<M: Memberships> Scene<'_, '_, M> {
    /// The truth of `condition` here.
    pub(in crate::engine) fn truth<T: Trace>(&self, condition: &Condition, trace: &mut T) -> Truth {
        match condition {
            // A condition of its own level costs nothing more: most rules are one attribute.
            Condition::Attribute { slot, of_item, test } => {
                let operand = if *of_item {
                    self.item.and_then(|item| item.attribute(*slot))
                } else {
                    self.context.attribute(*slot)
                };
                let truth = match (test, operand) {
                    (Test::Version(order, bound), Some(Operand::Text(text))) if !*of_item => {
                        Test::version(*order, bound, self.context.version(*slot, text))
                    }
                    _ => test.holds(operand),
                };
                trace.condition(condition, Asked::Attribute(operand), truth);
                truth
            }
            Condition::Audience { audience, subject } => {
                self.membership(condition, *audience, *subject, trace)
            }
            Condition::Not(inner) => {
                trace.group(condition);
                let truth = !self.truth(inner, trace);
                trace.end_group(truth);
                truth
            }
            Condition::AllOf(inner) => self.group(condition, inner, Truth::True, Truth::False, trace),
            Condition::AnyOf(inner) => self.group(condition, inner, Truth::False, Truth::True, trace),
        }
    }

    /// `all_of` begins true and ends at false; `any_of` the other way round. A recording trace sees them all.
    fn group<T: Trace>(
        &self,
        condition: &Condition,
        inner: &[Condition],
        begin: Truth,
        end: Truth,
        trace: &mut T,
    ) -> Truth {
        trace.group(condition);
        let mut truth = begin;
        for condition in inner {
            let one = self.truth(condition, trace);
            truth = if begin == Truth::True { truth.and(one) } else { truth.or(one) };
            if truth == end && !T::RECORDS {
                break;
            }
        }
        trace.end_group(truth);
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
