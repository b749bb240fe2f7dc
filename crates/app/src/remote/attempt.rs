//! One attempt at one pending assignment or removal: claim it, make the calls, write what came of
//! them.

use decide::pending::{
    self, Call, Claim, LEASE_SECS, Learned, Next, RemoteFailure, RemovalStep, Said, Settled,
};
use model::{
    Change, ChangeSet, Expect, PendingFacts, RegistrationId, RegistrationRecord,
    RegistrationStatus, RemoteRemoval, Timestamp, Version,
};
use store::{CommitError, StoreFault};
use tracing::{info, warn};

use crate::{App, MAX_ATTEMPTS, provisioning::tell_story};

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
        // A device that registers again meanwhile goes on where this one stopped.
        let changes = ChangeSet::new()
            .expecting(Expect::Record(deleted.registration_id.clone(), 0))
            .with(Change::PutRemoval(Box::new(behind)));
        unless_conflict(self.commit(changes).await)?;
        self.remote.bell.ring();
        Ok(())
    }

    /// Makes one attempt at a removal that is due.
    pub(super) async fn work_off_removal(&self, removal: &RemoteRemoval) -> Result<(), StoreFault> {
        let facts = self.store.service_facts().await?;
        let RemoteRemoval { hub: name, device_id: id, .. } = removal;
        let (hub, claim, until) = match pending::claim_removal(
            removal,
            &facts.hubs,
            self.clock.now(),
        ) {
            RemovalStep::Delete(hub, claim, until) => (hub, claim, until),
            RemovalStep::Drop(changes) => {
                if unless_conflict(self.commit(changes).await)? {
                    warn!(hub.name = %name, device.id = %id, "`{id}` may be left on `{name}`, which is no longer linked");
                }
                return Ok(());
            }
        };
        if !unless_conflict(self.commit(claim).await)? {
            return Ok(());
        }
        let said = self.remote.hubs.delete_device(&hub, id).await;
        let now = self.clock.now();
        if now >= until {
            // The claim is over and someone else may have it.
            return Ok(());
        }
        let changes = match &said {
            Ok(()) | Err(RemoteFailure::NotFound) => {
                info!(hub.name = %name, device.id = %id, "removed `{id}` from `{name}`");
                pending::removal_done(removal)
            }
            Err(failure) => {
                warn!(hub.name = %name, device.id = %id, error = %failure, "could not remove `{id}` from `{name}`");
                pending::removal_failed(removal, failure, now, &self.fresh())
            }
        };
        unless_conflict(self.commit(changes).await)?;
        Ok(())
    }
}

fn version(facts: &PendingFacts) -> Option<Version> {
    facts.record.as_ref().map(|record| record.version)
}

/// Whether it was written; false when something had changed.
fn unless_conflict(outcome: Result<(), CommitError>) -> Result<bool, StoreFault> {
    match outcome {
        Ok(()) => Ok(true),
        Err(CommitError::Conflict) => Ok(false),
        Err(CommitError::Fault(fault)) => Err(fault),
    }
}

fn tell_trouble(record: &RegistrationRecord, failure: &RemoteFailure) {
    let id = &record.registration_id;
    if let Some(pending) = &record.pending {
        let (hub, n_failures) = (&pending.assignment.hub, pending.n_failures);
        warn!(registration.id = %id, hub.name = %hub, n_failures, error = %failure, "could not assign `{id}` to `{hub}` yet; trying again");
    }
}
