//! Which devices a selection means.

use model::{
    Device, EnrollmentRef, Former, Grounds, HubName, OperatorRefusal, RegistrationRecord,
    SelectedBy, Selection, ban::MAX_REASON_CHARS, deprovision::MAX_LISTED_IDS,
};

use crate::hub::query;

/// Refuses a selection that selects nothing in particular, or lists too much, and a reason that is
/// too long.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`].
pub fn check(selection: &Selection, reason: Option<&str>) -> Result<(), OperatorRefusal> {
    let bad = |text: String| Err(OperatorRefusal::BadRequest(text));
    if selected_by(selection) == SelectedBy::default() {
        return bad("select devices: by registrationIds, group, hub, certificate, records, twins \
             or receipt"
            .to_owned());
    }
    match selection.registration_ids.as_ref().map(Vec::len) {
        Some(0) => {
            return bad(
                "registrationIds is empty; list at least one, or leave the member out".to_owned()
            );
        }
        Some(n) if n > MAX_LISTED_IDS => {
            return bad(format!(
                "registrationIds has {n} IDs, at most {MAX_LISTED_IDS} are allowed; make several \
                 plans, or select by something that the devices share"
            ));
        }
        Some(_) | None => {}
    }
    match reason.map(|reason| reason.chars().count()) {
        Some(n) if n > MAX_REASON_CHARS => bad(format!(
            "the reason has {n} characters, at most {MAX_REASON_CHARS} are allowed; shorten it"
        )),
        Some(_) | None => Ok(()),
    }
}

/// The selection as the plan remembers it.
#[must_use]
pub fn selected_by(selection: &Selection) -> SelectedBy {
    let ids = selection.registration_ids.as_ref();
    SelectedBy {
        n_registration_ids: ids.map(|ids| u64::try_from(ids.len()).unwrap_or(u64::MAX)),
        group: selection.group.clone(),
        hub: selection.hub.clone(),
        certificate: selection.certificate.as_ref().map(|one| one.ban_subject().key()),
        records: selection.records.clone(),
        twins: selection.twins.as_ref().map(|twins| twins.text.clone()),
        receipt: selection.receipt.clone(),
    }
}

/// Whether a device meets the conditions of a selection that its own facts tell: on group, hub,
/// certificate, record and twin. Listed IDs, receipts and whether a record is orphaned are for
/// whoever looks devices up. One without a record is still of the group that its identities came
/// from.
#[must_use]
pub fn is_selected(
    selection: &Selection,
    record: Option<&RegistrationRecord>,
    grounds: Option<&Grounds>,
    devices: &[(HubName, Device)],
    formers: &[Former],
) -> bool {
    let Selection { registration_ids: _, receipt: _, group, hub, certificate, records, twins } =
        selection;
    let by_group = group.as_ref().is_none_or(|group| {
        let by_it = |enrollment: &EnrollmentRef| match enrollment {
            EnrollmentRef::Group(id) => id == group,
            EnrollmentRef::Individual(_) => false,
        };
        match record {
            Some(record) => by_it(&record.enrollment),
            None => formers.iter().any(|former| by_it(&former.enrollment)),
        }
    });
    let on_hub = hub.as_ref().is_none_or(|hub| {
        let assigned = record.and_then(|record| record.assignment.as_ref());
        let pending = record.and_then(|record| record.pending.as_deref());
        let assignments = assigned.into_iter().chain(pending.map(|pending| &pending.assignment));
        assignments.into_iter().any(|assignment| assignment.hub == *hub)
            || devices.iter().any(|(name, _)| name == hub)
            || formers.iter().any(|former| former.hub == *hub)
    });
    let by_certificate = certificate.as_ref().is_none_or(|certificate| {
        let keys: Vec<String> = certificate.ban_subject().keys().collect();
        let path = grounds.map_or(&[][..], |grounds| &grounds.path);
        path.iter().any(|one| one.ban_keys().iter().any(|key| keys.contains(key)))
    });
    let by_record = records
        .as_ref()
        .is_none_or(|condition| record.is_some_and(|record| condition.holds(record)));
    let by_twin = twins.as_ref().is_none_or(|twins| {
        let on_hub = |name: &HubName| hub.as_ref().is_none_or(|hub| hub == name);
        let matches = |device: &Device| {
            twins.filter.as_ref().is_none_or(|filter| query::matches(filter, device))
        };
        devices.iter().any(|(name, device)| on_hub(name) && matches(device))
    });
    by_group && on_hub && by_certificate && by_record && by_twin
}
