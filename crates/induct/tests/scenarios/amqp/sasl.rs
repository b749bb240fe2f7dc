//! The SASL layer, as the SDKs go through it (D §3.1 to §3.3).

use amqp::proto::{ProtocolHeader, SaslFrame, SaslInit, SaslOutcome};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use testkit::tpm::SoftTpm;

use super::{line::Line, sdk::Sdk};
use crate::world::now_unix_secs;

/// How many bytes of a response C's SDK puts into one frame (D §3.3).
const C_PIECE_BYTES: usize = 470;

/// Opens the layer: which mechanisms the server has.
pub(super) async fn open(line: &mut Line) -> Vec<String> {
    line.header(ProtocolHeader::Sasl).await;
    let (frame, bytes) = line.heard().await;
    let SaslFrame::Mechanisms(mechanisms) = frame else { panic!("{frame:?} at the beginning") };
    // Size, offset, type, channel; `sasl-mechanisms` as a small ulong; a list of one field, which
    // C's decoder wants to be an array (D §8, 36).
    assert_eq!(bytes[4..12], [2, 1, 0, 0, 0x00, 0x53, 0x40, 0xc0], "{bytes:?}");
    assert!(matches!(bytes[14], 0xe0 | 0xf0), "no array: {bytes:?}");
    mechanisms.0
}

/// PLAIN with this identity and this token: how the server takes it.
pub(super) async fn plain(line: &mut Line, sdk: &Sdk, identity: &str, token: &str) -> SaslOutcome {
    let mechanisms = open(line).await;
    assert!(mechanisms.iter().any(|name| name == "PLAIN"), "{mechanisms:?}");
    line.say(&SaslFrame::Init(SaslInit {
        mechanism: "PLAIN".to_owned(),
        initial_response: Some(Bytes::from(format!("\0{identity}\0{token}"))),
        hostname: (sdk.sasl_hostname)(identity),
    }))
    .await;
    outcome(line).await
}

/// TPM, in the manner of the SDK that insists on most (D §3.3): how the server takes it.
pub(super) async fn tpm(
    line: &mut Line,
    sdk: &Sdk,
    id_scope: &str,
    id: &str,
    tpm: &mut SoftTpm,
) -> SaslOutcome {
    let resource = sdk.style.resource(id_scope, id);
    let sign =
        |tpm: &SoftTpm| tpm.sas_token(&resource, now_unix_secs() + 3600, Some("registration"));
    let longest = if sdk.name == "c" { C_PIECE_BYTES } else { usize::MAX };
    tpm_with(line, sdk, (id_scope, id), tpm, longest, sign).await
}

/// The same in pieces of at most this many bytes, with the token that this makes of the TPM once it
/// has taken the challenge.
pub(super) async fn tpm_with(
    line: &mut Line,
    sdk: &Sdk,
    (id_scope, id): (&str, &str),
    tpm: &mut SoftTpm,
    longest: usize,
    sign: impl FnOnce(&SoftTpm) -> String,
) -> SaslOutcome {
    let mechanisms = open(line).await;
    assert!(mechanisms.iter().any(|name| name == "TPM"), "{mechanisms:?}");
    let identity = format!("{id_scope}/registrations/{id}");
    let mut first = vec![0];
    for part in [id_scope, id] {
        first.extend(part.as_bytes());
        first.push(0);
    }
    first.extend(tpm.endorsement_key());
    line.say(&SaslFrame::Init(SaslInit {
        mechanism: "TPM".to_owned(),
        initial_response: Some(Bytes::from(first)),
        hostname: (sdk.sasl_hostname)(&identity),
    }))
    .await;
    assert_eq!(challenge(line).await[..], [0], "the storage root key is asked for");
    respond(line, &tpm.storage_root_key(), longest).await;
    // Java takes exactly two parts, with exactly these control bytes (D §8, 37); a part of one byte
    // would mean something else to Node (D §8, 38).
    let part = challenge(line).await;
    assert_eq!(part[0], 0x80, "the first part");
    assert!(part.len() > 2, "{part:?}");
    line.say(&SaslFrame::Response(Bytes::from_static(&[0]))).await;
    let last = challenge(line).await;
    assert_eq!(last[0], 0xc1, "the second and last part");
    assert!(last.len() > 2, "{last:?}");
    tpm.activate(&[&part[1..], &last[1..]].concat()).expect("it is for this TPM");
    let token = sign(tpm);
    respond(line, token.as_bytes(), longest).await;
    outcome(line).await
}

/// A response after its control byte, which is 0. C's SDK, and no other, cuts one that is longer
/// than it puts into a frame, and tells the pieces by control bytes of its own.
async fn respond(line: &mut Line, payload: &[u8], longest: usize) {
    if payload.len() <= longest {
        let response = [&[0][..], payload].concat();
        line.say(&SaslFrame::Response(Bytes::from(response))).await;
        return;
    }
    let pieces: Vec<&[u8]> = payload.chunks(longest).collect();
    for (n, piece) in pieces.iter().enumerate() {
        let is_last = n + 1 == pieces.len();
        let number = u8::try_from(n % 4).expect("below 4");
        let control = 0x80 | if is_last { 0x40 } else { 0 } | number;
        line.say(&SaslFrame::Response(Bytes::from([&[control][..], piece].concat()))).await;
        if !is_last {
            assert_eq!(challenge(line).await[..], [0], "go on");
        }
    }
}

async fn challenge(line: &mut Line) -> Bytes {
    match line.heard().await.0 {
        SaslFrame::Challenge(challenge) => challenge,
        other => panic!("{other:?} instead of a challenge"),
    }
}

async fn outcome(line: &mut Line) -> SaslOutcome {
    match line.heard().await.0 {
        SaslFrame::Outcome(outcome) => outcome,
        other => panic!("{other:?} instead of an outcome"),
    }
}

/// A TPM's public keys as C's and Node's SDKs write them into a register body.
pub(super) fn keys_json(tpm: &SoftTpm) -> String {
    let (ek, srk) =
        (STANDARD.encode(tpm.endorsement_key()), STANDARD.encode(tpm.storage_root_key()));
    format!(r#"{{"endorsementKey":"{ek}","storageRootKey":"{srk}"}}"#)
}
