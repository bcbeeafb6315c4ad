//! Whose word counts for a unit: a client key proves nothing about who asks, so an environment may demand that the
//! shop's backend signed the user id.

use crate::access::Role;
use crate::engine::context::Parsed;
use crate::live::Published;

/// The signature is not that of the context's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`unitSignature` is not the signature of this user id by a secret of this environment")]
pub struct SignatureInvalid;

/// Takes out of a context what its sender cannot vouch for, where the environment demands it: without a signature
/// the unit is missing, and no unit but `user.id` counts.
///
/// # Errors
/// [`SignatureInvalid`] for a signature of another unit or by an unknown secret.
#[inline]
pub fn vouch(published: &Published, role: Role, parsed: &mut Parsed<'_>) -> Result<(), SignatureInvalid> {
    if role.vouches() || !published.signing.required {
        return Ok(());
    }
    parsed.context.trust_only_user_id();
    // Real clients send an empty text for "nobody".
    let signature = parsed.unit_signature.as_deref().filter(|signature| !signature.is_empty());
    match (parsed.context.user_id(), signature) {
        (Some(unit), Some(signature)) if !published.signing.secrets.verify(unit, signature) => {
            Err(SignatureInvalid)
        }
        (Some(_), Some(_)) => Ok(()),
        _ => {
            parsed.context.forget_user_id();
            Ok(())
        }
    }
}
