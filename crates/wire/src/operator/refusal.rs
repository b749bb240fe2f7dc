//! The table of the operator API's refusals (O §1.13).

use model::OperatorRefusal;

use crate::ErrorRow;

/// The row of a refusal in the operator API's table.
///
/// Recorded numbers where there are some. Our own, within the pattern (O §9 row 1): 401003 for a
/// missing right, 403001 for a limit, 404203 for a missing registration record, 412000, and all of
/// the management API's. See `docs/divergences.md`, "Numbers we chose".
#[must_use]
pub fn error_row(refusal: &OperatorRefusal) -> ErrorRow {
    let code = match refusal {
        OperatorRefusal::Unauthenticated(why) => {
            return ErrorRow::new(401_002, format!("Unauthorized: {why}"));
        }
        OperatorRefusal::Forbidden { policy, right } => {
            let message = format!("Unauthorized: the policy `{policy}` lacks the right {right}.");
            return ErrorRow::new(401_003, message);
        }
        // Who is kept out is told no more than that, as the service does (O §3.6).
        OperatorRefusal::AddressRefused(_) => {
            return ErrorRow::new(401_002, "Unauthorized: your address may not use this API.");
        }
        OperatorRefusal::BadRequest(_) => 400_000,
        OperatorRefusal::BadId { .. } | OperatorRefusal::HubsWithoutPolicy => 400_004,
        OperatorRefusal::NotProven(_) => 400_010,
        OperatorRefusal::WouldLockOut(_) => 400_011,
        OperatorRefusal::EnrollmentNotFound => 404_201,
        OperatorRefusal::GroupNotFound => 404_202,
        OperatorRefusal::RecordNotFound => 404_203,
        OperatorRefusal::HubNotLinked(_) => 404_205,
        OperatorRefusal::CaCertificateNotFound(_) => 404_206,
        OperatorRefusal::PolicyNotFound(_) => 404_207,
        OperatorRefusal::BanNotFound(_) => 404_208,
        OperatorRefusal::ReceiptNotFound(_) => 404_209,
        OperatorRefusal::AttemptNotFound(_) => 404_210,
        OperatorRefusal::CrlNotFound(_) => 404_211,
        OperatorRefusal::EnrollmentExists => 409_201,
        OperatorRefusal::GroupExists => 409_202,
        OperatorRefusal::Conflict => 409_203,
        OperatorRefusal::HubLinked(_) => 409_205,
        OperatorRefusal::HubDeclared(_) => 409_206,
        OperatorRefusal::CaCertificateExists(_) => 409_207,
        OperatorRefusal::PolicyExists(_) => 409_208,
        OperatorRefusal::LastOwner(_) => 409_209,
        OperatorRefusal::StaleEtag => 412_000,
        OperatorRefusal::Throttled(_) => 429_001,
        OperatorRefusal::QuotaExceeded { .. } => 403_001,
    };
    ErrorRow::new(code, refusal.to_string())
}
