//! A plan or a receipt as a whole.

use model::{
    BanSubject, DeprovisionState, Deprovisioning, EnrollmentRef, Json, PlanTotals, Receipt,
    RecordCondition, SelectedBy, SharedAct, SharedOutcome, SharedPart,
};

use super::intent_word;
use crate::{device::status_word, time, write::Object};

/// A plan; once it is applied, the receipt: how far it is, and what came of it in all.
#[must_use]
pub fn deprovisioning(receipt: &Receipt) -> Json {
    let head = &receipt.head;
    let Deprovisioning { id, intent, selected_by: select, reason, by, applied, .. } = head;
    Object::new()
        .with("id", id.as_str())
        .with("intent", intent_word(*intent))
        .with("state", state_word(head.state))
        .with_some("reason", reason.as_deref())
        .with("select", selected(select))
        .with("by", by.policy.as_str())
        .with("created", time::wire(head.created).as_str())
        .with("expires", time::wire(head.expires).as_str())
        .with("wholes", Json::Array(head.shared.iter().map(whole).collect()))
        .with("plan", totals(&head.totals))
        .with("progress", progress(receipt))
        .with("sessions", sessions(receipt))
        .with_some("appliedBy", applied.as_ref().map(|(by, _)| by.policy.as_str()))
        .with_some("applied", applied.as_ref().map(|(_, at)| time::wire(*at)).as_deref())
        .with_some("finished", head.finished.map(time::wire).as_deref())
        .build()
}

/// Microseconds as milliseconds with their fraction.
pub(super) fn millis(micros: u64) -> Json {
    let text = format!("{}.{:03}", micros / 1000, micros % 1000);
    Json::Number(text.trim_end_matches('0').trim_end_matches('.').into())
}

/// An enrollment by its name, which says whether it is a group.
pub(super) fn enrollment(enrollment: &EnrollmentRef) -> Json {
    match enrollment {
        EnrollmentRef::Group(id) => Object::new().with("group", id.as_str()).build(),
        EnrollmentRef::Individual(id) => Object::new().with("enrollment", id.as_str()).build(),
    }
}

const fn state_word(state: DeprovisionState) -> &'static str {
    match state {
        DeprovisionState::Planning => "planning",
        DeprovisionState::Planned => "planned",
        DeprovisionState::Applying => "applying",
        DeprovisionState::Done => "done",
    }
}

fn selected(by: &SelectedBy) -> Json {
    Object::new()
        .with_some("registrationIds", by.n_registration_ids)
        .with_some("group", by.group.as_ref().map(|id| id.as_str()))
        .with_some("hub", by.hub.as_ref().map(|hub| hub.as_str()))
        .with_some("certificate", by.certificate.as_deref())
        .with_some("records", by.records.as_ref().map(records))
        .with_some("twins", by.twins.as_deref())
        .with_some("receipt", by.receipt.as_ref().map(|id| id.as_str()))
        .build()
}

fn records(condition: &RecordCondition) -> Json {
    let (group, individual) = match &condition.enrollment {
        None => (None, None),
        Some(EnrollmentRef::Group(id)) => (Some(id.as_str()), None),
        Some(EnrollmentRef::Individual(id)) => (None, Some(id.as_str())),
    };
    Object::new()
        .with_some("status", condition.status.map(status_word))
        .with_some("hub", condition.hub.as_ref().map(|hub| hub.as_str()))
        .with_some("group", group)
        .with_some("enrollment", individual)
        .with_some("updatedSince", condition.updated_since.map(time::wire).as_deref())
        .with_some("updatedBefore", condition.updated_before.map(time::wire).as_deref())
        .with("orphaned", condition.orphaned)
        .build()
}

/// What is done to a group or a CA as a whole.
fn whole(part: &SharedPart) -> Json {
    let (act, group, subject) = match &part.act {
        SharedAct::DisableGroup(id, _) => ("disableGroup", Some(id), None),
        SharedAct::DeleteGroup(id, _) => ("deleteGroup", Some(id), None),
        SharedAct::EnableGroup(id, _) => ("enableGroup", Some(id), None),
        SharedAct::SetBan(subject) => ("setBan", None, Some(subject)),
    };
    let ca = subject.and_then(|subject| match subject {
        BanSubject::Ca(ca) => Some(ca.info.subject_name.as_str()),
        _ => None,
    });
    let (outcome, etag, why) = match &part.outcome {
        SharedOutcome::Planned => ("planned", None, None),
        SharedOutcome::Unchanged => ("unchanged", None, None),
        SharedOutcome::Done(etag) => ("done", etag.as_ref(), None),
        SharedOutcome::LeftAlone(why) => ("leftAlone", None, Some(why.as_str())),
    };
    Object::new()
        .with("act", act)
        .with_some("group", group.map(|id| id.as_str()))
        .with_some("ban", subject.map(BanSubject::key).as_deref())
        .with_some("subject", ca)
        .with("outcome", outcome)
        .with_some("etag", etag.map(|etag| etag.as_str()))
        .with_some("why", why)
        .build()
}

fn totals(totals: &PlanTotals) -> Json {
    let on_hub = |(hub, n): &(model::HubName, u64)| {
        Object::new().with("hub", hub.as_str()).with("devices", *n).build()
    };
    let by_group = |(group, n): &(model::EnrollmentGroupId, u64)| {
        Object::new().with("group", group.as_str()).with("devices", *n).build()
    };
    Object::new()
        .with("devices", totals.n_devices)
        .with("unchanged", totals.n_unchanged)
        .with("enrollments", totals.n_enrollments)
        .with("records", totals.n_records)
        .with("sessions", totals.n_sessions)
        .with("bans", totals.n_bans)
        .with("identities", Json::Array(totals.identities.iter().map(on_hub).collect()))
        .with("stillAdmitted", totals.n_still_admitted)
        .with("heldOff", Json::Array(totals.held_off.iter().map(by_group).collect()))
        .with("unknown", totals.n_unknown)
        .with("knownNowhere", totals.n_known_nowhere)
        .with("byKey", totals.n_by_key)
        .with("others", totals.n_others)
        .with("otherSessions", totals.n_other_sessions)
        .with("otherGroups", Json::Array(totals.others.iter().map(by_group).collect()))
        .build()
}

fn progress(receipt: &Receipt) -> Json {
    let counts = &receipt.counts;
    let looked_at = Some(counts.looked_at).filter(|n| *n > 0);
    Object::new()
        .with_some("lookedAt", looked_at)
        .with("devices", counts.items)
        .with("pending", counts.pending)
        .with("unchanged", counts.unchanged)
        .with("done", counts.done)
        .with("failed", counts.failed)
        .with("closing", counts.closing)
        .with("remotePending", counts.remote_pending)
        .with("remoteDone", counts.remote_done)
        .with("remoteFailed", counts.remote_failed)
        .build()
}

fn sessions(receipt: &Receipt) -> Json {
    Object::new()
        .with("ended", receipt.n_sessions())
        .with_some("closedAfterMs", receipt.slowest_micros().map(millis))
        .with_some("lastClosed", receipt.last_closed().map(time::wire).as_deref())
        .build()
}
