//! What a device is told of a refusal: as little as D §1.8 knows. Who proves nothing learns
//! nothing, not even whether an enrollment exists.

use model::{AttestFailure, DeviceRefusal};

use crate::ErrorRow;

/// The row of a refusal in the device API's table (D §1.8).
///
/// 404000, 404203, 404204 and 429002 are numbers of our own; see `docs/divergences.md`.
#[must_use]
pub fn error_row(refusal: &DeviceRefusal) -> ErrorRow {
    let row = ErrorRow::new;
    match refusal {
        DeviceRefusal::UnknownIdScope => row(404_000, "ID scope not found."),
        DeviceRefusal::NotEnrolled => row(401_002, UNAUTHORIZED),
        DeviceRefusal::TpmNotEnrolled => row(404_201, "Enrollment not found."),
        // Whoever is banned need not know it, and nobody else may ask who is.
        DeviceRefusal::Banned { is_tpm: false, .. } => error_row(&DeviceRefusal::NotEnrolled),
        DeviceRefusal::Banned { is_tpm: true, .. } => error_row(&DeviceRefusal::TpmNotEnrolled),
        DeviceRefusal::NotAttested(failure) => attest_row(failure),
        DeviceRefusal::UnknownOperation => row(404_204, "Operation not found."),
        DeviceRefusal::NotRegistered => row(404_203, "Registration not found."),
        DeviceRefusal::Conflict => row(409_203, "Precondition failed."),
        DeviceRefusal::TooManyRegistrations(_) => {
            row(429_002, "The service holds as many registrations as it may.")
        }
        // Who is kept out is told no more than who is not enrolled (O §3.6).
        DeviceRefusal::AddressRefused(_) => row(401_002, UNAUTHORIZED),
        DeviceRefusal::Throttled(secs) => {
            ErrorRow::new(429_001, format!("Too many requests; wait {secs} seconds."))
        }
        DeviceRefusal::BadRequest(text) => row(400_004, text.as_str()),
    }
}

const UNAUTHORIZED: &str = "Unauthorized";
const INVALID_CERTIFICATE: &str = "Invalid certificate.";

fn attest_row(failure: &AttestFailure) -> ErrorRow {
    let row = ErrorRow::new;
    match failure {
        AttestFailure::NoEvidence
        | AttestFailure::WrongKind
        | AttestFailure::WrongResource
        | AttestFailure::TokenExpired
        | AttestFailure::BadSignature
        | AttestFailure::CommonName(_)
        | AttestFailure::WrongEndorsementKey
        | AttestFailure::NotEndorsed(_) => row(401_002, UNAUTHORIZED),
        AttestFailure::WrongThumbprint
        | AttestFailure::NotYetValid(_)
        | AttestFailure::Expired(_)
        | AttestFailure::BadCertificate(_)
        | AttestFailure::TooLarge(_)
        | AttestFailure::BadChain(_)
        | AttestFailure::Revoked(_)
        | AttestFailure::StaleCrl(_) => row(401_002, INVALID_CERTIFICATE),
        // Says something about this service, nothing about an enrollment. Not 401: a client with
        // a TPM takes that for a challenge and finds none in it (D §1.10).
        AttestFailure::TpmNotChallenged => {
            row(400_004, "A TPM proves itself by answering a challenge, over HTTPS or AMQP.")
        }
        AttestFailure::BadTpmKey(why) => row(400_004, why.as_str()),
    }
}
