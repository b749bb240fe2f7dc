//! Registration records whose enrollment no longer exists, and groups that are deleted with their
//! records.

use model::{EnrollmentGroupId, EnrollmentRef, Json, RegistrationRecord};

use crate::{operator::registration_state, write::Object};

/// A record without an enrollment: whose it was, and what operators see of every record.
#[must_use]
pub fn orphan(record: &RegistrationRecord) -> Json {
    let mut members = match &record.enrollment {
        EnrollmentRef::Individual(_) => Vec::new(),
        EnrollmentRef::Group(id) => vec![("enrollmentGroupId".to_owned(), id.as_str().into())],
    };
    if let Json::Object(state) = registration_state(record) {
        members.extend(state);
    }
    Json::Object(members)
}

/// How many orphans there are.
#[must_use]
pub fn orphan_count(n_records: u64) -> Json {
    Object::new().with("records", n_records).build()
}

/// A batch of orphans that went, or how many would go.
#[must_use]
pub fn orphans_deleted(n_records: u64, is_dry: bool, is_more: bool) -> Json {
    removed(Object::new(), n_records, is_dry, is_more)
}

/// A group that went, with the first batch of its records; or how many would go.
#[must_use]
pub fn group_deleted(id: &EnrollmentGroupId, n_records: u64, is_dry: bool, is_more: bool) -> Json {
    let head = Object::new().with("enrollmentGroupId", id.as_str());
    removed(head, n_records, is_dry, is_more)
}

fn removed(head: Object, n_records: u64, is_dry: bool, is_more: bool) -> Json {
    head.with("records", n_records).with("isDryRun", is_dry).with("isDone", !is_more).build()
}
