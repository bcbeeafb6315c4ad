//! Roles of keys, and what each may do.

/// What a key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Lives in browsers and apps: anybody can read it.
    Client,
    /// Lives in the shop's own backends.
    Server,
    /// Reads everything that is measured.
    Analyst,
    /// Changes flags and audiences.
    Editor,
    /// May do everything.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Client, Self::Server, Self::Analyst, Self::Editor, Self::Admin];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Analyst => "analyst",
            Self::Editor => "editor",
            Self::Admin => "admin",
        }
    }

    /// Reads the word of the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether its word counts for who a shopper is: anybody can read a client's key.
    #[must_use]
    pub fn vouches(self) -> bool {
        self != Self::Client
    }

    /// Whether answers may name rules and arms: what a browser reads says nothing about the rollout.
    #[must_use]
    pub fn sees_rules(self) -> bool {
        matches!(self, Self::Server | Self::Admin)
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A right that a handler's signature asks for.
pub trait Right: 'static {
    /// Whether `role` has it.
    fn allows(role: Role) -> bool;
}

macro_rules! rights {
    ($($(#[$doc:meta])* $name:ident: $($role:ident)|+;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name;

        impl Right for $name {
            fn allows(role: Role) -> bool {
                matches!(role, $(Role::$role)|+)
            }
        }
    )*};
}

rights! {
    /// Ask for decisions, and send events.
    Decide: Client | Server | Admin;
    /// Ask why, and read `/metrics`.
    Observe: Server | Analyst | Editor | Admin;
    /// Check tokens of others.
    Verify: Server | Admin;
    /// Read flags, audiences, audit and reports.
    Read: Analyst | Editor | Admin;
    /// Change flags and audiences.
    Edit: Editor | Admin;
    /// Change keys and environments.
    Administer: Admin;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_rights() {
        let row = |allows: fn(Role) -> bool| Role::ALL.map(allows);
        //                            client server analyst editor admin
        assert_eq!(row(Decide::allows), [true, true, false, false, true]);
        assert_eq!(row(Observe::allows), [false, true, true, true, true]);
        assert_eq!(row(Verify::allows), [false, true, false, false, true]);
        assert_eq!(row(Read::allows), [false, false, true, true, true]);
        assert_eq!(row(Edit::allows), [false, false, false, true, true]);
        assert_eq!(row(Administer::allows), [false, false, false, false, true]);
    }
}
