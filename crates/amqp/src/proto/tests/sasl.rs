//! The SASL layer, written down by hand from part 5.

use super::*;

#[track_caller]
fn check(body: &[u8], sent: SaslFrame) {
    assert_eq!(sasl(&frame(1, 0, body)), Ok(sent.clone()));
    assert_eq!(sasl_encoded(&sent), frame(1, 0, body));
}

fn names(names: &[&str]) -> SaslMechanisms {
    SaslMechanisms(names.iter().map(|&name| name.to_owned()).collect())
}

#[test]
fn mechanisms_are_an_array_even_of_one() {
    check(
        b"\x00\x53\x40\xc0\x0f\x01\xe0\x0c\x02\xa3\x05PLAIN\x03TPM",
        SaslFrame::Mechanisms(names(&["PLAIN", "TPM"])),
    );
    check(
        b"\x00\x53\x40\xc0\x0b\x01\xe0\x08\x01\xa3\x05PLAIN",
        SaslFrame::Mechanisms(names(&["PLAIN"])),
    );
    let alone = frame(1, 0, b"\x00\x53\x40\xc0\x06\x01\xa3\x03TPM");
    assert_eq!(sasl(&alone), Ok(SaslFrame::Mechanisms(names(&["TPM"]))));
}

#[test]
fn an_init_has_three_fields() {
    check(
        b"\x00\x53\x41\xc0\x11\x03\xa3\x05PLAIN\xa0\x04\0u\0p\xa1\x01h",
        SaslFrame::Init(SaslInit {
            mechanism: "PLAIN".to_owned(),
            initial_response: Some(Bytes::from_static(b"\0u\0p")),
            hostname: Some("h".to_owned()),
        }),
    );
    let short = frame(1, 0, b"\x00\x53\x41\xc0\x0c\x01\xa3\x09ANONYMOUS");
    let init = SaslInit { mechanism: "ANONYMOUS".to_owned(), ..SaslInit::default() };
    assert_eq!(sasl(&short), Ok(SaslFrame::Init(init)));
}

#[test]
fn the_steps_between() {
    check(b"\x00\x53\x42\xc0\x04\x01\xa0\x01\x00", SaslFrame::Challenge(Bytes::from_static(&[0])));
    check(b"\x00\x53\x43\xc0\x03\x01\xa0\x00", SaslFrame::Response(Bytes::new()));
    for (code, outcome) in [
        (0, SaslOutcome::Ok),
        (1, SaslOutcome::Auth),
        (2, SaslOutcome::Sys),
        (3, SaslOutcome::SysPerm),
        (4, SaslOutcome::SysTemp),
    ] {
        let body = [0x00, 0x53, 0x44, 0xc0, 0x04, 0x02, 0x50, code, 0x40];
        check(&body, SaslFrame::Outcome(outcome));
    }
}

#[test]
fn a_part_of_a_tpm_blob_fits_into_512_bytes() {
    // D §3.3: 486 bytes after the control byte.
    let challenge = SaslFrame::Challenge(Bytes::from(vec![0x80; 487]));
    let bytes = sasl_encoded(&challenge);
    assert_eq!(bytes.len(), 8 + 3 + 9 + 5 + 487);
    assert_eq!(bytes.len(), 512);
    assert_eq!(sasl(&bytes), Ok(challenge));
}

#[test]
fn a_token_longer_than_a_frame_of_the_sasl_layer_is_read() {
    let response = SaslFrame::Response(Bytes::from(vec![b't'; 16_000]));
    assert_eq!(sasl(&sasl_encoded(&response)), Ok(response));
    let response = sasl_encoded(&SaslFrame::Response(Bytes::from(vec![b't'; 16_384])));
    let why = BadFrame::TooLong { size_bytes: response.len(), limit_bytes: 16_384 };
    assert_eq!(sasl(&response), Err(why));
}
