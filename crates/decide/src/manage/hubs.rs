//! Linked hubs: link, change, unlink; and what a start makes of those the configuration file
//! declares (O §3.4).
//!
//! A hub's registry and policies are not part of its link: they stay in the store when the hub is
//! unlinked, and are there again when it is linked again.

use model::{
    AccessPolicy, Etag, Fresh, HubAccess, HubName, LinkedHub, OperatorRefusal, PolicyScope,
    Precondition, RemoteAccess, Right, Rights, SymmetricKey, SymmetricKeys, Timestamp,
};

use super::{bad, check_etag, check_put, within};

/// The heaviest a hub can be.
pub const MAX_WEIGHT: u32 = 1000;

/// The longest name of a policy in a connection string, in bytes.
const MAX_POLICY_BYTES: usize = 128;

/// The name of a hub's owner policy (H §2.2).
pub const HUB_OWNER: &str = "iothubowner";

/// The five default policies of a hub and their rights (H §2.2).
pub const DEFAULT_POLICIES: [(&str, &[Right]); 5] = [
    (HUB_OWNER, &[Right::RegistryWrite, Right::ServiceConnect, Right::DeviceConnect]),
    ("service", &[Right::ServiceConnect]),
    ("device", &[Right::DeviceConnect]),
    ("registryRead", &[Right::RegistryRead]),
    ("registryReadWrite", &[Right::RegistryWrite]),
];

/// A linked hub as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubDraft {
    /// Its host name.
    pub name: HubName,
    /// Where it is.
    pub access: AccessDraft,
    /// Absent means 1 for a new hub, and what it was for one that is there.
    pub weight: Option<u32>,
    /// Absent means true for a new hub, and what it was for one that is there.
    pub apply_allocation_policy: Option<bool>,
}

/// Where a hub is, as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessDraft {
    /// Where it was; for a new hub: in this process.
    Keep,
    /// In this process.
    BuiltIn,
    /// Elsewhere, as its connection string says.
    Remote {
        /// The port, when it is not 443.
        port: Option<u16>,
        /// The policy.
        policy: String,
        /// The key; absent or masked (`****`) means the one that is stored (O §0.17).
        key: Option<SymmetricKey>,
    },
}

/// A hub as the configuration file declares it; always a built-in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredHub {
    /// Its host name.
    pub name: HubName,
    /// See [`LinkedHub::weight`].
    pub weight: u32,
    /// See [`LinkedHub::apply_allocation_policy`].
    pub apply_allocation_policy: bool,
}

/// What a linked hub becomes when this draft is put.
///
/// `service_hosts` are the names of the provisioning service: a built-in hub cannot have one of
/// them, because the name a client calls tells which of the two it means.
///
/// # Errors
/// [`OperatorRefusal`]: linked already, not linked, declared in the file, stale etag, too many,
/// or a rule is broken.
pub fn put(
    hubs: &[LinkedHub],
    draft: &HubDraft,
    precondition: &Precondition,
    limit: u64,
    service_hosts: &[String],
    now: Timestamp,
    fresh: &Fresh,
) -> Result<LinkedHub, OperatorRefusal> {
    let name = || draft.name.to_string();
    let existing = hubs.iter().find(|hub| hub.name == draft.name);
    check_put(
        existing.map(|hub| &hub.etag),
        precondition,
        || OperatorRefusal::HubLinked(name()),
        || OperatorRefusal::HubNotLinked(name()),
    )?;
    match existing {
        Some(hub) if hub.declared => return Err(OperatorRefusal::HubDeclared(name())),
        Some(_) => {}
        None => within(hubs.len() as u64, limit, "linked hubs")?,
    }
    let weight = draft.weight.or(existing.map(|hub| hub.weight)).unwrap_or(1);
    if weight > MAX_WEIGHT {
        return Err(bad(format!("a hub's weight is 0 to {MAX_WEIGHT}, not {weight}")));
    }
    let access = write_access(existing, draft)?;
    if access == HubAccess::BuiltIn && service_hosts.iter().any(|h| h == draft.name.as_str()) {
        return Err(bad(format!(
            "`{}` is a name of the provisioning service; a built-in hub needs one of its own",
            draft.name
        )));
    }
    let applies = existing.is_none_or(|hub| hub.apply_allocation_policy);
    Ok(LinkedHub {
        name: draft.name.clone(),
        access,
        weight,
        apply_allocation_policy: draft.apply_allocation_policy.unwrap_or(applies),
        declared: false,
        etag: Etag::from_random(fresh.etag),
        created: existing.map_or(now, |hub| hub.created),
        last_updated: now,
        version: existing.map_or(0, |hub| hub.version),
    })
}

