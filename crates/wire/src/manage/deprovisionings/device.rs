//! One device of a plan or a receipt.

use model::{
    Closed, DeprovisionItem, DeviceSubject, EndedSessions, EnrollmentRef, ItemState, Json, Part,
    PlannedDevice, PlannedIdentity, RemoteStep, RemoteStepState, RemoteStepTask, StillAdmitted,
};

use super::receipt::{enrollment, millis};
use crate::{device::status_word, manage::ban_kind, time, write::Object};

/// A device: what is planned, and once it was its turn, what was done.
#[must_use]
pub fn deprovisioned_device(item: &DeprovisionItem) -> Json {
    let (registration_id, device_id) = match &item.subject {
        DeviceSubject::Registration(id) => (Some(id.as_str()), None),
        DeviceSubject::Identity(id) => (None, Some(id.as_str())),
    };
    let trouble = item.trouble.as_ref();
    Object::new()
        .with("number", item.number)
        .with_some("registrationId", registration_id)
        .with_some("deviceId", device_id)
        .with("state", item_state(item.state))
        .with("isLate", item.is_late)
        .with_some("at", item.at.map(time::wire).as_deref())
        .with("plan", planned(&item.plan))
        .with("parts", Json::Array(item.parts.iter().map(part).collect()))
        .with("sessions", sessions(item.sessions))
        .with("remote", Json::Array(item.remote.iter().map(remote_step).collect()))
        .with_some("error", trouble.map(|trouble| trouble.error.as_str()))
        .with_some("remedy", trouble.map(|trouble| trouble.remedy.as_str()))
        .build()
}

/// The word for where a device stands.
#[must_use]
const fn item_state(state: ItemState) -> &'static str {
    match state {
        ItemState::Pending => "pending",
        ItemState::Unchanged => "unchanged",
        ItemState::Done => "done",
        ItemState::Failed => "failed",
    }
}

fn planned(plan: &PlannedDevice) -> Json {
    let identity = |identity: &PlannedIdentity| {
        Object::new()
            .with("hub", identity.hub.as_str())
            .with("deviceId", identity.device_id.as_str())
            .with("isRemote", identity.is_remote)
            .build()
    };
    let bans = plan.bans.iter().map(|key| Json::from(key.as_str())).collect();
    Object::new()
        .with("isUnchanged", plan.is_unchanged)
        .with_some("enrollment", plan.enrollment.as_ref().map(enrollment))
        .with("hasIndividualEnrollment", plan.has_individual)
        .with_some("record", plan.record.map(status_word))
        .with("identities", Json::Array(plan.identities.iter().map(identity).collect()))
        .with("sessions", u64::from(plan.n_sessions))
        .with("bans", Json::Array(bans))
        .with("stillAdmitted", admitted(&plan.admitted))
        .with_some("admittedBy", by(&plan.admitted))
        .with("admittedWithoutBans", admitted(&plan.admitted_without_bans))
        .with_some("admittedWithoutBansBy", by(&plan.admitted_without_bans))
        .build()
}

const fn admitted(admitted: &StillAdmitted) -> &'static str {
    match admitted {
        StillAdmitted::No => "no",
        StillAdmitted::By(_) => "yes",
        StillAdmitted::Unknown => "unknown",
    }
}

fn by(admitted: &StillAdmitted) -> Option<Json> {
    let by: Option<&EnrollmentRef> = match admitted {
        StillAdmitted::By(entry) => Some(entry),
        StillAdmitted::No | StillAdmitted::Unknown => None,
    };
    by.map(enrollment)
}

/// What was done to a device.
fn part(part: &Part) -> Json {
    let did = |word: &str| Object::new().with("did", word);
    let object = match part {
        Part::EnrollmentDisabled { etag } => did("enrollmentDisabled").with("etag", etag.as_str()),
        Part::EnrollmentEnabled => did("enrollmentEnabled"),
        Part::EnrollmentDeleted => did("enrollmentDeleted"),
        Part::RecordDeleted => did("recordDeleted"),
        Part::IdentityDisabled { hub, device_id, reason_before } => did("identityDisabled")
            .with("hub", hub.as_str())
            .with("deviceId", device_id.as_str())
            .with_some("reasonBefore", reason_before.as_deref()),
        Part::IdentityEnabled { hub, device_id } => {
            did("identityEnabled").with("hub", hub.as_str()).with("deviceId", device_id.as_str())
        }
        Part::IdentityDeleted { hub, device_id } => {
            did("identityDeleted").with("hub", hub.as_str()).with("deviceId", device_id.as_str())
        }
        Part::BanSet { key, replaced } => {
            let replaced = replaced.as_deref();
            did("banSet")
                .with("ban", key.as_str())
                .with_some("replacedKind", replaced.map(|ban| ban_kind(ban.kind)))
                .with_some("replacedReason", replaced.and_then(|ban| ban.reason.as_deref()))
        }
        Part::BanLifted { key } => did("banLifted").with("ban", key.as_str()),
        Part::LeftAlone { what, why } => {
            did("leftAlone").with("what", what.as_str()).with("why", why.as_str())
        }
    };
    object.build()
}

fn sessions(sessions: EndedSessions) -> Json {
    let (word, micros, at) = match sessions.closed {
        Closed::None => ("none", None, None),
        Closed::Waiting => ("waiting", None, None),
        Closed::After { micros, at } => ("closed", Some(micros), Some(at)),
        Closed::NotYet => ("notYet", None, None),
        Closed::Unmeasured => ("unmeasured", None, None),
    };
    Object::new()
        .with("ended", u64::from(sessions.n))
        .with("closed", word)
        .with_some("closedAfterMs", micros.map(millis))
        .with_some("closedAt", at.map(time::wire).as_deref())
        .build()
}

/// What a remote hub is told.
fn remote_step(step: &RemoteStep) -> Json {
    let task = match step.task {
        RemoteStepTask::Delete => "delete",
        RemoteStepTask::Disable => "disable",
        RemoteStepTask::Enable => "enable",
    };
    let head = Object::new()
        .with("hub", step.hub.as_str())
        .with("deviceId", step.device_id.as_str())
        .with("task", task);
    let object = match &step.state {
        RemoteStepState::Pending { n_failures, last_error } => head
            .with("state", "pending")
            .with("failures", u64::from(*n_failures))
            .with_some("error", last_error.as_deref()),
        RemoteStepState::Done { changed } => head.with("state", "done").with("changed", *changed),
        RemoteStepState::Superseded => head.with("state", "superseded"),
        RemoteStepState::Failed(trouble) => head
            .with("state", "failed")
            .with("error", trouble.error.as_str())
            .with("remedy", trouble.remedy.as_str()),
    };
    object.with("at", time::wire(step.at).as_str()).build()
}
