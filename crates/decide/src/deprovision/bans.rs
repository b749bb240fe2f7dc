//! Which bans a deprovisioning sets.

use attest::certificate::tbs_sha256;
use model::{
    AttestationMechanism, Ban, BanKind, BanSubject, Change, DeviceSubject, Expect, Grounds,
    IndividualEnrollment, Intent, KnownProof, Part, ReplacedBan,
};

use super::{Act, Doing};
use crate::{manage::bans::sha256, pending::RemoteHub};

/// How the bans of an intent end; a reinstatement sets none.
const fn kind(intent: Intent) -> Option<BanKind> {
    match intent {
        Intent::Suspend => Some(BanKind::Suspended),
        Intent::Retire => Some(BanKind::Retired),
        Intent::Revoke => Some(BanKind::Revoked),
        Intent::Reinstate => None,
    }
}

/// Whom an intent bans: the registration ID; and for a revocation the certificates and the
/// endorsement key that the device has shown or is enrolled with, so that it does not come back
/// under another name.
pub(super) fn subjects(
    intent: Intent,
    subject: &DeviceSubject,
    individual: Option<&IndividualEnrollment>,
    grounds: Option<&Grounds>,
) -> Vec<BanSubject> {
    let DeviceSubject::Registration(id) = subject else { return Vec::new() };
    if kind(intent).is_none() {
        return Vec::new();
    }
    let mut subjects = vec![BanSubject::Registration(id.clone())];
    if intent != Intent::Revoke {
        return subjects;
    }
    let mut add = |subject: BanSubject| {
        if subjects.iter().all(|other| other.key() != subject.key()) {
            subjects.push(subject);
        }
    };
    match grounds.map(|grounds| (&grounds.proof, grounds.path.first())) {
        Some((KnownProof::Certificates(_), Some(leaf))) => {
            add(BanSubject::Certificate { sha256: leaf.sha256, tbs: Some(leaf.tbs) });
        }
        Some((KnownProof::Tpm { endorsement_key, .. }, _)) => {
            add(BanSubject::EndorsementKey(sha256(endorsement_key)));
        }
        Some((KnownProof::Certificates(_) | KnownProof::Key { .. }, _)) | None => {}
    }
    match individual.map(|enrollment| &enrollment.terms.attestation) {
        Some(AttestationMechanism::X509Client(slots)) => {
            for certificate in slots.iter() {
                let sha256 = sha256(&certificate.der);
                let tbs = tbs_sha256(&certificate.der);
                add(BanSubject::Certificate { sha256, tbs });
            }
        }
        Some(AttestationMechanism::Tpm(tpm)) => {
            add(BanSubject::EndorsementKey(sha256(&tpm.endorsement_key)));
        }
        Some(
            AttestationMechanism::SymmetricKey(_)
            | AttestationMechanism::X509Signing(_)
            | AttestationMechanism::X509CaReferences(_)
            | AttestationMechanism::TpmIssuer(_),
        )
        | None => {}
    }
    subjects
}

/// The ban to write on a subject, if the one that is there is not as good. With remote hubs, one
/// that was set by hand is not: it does not say that the remote hubs were told.
pub(super) fn needed(
    existing: Option<&Ban>,
    subject: BanSubject,
    act: &Act<'_>,
    now: model::Timestamp,
    has_remote_hubs: bool,
) -> Option<Ban> {
    let wanted = kind(act.intent)?;
    let existing = existing.filter(|ban| ban.is_in_force(now));
    let as_good = existing.filter(|ban| {
        ban.expires.is_none() && (ban.kind == wanted || ban.kind == BanKind::Revoked)
    });
    match as_good {
        Some(ban) if ban.receipt.is_some() || !has_remote_hubs => None,
        Some(ban) => Some(Ban { receipt: Some(act.receipt.clone()), ..ban.clone() }),
        None => {
            // Who is revoked stays so, although only for a while, when suspended meanwhile.
            let stronger = existing.filter(|ban| ban.kind == BanKind::Revoked);
            Some(Ban {
                subject,
                kind: stronger.map_or(wanted, |ban| ban.kind),
                reason: act.reason.map(str::to_owned),
                by: act.by.clone(),
                created: now,
                expires: None,
                receipt: Some(act.receipt.clone()),
                version: 0,
            })
        }
    }
}

/// What a ban was, to put it back.
pub(super) fn replaced(ban: &Ban) -> ReplacedBan {
    ReplacedBan {
        kind: ban.kind,
        reason: ban.reason.clone(),
        by: ban.by.clone(),
        created: ban.created,
        expires: ban.expires,
        receipt: ban.receipt.clone(),
    }
}

impl Doing<'_, '_> {
    pub(super) fn set_bans(&mut self) {
        let facts = self.facts;
        let has_remote_hubs =
            facts.hubs.iter().any(|hub| RemoteHub::find(facts.hubs, &hub.name).is_some());
        let subjects = subjects(self.act.intent, facts.subject, facts.individual, facts.grounds);
        for subject in subjects {
            let key = subject.key();
            let existing = facts.bans.iter().find(|ban| ban.subject.key() == key);
            // Remote hubs are told of a device, not of what it shows.
            let tells_hubs = has_remote_hubs && matches!(subject, BanSubject::Registration(_));
            let Some(ban) = needed(existing, subject, self.act, self.now, tells_hubs) else {
                continue;
            };
            self.expect(Expect::Ban(key.clone(), existing.map_or(0, |ban| ban.version)));
            self.change(Change::PutBan(Box::new(ban)));
            let in_force = existing.filter(|ban| ban.is_in_force(self.now));
            let replaced = in_force.map(|ban| Box::new(replaced(ban)));
            self.deed.parts.push(Part::BanSet { key, replaced });
        }
    }
}