fn write_access(
    existing: Option<&LinkedHub>,
    draft: &HubDraft,
) -> Result<HubAccess, OperatorRefusal> {
    let stored = existing.map(|hub| &hub.access);
    match (&draft.access, stored) {
        (AccessDraft::Keep, Some(stored)) => Ok(stored.clone()),
        (AccessDraft::Keep | AccessDraft::BuiltIn, None)
        | (AccessDraft::BuiltIn, Some(HubAccess::BuiltIn)) => Ok(HubAccess::BuiltIn),
        (AccessDraft::BuiltIn, Some(HubAccess::Remote(_)))
        | (AccessDraft::Remote { .. }, Some(HubAccess::BuiltIn)) => Err(bad(format!(
            "the hub `{}` cannot change between built-in and remote; unlink it and link it anew",
            draft.name
        ))),
        (AccessDraft::Remote { port, policy, key }, stored) => {
            if policy.is_empty() || policy.len() > MAX_POLICY_BYTES {
                return Err(bad(format!(
                    "a connection string's SharedAccessKeyName has 1 to {MAX_POLICY_BYTES} \
                     characters"
                )));
            }
            let kept = match stored {
                Some(HubAccess::Remote(remote)) => Some(&remote.key),
                Some(HubAccess::BuiltIn) | None => None,
            };
            let key = key.as_ref().or(kept).cloned().ok_or_else(|| {
                bad("the connection string's SharedAccessKey is missing or masked (`****`); a hub \
                     that is linked for the first time needs it")
            })?;
            Ok(HubAccess::Remote(RemoteAccess { port: *port, policy: policy.clone(), key }))
        }
    }
}

/// Which hub is unlinked.
///
/// Enrollments may go on naming it: their registrations then fail (O §3.4). A built-in hub with
/// devices is unlinked only with `force`, because they lose their hub.
///
/// # Errors
/// [`OperatorRefusal`]: not linked, declared in the file, stale etag, or devices are in the way.
pub fn delete<'a>(
    hubs: &'a [LinkedHub],
    name: &HubName,
    precondition: &Precondition,
    n_devices: u64,
    force: bool,
) -> Result<&'a LinkedHub, OperatorRefusal> {
    let missing = || OperatorRefusal::HubNotLinked(name.to_string());
    let hub = hubs.iter().find(|hub| hub.name == *name).ok_or_else(missing)?;
    if hub.declared {
        return Err(OperatorRefusal::HubDeclared(name.to_string()));
    }
    check_etag(&hub.etag, precondition)?;
    if hub.access == HubAccess::BuiltIn && n_devices > 0 && !force {
        return Err(bad(format!(
            "the hub `{name}` has {n_devices} devices, which would lose it; delete them first, or \
             send force=true (its registry stays, and is there again when it is linked again)"
        )));
    }
    Ok(hub)
}

/// What a start changes, so that the linked hubs are those the file declares and those that were
/// made by API.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reconciled {
    /// To link, or to take over from the API.
    pub link: Vec<LinkedHub>,
    /// To change, with what each was.
    pub update: Vec<(LinkedHub, LinkedHub)>,
    /// To unlink: declared once, and no more.
    pub unlink: Vec<LinkedHub>,
}

impl Reconciled {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.link.is_empty() && self.update.is_empty() && self.unlink.is_empty()
    }
}

/// Compares what the file declares with what is linked. A hub made by API whose name the file now
/// declares becomes a declared one; a remote one becomes built in by that.
///
/// `etag` makes the etag of the `n`-th hub written.
#[must_use]
pub fn reconcile(
    hubs: &[LinkedHub],
    declared: &[DeclaredHub],
    now: Timestamp,
    mut etag: impl FnMut() -> Etag,
) -> Reconciled {
    let mut reconciled = Reconciled::default();
    for wanted in declared {
        let existing = hubs.iter().find(|hub| hub.name == wanted.name);
        let is_right = |hub: &&LinkedHub| {
            hub.declared
                && hub.access == HubAccess::BuiltIn
                && hub.weight == wanted.weight
                && hub.apply_allocation_policy == wanted.apply_allocation_policy
        };
        if existing.filter(is_right).is_some() {
            continue;
        }
        let hub = LinkedHub {
            name: wanted.name.clone(),
            access: HubAccess::BuiltIn,
            weight: wanted.weight,
            apply_allocation_policy: wanted.apply_allocation_policy,
            declared: true,
            etag: etag(),
            created: existing.map_or(now, |hub| hub.created),
            last_updated: now,
            version: existing.map_or(0, |hub| hub.version),
        };
        match existing {
            None => reconciled.link.push(hub),
            Some(old) => reconciled.update.push((old.clone(), hub)),
        }
    }
    let is_gone =
        |hub: &&LinkedHub| hub.declared && !declared.iter().any(|wanted| wanted.name == hub.name);
    reconciled.unlink = hubs.iter().filter(is_gone).cloned().collect();
    reconciled
}

/// A policy with generated keys, such as those a hub begins with.
#[must_use]
pub fn generated_policy(
    scope: PolicyScope,
    name: &str,
    rights: &[Right],
    now: Timestamp,
    fresh: &Fresh,
) -> AccessPolicy {
    AccessPolicy {
        scope,
        name: name.to_owned(),
        keys: SymmetricKeys {
            primary: SymmetricKey::generated(&fresh.primary_key),
            secondary: SymmetricKey::generated(&fresh.secondary_key),
        },
        rights: Rights::of(rights),
        etag: Etag::from_random(fresh.etag),
        created: now,
        last_updated: now,
        version: 0,
    }
}

#[cfg(test)]
mod tests;
