//! What is done to a group or a CA as a whole, in the first commit of a deprovisioning: from there
//! on nobody joins it.

use model::{
    Ban, Change, ChangeSet, Deprovisioning, EnrolledCertificate, EnrollmentGroup,
    EnrollmentGroupId, Etag, Expect, Fresh, Intent, ProvisioningStatus, SelectedBy,
    SelectedCertificate, SharedAct, SharedOutcome, SharedPart, Timestamp, Whole,
};

use super::{Act, bans};

/// What is known of groups and CAs when something is done to them as a whole.
#[derive(Debug, Clone, Copy)]
pub struct SharedFacts<'a> {
    /// The groups that the acts name, as far as they are there.
    pub groups: &'a [EnrollmentGroup],
    /// The bans that are there on the subjects that the acts name. Some may be over.
    pub bans: &'a [Ban],
}

/// What a plan does to groups and CAs as a whole: to the group or the CA that is all of its
/// selection; and of a suspension that is undone, to the group that it disabled.
///
/// `group` is the group selected, `cas` are its CA certificates, references resolved; `suspended`
/// is the suspension to undo.
#[must_use]
pub fn plan_shared(
    selected_by: &SelectedBy,
    intent: Intent,
    group: Option<&EnrollmentGroup>,
    cas: &[EnrolledCertificate],
    certificate: Option<&SelectedCertificate>,
    suspended: Option<&Deprovisioning>,
) -> Vec<SharedPart> {
    let named = group.map(|group| (group.group_id.clone(), group.terms.etag.clone()));
    let mut acts = Vec::new();
    match (selected_by.whole(), intent) {
        (Some(Whole::Group(_)), Intent::Suspend) => {
            acts.extend(named.map(|(id, etag)| SharedAct::DisableGroup(id, etag)));
        }
        (Some(Whole::Group(_)), Intent::Retire) => {
            acts.extend(named.map(|(id, etag)| SharedAct::DeleteGroup(id, etag)));
        }
        (Some(Whole::Group(_)), Intent::Revoke) => {
            acts.extend(named.map(|(id, etag)| SharedAct::DeleteGroup(id, etag)));
            let subject = |ca: &EnrolledCertificate| {
                SelectedCertificate::Ca(Box::new(ca.clone())).ban_subject()
            };
            acts.extend(cas.iter().map(|ca| SharedAct::SetBan(subject(ca))));
        }
        (Some(Whole::Certificate(_)), Intent::Revoke) => {
            acts.extend(certificate.map(|one| SharedAct::SetBan(one.ban_subject())));
        }
        (Some(Whole::Receipt(_)), Intent::Reinstate) => {
            let parts = suspended.map_or(&[][..], |suspended| &suspended.shared);
            acts.extend(parts.iter().filter_map(|part| match (&part.act, &part.outcome) {
                (SharedAct::DisableGroup(id, _), SharedOutcome::Done(Some(etag))) => {
                    Some(SharedAct::EnableGroup(id.clone(), etag.clone()))
                }
                _ => None,
            }));
        }
        (Some(Whole::Group(_)), Intent::Reinstate)
        | (Some(Whole::Certificate(_)), Intent::Suspend | Intent::Retire | Intent::Reinstate)
        | (Some(Whole::Receipt(_)), Intent::Suspend | Intent::Retire | Intent::Revoke)
        | (None, _) => {}
    }
    let planned = |act| SharedPart { act, outcome: SharedOutcome::Planned };
    acts.into_iter().map(planned).collect()
}

/// Whether a plan of a group as a whole is still about the group that it was made for: not one that
/// was written or made since, nor one of other CAs. A group that is gone can do no harm.
///
/// `group` is the group selected, as it is now, `cas` are its CA certificates.
#[must_use]
pub fn is_as_planned(
    planned: &Deprovisioning,
    group: Option<&EnrollmentGroup>,
    cas: &[EnrolledCertificate],
) -> bool {
    let (selected_by, intent) = (&planned.selected_by, planned.intent);
    if group.is_none() || !matches!(selected_by.whole(), Some(Whole::Group(_))) {
        return true;
    }
    let now = plan_shared(selected_by, intent, group, cas, None, None);
    let acts = |parts: &[SharedPart]| -> Vec<SharedAct> {
        parts.iter().map(|part| part.act.clone()).collect()
    };
    acts(&now) == acts(&planned.shared)
}

/// Decides what is done to groups and CAs as a whole: what to write, and what comes of each part.
#[must_use]
pub fn shared(
    parts: &[SharedPart],
    facts: SharedFacts<'_>,
    act: &Act<'_>,
    now: Timestamp,
    fresh: &Fresh,
) -> (ChangeSet, Vec<SharedPart>) {
    let mut set = ChangeSet::new();
    let mut outcome = |part: &SharedPart| -> SharedOutcome {
        let find = |id: &EnrollmentGroupId| facts.groups.iter().find(|group| group.group_id == *id);
        match &part.act {
            SharedAct::DisableGroup(id, _) => match find(id) {
                Some(group) if group.terms.is_enabled() => {
                    switch(&mut set, group, ProvisioningStatus::Disabled, now, fresh)
                }
                Some(_) | None => SharedOutcome::Unchanged,
            },
            SharedAct::EnableGroup(id, etag) => match find(id) {
                None => SharedOutcome::LeftAlone("the group is gone".to_owned()),
                Some(group) if group.terms.is_enabled() => SharedOutcome::Unchanged,
                Some(group) if group.terms.etag == *etag => {
                    switch(&mut set, group, ProvisioningStatus::Enabled, now, fresh)
                }
                Some(_) => SharedOutcome::LeftAlone(
                    "somebody else wrote the group since it was suspended, and left it disabled"
                        .to_owned(),
                ),
            },
            SharedAct::DeleteGroup(id, _) => match find(id) {
                None => SharedOutcome::Unchanged,
                Some(group) => {
                    set.expects.push(Expect::Group(id.clone(), group.terms.version));
                    set.changes.push(Change::DeleteGroup(id.clone()));
                    SharedOutcome::Done(None)
                }
            },
            SharedAct::SetBan(subject) => {
                let key = subject.key();
                let existing = facts.bans.iter().find(|ban| ban.subject.key() == key);
                match bans::needed(existing, subject.clone(), act, now, false) {
                    None => SharedOutcome::Unchanged,
                    Some(ban) => {
                        set.expects.push(Expect::Ban(key, existing.map_or(0, |ban| ban.version)));
                        set.changes.push(Change::PutBan(Box::new(ban)));
                        SharedOutcome::Done(None)
                    }
                }
            }
        }
    };
    let parts = parts
        .iter()
        .map(|part| SharedPart { act: part.act.clone(), outcome: outcome(part) })
        .collect();
    (set, parts)
}

fn switch(
    set: &mut ChangeSet,
    group: &EnrollmentGroup,
    status: ProvisioningStatus,
    now: Timestamp,
    fresh: &Fresh,
) -> SharedOutcome {
    let etag = Etag::from_random(fresh.etag);
    let terms = group.terms.switched_at(status, now, etag.clone());
    let written = EnrollmentGroup { terms, ..group.clone() };
    set.expects.push(Expect::Group(group.group_id.clone(), group.terms.version));
    set.changes.push(Change::PutGroup(Box::new(written)));
    SharedOutcome::Done(Some(etag))
}
