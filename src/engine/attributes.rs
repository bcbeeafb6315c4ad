//! Names of attributes that some flag of an environment asks for, as small numbers: a context keeps
//! only these, and a condition compares numbers instead of names.

use super::flag::{Attribute, Scope};
use super::map::Map;

/// An attribute's number in its environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u32);

impl Slot {
    /// `user.id`.
    pub const USER_ID: Self = Self(0);
    /// `order.id`.
    pub const ORDER_ID: Self = Self(1);
    /// `order.amount`.
    pub const ORDER_AMOUNT: Self = Self(2);
    /// `goods.id`.
    pub const GOODS_ID: Self = Self(3);
    /// `goods.price`.
    pub const GOODS_PRICE: Self = Self(4);
    /// `goods.quantity`.
    pub const GOODS_QUANTITY: Self = Self(5);
}

/// The names of a scope.
#[derive(Debug, Clone, Default)]
struct Names {
    slots: Map<Box<str>, Slot>,
    /// The [`shape`] of each: most names that are sent have one that no name here has.
    shapes: u64,
}

/// One bit of 64, by a name's first byte and its length.
#[inline]
fn shape(name: &str) -> u64 {
    let first = name.as_bytes().first().copied().map_or(0, usize::from);
    1 << ((first * 7 + name.len()) % 64)
}

/// The numbers given so far. They only grow, so that compiled flags stay valid.
#[derive(Debug, Clone)]
pub struct Attributes {
    user: Names,
    order: Names,
    goods: Names,
    names: Vec<Attribute>,
}

impl Default for Attributes {
    fn default() -> Self {
        let mut attributes = Self {
            user: Names::default(),
            order: Names::default(),
            goods: Names::default(),
            names: Vec::new(),
        };
        for text in ["user.id", "order.id", "order.amount", "goods.id", "goods.price", "goods.quantity"] {
            if let Some(attribute) = Attribute::parse(text) {
                attributes.number(&attribute);
            }
        }
        attributes
    }
}

impl Attributes {
    fn of(&self, scope: Scope) -> &Names {
        match scope {
            Scope::User => &self.user,
            Scope::Order => &self.order,
            Scope::Goods => &self.goods,
        }
    }

    /// The slot of a name, if any flag asks for it.
    #[must_use]
    #[inline]
    pub fn find(&self, scope: Scope, name: &str) -> Option<Slot> {
        let names = self.of(scope);
        if names.shapes & shape(name) == 0 {
            return None;
        }
        names.slots.get(name).copied()
    }

    /// The slot of `attribute`, a new one if it has none.
    #[expect(clippy::cast_possible_truncation, reason = "10,000 flags of 1,000 conditions are under 2^32")]
    pub fn number(&mut self, attribute: &Attribute) -> Slot {
        if let Some(slot) = self.find(attribute.scope, &attribute.name) {
            return slot;
        }
        let slot = Slot(self.names.len() as u32);
        self.names.push(attribute.clone());
        let names = match attribute.scope {
            Scope::User => &mut self.user,
            Scope::Order => &mut self.order,
            Scope::Goods => &mut self.goods,
        };
        names.shapes |= shape(&attribute.name);
        names.slots.insert(attribute.name.clone(), slot);
        slot
    }

    /// The attribute of a slot, for people.
    #[must_use]
    pub fn name(&self, slot: Slot) -> Option<&Attribute> {
        self.names.get(slot.0 as usize)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Never: some are built in.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_slots_have_their_constants() {
        let attributes = Attributes::default();
        for (slot, name) in [
            (Slot::USER_ID, "user.id"),
            (Slot::ORDER_ID, "order.id"),
            (Slot::ORDER_AMOUNT, "order.amount"),
            (Slot::GOODS_ID, "goods.id"),
            (Slot::GOODS_PRICE, "goods.price"),
            (Slot::GOODS_QUANTITY, "goods.quantity"),
        ] {
            assert_eq!(attributes.name(slot).unwrap().to_string(), name);
        }
    }

    #[test]
    fn the_same_name_in_two_scopes_has_two_slots() {
        let mut attributes = Attributes::default();
        let user = attributes.number(&Attribute::parse("user.region").unwrap());
        let order = attributes.number(&Attribute::parse("order.region").unwrap());
        assert_ne!(user, order);
        assert_eq!(attributes.number(&Attribute::parse("user.region").unwrap()), user);
        assert_eq!(attributes.find(Scope::Goods, "region"), None);
    }
}
