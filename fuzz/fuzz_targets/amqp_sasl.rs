//! Payloads of PLAIN and TPM from anyone: taken apart, never a panic; what they are taken apart
//! into stood in them. A blob of any size that goes out can be put together again.
#![no_main]

use amqp::sasl::payload::{
    Plain, PlainUser, TpmInit, TpmPiece, storage_root_key, tpm_challenges, tpm_token,
};
use libfuzzer_sys::fuzz_target;

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && bytes.windows(part.len()).any(|window| window == part)
}

fuzz_target!(|bytes: &[u8]| {
    if let Ok(plain) = Plain::parse(bytes) {
        assert!(holds(bytes, plain.user.as_bytes()) && holds(bytes, plain.password.as_bytes()));
        assert_eq!(format!("{plain:?}"), format!("Plain {{ user: {:?}, .. }}", plain.user));
        match PlainUser::parse(plain.user) {
            Ok(PlainUser::Registration { scope, registration_id }) => {
                assert!(!scope.is_empty() && !registration_id.is_empty());
                assert!(!scope.contains('/') && !registration_id.contains('/'));
            }
            Ok(PlainUser::Device { device_id, hub }) => {
                assert_eq!(format!("{device_id}@sas.{hub}"), plain.user);
            }
            Ok(PlainUser::Policy { policy, hub }) => {
                assert_eq!(format!("{policy}@sas.root.{hub}"), plain.user);
            }
            Err(_) => {}
        }
    }
    if let Ok(piece) = TpmPiece::parse(bytes) {
        assert_eq!(piece.data, &bytes[1..]);
        if let Ok(init) = TpmInit::parse(piece.data) {
            let TpmInit { scope, registration_id, endorsement_key } = init;
            let again =
                [scope.as_bytes(), b"\0", registration_id.as_bytes(), b"\0", endorsement_key];
            assert_eq!(again.concat(), piece.data);
        }
    }
    if let Ok(key) = storage_root_key(bytes) {
        assert_eq!(key, bytes);
    }
    if let Ok(token) = tpm_token(bytes) {
        assert_eq!(token.as_bytes(), bytes);
    }
    if let Ok([first, second]) = tpm_challenges(bytes) {
        assert_eq!([&first[1..], &second[1..]].concat(), bytes);
        assert!(first.len() > 1 && second.len() > 1 && first.len().max(second.len()) <= 487);
    }
});
