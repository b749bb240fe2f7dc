//! Which devices a change may mean something for, those that rest on it first.

use std::collections::HashSet;

use decide::simulate::Hypothesis;
use model::{
    AttestationKind, AttestationMechanism, CaCertificate, EnrollmentGroup, EnrollmentGroupId, Page,
    RecordFilter, RegistrationId, RegistrationRecord, ban::ca_key,
};
use store::StoreFault;

use super::PAGE;
use crate::App;

/// How a device proves itself, as far as it matters to which groups could admit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provable {
    /// By a key.
    Key,
    /// By certificates, a TPM's among them.
    Certificates,
}

impl Provable {
    /// How the device of a record proved itself last.
    pub(super) const fn of(record: &RegistrationRecord) -> Self {
        match record.mechanism {
            AttestationKind::SymmetricKey => Self::Key,
            AttestationKind::X509 | AttestationKind::Tpm => Self::Certificates,
        }
    }

    /// How devices of a group prove themselves.
    const fn to(group: &EnrollmentGroup) -> Self {
        match &group.terms.attestation {
            AttestationMechanism::SymmetricKey(_) => Self::Key,
            AttestationMechanism::X509Client(_)
            | AttestationMechanism::X509Signing(_)
            | AttestationMechanism::X509CaReferences(_)
            | AttestationMechanism::Tpm(_)
            | AttestationMechanism::TpmIssuer(_) => Self::Certificates,
        }
    }
}

/// Where devices come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The one of this ID.
    One(RegistrationId),
    /// Those that this group decided last.
    Group(EnrollmentGroupId),
    /// Those that rest on what a ban of this key would be about.
    RestingOn(String),
    /// All; something may change only for those that prove themselves so.
    All(Option<Provable>),
}

impl Source {
    /// For whom of these something may change, where that is not all.
    pub(super) const fn concerns(&self) -> Option<Provable> {
        match self {
            Self::All(concerned) => *concerned,
            Self::One(_) | Self::Group(_) | Self::RestingOn(_) => None,
        }
    }
}

/// The devices that were met, where they may be met again.
pub(super) struct Seen(Option<HashSet<String>>);

impl Seen {
    pub(super) fn new(n_sources: usize) -> Self {
        Self((n_sources > 1).then(HashSet::new))
    }

    /// No more are remembered than are looked at.
    pub(super) fn is_new(&mut self, record: &RegistrationRecord) -> bool {
        let key = || record.registration_id.key().to_owned();
        self.0.as_mut().is_none_or(|seen| seen.insert(key()))
    }
}

impl App {
    /// Where the devices come from that these changes may mean something for, each source once.
    ///
    /// What a record says of its entry, and grounds of their path, is as it was when the device
    /// registered. Others may have come to rest on what changes since, so that they are looked at
    /// as well.
    pub(super) async fn sources(&self, changes: &[Hypothesis]) -> Result<Vec<Source>, StoreFault> {
        let mut near: Vec<Source> = Vec::new();
        let mut far: Vec<Provable> = Vec::new();
        for change in changes {
            match change {
                Hypothesis::PutIndividual(put) => {
                    near.push(Source::One(put.registration_id.clone()));
                }
                Hypothesis::DeleteIndividual(id) => near.push(Source::One(id.clone())),
                Hypothesis::PutGroup(put) => {
                    let stored = self.store.find_group(&put.group_id).await?;
                    // One that is thought of as it is means nothing for anybody.
                    if stored.as_ref() != Some(&**put) {
                        far.extend([&**put].into_iter().chain(&stored).map(Provable::to));
                        near.extend(stored.map(|group| Source::Group(group.group_id)));
                    }
                }
                Hypothesis::DeleteGroup(id) => {
                    if let Some(stored) = self.store.find_group(id).await? {
                        far.push(Provable::to(&stored));
                        near.push(Source::Group(stored.group_id));
                    }
                }
                Hypothesis::PutCaCertificate(put) => {
                    let stored = self.store.find_ca_certificate(&put.name).await?;
                    if stored.as_ref() != Some(&**put) {
                        far.push(Provable::Certificates);
                        near.extend(stored.iter().map(resting_on));
                    }
                }
                Hypothesis::DeleteCaCertificate(name) => {
                    if let Some(stored) = self.store.find_ca_certificate(name).await? {
                        far.push(Provable::Certificates);
                        near.push(resting_on(&stored));
                    }
                }
                Hypothesis::PutBan(ban) => {
                    ban.subject.keys().for_each(|key| of_ban(key, &mut near, &mut far));
                }
                Hypothesis::LiftBan(key) => of_ban(key.clone(), &mut near, &mut far),
            }
        }
        let concerned = match far.as_slice() {
            [] => None,
            [first, others @ ..] => {
                Some(Source::All(others.iter().all(|other| other == first).then_some(*first)))
            }
        };
        let mut sources: Vec<Source> = Vec::new();
        for source in near.into_iter().chain(concerned) {
            if !sources.contains(&source) {
                sources.push(source);
            }
        }
        Ok(sources)
    }

