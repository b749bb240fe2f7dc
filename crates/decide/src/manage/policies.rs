//! Shared access policies: who may manage the service and its hubs (O §3.3, §1.5).

use model::{
    AccessPolicy, Etag, Fresh, OperatorRefusal, PolicyScope, Precondition, Right, Rights,
    SymmetricKey, SymmetricKeys, Timestamp,
};

use super::{bad, check_etag, check_put, within};

/// How many policies the service, or a hub, may have. No source names a limit.
pub const MAX_POLICIES: u64 = 100;

/// The longest name of a policy, in bytes. No source names a limit.
const MAX_NAME_BYTES: usize = 64;

/// What at least one policy of the service always allows, or nobody could manage it any more.
const OWNER: [Right; 2] = [Right::ServiceConfig, Right::EnrollmentWrite];

/// A policy as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyDraft {
    /// Its name.
    pub name: String,
    /// What it allows.
    pub rights: Rights,
    /// Absent: generated for a new policy, kept for one that is there.
    pub primary: Option<SymmetricKey>,
    /// Absent: as [`Self::primary`].
    pub secondary: Option<SymmetricKey>,
}

/// Which of a policy's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeySlot {
    /// The primary one.
    Primary,
    /// The secondary one.
    Secondary,
}

/// What a policy becomes when this draft is put. `policies` are all of the scope.
///
/// # Errors
/// [`OperatorRefusal`]: exists, not there, stale etag, too many, a broken rule, or the last owner.
pub fn put(
    policies: &[AccessPolicy],
    scope: &PolicyScope,
    draft: &PolicyDraft,
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<AccessPolicy, OperatorRefusal> {
    let existing = find(policies, &draft.name);
    check_put(
        existing.map(|policy| &policy.etag),
        precondition,
        || OperatorRefusal::PolicyExists(draft.name.clone()),
        || OperatorRefusal::PolicyNotFound(draft.name.clone()),
    )?;
    if existing.is_none() {
        check_name(&draft.name)?;
        within(policies.len() as u64, MAX_POLICIES, "shared access policies")?;
    }
    check_rights(scope, draft.rights)?;
    if existing.is_some() && !is_owner(draft.rights) {
        check_owner_remains(policies, scope, &draft.name)?;
    }
    let kept = existing.map_or_else(
        || SymmetricKeys {
            primary: SymmetricKey::generated(&fresh.primary_key),
            secondary: SymmetricKey::generated(&fresh.secondary_key),
        },
        |policy| policy.keys.clone(),
    );
    Ok(AccessPolicy {
        scope: scope.clone(),
        name: draft.name.clone(),
        keys: SymmetricKeys {
            primary: draft.primary.clone().unwrap_or(kept.primary),
            secondary: draft.secondary.clone().unwrap_or(kept.secondary),
        },
        rights: draft.rights,
        etag: Etag::from_random(fresh.etag),
        created: existing.map_or(now, |policy| policy.created),
        last_updated: now,
        version: existing.map_or(0, |policy| policy.version),
    })
}

/// The policy with another key in one slot: the one given, or else a generated one. The other
/// slot goes on working meanwhile.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag.
pub fn rotate(
    policies: &[AccessPolicy],
    name: &str,
    slot: KeySlot,
    given: Option<SymmetricKey>,
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<AccessPolicy, OperatorRefusal> {
    let missing = || OperatorRefusal::PolicyNotFound(name.to_owned());
    let mut policy = find(policies, name).ok_or_else(missing)?.clone();
    check_etag(&policy.etag, precondition)?;
    match slot {
        KeySlot::Primary => {
            let made = || SymmetricKey::generated(&fresh.primary_key);
            policy.keys.primary = given.unwrap_or_else(made);
        }
        KeySlot::Secondary => {
            let made = || SymmetricKey::generated(&fresh.secondary_key);
            policy.keys.secondary = given.unwrap_or_else(made);
        }
    }
    policy.etag = Etag::from_random(fresh.etag);
    policy.last_updated = now;
    Ok(policy)
}

/// Which policy is deleted. `policies` are all of the scope.
///
/// # Errors
/// [`OperatorRefusal`]: not there, stale etag, the last owner.
pub fn delete<'a>(
    policies: &'a [AccessPolicy],
    scope: &PolicyScope,
    name: &str,
    precondition: &Precondition,
) -> Result<&'a AccessPolicy, OperatorRefusal> {
    let missing = || OperatorRefusal::PolicyNotFound(name.to_owned());
    let policy = find(policies, name).ok_or_else(missing)?;
    check_etag(&policy.etag, precondition)?;
    check_owner_remains(policies, scope, name)?;
    Ok(policy)
}

/// Another policy of the service that can manage it: a decision that takes this from `name` rests
/// on it, and must expect its version.
#[must_use]
pub fn other_owner<'a>(policies: &'a [AccessPolicy], name: &str) -> Option<&'a AccessPolicy> {
    policies.iter().find(|policy| policy.name != name && is_owner(policy.rights))
}

fn find<'a>(policies: &'a [AccessPolicy], name: &str) -> Option<&'a AccessPolicy> {
    policies.iter().find(|policy| policy.name == name)
}

fn is_owner(rights: Rights) -> bool {
    OWNER.iter().all(|right| rights.allow(*right))
}

/// A hub's policies are managed with the service's, so they need no owner among themselves.
fn check_owner_remains(
    policies: &[AccessPolicy],
    scope: &PolicyScope,
    without: &str,
) -> Result<(), OperatorRefusal> {
    let was_owner = find(policies, without).is_some_and(|policy| is_owner(policy.rights));
    if *scope == PolicyScope::Service && was_owner && other_owner(policies, without).is_none() {
        return Err(OperatorRefusal::LastOwner(without.to_owned()));
    }
    Ok(())
}

/// A name stands in connection strings and tokens, where `;`, `=` and `&` would end it.
fn check_name(name: &str) -> Result<(), OperatorRefusal> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if (1..=MAX_NAME_BYTES).contains(&name.len()) && name.chars().all(fits) {
        return Ok(());
    }
    Err(bad(format!(
        "a policy's name is 1 to {MAX_NAME_BYTES} letters, digits, dashes, dots or underscores"
    )))
}

fn check_rights(scope: &PolicyScope, rights: Rights) -> Result<(), OperatorRefusal> {
    if rights == Rights::default() {
        return Err(bad("rights: a policy must allow something"));
    }
    let belongs = |right: Right| match right {
        Right::DeviceConnect => true,
        Right::ServiceConfig
        | Right::EnrollmentRead
        | Right::EnrollmentWrite
        | Right::RegistrationStatusRead
        | Right::RegistrationStatusWrite => *scope == PolicyScope::Service,
        Right::RegistryRead | Right::RegistryWrite | Right::ServiceConnect => {
            *scope != PolicyScope::Service
        }
    };
    match rights.collapsed().into_iter().find(|right| !belongs(*right)) {
        None => Ok(()),
        Some(right) => {
            let whose = match scope {
                PolicyScope::Service => "a hub's",
                PolicyScope::Hub(_) => "the provisioning service's",
            };
            Err(bad(format!("rights: {} is {whose}, not this policy's", right.name())))
        }
    }
}

#[cfg(test)]
mod tests;
