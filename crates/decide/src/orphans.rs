//! Registration records whose enrollment no longer exists (O §1.11): what goes with them.

use std::collections::BTreeSet;

use model::{
    Change, ChangeSet, EnrollmentRef, Expect, HubAccess, LinkedHub, RegistrationRecord, Timestamp,
};

use crate::pending;

/// Deletes these records, on condition that each is as it was read and that its enrollment is
/// still gone: a device that was enrolled anew meanwhile keeps its record. Identities that
/// unfinished work may have made on remote hubs are removed; those of devices that were assigned
/// stay (D §5.7).
#[must_use]
pub fn delete(records: &[RegistrationRecord], now: Timestamp) -> ChangeSet {
    let mut changes = ChangeSet::new();
    let mut owners = BTreeSet::new();
    for record in records {
        let id = &record.registration_id;
        changes.expects.push(Expect::Record(id.clone(), record.version));
        match &record.enrollment {
            EnrollmentRef::Individual(id) => {
                if owners.insert((false, id.key())) {
                    changes.expects.push(Expect::Individual(id.clone(), 0));
                }
            }
            EnrollmentRef::Group(id) => {
                if owners.insert((true, id.key())) {
                    changes.expects.push(Expect::Group(id.clone(), 0));
                }
            }
        }
        changes.changes.push(Change::DeleteRecord(id.clone()));
        let behind = pending::left_behind(record, None, now);
        changes.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
    }
    changes
}

/// Whether the record is what keeps its device from a built-in hub: it says that the device's
/// identity there came from an enrollment that is gone, which is what `disenroll_ends_sessions`
/// goes by. Without the record the device could connect again.
#[must_use]
pub fn keeps_out(
    record: &RegistrationRecord,
    disenroll_ends_sessions: bool,
    hubs: &[LinkedHub],
) -> bool {
    let Some(assignment) = record.assignment.as_ref().filter(|_| disenroll_ends_sessions) else {
        return false;
    };
    let is_its = |hub: &&LinkedHub| hub.name == assignment.hub;
    hubs.iter().find(is_its).is_some_and(|hub| hub.access == HubAccess::BuiltIn)
}

#[cfg(test)]
mod tests {
    use model::{
        Assignment, AttestationKind, AuthenticationKind, DeviceAuthentication, DeviceId, Etag,
        HubName, PendingAssignment, RegistrationId, RegistrationStatus, Reprovision, Substatus,
    };
    use testkit::NOW;

    use super::*;
    use crate::scenes::{
        linked, linked_remote,
        name::{group, hub, id},
    };

    fn record(name: &str, enrollment: EnrollmentRef) -> RegistrationRecord {
        RegistrationRecord {
            enrollment,
            registration_id: id(name),
            created: NOW,
            last_updated: NOW,
            status: RegistrationStatus::Assigned,
            assignment: None,
            pending: None,
            failure: None,
            payload: None,
            wrapped_hub_key: None,
            etag: Etag::from_random([0; 16]),
            mechanism: AttestationKind::X509,
            operations: Vec::new(),
            version: 7,
        }
    }

    fn on(hub: HubName, name: &str) -> Assignment {
        let device_id = DeviceId::from(&id(name));
        let substatus = Substatus::InitialAssignment;
        Assignment { initial_hub: hub.clone(), hub, device_id, substatus }
    }

    fn underway(assignment: Assignment) -> PendingAssignment {
        PendingAssignment {
            assignment,
            from: None,
            rule: Reprovision::Never,
            authentication: DeviceAuthentication {
                kind: AuthenticationKind::Sas,
                keys: None,
                primary_thumbprint: None,
                secondary_thumbprint: None,
            },
            iot_edge: false,
            initial_twin: None,
            n_failures: 0,
            due: NOW,
            last_error: None,
        }
    }

    #[test]
    fn each_record_goes_if_it_is_as_it_was_and_its_enrollment_still_gone() {
        let of_group = |name: &str| record(name, EnrollmentRef::Group(group("line-4")));
        let own = |id: &RegistrationId| EnrollmentRef::Individual(id.clone());
        let records = [of_group("a"), of_group("b"), record("c", own(&id("c")))];
        let changes = delete(&records, NOW);
        assert_eq!(
            changes.expects,
            [
                Expect::Record(id("a"), 7),
                Expect::Group(group("line-4"), 0),
                Expect::Record(id("b"), 7),
                Expect::Record(id("c"), 7),
                Expect::Individual(id("c"), 0),
            ]
        );
        let gone = ["a", "b", "c"].map(|name| Change::DeleteRecord(id(name)));
        assert_eq!(changes.changes, gone);
    }

    #[test]
    fn what_unfinished_work_may_have_made_on_a_remote_hub_is_removed() {
        let mut orphan = record("a", EnrollmentRef::Group(group("line-4")));
        orphan.pending = Some(Box::new(underway(on(hub("plant"), "a"))));
        let changes = delete(&[orphan], NOW).changes;
        let [Change::DeleteRecord(_), Change::PutRemoval(removal)] = changes.as_slice() else {
            panic!("{changes:?}")
        };
        assert_eq!(removal.hub, hub("plant"));
        assert_eq!(removal.device_id.as_str(), "a");
    }

    #[test]
    fn a_record_keeps_a_device_out_where_disenrolling_ends_sessions() {
        let (here, there) = (hub("hub-1"), hub("plant"));
        let hubs = [linked(here.clone(), 1), linked_remote(there.clone())];
        let check = |at: Option<HubName>, setting: bool, expected: bool| {
            let mut orphan = record("a", EnrollmentRef::Group(group("line-4")));
            orphan.assignment = at.clone().map(|hub| on(hub, "a"));
            assert_eq!(keeps_out(&orphan, setting, &hubs), expected, "{at:?} {setting}");
        };
        check(Some(here.clone()), true, true);
        check(Some(here), false, false);
        // Whom a remote hub lets in is its own affair, and an unlinked one lets nobody in.
        check(Some(there), true, false);
        check(Some(hub("gone")), true, false);
        check(None, true, false);
    }
}
