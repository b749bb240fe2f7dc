//! Undoing a suspension: what its item says it did, and nothing else.

use model::{
    Ban, BanKind, BanSubject, Change, DeprovisionItem, DeviceId, DeviceStatus, DeviceSubject, Etag,
    Expect, HubName, Intent, Part, ProvisioningStatus, RemoteStep, RemoteStepState, RemoteStepTask,
    RemoteTask, ReplacedBan, ReportTo, ban::registration_key,
};

use super::{Doing, bans::subjects, mark, remote::remote_targets};
use crate::{ban::InForce, pending::RemoteHub};

impl Doing<'_, '_> {
    pub(super) fn reinstate(&mut self) {
        let Some(suspended) = self.facts.suspended else { return self.lift_unexplained() };
        for part in &suspended.parts {
            if let Part::BanSet { key, replaced } = part {
                self.lift(key, replaced.as_deref());
            }
        }
        if let Some(key) = self.still_banned_by() {
            let what = "enrollment, identities and remote hubs".to_owned();
            let why = format!(
                "the ban {key} keeps the device out; lift it, and reinstate by the receipt {} once \
                 more",
                suspended.receipt
            );
            return self.deed.parts.push(Part::LeftAlone { what, why });
        }
        for part in &suspended.parts {
            match part {
                Part::EnrollmentDisabled { etag } => self.enable_enrollment(etag),
                Part::IdentityDisabled { hub, device_id, reason_before } => {
                    self.enable_identity(hub, device_id, reason_before.as_ref());
                }
                // Lifted before, or no suspension does it.
                Part::BanSet { .. }
                | Part::EnrollmentEnabled
                | Part::EnrollmentDeleted
                | Part::RecordDeleted
                | Part::IdentityEnabled { .. }
                | Part::IdentityDeleted { .. }
                | Part::BanLifted { .. }
                | Part::LeftAlone { .. } => {}
            }
        }
        for step in &suspended.remote {
            let may_have_effect = match &step.state {
                // A hub that was not linked may have been told since, under the same mark.
                RemoteStepState::Pending { .. } | RemoteStepState::Failed(_) => true,
                RemoteStepState::Done { changed } => *changed,
                // Undone before, or something else became of it.
                RemoteStepState::Superseded => false,
            };
            let is_linked = RemoteHub::find(self.facts.hubs, &step.hub).is_some();
            if step.task == RemoteStepTask::Disable && may_have_effect && is_linked {
                self.undo_on_hub(suspended, &step.hub, &step.device_id);
            }
        }
        // A hub that was linked after the suspension may have been told since.
        for (hub, id) in remote_targets(self.facts) {
            let is_it = |step: &&RemoteStep| step.hub == hub && step.device_id == id;
            let is_told = self.deed.remote.iter().chain(&suspended.remote).any(|s| is_it(&s));
            if !is_told && !self.deed.is_nothing() {
                self.undo_on_hub(suspended, &hub, &id);
            }
        }
    }

    /// Tells a remote hub to enable what the suspension disabled there: it knows it by its mark.
    fn undo_on_hub(&mut self, suspended: &DeprovisionItem, hub: &HubName, id: &DeviceId) {
        self.tell(hub, id, RemoteTask::Enable { reason: mark(&suspended.receipt) });
        let report_to = ReportTo { receipt: suspended.receipt.clone(), item: suspended.number };
        let undone = (report_to, hub.clone(), id.clone());
        if !self.deed.superseded.contains(&undone) {
            self.deed.superseded.push(undone);
        }
    }

    /// The key of a ban that keeps the device out whatever was lifted so far.
    fn still_banned_by(&self) -> Option<String> {
        let DeviceSubject::Registration(id) = self.facts.subject else { return None };
        let mut bans = self.facts.bans.to_vec();
        for change in &self.deed.changes.changes {
            let (key, put) = match change {
                Change::PutBan(ban) => (ban.subject.key(), Some((**ban).clone())),
                Change::DeleteBan(key) => (key.clone(), None),
                _ => continue,
            };
            bans.retain(|ban| ban.subject.key() != key);
            bans.extend(put);
        }
        let in_force = InForce::new(&bans, self.now);
        let (individual, grounds) = (self.facts.individual, self.facts.grounds);
        let shows = subjects(Intent::Revoke, self.facts.subject, individual, grounds);
        let is_shown = |ban: &&Ban| {
            let is_it = |subject: &BanSubject| subject.key() == ban.subject.key();
            !matches!(ban.subject, BanSubject::Registration(_))
                && ban.is_in_force(self.now)
                && shows.iter().any(is_it)
        };
        in_force
            .on_registration(id, individual.is_some())
            .or_else(|| grounds.and_then(|grounds| in_force.on_grounds(grounds)))
            .or_else(|| bans.iter().find(is_shown))
            .map(|ban| ban.subject.key())
    }

