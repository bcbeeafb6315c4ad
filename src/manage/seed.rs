//! What a first start holds: the case that huidu was made for.

/// The example flags: keys and documents.
pub const FLAGS: [(&str, &str); 2] = [
    ("wechat-scan-pay", include_str!("../../examples/wechat-scan-pay.json")),
    ("wechat-friend-pay", include_str!("../../examples/wechat-friend-pay.json")),
];

/// An audience with its first ids.
pub struct SeedAudience {
    /// Its key.
    pub key: &'static str,
    /// `user` or `goods`.
    pub kind: &'static str,
    /// Its ids.
    pub ids: &'static [&'static str],
}

/// The audiences that the example flags ask for.
pub const AUDIENCES: [SeedAudience; 2] = [
    SeedAudience { key: "wechat-testers", kind: "user", ids: &[TESTER] },
    SeedAudience { key: "wechat-excluded-goods", kind: "goods", ids: &[] },
];

/// The invited tester that the printed example asks for.
pub const TESTER: &str = "tester-1";

/// The environments, by key and name; the first gets the audiences and flags.
pub const ENVIRONMENTS: [(&str, &str); 2] = [("production", "Production"), ("staging", "Staging")];
