//! One attempt at one pending assignment or removal: claim it, make the calls, write what came of
//! them.

use decide::{
    deprovision,
    pending::{
        self, Call, Claim, LEASE_SECS, Learned, Next, RemoteFailure, RemoteHub, RemovalStep, Said,
        Settled,
    },
};
use model::{
    Change, ChangeSet, Expect, PendingFacts, Precondition, RegistrationId, RegistrationRecord,
    RegistrationStatus, RemoteRemoval, RemoteStepState, RemoteTask, Timestamp, Version,
};
use store::{CommitError, StoreFault};
use tracing::{info, warn};

use super::resting::Place;
use crate::{App, MAX_ATTEMPTS, provisioning::tell_story, unless_conflict};

/// No call begins in the last part of a claim, in seconds: it could outlast it. Above the longest
/// time limit of a call.
const LAST_CALL_SECS: i64 = LEASE_SECS / 3;

/// The most calls of one attempt: four are needed, and as many again when facts change meanwhile.
const MAX_CALLS: usize = 12;

impl App {
    /// Makes one attempt at a pending assignment that is due.
    pub(super) async fn work_off_assignment(&self, id: &RegistrationId) -> Result<(), StoreFault> {
        let Some((mut facts, until)) = self.claim_assignment(id).await? else { return Ok(()) };
        let ours = version(&facts);
        let mut learned = Learned::default();
        let mut failure = None;
        let (mut n_calls, mut n_conflicts) = (0, 0);
        loop {
            let (now, fresh) = (self.clock.now(), self.fresh());
            let next = match &failure {
                None => pending::next(&facts, &learned, now, &fresh),
                Some(failure) => {
                    let deadline_secs = self.remote.settings.deadline_secs;
                    pending::failed(&facts, failure, deadline_secs, now, &fresh)
                }
            };
            match next {
                Next::Nothing => return Ok(()),
                Next::Call(call) => {
                    n_calls += 1;
                    let is_late = now >= until.plus_secs(-LAST_CALL_SECS);
                    let said = match is_late || n_calls > MAX_CALLS {
                        true => Err(RemoteFailure::transient("the hub answers too slowly")),
                        false => self.call(&call).await,
                    };
                    match said {
                        Ok(said) => learned.note(&call, said),
                        Err(no) => failure = Some(no),
                    }
                }
                Next::Commit(settled) => {
                    if self.write(*settled, failure.as_ref()).await? {
                        return Ok(());
                    }
                    n_conflicts += 1;
                    let before = facts.record;
                    facts = self.store.pending_facts(id).await?;
                    if facts.record.is_none() {
                        return self.take_back(before.as_ref()).await;
                    }
                    // Someone replaced the record: they saw to what we leave behind.
                    if version(&facts) != ours || n_conflicts > MAX_ATTEMPTS {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Claims a pending assignment; none when it is no longer due, someone else has it, or a
    /// removal has to be done before.
    async fn claim_assignment(
        &self,
        id: &RegistrationId,
    ) -> Result<Option<(PendingFacts, Timestamp)>, StoreFault> {
        let facts = self.store.pending_facts(id).await?;
        let Some(Claim { until, changes }) = pending::claim(&facts, self.clock.now()) else {
            return Ok(None);
        };
        match self.commit(changes).await {
            Ok(()) => {}
            Err(CommitError::Fault(fault)) => return Err(fault),
            Err(CommitError::Conflict) => {
                // When the record is as it was, it was the removal that conflicted. If not, this
                // conflicts too, and nothing is lost.
                if let Some(later) = pending::wait_for_removal(&facts, self.clock.now()) {
                    unless_conflict(self.commit(later).await)?;
                }
                return Ok(None);
            }
        }
        let facts = self.store.pending_facts(id).await?;
        let is_ours = facts
            .record
            .as_ref()
            .and_then(|record| record.pending.as_ref())
            .is_some_and(|pending| pending.due == until);
        Ok(is_ours.then_some((facts, until)))
    }

    async fn call(&self, call: &Call) -> Result<Said, RemoteFailure> {
        let hubs = &self.remote.hubs;
        match call {
            Call::FindDevice(hub, id) => {
                Ok(Said::Device(hubs.find_device(hub, id).await?.map(Box::new)))
            }
            Call::FindTwin(hub, id) => Ok(Said::Twin(hubs.find_twin(hub, id).await?.map(Box::new))),
            Call::PutDevice(hub, identity, precondition) => {
                hubs.put_device(hub, identity, precondition).await?;
                Ok(Said::Written)
            }
            Call::PutTwin(hub, id, twin) => {
                hubs.put_twin(hub, id, twin).await?;
                Ok(Said::Written)
            }
        }
    }

    /// Writes what became of an attempt, unless something it was decided from has changed.
    async fn write(
        &self,
        settled: Settled,
        failure: Option<&RemoteFailure>,
    ) -> Result<bool, StoreFault> {
        let Settled { record, changes } = settled;
        if !unless_conflict(self.commit(changes).await)? {
            return Ok(false);
        }
        match failure.filter(|_| record.status == RegistrationStatus::Assigning) {
            Some(failure) => tell_trouble(&record, failure),
            None => {
                tell_story(&record);
                // A removal may have come with it.
                self.remote.bell.ring();
            }
        }
        Ok(true)
    }

    /// The record was deleted under our hands: what we made on the remote hub goes again.
    async fn take_back(&self, deleted: Option<&RegistrationRecord>) -> Result<(), StoreFault> {
        let Some(deleted) = deleted else { return Ok(()) };
        let now = self.clock.now();
        let Some(behind) = pending::left_behind(deleted, None, now) else { return Ok(()) };
        // A device that registers again meanwhile goes on where this one stopped; and a
        // deprovisioning that deleted the record hears of it all the same.
        let changes = ChangeSet::new()
            .expecting(Expect::Record(deleted.registration_id.clone(), 0))
            .with(Change::PutRemoval(Box::new(behind)));
        unless_conflict(self.commit(changes).await)?;
        self.remote.bell.ring();
        Ok(())
    }

    /// Makes one attempt at a removal that is due, with the right to tell its hub.
    pub(super) async fn work_off_removal(
        &self,
        removal: &RemoteRemoval,
        place: Place<'_>,
    ) -> Result<(), StoreFault> {
        let facts = self.store.service_facts().await?;
        let RemoteRemoval { hub: name, device_id: id, .. } = removal;
        let (hub, claim, until) = match pending::claim_removal(
            removal,
            &facts.hubs,
            self.clock.now(),
        ) {
            RemovalStep::Tell(hub, claim, until) => (hub, claim, until),
            RemovalStep::Drop(changes) => {
                let failed = deprovision::step_failed(name);
                if self.report(removal, changes, failed).await? {
                    warn!(hub.name = %name, device.id = %id, "`{id}` may be left on `{name}`, which is no longer linked");
                }
                return Ok(());
            }
        };
        if !unless_conflict(self.commit(claim).await)? {
            return Ok(());
        }
        let is_ours = |found: &RemoteRemoval| found.due == until && found.task == removal.task;
        let claimed = self.store.find_removal(name, id).await?.filter(is_ours);
        let Some(removal) = &claimed else { return Ok(()) };
        let said = self.tell(&hub, removal).await;
        let now = self.clock.now();
        if place.note(&said, now, &self.fresh()) {
            // The others were left alone.
            self.remote.bell.ring();
        }
        drop(place);
        if now >= until {
            // The claim is over and someone else may have it.
            return Ok(());
        }
        let (changes, state) = match &said {
            Ok(changed) => {
                let done = told(&removal.task);
                info!(hub.name = %name, device.id = %id, "{done} `{id}` on `{name}`");
                (pending::removal_done(removal), RemoteStepState::Done { changed: *changed })
            }
            Err(failure) => {
                warn!(hub.name = %name, device.id = %id, error = %failure, "could not tell `{name}` about `{id}`; trying again");
                let n_failures = removal.n_failures.saturating_add(1);
                let changes = pending::removal_failed(removal, failure, now, &self.fresh());
                let last_error = changes.changes.iter().find_map(|change| match change {
                    Change::PutRemoval(later) => later.last_error.clone(),
                    _ => None,
                });
                (changes, RemoteStepState::Pending { n_failures, last_error })
            }
        };
        self.report(removal, changes, state).await?;
        Ok(())
    }

    /// Does what a remote hub is to be told; whether there was anything to do.
    async fn tell(&self, hub: &RemoteHub, removal: &RemoteRemoval) -> Result<bool, RemoteFailure> {
        let (hubs, id) = (&self.remote.hubs, &removal.device_id);
        if removal.task == RemoteTask::Delete {
            return match hubs.delete_device(hub, id).await {
                Ok(()) => Ok(true),
                Err(RemoteFailure::NotFound) => Ok(false),
                Err(failure) => Err(failure),
            };
        }
        let found = hubs.find_device(hub, id).await?;
        let Some(wanted) = pending::wanted_identity(&removal.task, found.as_ref()) else {
            return Ok(false);
        };
        // With the etag rather than `*`: what an operator of that hub writes meanwhile is looked
        // at first.
        let etag = found.and_then(|found| found.etag);
        let precondition = etag.map_or(Precondition::Any, Precondition::Tag);
        match hubs.put_device(hub, &wanted, &precondition).await {
            Ok(()) => Ok(true),
            Err(RemoteFailure::NotFound) => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// Writes what came of a removal, and with it the item of the deprovisioning that hears of it;
    /// false when the removal has changed.
    async fn report(
        &self,
        removal: &RemoteRemoval,
        changes: ChangeSet,
        state: RemoteStepState,
    ) -> Result<bool, StoreFault> {
        for _ in 0..MAX_ATTEMPTS {
            let mut changes = changes.clone();
            let item = match &removal.report_to {
                Some(to) => self.store.find_receipt_item(&to.receipt, to.item).await?,
                None => None,
            };
            let has_item = item.is_some();
            if let Some(mut item) = item {
                let of = (&removal.hub, &removal.device_id);
                deprovision::settle_step(&mut item.remote, of, state.clone(), self.clock.now());
                let (receipt, number) = (item.receipt.clone(), item.number);
                changes.expects.push(Expect::ReceiptItem(receipt, number, item.version));
                changes.changes.push(Change::PutReceiptItem(Box::new(item)));
            }
            if unless_conflict(self.commit(changes).await)? {
                return Ok(true);
            }
            // Either the item has changed or the removal has.
            let now = self.store.find_removal(&removal.hub, &removal.device_id).await?;
            let is_as_it_was = now.is_some_and(|now| now.version == removal.version);
            if !has_item || !is_as_it_was {
                return Ok(false);
            }
        }
        Ok(false)
    }
}

const fn told(task: &RemoteTask) -> &'static str {
    match task {
        RemoteTask::Delete => "deleted",
        RemoteTask::Disable { .. } => "disabled",
        RemoteTask::Enable { .. } => "enabled",
    }
}

fn version(facts: &PendingFacts) -> Option<Version> {
    facts.record.as_ref().map(|record| record.version)
}

fn tell_trouble(record: &RegistrationRecord, failure: &RemoteFailure) {
    let id = &record.registration_id;
    if let Some(pending) = &record.pending {
        let (hub, n_failures) = (&pending.assignment.hub, pending.n_failures);
        warn!(registration.id = %id, hub.name = %hub, n_failures, error = %failure, "could not assign `{id}` to `{hub}` yet; trying again");
    }
}
