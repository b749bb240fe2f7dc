//! What remote hubs are told about a device, as recorded steps: they cannot join our commit.

use model::{
    Change, DeviceId, DeviceSubject, Expect, HubAccess, HubName, Intent, LinkedHub, RemoteRemoval,
    RemoteStep, RemoteStepState, RemoteStepTask, RemoteTask, ReportTo, Timestamp, Trouble,
};

use super::{DeviceFacts, Doing, is_pending, status_reason};
use crate::pending::{RemoteHub, after_lease};

impl Doing<'_, '_> {
    /// Tells every linked remote hub, whether or not we know of the device there: it may have been
    /// made by hand, or be left from an earlier assignment. When nothing of ours is written, only
    /// those that were not told before, or in vain.
    pub(super) fn tell_all_hubs(&mut self) {
        let facts = self.facts;
        let is_new = !self.deed.is_nothing();
        let task = match self.act.intent {
            Intent::Suspend => {
                // The end of the suspension knows those by its mark that it disabled.
                let before = facts.told.filter(|_| !is_new).map(|told| &told.receipt);
                let receipt = before.unwrap_or(self.act.receipt);
                RemoteTask::Disable { reason: status_reason(receipt, self.act.reason) }
            }
            Intent::Retire | Intent::Revoke => RemoteTask::Delete,
            Intent::Reinstate => return,
        };
        let left: Vec<_> = everywhere(facts)
            .into_iter()
            .filter(|(hub, id)| is_new || !was_told(facts, hub, id))
            .collect();
        if !is_new && !left.is_empty() {
            // It is the ban that says who was told.
            self.expect_ban();
        }
        for (hub, id) in left {
            self.tell(&hub, &id, task.clone());
        }
    }

    /// Demands that the ban on the registration ID still stands as it was read.
    fn expect_ban(&mut self) {
        let key = self.facts.subject.key();
        if matches!(self.facts.subject, DeviceSubject::Registration(_)) {
            let ban = self.facts.bans.iter().find(|ban| ban.subject.key() == key);
            self.expect(Expect::Ban(key, ban.map_or(0, |ban| ban.version)));
        }
    }

    /// Records that a hub is to be told.
    pub(super) fn tell(&mut self, hub: &HubName, id: &DeviceId, task: RemoteTask) {
        let facts = self.facts;
        let existing = facts.removals.iter().find(|one| one.hub == *hub && one.device_id == *id);
        // Whatever deletes an identity outdoes what would disable it.
        let task = match existing.map(|existing| &existing.task) {
            Some(RemoteTask::Delete) => RemoteTask::Delete,
            Some(RemoteTask::Disable { .. } | RemoteTask::Enable { .. }) | None => task,
        };
        // Nobody else's call may be on its way any more: that of an assignment, or of what was to
        // be told before.
        let pending = facts.record.and_then(|record| record.pending.as_deref());
        let work = pending
            .filter(|pending| pending.assignment.hub == *hub && pending.assignment.device_id == *id)
            .map(|pending| pending.due);
        let dues = work.into_iter().chain(existing.map(|existing| existing.due));
        let due = dues.map(|due| after_lease(due, self.now)).max().unwrap_or(self.now);
        let receipt = self.act.receipt.clone();
        let report_to = ReportTo { receipt, item: self.item };
        if let Some(earlier) = existing.and_then(|existing| existing.report_to.clone())
            && earlier != report_to
        {
            self.deed.superseded.push((earlier, hub.clone(), id.clone()));
        }
        let version = existing.map_or(0, |existing| existing.version);
        self.deed.remote.push(RemoteStep {
            hub: hub.clone(),
            device_id: id.clone(),
            task: kind(&task),
            state: RemoteStepState::Pending { n_failures: 0, last_error: None },
            at: self.now,
        });
        self.expect(Expect::Removal(hub.clone(), id.clone(), version));
        self.change(Change::PutRemoval(Box::new(RemoteRemoval {
            hub: hub.clone(),
            device_id: id.clone(),
            task,
            report_to: Some(report_to),
            n_failures: 0,
            due,
            last_error: None,
            version: 0,
        })));
    }
}

