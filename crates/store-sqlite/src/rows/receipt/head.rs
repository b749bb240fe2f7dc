//! What a plan or receipt is beside its items, as a document.

use std::net::IpAddr;

use model::{
    Caller, DeprovisionState, Deprovisioning, EndedSessions, EnrollmentGroupId, EnrollmentRef,
    Etag, HubName, PlanTotals, ReceiptId, RecordCondition, RegistrationId, RegistrationStatus,
    SelectedBy, SharedAct, SharedOutcome, SharedPart, Timestamp,
};
use serde::{Deserialize, Serialize};

use super::item::SessionsRow;
use crate::{codec::Word, rows::ban::SubjectRow};

/// The columns beside the document.
pub(super) struct Times {
    pub(super) created: Timestamp,
    pub(super) expires: Timestamp,
    pub(super) finished: Option<Timestamp>,
}

/// The document.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HeadRow {
    intent: String,
    selected_by: SelectedByRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    by: CallerRow,
    shared: Vec<SharedRow>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sessions: Option<SessionsRow>,
    totals: TotalsRow,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    applied: Option<(CallerRow, i64)>,
}

impl From<&Deprovisioning> for HeadRow {
    fn from(head: &Deprovisioning) -> Self {
        Self {
            intent: head.intent.word().to_owned(),
            selected_by: SelectedByRow::from(&head.selected_by),
            reason: head.reason.clone(),
            by: CallerRow::from(&head.by),
            shared: head.shared.iter().map(SharedRow::from).collect(),
            sessions: (head.sessions != EndedSessions::default())
                .then(|| SessionsRow::from(head.sessions)),
            totals: TotalsRow::from(&head.totals),
            applied: head.applied.as_ref().map(|(by, at)| (CallerRow::from(by), at.ticks())),
        }
    }
}

impl HeadRow {
    /// The plan or receipt, without its version.
    pub(super) fn into_model(
        self,
        id: ReceiptId,
        state: DeprovisionState,
        times: Times,
    ) -> Result<Deprovisioning, &'static str> {
        let applied = self.applied.map(|(by, at)| (by.into_model(), Timestamp::from_ticks(at)));
        Ok(Deprovisioning {
            id,
            intent: word(&self.intent)?,
            selected_by: self.selected_by.into_model()?,
            reason: self.reason,
            by: self.by.into_model(),
            created: times.created,
            expires: times.expires,
            state,
            shared: self.shared.into_iter().map(SharedRow::into_model).collect::<Result<_, _>>()?,
            sessions: self.sessions.map(SessionsRow::into_model).unwrap_or_default(),
            totals: self.totals.into_model()?,
            applied,
            finished: times.finished,
            version: 0,
        })
    }
}

/// One of a closed set of words.
pub(super) fn word<W: Word>(text: &str) -> Result<W, &'static str> {
    W::from_word(text).ok_or("a word that this release does not know")
}

/// A hub's name.
pub(super) fn hub(text: &str) -> Result<HubName, &'static str> {
    HubName::parse(text).map_err(|_| "a hub name that is none")
}

/// The name of a deprovisioning.
pub(super) fn receipt_id(text: &str) -> Result<ReceiptId, &'static str> {
    ReceiptId::parse(text).map_err(|_| "a receipt name that is none")
}

fn group_id(text: &str) -> Result<EnrollmentGroupId, &'static str> {
    EnrollmentGroupId::parse(text).map_err(|_| "a group ID that is none")
}

#[derive(Serialize, Deserialize)]
pub(super) struct CallerRow {
    policy: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
}

impl From<&Caller> for CallerRow {
    fn from(by: &Caller) -> Self {
        Self { policy: by.policy.clone(), address: by.address }
    }
}

impl CallerRow {
    pub(super) fn into_model(self) -> Caller {
        Caller { policy: self.policy, address: self.address }
    }
}

/// An enrollment, by its kind.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum EnrollmentRow {
    Individual(String),
    Group(String),
}

