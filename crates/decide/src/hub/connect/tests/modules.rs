//! Modules: credentials of their own, and the switch of their device (H §2.8, §4.1).

use super::*;

const MODULE: &str = "dev1/camera";

/// What is known when the module knocks: its device logs in in another way.
fn facts(kind: AuthenticationKind) -> ConnectFacts {
    let facts = Works::new().facts(kind);
    let of_module = |identity| DeviceIdentity { device_id: id(MODULE), ..identity };
    let mut parent = dev1().identity;
    parent.generation_id = "7".to_owned();
    parent.authentication.kind = AuthenticationKind::SelfSigned;
    ConnectFacts { identity: facts.identity.map(of_module), parent: Some(parent), ..facts }
}

fn with_parent(parent: Option<DeviceIdentity>) -> ConnectFacts {
    ConnectFacts { parent, ..facts(AuthenticationKind::Sas) }
}

fn own_token() -> Shown {
    Shown::Sas(token(&format!("{HUB}/devices/dev1/modules/camera"), None, &key(DEVICE_KEY)))
}

fn check(facts: &ConnectFacts, shown: &Shown, expected: Result<(), ConnectRefusal>) {
    let answer = knock_as(MODULE, facts, shown, NOW).map(|_| ());
    assert_eq!(answer, expected, "{shown:?}");
}

#[test]
fn a_module_is_admitted_by_its_own_key_and_rests_on_its_device() {
    let facts = facts(AuthenticationKind::Sas);
    let admission = knock_as(MODULE, &facts, &own_token(), NOW).expect("admitted");
    assert_eq!(Some(admission.mark), facts.identity.map(|identity| identity.mark()));
    assert_eq!(admission.parent, facts.parent.map(|parent| parent.mark()));
    assert!(matches!(admission.credential, Credential::DeviceKey(_)));
    let works = Works::new();
    let of_device = knock(&works.facts(AuthenticationKind::Sas), &device_token(DEVICE_KEY));
    assert_eq!(of_device.expect("admitted").parent, None);
}

#[test]
fn a_token_opens_the_module_it_names_whole() {
    let facts = facts(AuthenticationKind::Sas);
    let wrong = Err(not_attested(AttestFailure::WrongResource));
    for (path, own, policy) in [
        ("/devices/dev1/modules/camera", Ok(()), Ok(())),
        ("/devices/dev1/modules/camera/", Ok(()), Ok(())),
        ("/devices/dev1", wrong.clone(), Ok(())),
        ("", wrong.clone(), Ok(())),
        ("/devices/dev1/modules", wrong.clone(), Ok(())),
        ("/devices/dev1/modules/wheel", wrong.clone(), wrong.clone()),
        ("/devices/dev1/modules/Camera", wrong.clone(), wrong.clone()),
        ("/devices/dev2/modules/camera", wrong.clone(), wrong.clone()),
        ("/devices/dev1/camera", wrong.clone(), wrong.clone()),
        ("/devices/dev1%2fcamera", wrong.clone(), wrong.clone()),
        ("/devices/dev1/modules/camera/x", wrong.clone(), wrong.clone()),
    ] {
        let resource = format!("{HUB}{path}");
        check(&facts, &Shown::Sas(token(&resource, None, &key(DEVICE_KEY))), own);
        check(&facts, &Shown::Sas(token(&resource, Some(POLICY), &key(POLICY_KEY))), policy);
    }
}

#[test]
fn a_modules_token_needs_the_modules_key() {
    let resource = format!("{HUB}/devices/dev1/modules/camera");
    let stranger = Shown::Sas(token(&resource, None, &key(99)));
    let failed = Err(not_attested(AttestFailure::BadSignature));
    check(&facts(AuthenticationKind::Sas), &stranger, failed);
}

#[test]
fn a_certificate_of_our_ca_names_device_and_module() {
    let ca = Ca::root("works");
    let facts = ConnectFacts {
        ca_certificates: vec![stored("works", ca.der())],
        ..facts(AuthenticationKind::CertificateAuthority)
    };
    check(&facts, &certificate(&ca.leaf(MODULE).chain()), Ok(()));
    for other in ["dev1", "camera", "dev1/wheel", "dev2/camera", "dev1/modules/camera"] {
        let shown = certificate(&ca.leaf(other).chain());
        let answer = knock_as(MODULE, &facts, &shown, NOW);
        let is_refused =
            matches!(answer, Err(ConnectRefusal::NotAttested(AttestFailure::CommonName(_))));
        assert!(is_refused, "{other}: {answer:?}");
    }
    // And a module's certificate does not open its device.
    let of_device = ConnectFacts {
        ca_certificates: facts.ca_certificates,
        ..Works::new().facts(AuthenticationKind::CertificateAuthority)
    };
    assert!(knock(&of_device, &certificate(&ca.leaf(MODULE).chain())).is_err());
}

#[test]
fn a_disabled_device_refuses_its_modules_once_they_have_proven_themselves() {
    let mut parent = dev1().identity;
    parent.status = DeviceStatus::Disabled;
    parent.status_reason = Some("stolen".to_owned());
    let facts = with_parent(Some(parent));
    let disabled = Err(ConnectRefusal::Disabled(Some("stolen".to_owned())));
    check(&facts, &own_token(), disabled.clone());
    check(&facts, &policy_token(POLICY_KEY), disabled);
    let stranger = Shown::Sas(token(&format!("{HUB}/devices/dev1/modules/camera"), None, &key(99)));
    check(&facts, &stranger, Err(not_attested(AttestFailure::BadSignature)));
}

#[test]
fn a_module_without_its_device_is_unknown() {
    check(&with_parent(None), &own_token(), Err(ConnectRefusal::UnknownDevice));
    let other = DeviceIdentity { device_id: id("dev2"), ..dev1().identity };
    check(&with_parent(Some(other)), &own_token(), Err(ConnectRefusal::UnknownDevice));
    let missing = ConnectFacts { identity: None, ..facts(AuthenticationKind::Sas) };
    check(&missing, &own_token(), Err(ConnectRefusal::UnknownDevice));
}

#[test]
fn a_modules_connection_holds_as_long_as_its_device_is_there_and_enabled() {
    let device = dev1().identity;
    let mark = device.mark();
    let check = |write: fn(&mut DeviceIdentity), expected: Result<u64, ConnectRefusal>| {
        let mut written = dev1().identity;
        written.etag_counter += 1;
        write(&mut written);
        let held = still_holds_below(&mark, Some(&written)).map(|mark| mark.etag_counter);
        assert_eq!(held, expected);
    };
    let next = Ok(mark.etag_counter + 1);
    check(|_| {}, next.clone());
    // How the device itself logs in is nothing to its modules.
    check(|device| device.authentication.keys = Some(keys(70)), next.clone());
    check(|device| device.authentication.kind = AuthenticationKind::SelfSigned, next);
    check(|device| device.status = DeviceStatus::Disabled, Err(ConnectRefusal::Disabled(None)));
    check(|device| device.generation_id = "2".to_owned(), Err(ConnectRefusal::UnknownDevice));
    assert_eq!(still_holds_below(&mark, None), Err(ConnectRefusal::UnknownDevice));
}