/// What remote hubs may have to be told about: to be looked up among what they are to be told by
/// now ([`DeviceFacts::removals`]).
#[must_use]
pub fn remote_targets(facts: &DeviceFacts<'_>) -> Vec<(HubName, DeviceId)> {
    let mut targets = everywhere(facts);
    for step in facts.suspended.map_or(&[][..], |suspended| &suspended.remote) {
        let target = (step.hub.clone(), step.device_id.clone());
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    targets
}

/// Whether a hub was told of a device by the deprovisioning that banned it, and not in vain, or is
/// to be told anyway.
fn was_told(facts: &DeviceFacts<'_>, hub: &HubName, id: &DeviceId) -> bool {
    let steps = facts.told.map_or(&[][..], |told| &told.remote);
    let is_it = |step: &RemoteStep| step.hub == *hub && step.device_id == *id;
    let is_in_vain = |step: &RemoteStep| matches!(step.state, RemoteStepState::Failed(_));
    steps.iter().any(|step| is_it(step) && !is_in_vain(step))
        || facts.removals.iter().any(|one| one.hub == *hub && one.device_id == *id)
}

/// Every linked remote hub, with every name the device may have there; and those that it had there
/// before, by records that are gone.
fn everywhere(facts: &DeviceFacts<'_>) -> Vec<(HubName, DeviceId)> {
    let is_remote = |hub: &&LinkedHub| hub.access != HubAccess::BuiltIn;
    let mut hubs = facts.hubs.iter().filter(is_remote).peekable();
    if hubs.peek().is_none() {
        return Vec::new();
    }
    let names = names(facts);
    let mut all: Vec<_> =
        hubs.flat_map(|hub| names.iter().map(|name| (hub.name.clone(), name.clone()))).collect();
    for former in facts.formers {
        let at = (former.hub.clone(), former.device_id.clone());
        if RemoteHub::find(facts.hubs, &former.hub).is_some() && !all.contains(&at) {
            all.push(at);
        }
    }
    all
}

/// The names the device may have on its hubs.
fn names(facts: &DeviceFacts<'_>) -> Vec<DeviceId> {
    let assigned = facts.record.and_then(|record| record.assignment.as_ref());
    let pending = facts.record.and_then(|record| record.pending.as_deref());
    let enrolled = facts.individual.and_then(|enrollment| enrollment.device_id.clone());
    let own = match facts.subject {
        DeviceSubject::Registration(id) => DeviceId::from(id),
        DeviceSubject::Identity(id) => id.clone(),
    };
    let here = facts.devices.iter().map(|(_, device)| device.identity.device_id.clone());
    let all = assigned
        .into_iter()
        .chain(pending.map(|pending| &pending.assignment))
        .map(|assignment| assignment.device_id.clone())
        .chain(enrolled)
        .chain(here)
        .chain([own]);
    let mut names: Vec<DeviceId> = Vec::new();
    for name in all {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

const fn kind(task: &RemoteTask) -> RemoteStepTask {
    match task {
        RemoteTask::Delete => RemoteStepTask::Delete,
        RemoteTask::Disable { .. } => RemoteStepTask::Disable,
        RemoteTask::Enable { .. } => RemoteStepTask::Enable,
    }
}

/// Writes down what came of telling a hub. Steps that are settled stay as they are.
pub fn settle_step(
    steps: &mut [RemoteStep],
    (hub, id): (&HubName, &DeviceId),
    state: RemoteStepState,
    now: Timestamp,
) {
    let is_it =
        |step: &&mut RemoteStep| step.hub == *hub && step.device_id == *id && is_pending(step);
    if let Some(step) = steps.iter_mut().find(is_it) {
        step.state = state;
        step.at = now;
    }
}

/// Writes down that a later deprovisioning took a step's place: of one that is still to be done, or
/// of one that disabled an identity, which is undone.
pub fn supersede(steps: &mut [RemoteStep], (hub, id): (&HubName, &DeviceId), now: Timestamp) {
    let is_it = |step: &&mut RemoteStep| {
        let is_undone =
            step.task == RemoteStepTask::Disable && step.state != RemoteStepState::Superseded;
        step.hub == *hub && step.device_id == *id && (is_pending(step) || is_undone)
    };
    if let Some(step) = steps.iter_mut().find(is_it) {
        step.state = RemoteStepState::Superseded;
        step.at = now;
    }
}

/// What becomes of a step on a hub that is no longer linked.
#[must_use]
pub fn step_failed(hub: &HubName) -> RemoteStepState {
    RemoteStepState::Failed(Trouble {
        error: format!("the hub `{hub}` is no longer linked"),
        remedy: format!(
            "link `{hub}` again and deprovision the device once more, or remove it there by hand"
        ),
    })
}