impl From<&EnrollmentRef> for EnrollmentRow {
    fn from(enrollment: &EnrollmentRef) -> Self {
        match enrollment {
            EnrollmentRef::Individual(id) => Self::Individual(id.as_str().to_owned()),
            EnrollmentRef::Group(id) => Self::Group(id.as_str().to_owned()),
        }
    }
}

impl EnrollmentRow {
    pub(super) fn into_model(self) -> Result<EnrollmentRef, &'static str> {
        Ok(match self {
            Self::Individual(id) => EnrollmentRef::Individual(
                RegistrationId::parse(&id).map_err(|_| "a registration ID that is none")?,
            ),
            Self::Group(id) => EnrollmentRef::Group(group_id(&id)?),
        })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct SelectedByRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    n_registration_ids: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<RecordsRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    twins: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct RecordsRow {
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enrollment: Option<EnrollmentRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_since: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_before: Option<i64>,
    orphaned: bool,
}

impl From<&SelectedBy> for SelectedByRow {
    fn from(selected_by: &SelectedBy) -> Self {
        Self {
            n_registration_ids: selected_by.n_registration_ids,
            group: selected_by.group.as_ref().map(|group| group.as_str().to_owned()),
            hub: selected_by.hub.as_ref().map(HubName::to_string),
            certificate: selected_by.certificate.clone(),
            records: selected_by.records.as_ref().map(|records| RecordsRow {
                status: records.status.map(|status| status.word().to_owned()),
                hub: records.hub.as_ref().map(HubName::to_string),
                enrollment: records.enrollment.as_ref().map(EnrollmentRow::from),
                updated_since: records.updated_since.map(Timestamp::ticks),
                updated_before: records.updated_before.map(Timestamp::ticks),
                orphaned: records.orphaned,
            }),
            twins: selected_by.twins.clone(),
            receipt: selected_by.receipt.as_ref().map(ReceiptId::to_string),
        }
    }
}

impl SelectedByRow {
    fn into_model(self) -> Result<SelectedBy, &'static str> {
        let records = |records: RecordsRow| {
            Ok::<_, &'static str>(RecordCondition {
                status: records.status.as_deref().map(word::<RegistrationStatus>).transpose()?,
                hub: records.hub.as_deref().map(hub).transpose()?,
                enrollment: records.enrollment.map(EnrollmentRow::into_model).transpose()?,
                updated_since: records.updated_since.map(Timestamp::from_ticks),
                updated_before: records.updated_before.map(Timestamp::from_ticks),
                orphaned: records.orphaned,
            })
        };
        Ok(SelectedBy {
            n_registration_ids: self.n_registration_ids,
            group: self.group.as_deref().map(group_id).transpose()?,
            hub: self.hub.as_deref().map(hub).transpose()?,
            certificate: self.certificate,
            records: self.records.map(records).transpose()?,
            twins: self.twins,
            receipt: self.receipt.as_deref().map(receipt_id).transpose()?,
        })
    }
}

