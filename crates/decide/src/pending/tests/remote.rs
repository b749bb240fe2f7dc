//! Remote hubs in memory, and a worker that does what `app::remote` does.

use std::collections::BTreeMap;

use model::{
    DeviceId, DeviceStatus, HubName, IdentityDraft, Json, Precondition, RegistrationId,
    RegistrationStatus, TwinDraft,
};

use crate::{
    pending::{
        Call, Learned, Next, RemoteDevice, RemoteFailure, RemoteTwin, RemovalStep, Said, ShutOut,
        claim, claim_removal, failed, next, removal_done, removal_failed, wait_for_removal,
    },
    scenes::{Conflict, World},
};

pub(super) const DEADLINE_SECS: i64 = 24 * 3600;

/// A device on a remote hub.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) identity: IdentityDraft,
    etag: u64,
    pub(super) tags: Json,
    pub(super) desired: Json,
    desired_version: u64,
}

/// What goes wrong with a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The hub does not hear it.
    Before(RemoteFailure),
    /// The hub does it and its answer is lost.
    After(RemoteFailure),
    /// The hub does it and our process ends.
    Crash,
}

/// Remote hubs.
#[derive(Debug, Clone, Default)]
pub(super) struct Remotes {
    pub(super) devices: BTreeMap<(HubName, DeviceId), Stored>,
    /// What each call was, in words.
    pub(super) log: Vec<String>,
}

impl Remotes {
    pub(super) fn put(&mut self, hub: &HubName, identity: IdentityDraft) {
        let at = (hub.clone(), identity.device_id.clone());
        let empty = Json::empty_object();
        let (tags, desired) = (empty.clone(), empty);
        self.devices.insert(at, Stored { identity, etag: 1, tags, desired, desired_version: 1 });
    }

    /// What a hub answers, by the matrix of H §2.6.
    fn answer(&mut self, call: &Call) -> Result<Said, RemoteFailure> {
        match call {
            Call::FindDevice(hub, id) => {
                self.log.push(format!("GET device {}", hub.name));
                let found = self.devices.get(&(hub.name.clone(), id.clone()));
                Ok(Said::Device(found.map(|stored| {
                    let (identity, etag) = (stored.identity.clone(), stored.etag.to_string());
                    Box::new(RemoteDevice { identity, etag: Some(etag) })
                })))
            }
            Call::FindTwin(hub, id) => {
                self.log.push(format!("GET twin {}", hub.name));
                let found = self.devices.get(&(hub.name.clone(), id.clone()));
                Ok(Said::Twin(found.map(|stored| {
                    Box::new(RemoteTwin {
                        tags: stored.tags.clone(),
                        desired: stored.desired.clone(),
                        is_unwritten: stored.desired_version == 1,
                        iot_edge: stored.identity.iot_edge,
                        shut_out: (stored.identity.status == Some(DeviceStatus::Disabled))
                            .then(|| ShutOut { reason: stored.identity.status_reason.clone() }),
                    })
                })))
            }
            Call::PutDevice(hub, draft, precondition) => {
                self.log.push(format!("PUT device {}", hub.name));
                let at = (hub.name.clone(), draft.device_id.clone());
                match (self.devices.get_mut(&at), precondition) {
                    (None, Precondition::None) => self.put(&hub.name, (**draft).clone()),
                    (None, _) => return Err(RemoteFailure::NotFound),
                    (Some(_), Precondition::None) => {
                        return Err(RemoteFailure::Refused(409, "DeviceAlreadyExists".to_owned()));
                    }
                    (Some(stored), Precondition::Tag(tag)) if *tag != stored.etag.to_string() => {
                        return Err(RemoteFailure::Refused(412, "PreconditionFailed".to_owned()));
                    }
                    (Some(stored), Precondition::Any | Precondition::Tag(_)) => {
                        stored.identity = (**draft).clone();
                        stored.etag += 1;
                    }
                }
                Ok(Said::Written)
            }
            Call::PutTwin(hub, id, TwinDraft { tags, desired }) => {
                self.log.push(format!("PUT twin {}", hub.name));
                let at = (hub.name.clone(), id.clone());
                let stored = self.devices.get_mut(&at).ok_or(RemoteFailure::NotFound)?;
                stored.tags = tags.clone().unwrap_or(Json::empty_object());
                stored.desired = desired.clone().unwrap_or(Json::empty_object());
                stored.desired_version += 1;
                Ok(Said::Written)
            }
        }
    }

    fn call(&mut self, call: &Call, fault: Option<Fault>) -> Result<Said, Ended> {
        match fault {
            None => self.answer(call).map_err(Ended::Failed),
            Some(Fault::Before(failure)) => Err(Ended::Failed(failure)),
            Some(Fault::After(failure)) => {
                // What it would have answered is lost.
                let _ = self.answer(call);
                Err(Ended::Failed(failure))
            }
            Some(Fault::Crash) => {
                let _ = self.answer(call);
                Err(Ended::Crashed)
            }
        }
    }
}