    /// The next records of a source.
    pub(super) async fn records_of(
        &self,
        source: &Source,
        after: Option<&str>,
    ) -> Result<Page<RegistrationRecord>, StoreFault> {
        match source {
            Source::One(id) => {
                let items = self.store.find_record(id).await?.into_iter().collect();
                Ok(Page { items, next: None })
            }
            Source::Group(id) => {
                let filter = RecordFilter::Group(id.clone());
                self.store.list_records(&filter, after, PAGE).await
            }
            Source::RestingOn(key) => self.store.records_resting_on(key, after, PAGE).await,
            Source::All(_) => self.store.list_records(&RecordFilter::All, after, PAGE).await,
        }
    }

    /// The changes, and before them as they stand: the CA certificates that a group refers to
    /// which is put, and the groups that refer to a CA certificate which is put.
    pub(super) async fn with_what_they_refer_to(
        &self,
        changes: &[Hypothesis],
    ) -> Result<Vec<Hypothesis>, StoreFault> {
        let mut groups: Vec<EnrollmentGroup> = Vec::new();
        for change in changes {
            if let Hypothesis::PutCaCertificate(put) = change {
                groups.extend(self.store.groups_referring_to(&put.name).await?);
            }
        }
        let put = changes.iter().filter_map(|change| match change {
            Hypothesis::PutGroup(put) => Some(&**put),
            _ => None,
        });
        let mut names: Vec<String> = Vec::new();
        for group in groups.iter().chain(put) {
            if let AttestationMechanism::X509CaReferences(slots) = &group.terms.attestation {
                names.extend(slots.iter().cloned());
            }
        }
        names.sort();
        names.dedup();
        let mut all = Vec::new();
        for name in names {
            let found = self.store.find_ca_certificate(&name).await?;
            all.extend(found.map(|stored| Hypothesis::PutCaCertificate(Box::new(stored))));
        }
        all.extend(groups.into_iter().map(|group| Hypothesis::PutGroup(Box::new(group))));
        all.extend(changes.iter().cloned());
        Ok(all)
    }
}

fn resting_on(stored: &CaCertificate) -> Source {
    Source::RestingOn(ca_key(&stored.certificate.keys.subject_and_key))
}

/// A ban of a registration ID or of an endorsement key says itself whom it is about. One of a
/// certificate may be about whoever shows it, or rests on a CA that was not known to be above it.
fn of_ban(key: String, near: &mut Vec<Source>, far: &mut Vec<Provable>) {
    let names_its_devices = ["registration:", "endorsement-key:"];
    if !names_its_devices.iter().any(|kind| key.starts_with(kind)) {
        far.push(Provable::Certificates);
    }
    near.push(Source::RestingOn(key));
}