#[derive(Serialize, Deserialize)]
struct SharedRow {
    act: ActRow,
    outcome: OutcomeRow,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum ActRow {
    DisableGroup(String, String),
    DeleteGroup(String, String),
    EnableGroup(String, String),
    SetBan(SubjectRow),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum OutcomeRow {
    Planned,
    Unchanged,
    Done(Option<String>),
    LeftAlone(String),
}

impl From<&SharedPart> for SharedRow {
    fn from(part: &SharedPart) -> Self {
        let text = |id: &EnrollmentGroupId| id.as_str().to_owned();
        let etag_text = |etag: &Etag| etag.as_str().to_owned();
        let act = match &part.act {
            SharedAct::DisableGroup(id, etag) => ActRow::DisableGroup(text(id), etag_text(etag)),
            SharedAct::DeleteGroup(id, etag) => ActRow::DeleteGroup(text(id), etag_text(etag)),
            SharedAct::EnableGroup(id, etag) => ActRow::EnableGroup(text(id), etag_text(etag)),
            SharedAct::SetBan(subject) => ActRow::SetBan(SubjectRow::from(subject)),
        };
        let outcome = match &part.outcome {
            SharedOutcome::Planned => OutcomeRow::Planned,
            SharedOutcome::Unchanged => OutcomeRow::Unchanged,
            SharedOutcome::Done(etag) => {
                OutcomeRow::Done(etag.as_ref().map(|etag| etag.as_str().to_owned()))
            }
            SharedOutcome::LeftAlone(why) => OutcomeRow::LeftAlone(why.clone()),
        };
        Self { act, outcome }
    }
}

impl SharedRow {
    fn into_model(self) -> Result<SharedPart, &'static str> {
        let act = match self.act {
            ActRow::DisableGroup(id, etag) => {
                SharedAct::DisableGroup(group_id(&id)?, Etag::from_stored(&etag))
            }
            ActRow::DeleteGroup(id, etag) => {
                SharedAct::DeleteGroup(group_id(&id)?, Etag::from_stored(&etag))
            }
            ActRow::EnableGroup(id, etag) => {
                SharedAct::EnableGroup(group_id(&id)?, Etag::from_stored(&etag))
            }
            ActRow::SetBan(subject) => SharedAct::SetBan(subject.into_model()?),
        };
        let outcome = match self.outcome {
            OutcomeRow::Planned => SharedOutcome::Planned,
            OutcomeRow::Unchanged => SharedOutcome::Unchanged,
            OutcomeRow::Done(etag) => SharedOutcome::Done(etag.as_deref().map(Etag::from_stored)),
            OutcomeRow::LeftAlone(why) => SharedOutcome::LeftAlone(why),
        };
        Ok(SharedPart { act, outcome })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TotalsRow {
    devices: u64,
    unchanged: u64,
    enrollments: u64,
    records: u64,
    sessions: u64,
    bans: u64,
    identities: Vec<(String, u64)>,
    still_admitted: u64,
    held_off: Vec<(String, u64)>,
    unknown: u64,
    known_nowhere: u64,
    by_key: u64,
    others: u64,
    other_sessions: u64,
    other_groups: Vec<(String, u64)>,
}

impl From<&PlanTotals> for TotalsRow {
    fn from(totals: &PlanTotals) -> Self {
        let identities = totals.identities.iter().map(|(hub, n)| (hub.to_string(), *n));
        let by_group = |counts: &[(EnrollmentGroupId, u64)]| -> Vec<(String, u64)> {
            counts.iter().map(|(group, n)| (group.as_str().to_owned(), *n)).collect()
        };
        Self {
            devices: totals.n_devices,
            unchanged: totals.n_unchanged,
            enrollments: totals.n_enrollments,
            records: totals.n_records,
            sessions: totals.n_sessions,
            bans: totals.n_bans,
            identities: identities.collect(),
            still_admitted: totals.n_still_admitted,
            held_off: by_group(&totals.held_off),
            unknown: totals.n_unknown,
            known_nowhere: totals.n_known_nowhere,
            by_key: totals.n_by_key,
            others: totals.n_others,
            other_sessions: totals.n_other_sessions,
            other_groups: by_group(&totals.others),
        }
    }
}

impl TotalsRow {
    fn into_model(self) -> Result<PlanTotals, &'static str> {
        let identities = self.identities.iter().map(|(name, n)| Ok((hub(name)?, *n)));
        let by_group = |counts: &[(String, u64)]| -> Result<Vec<_>, &'static str> {
            counts.iter().map(|(group, n)| Ok((group_id(group)?, *n))).collect()
        };
        Ok(PlanTotals {
            n_devices: self.devices,
            n_unchanged: self.unchanged,
            n_enrollments: self.enrollments,
            n_records: self.records,
            n_sessions: self.sessions,
            n_bans: self.bans,
            identities: identities.collect::<Result<_, &'static str>>()?,
            n_still_admitted: self.still_admitted,
            held_off: by_group(&self.held_off)?,
            n_unknown: self.unknown,
            n_known_nowhere: self.known_nowhere,
            n_by_key: self.by_key,
            n_others: self.others,
            n_other_sessions: self.other_sessions,
            others: by_group(&self.other_groups)?,
        })
    }
}