    /// Lifts a ban that a suspension set, or puts back the one it took the place of.
    fn lift(&mut self, key: &str, replaced: Option<&ReplacedBan>) {
        let facts = self.facts;
        let Some(ban) = facts.bans.iter().find(|ban| ban.subject.key() == key) else { return };
        let Some(suspended) = facts.suspended else { return };
        if ban.receipt.as_ref() != Some(&suspended.receipt) {
            let why = "another ban took its place".to_owned();
            return self.deed.parts.push(Part::LeftAlone { what: format!("ban {key}"), why });
        }
        self.expect(Expect::Ban(key.to_owned(), ban.version));
        let before = replaced.map(|old| put_back(ban.subject.clone(), old));
        match before.filter(|before| before.is_in_force(self.now)) {
            Some(before) => self.change(Change::PutBan(Box::new(before))),
            None => self.change(Change::DeleteBan(key.to_owned())),
        }
        self.deed.parts.push(Part::BanLifted { key: key.to_owned() });
    }

    fn enable_enrollment(&mut self, etag: &Etag) {
        let Some(enrollment) = self.facts.individual else { return };
        if enrollment.terms.is_enabled() {
            return;
        }
        if enrollment.terms.etag != *etag {
            return self.leave("the enrollment");
        }
        self.switch_enrollment(enrollment, ProvisioningStatus::Enabled);
        self.deed.parts.push(Part::EnrollmentEnabled);
    }

    fn enable_identity(&mut self, hub: &HubName, id: &DeviceId, reason_before: Option<&String>) {
        let (facts, Some(suspended)) = (self.facts, self.facts.suspended) else { return };
        let is_it = |(name, device): &&(HubName, model::Device)| {
            name == hub && device.identity.device_id == *id
        };
        let Some((_, device)) = facts.devices.iter().find(is_it) else { return };
        let identity = &device.identity;
        if identity.status == DeviceStatus::Enabled {
            return;
        }
        let mark = mark(&suspended.receipt);
        if !identity.status_reason.as_ref().is_some_and(|reason| reason.starts_with(&mark)) {
            return self.leave(&format!("the identity `{id}` on `{hub}`"));
        }
        self.switch_identity(hub, identity, DeviceStatus::Enabled, reason_before.cloned());
        let (hub, device_id) = (hub.clone(), id.clone());
        self.deed.parts.push(Part::IdentityEnabled { hub, device_id });
    }

    /// Nothing is known of the suspension: it was done by hand, or its receipt is no longer kept.
    fn lift_unexplained(&mut self) {
        let facts = self.facts;
        let DeviceSubject::Registration(id) = facts.subject else { return };
        let key = registration_key(id);
        let is_it = |ban: &&Ban| {
            ban.kind == BanKind::Suspended
                && ban.is_in_force(self.now)
                && matches!(ban.subject, BanSubject::Registration(_))
                && ban.subject.key() == key
        };
        let Some(ban) = facts.bans.iter().find(is_it) else { return };
        self.expect(Expect::Ban(key.clone(), ban.version));
        self.change(Change::DeleteBan(key.clone()));
        self.deed.parts.push(Part::BanLifted { key });
        let why = || "it is not known who disabled it; enable it by hand if you want to".to_owned();
        if facts.individual.is_some_and(|enrollment| !enrollment.terms.is_enabled()) {
            let what = "the enrollment".to_owned();
            self.deed.parts.push(Part::LeftAlone { what, why: why() });
        }
        for (hub, device) in facts.devices {
            if device.identity.status == DeviceStatus::Disabled {
                let what = format!("the identity `{}` on `{hub}`", device.identity.device_id);
                self.deed.parts.push(Part::LeftAlone { what, why: why() });
            }
        }
    }

    fn leave(&mut self, what: &str) {
        let why = "somebody else wrote it since it was suspended, and left it disabled".to_owned();
        self.deed.parts.push(Part::LeftAlone { what: what.to_owned(), why });
    }
}

/// The ban that a suspension took the place of.
fn put_back(subject: BanSubject, old: &ReplacedBan) -> Ban {
    Ban {
        subject,
        kind: old.kind,
        reason: old.reason.clone(),
        by: old.by.clone(),
        created: old.created,
        expires: old.expires,
        receipt: old.receipt.clone(),
        version: 0,
    }
}
