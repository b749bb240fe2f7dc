//! Payloads as each client writes them.

use proptest::prelude::*;

use super::*;

#[test]
fn a_plain_response_is_a_user_name_and_a_password() {
    let plain = |user, password| Ok(Plain { user, password });
    assert_eq!(Plain::parse(b"\0u\0p"), plain("u", "p"));
    assert_eq!(Plain::parse(b"someone\0u\0p"), plain("u", "p"));
    assert_eq!(
        Plain::parse("\0u@sas.h\0SharedAccessSignature sr=ü".as_bytes()).map(|p| p.user),
        Ok("u@sas.h")
    );
}

#[test]
fn a_plain_response_that_says_nothing_says_why() {
    use BadPayload::*;
    let long_user = [b"\0", &*vec![b'u'; MAX_USER_BYTES + 1], b"\0p"].concat();
    let long_password = [b"\0u\0", &*vec![b'p'; MAX_TOKEN_BYTES + 1]].concat();
    for (bytes, why) in [
        (&b""[..], Parts("a user name and a password")),
        (b"u", Parts("a user name and a password")),
        (b"\0u", Parts("a user name and a password")),
        (b"\0\0p", Empty("user name")),
        (b"\0u\0", Empty("password")),
        (b"\0\xff\0p", NotText("user name")),
        (b"\0u\0\xff", NotText("password")),
        (
            &long_user,
            TooLong { what: "user name", n_bytes: MAX_USER_BYTES + 1, most: MAX_USER_BYTES },
        ),
        (
            &long_password,
            TooLong { what: "password", n_bytes: MAX_TOKEN_BYTES + 1, most: MAX_TOKEN_BYTES },
        ),
    ] {
        assert_eq!(Plain::parse(bytes), Err(why), "{bytes:?}");
    }
}

#[test]
fn no_password_is_printed() {
    let plain = Plain::parse(b"\0someone\0opensesame").expect("legal");
    let printed = format!("{plain:?}");
    assert!(printed.contains("someone") && !printed.contains("opensesame"), "{printed}");
}

#[test]
fn a_user_name_names_a_registration_a_device_or_a_policy() {
    use PlainUser::*;
    for (user, expected) in [
        ("0ne1/registrations/d:1", Registration { scope: "0ne1", registration_id: "d:1" }),
        ("0ne1/Registrations/d", Registration { scope: "0ne1", registration_id: "d" }),
        ("dev@sas.hub-1", Device { device_id: "dev", hub: "hub-1" }),
        ("a@b@sas.c@sas.hub-1", Device { device_id: "a@b@sas.c", hub: "hub-1" }),
        ("service@sas.root.hub-1", Policy { policy: "service", hub: "hub-1" }),
        ("x@sas.hub-1.example.test", Device { device_id: "x", hub: "hub-1.example.test" }),
    ] {
        assert_eq!(PlainUser::parse(user), Ok(expected), "{user}");
    }
    for user in [
        "",
        "owner",
        "@sas.hub",
        "dev@sas.",
        "@sas.root.hub",
        "service@sas.root.",
        "dev@hub",
        "/registrations/d",
        "0ne/registrations/",
        "0ne/registrations",
        "0ne/devices/d",
        "0ne/registrations/d/e",
    ] {
        let expected = match user {
            // A device of that ID, on a hub of that name.
            "@sas.root.hub" | "service@sas.root." => continue,
            _ => Err(BadPayload::User),
        };
        assert_eq!(PlainUser::parse(user), expected, "{user}");
    }
}

#[test]
fn a_tpm_introduces_itself_with_scope_id_and_key() {
    let init = TpmInit { scope: "0ne1", registration_id: "d", endorsement_key: b"\x01\0\0k" };
    assert_eq!(TpmInit::parse(b"0ne1\0d\0\x01\0\0k"), Ok(init));
    use BadPayload::*;
    let long = [b"s\0d\0", &*vec![1; MAX_KEY_BYTES + 1]].concat();
    let too_long = |n_bytes| TooLong { what: "endorsement key", n_bytes, most: MAX_KEY_BYTES };
    for (bytes, why) in [
        (&b""[..], Parts("an ID scope, a registration ID and a key")),
        (b"s\0d", Parts("an ID scope, a registration ID and a key")),
        (b"\0d\0k", Empty("ID scope")),
        (b"s\0\0k", Empty("registration ID")),
        (b"s\0d\0", Empty("endorsement key")),
        (b"\xff\0d\0k", NotText("ID scope")),
        (&long, too_long(MAX_KEY_BYTES + 1)),
    ] {
        assert_eq!(TpmInit::parse(bytes), Err(why), "{bytes:?}");
    }
}

#[test]
fn the_control_byte_tells_whether_more_follows() {
    for (control, more) in
        [(0x00, false), (0x80, true), (0x81, true), (0x83, true), (0xc0, false), (0xc3, false)]
    {
        let bytes = [control, 7, 8];
        assert_eq!(TpmPiece::parse(&bytes), Ok(TpmPiece { data: &[7, 8], more }), "{control:#x}");
    }
    for control in [0x40, 0x04, 0x20, 0xff, 0x7f] {
        assert_eq!(TpmPiece::parse(&[control]), Err(BadPayload::Control(control)));
    }
    assert_eq!(TpmPiece::parse(b""), Err(BadPayload::Missing));
}

#[test]
fn a_blob_goes_in_two_halves() {
    for n_bytes in [2, 3, 920, 921, 972] {
        let blob: Vec<_> = (0..n_bytes).map(|n: u32| n.to_be_bytes()[3]).collect();
        let [first, second] = tpm_challenges(&blob).expect("it fits");
        assert_eq!((first[0], second[0]), (0x80, 0xc1));
        assert_eq!([&first[1..], &second[1..]].concat(), blob);
        assert!(first.len() > 1 && second.len() > 1, "a piece of one byte asks for a key");
        assert!(first.len() <= 487 && second.len() <= 487);
    }
    for n_bytes in [0, 1, 973] {
        assert!(tpm_challenges(&vec![1; n_bytes]).is_err(), "{n_bytes}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes: Vec<u8>) {
        let _ = Plain::parse(&bytes).map(|plain| PlainUser::parse(plain.user).is_ok());
        let _ = TpmPiece::parse(&bytes).map(|piece| TpmInit::parse(piece.data).is_ok());
        let _ = storage_root_key(&bytes);
        let _ = tpm_token(&bytes);
        let _ = tpm_challenges(&bytes);
    }
}