enum Ended {
    Failed(RemoteFailure),
    Crashed,
}

/// A worker over a world and its remote hubs.
pub(super) struct Worker<'w> {
    pub(super) world: &'w mut World,
    pub(super) remotes: &'w mut Remotes,
    pub(super) seed: u64,
}

impl Worker<'_> {
    /// One pass over all that is due. `faults` are what goes wrong with the calls to come.
    pub(super) fn pass(&mut self, faults: &mut dyn Iterator<Item = Option<Fault>>) {
        let now = self.world.now;
        let removals: Vec<_> =
            self.world.removals.values().filter(|removal| removal.due <= now).cloned().collect();
        for removal in removals {
            self.remove(&removal, faults);
        }
        let due = |id: &&model::RegistrationRecord| {
            id.status == RegistrationStatus::Assigning
                && id.pending.as_ref().is_some_and(|pending| pending.due <= now)
        };
        let ids: Vec<_> =
            self.world.records.values().filter(due).map(|r| r.registration_id.clone()).collect();
        for id in ids {
            self.assign(&id, faults, &mut |_, _, _| {});
        }
    }

    /// Works on one assignment; `meanwhile` happens before each call, with its number.
    pub(super) fn assign(
        &mut self,
        id: &RegistrationId,
        faults: &mut dyn Iterator<Item = Option<Fault>>,
        meanwhile: &mut dyn FnMut(&mut World, &mut Remotes, usize),
    ) {
        let now = self.world.now;
        let facts = self.world.pending_facts(id);
        let Some(claimed) = claim(&facts, now) else { return };
        if self.world.commit(claimed.changes).is_err() {
            let later = wait_for_removal(&facts, now).expect("it is pending");
            let _ = self.world.commit(later);
            return;
        }
        let mut facts = self.world.pending_facts(id);
        let ours = facts.record.as_ref().expect("claimed").version;
        let (mut learned, mut failure) = (Learned::default(), None);
        for n in 0.. {
            assert!(n < 30, "an attempt comes to an end");
            self.seed += 1;
            let fresh = testkit::fresh(self.seed);
            let step = match &failure {
                None => next(&facts, &learned, now, &fresh),
                Some(failure) => failed(&facts, failure, DEADLINE_SECS, now, &fresh),
            };
            match step {
                Next::Nothing => return,
                Next::Call(call) => {
                    meanwhile(self.world, self.remotes, n);
                    match self.remotes.call(&call, faults.next().flatten()) {
                        Ok(said) => learned.note(&call, said),
                        Err(Ended::Failed(no)) => failure = Some(no),
                        Err(Ended::Crashed) => return,
                    }
                }
                Next::Commit(settled) => match self.world.commit(settled.changes) {
                    Ok(()) => return,
                    Err(Conflict) => {
                        facts = self.world.pending_facts(id);
                        if facts.record.as_ref().map(|r| r.version) != Some(ours) {
                            return;
                        }
                    }
                },
            }
        }
    }

    fn remove(
        &mut self,
        removal: &model::RemoteRemoval,
        faults: &mut dyn Iterator<Item = Option<Fault>>,
    ) {
        let now = self.world.now;
        let hub = match claim_removal(removal, &self.world.hubs.hubs, now) {
            RemovalStep::Drop(changes) => {
                let _ = self.world.commit(changes);
                return;
            }
            RemovalStep::Tell(hub, changes, _) => {
                if self.world.commit(changes).is_err() {
                    return;
                }
                hub
            }
        };
        let at = (removal.hub.clone(), removal.device_id.clone());
        let removal = &self.world.removals[&at].clone();
        let fault = faults.next().flatten();
        if !matches!(fault, Some(Fault::Before(_))) {
            self.remotes.log.push(format!("DELETE device {}", hub.name));
            self.remotes.devices.remove(&at);
        }
        self.seed += 1;
        let changes = match fault {
            Some(Fault::Crash) => return,
            None => removal_done(removal),
            Some(Fault::Before(failure) | Fault::After(failure)) => {
                removal_failed(removal, &failure, now, &testkit::fresh(self.seed))
            }
        };
        self.world.commit(changes).expect("the claim is ours");
    }

    /// Lets time pass and works, with nothing going wrong, until nothing is left to do.
    pub(super) fn finish(&mut self) {
        for _ in 0..100 {
            let assignments = self.world.records.values().filter_map(|r| r.pending.as_ref());
            let due = assignments.map(|p| p.due).chain(self.world.removals.values().map(|r| r.due));
            let Some(due) = due.min() else { return };
            self.world.now = self.world.now.max(due);
            self.pass(&mut std::iter::empty());
        }
        panic!("it never ends: {:?} {:?}", self.world.records, self.world.removals);
    }
}
