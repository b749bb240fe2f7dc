//! What the audit log shows of deprovisionings.

use model::{
    DeprovisionItem, Deprovisioning, EnrollmentRef, IndividualEnrollment, Intent, Json, Part,
    ReceiptId, RegistrationRecord, RemoteStepTask, SelectedBy,
};

use super::{Object, individual, record};

/// A plan as it is applied.
#[must_use]
pub fn deprovisioning(head: &Deprovisioning) -> Json {
    let mut view = Object::default();
    view.text("intent", intent(head.intent));
    view.maybe("reason", head.reason.as_deref().map(Json::from));
    view.put("selectedBy", selected_by(&head.selected_by));
    view.put("devices", Json::from(head.totals.n_devices));
    view.done()
}

/// That something was done by a deprovisioning.
#[must_use]
pub fn by_receipt(receipt: &ReceiptId) -> Json {
    let mut view = Object::default();
    view.text("receipt", receipt.as_str());
    view.done()
}

/// A device before it was deprovisioned.
#[must_use]
pub fn before_deprovisioning(
    enrollment: Option<&IndividualEnrollment>,
    registration: Option<&RegistrationRecord>,
) -> Json {
    let mut view = Object::default();
    view.maybe("enrollment", enrollment.map(individual));
    view.maybe("registration", registration.map(record));
    view.done()
}

/// What was done to a device.
#[must_use]
pub fn deprovisioned(item: &DeprovisionItem) -> Json {
    let mut view = Object::default();
    view.text("receipt", item.receipt.as_str());
    view.put("parts", Json::Array(item.parts.iter().map(|p| Json::String(part(p))).collect()));
    if !item.remote.is_empty() {
        let step = |step: &model::RemoteStep| {
            let task = match step.task {
                RemoteStepTask::Delete => "delete",
                RemoteStepTask::Disable => "disable",
                RemoteStepTask::Enable => "enable",
            };
            Json::String(format!("{task} hubs/{}/devices/{}", step.hub, step.device_id))
        };
        view.put("remote", Json::Array(item.remote.iter().map(step).collect()));
    }
    view.done()
}

const fn intent(intent: Intent) -> &'static str {
    match intent {
        Intent::Suspend => "suspend",
        Intent::Retire => "retire",
        Intent::Revoke => "revoke",
        Intent::Reinstate => "reinstate",
    }
}

fn part(part: &Part) -> String {
    match part {
        Part::EnrollmentDisabled { .. } => "enrollment disabled".to_owned(),
        Part::EnrollmentEnabled => "enrollment enabled".to_owned(),
        Part::EnrollmentDeleted => "enrollment deleted".to_owned(),
        Part::RecordDeleted => "registration deleted".to_owned(),
        Part::IdentityDisabled { hub, device_id, .. } => {
            format!("disabled hubs/{hub}/devices/{device_id}")
        }
        Part::IdentityEnabled { hub, device_id } => {
            format!("enabled hubs/{hub}/devices/{device_id}")
        }
        Part::IdentityDeleted { hub, device_id } => {
            format!("deleted hubs/{hub}/devices/{device_id}")
        }
        Part::BanSet { key, .. } => format!("ban set: {key}"),
        Part::BanLifted { key } => format!("ban lifted: {key}"),
        Part::LeftAlone { what, why } => format!("left alone: {what}: {why}"),
    }
}

fn selected_by(by: &SelectedBy) -> Json {
    let mut view = Object::default();
    let text = |text: &str| Json::from(text);
    view.maybe("registrationIds", by.n_registration_ids.map(Json::from));
    view.maybe("group", by.group.as_ref().map(|group| text(group.as_str())));
    view.maybe("hub", by.hub.as_ref().map(|hub| text(hub.as_str())));
    view.maybe("certificate", by.certificate.as_deref().map(text));
    view.maybe("twins", by.twins.as_deref().map(text));
    view.maybe("receipt", by.receipt.as_ref().map(|receipt| text(receipt.as_str())));
    view.maybe(
        "records",
        by.records.as_ref().map(|records| {
            let mut view = Object::default();
            view.maybe("status", records.status.map(|status| Json::from(super::status(status))));
            view.maybe("hub", records.hub.as_ref().map(|hub| text(hub.as_str())));
            view.maybe(
                "enrollment",
                records.enrollment.as_ref().map(|enrollment| match enrollment {
                    EnrollmentRef::Individual(id) => text(&format!("enrollments/{id}")),
                    EnrollmentRef::Group(id) => text(&format!("enrollmentGroups/{id}")),
                }),
            );
            let ticks = |at: model::Timestamp| Json::Number(at.unix_secs().to_string().into());
            view.maybe("updatedSince", records.updated_since.map(ticks));
            view.maybe("updatedBefore", records.updated_before.map(ticks));
            view.put("orphaned", Json::from(records.orphaned));
            view.done()
        }),
    );
    view.done()
}
