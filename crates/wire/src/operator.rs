//! The operator API of the provisioning service (O §1): enrollments, enrollment groups and
//! registration records, as requests, answers, bulk calls, and the table of refusals.
//!
//! Rules that compare a request with what is stored are not here; the body's id against the
//! path's is the door's to compare.

mod attestation;
mod bulk;
mod enrollment;
mod refusal;
mod request;
#[cfg(test)]
mod tests;

pub use attestation::mechanism as attestation_mechanism;
pub(crate) use attestation::{certificate_info, read_certificates, show_certificates};
pub use bulk::{
    Bulk, MAX_BULK_ITEMS, bulk_answer_groups, bulk_answer_individuals, parse_bulk_groups,
    parse_bulk_individuals,
};
pub use enrollment::{Show, group, individual, registration_state};
pub use refusal::error_row;
pub(crate) use request::{ALLOCATION_POLICIES, MAX_ECHO_CHARS, parse_body, read_tpm_group};
pub use request::{check_query, group_id, parse_group, parse_individual, registration_id};

/// `x-ms-item-type` of individual enrollments. Clients compare these words exactly (O §0.11).
pub const ENROLLMENT_ITEM: &str = "Enrollment";

/// `x-ms-item-type` of enrollment groups.
pub const ENROLLMENT_GROUP_ITEM: &str = "EnrollmentGroup";

/// `x-ms-item-type` of groups of TPMs, which are an extension of Induct.
pub const TPM_ENROLLMENT_GROUP_ITEM: &str = "TpmEnrollmentGroup";

/// `x-ms-item-type` of registration records.
pub const REGISTRATION_ITEM: &str = "DeviceRegistration";
