//! Identities on remote hubs that have to go, because the device moved away or was shut out while
//! it was being assigned; and those that a deprovisioning deletes, disables or enables.

use model::{
    Change, ChangeSet, DeviceId, DeviceStatus, Expect, Fresh, HubName, IdentityDraft, LinkedHub,
    RegistrationRecord, RemoteRemoval, RemoteTask, Timestamp,
};

use super::{
    LEASE_SECS, RemoteDevice, RemoteFailure, RemoteHub,
    failure::{back_off, cut},
};

/// What to do about a removal that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovalStep {
    /// Write this; when it holds, tell this hub before that moment is over.
    Tell(RemoteHub, ChangeSet, Timestamp),
    /// Write this and be done: the hub is no longer linked or no longer remote, so there is
    /// nothing that could be told to anyone.
    Drop(ChangeSet),
}

/// A removal that is due at once.
pub(super) const fn new(hub: HubName, device_id: DeviceId, due: Timestamp) -> RemoteRemoval {
    RemoteRemoval {
        hub,
        device_id,
        task: RemoteTask::Delete,
        report_to: None,
        n_failures: 0,
        due,
        last_error: None,
        version: 0,
    }
}

/// The identity that a pending assignment may have made by now and that nobody is left to want,
/// once the record becomes `new` or goes away. None when nothing was pending, or when the device
/// is or stays where it was being taken to.
///
/// Whoever deletes a record writes this with it. It waits until no call of the interrupted work
/// can be on its way any more.
#[must_use]
pub fn left_behind(
    old: &RegistrationRecord,
    new: Option<&RegistrationRecord>,
    now: Timestamp,
) -> Option<RemoteRemoval> {
    let pending = old.pending.as_deref()?;
    let place = |assignment: &model::Assignment| {
        assignment.hub == pending.assignment.hub
            && assignment.device_id == pending.assignment.device_id
    };
    let kept = match new {
        // A deleted record leaves the hub's device alone (D §5.7): the one it was assigned to.
        None => old.assignment.as_ref().is_some_and(place),
        Some(new) => {
            new.assignment.as_ref().is_some_and(place)
                || new.pending.as_ref().is_some_and(|pending| place(&pending.assignment))
        }
    };
    let (hub, id) = (&pending.assignment.hub, &pending.assignment.device_id);
    (!kept).then(|| self::new(hub.clone(), id.clone(), after_lease(pending.due, now)))
}

/// The moment by which whoever may be working on something due then has stopped.
#[must_use]
pub(crate) fn after_lease(due: Timestamp, now: Timestamp) -> Timestamp {
    due.clamp(now, now.plus_secs(LEASE_SECS))
}

/// Claims a removal that is due, or drops it.
#[must_use]
pub fn claim_removal(removal: &RemoteRemoval, hubs: &[LinkedHub], now: Timestamp) -> RemovalStep {
    match RemoteHub::find(hubs, &removal.hub) {
        None => {
            let (hub, id) = (removal.hub.clone(), removal.device_id.clone());
            RemovalStep::Drop(expecting(removal).with(Change::DeleteRemoval(hub, id)))
        }
        Some(hub) => {
            let until = now.plus_secs(LEASE_SECS);
            let claimed = RemoteRemoval { due: until, ..removal.clone() };
            let changes = expecting(removal).with(Change::PutRemoval(Box::new(claimed)));
            RemovalStep::Tell(hub, changes, until)
        }
    }
}

/// What to write on the remote hub so that an identity there is as a task wants it; `None` when
/// it is so already, or not there. Deleting needs no look.
#[must_use]
pub fn wanted_identity(task: &RemoteTask, found: Option<&RemoteDevice>) -> Option<IdentityDraft> {
    let identity = &found?.identity;
    let is_enabled = identity.status != Some(DeviceStatus::Disabled);
    match task {
        RemoteTask::Delete => None,
        RemoteTask::Disable { reason } => is_enabled.then(|| IdentityDraft {
            status: Some(DeviceStatus::Disabled),
            status_reason: Some(reason.clone()),
            ..identity.clone()
        }),
        RemoteTask::Enable { reason } => {
            let by_us = identity.status_reason.as_ref().is_some_and(|is| is.starts_with(reason));
            (!is_enabled && by_us).then(|| IdentityDraft {
                status: Some(DeviceStatus::Enabled),
                status_reason: None,
                ..identity.clone()
            })
        }
    }
}

/// The hub was told. For whoever holds the claim, with the removal as it was claimed: something
/// else may be to be told by now.
#[must_use]
pub fn removal_done(removal: &RemoteRemoval) -> ChangeSet {
    let (hub, id) = (removal.hub.clone(), removal.device_id.clone());
    expecting(removal).with(Change::DeleteRemoval(hub, id))
}

/// The hub did not do it; it is tried again for as long as the hub is linked. As
/// [`removal_done`].
#[must_use]
pub fn removal_failed(
    removal: &RemoteRemoval,
    failure: &RemoteFailure,
    now: Timestamp,
    fresh: &Fresh,
) -> ChangeSet {
    let later = RemoteRemoval {
        n_failures: removal.n_failures.saturating_add(1),
        due: back_off(removal.n_failures, failure, now, fresh),
        last_error: Some(cut(&failure.to_string())),
        ..removal.clone()
    };
    expecting(removal).with(Change::PutRemoval(Box::new(later)))
}

fn expecting(removal: &RemoteRemoval) -> ChangeSet {
    let RemoteRemoval { hub, device_id, version, .. } = removal;
    ChangeSet::new().expecting(Expect::Removal(hub.clone(), device_id.clone(), *version))
}
