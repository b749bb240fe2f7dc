//! Whether a connection still holds after a write.

use proptest::prelude::*;

use super::*;
use crate::hub::scene::sas;

/// A device that connected.
struct Connected {
    works: Works,
    facts: ConnectFacts,
    admission: Admission,
}

/// The four ways to be connected.
const WAYS: [(AuthenticationKind, Kit); 5] = [
    (AuthenticationKind::Sas, Kit::PrimaryKey),
    (AuthenticationKind::Sas, Kit::SecondaryKey),
    (AuthenticationKind::Sas, Kit::PolicyPrimaryKey),
    (AuthenticationKind::SelfSigned, Kit::Certificate),
    (AuthenticationKind::CertificateAuthority, Kit::Certificate),
];

impl Connected {
    fn new((kind, kit): (AuthenticationKind, Kit)) -> Self {
        let works = Works::new();
        let facts = works.facts(kind);
        let admission = knock(&facts, &kit.shown(&works, &works.leaf)).expect("admitted");
        Self { works, facts, admission }
    }

    /// Whether it still holds after this write, which moves the etag as every write does.
    fn after(
        &self,
        write: impl FnOnce(&mut DeviceIdentity),
    ) -> Result<IdentityMark, ConnectRefusal> {
        let mut identity = self.facts.identity.clone().expect("an identity");
        identity.etag_counter += 1;
        write(&mut identity);
        still_holds(&self.admission, Some(&identity))
    }

    /// The mark to go on with after one write.
    fn next_mark(&self) -> IdentityMark {
        let mark = self.admission.mark.clone();
        IdentityMark { etag_counter: mark.etag_counter + 1, ..mark }
    }
}

#[test]
fn a_write_that_leaves_credential_and_status_lets_the_connection_go_on_with_a_new_mark() {
    for way in WAYS {
        let connected = Connected::new(way);
        let go_on = Ok(connected.next_mark());
        assert_eq!(connected.after(|_| {}), go_on, "{way:?}");
        let reason = |identity: &mut DeviceIdentity| {
            identity.status_reason = Some("seen again".to_owned());
            identity.status_updated = Some(NOW);
        };
        assert_eq!(connected.after(reason), go_on, "{way:?}");
        let edge = |identity: &mut DeviceIdentity| {
            identity.iot_edge = true;
            identity.device_scope = Some("scope".to_owned());
            identity.connected = true;
            identity.cloud_to_device_messages = 9;
            identity.version += 7;
        };
        assert_eq!(connected.after(edge), go_on, "{way:?}");
    }
}

#[test]
fn disabling_deleting_and_making_anew_end_every_connection() {
    for way in WAYS {
        let connected = Connected::new(way);
        let disable = |identity: &mut DeviceIdentity| {
            identity.status = DeviceStatus::Disabled;
            identity.status_reason = Some("stolen".to_owned());
        };
        let disabled = Err(ConnectRefusal::Disabled(Some("stolen".to_owned())));
        assert_eq!(connected.after(disable), disabled, "{way:?}");
        let deleted = still_holds(&connected.admission, None);
        assert_eq!(deleted, Err(ConnectRefusal::UnknownDevice), "{way:?}");
        // Made anew with the very same credentials, and even the same etag.
        let anew = |identity: &mut DeviceIdentity| {
            identity.generation_id = "700000000000000000".to_owned();
            identity.etag_counter -= 1;
        };
        assert_eq!(connected.after(anew), Err(ConnectRefusal::UnknownDevice), "{way:?}");
    }
}

#[test]
fn another_kind_of_authentication_ends_every_connection() {
    for way in WAYS {
        let connected = Connected::new(way);
        for kind in KINDS.into_iter().filter(|kind| *kind != way.0) {
            let answer = connected.after(|identity| identity.authentication.kind = kind);
            let wanted = match kind {
                AuthenticationKind::Sas => "a token",
                _ => "a certificate",
            };
            assert_eq!(answer, Err(ConnectRefusal::WrongKind(wanted)), "{way:?} to {kind:?}");
        }
    }
}

/// The operator said that something else counts from now on, so the device comes again.
#[test]
fn a_change_between_thumbprint_and_ca_ends_a_connection_that_either_would_admit() {
    let certificates = [AuthenticationKind::SelfSigned, AuthenticationKind::CertificateAuthority];
    for (before, after) in [(certificates[0], certificates[1]), (certificates[1], certificates[0])]
    {
        let connected = Connected::new((before, Kit::Certificate));
        let answer = connected.after(|identity| identity.authentication.kind = after);
        assert_eq!(answer, Err(ConnectRefusal::WrongKind("a certificate")));
        let shown = Kit::Certificate.shown(&connected.works, &connected.works.leaf);
        assert!(knock(&connected.works.facts(after), &shown).is_ok());
    }
}

#[test]
fn a_connection_holds_as_long_as_its_own_key_is_one_of_the_two() {
    let over = || Err(not_attested(AttestFailure::BadSignature));
    let roll = |kit, primary: u8, secondary: u8| {
        let connected = Connected::new((AuthenticationKind::Sas, kit));
        let keys = SymmetricKeys { primary: key(primary), secondary: key(secondary) };
        let answer = connected.after(|identity| identity.authentication.keys = Some(keys));
        answer.map(|mark| assert_eq!(mark, connected.next_mark()))
    };
    let (first, second) = (DEVICE_KEY, DEVICE_KEY + 1);
    // The primary was rolled and the secondary kept, and the other way round.
    assert_eq!(roll(Kit::PrimaryKey, 77, second), over());
    assert_eq!(roll(Kit::SecondaryKey, 77, second), Ok(()));
    assert_eq!(roll(Kit::PrimaryKey, first, 77), Ok(()));
    assert_eq!(roll(Kit::SecondaryKey, first, 77), over());
    // Swapped.
    assert_eq!(roll(Kit::PrimaryKey, second, first), Ok(()));
    assert_eq!(roll(Kit::SecondaryKey, second, first), Ok(()));
    // Both rolled.
    assert_eq!(roll(Kit::PrimaryKey, 77, 78), over());
    assert_eq!(roll(Kit::SecondaryKey, 77, 78), over());
    // A policy's key does not look at them.
    assert_eq!(roll(Kit::PolicyPrimaryKey, 77, 78), Ok(()));

    let connected = Connected::new((AuthenticationKind::Sas, Kit::PrimaryKey));
    let keyless = connected.after(|identity| identity.authentication.keys = None);
    assert_eq!(keyless.map(|_| ()), over());
    assert_eq!(
        connected.after(|identity| identity.authentication = sas(DEVICE_KEY)),
        Ok(connected.next_mark())
    );
}

#[test]
fn a_connection_holds_as_long_as_its_thumbprint_is_one_of_the_two() {
    let connected = Connected::new((AuthenticationKind::SelfSigned, Kit::Certificate));
    let der = connected.works.leaf.der();
    let sha1 = hex(&attest::certificate::thumbprint_sha1(der));
    let sha256 = hex(&attest::certificate::thumbprint_sha256(der));
    let other = hex(&[7; 32]);
    let with = |primary: Option<&str>, secondary: Option<&str>| {
        connected.after(|identity| {
            identity.authentication.primary_thumbprint = primary.map(str::to_owned);
            identity.authentication.secondary_thumbprint = secondary.map(str::to_owned);
        })
    };
    let go_on = Ok(connected.next_mark());
    let over = Err(not_attested(AttestFailure::WrongThumbprint));
    assert_eq!(with(Some(&other), Some(&sha256)), go_on);
    assert_eq!(with(Some(&sha1), None), go_on);
    assert_eq!(with(Some(&sha256.to_ascii_lowercase()), Some(&other)), go_on);
    assert_eq!(with(Some(&other), None), over);
    assert_eq!(with(None, None), over);
    // The other ways do not look at them.
    for way in WAYS.into_iter().filter(|way| way.0 != AuthenticationKind::SelfSigned) {
        let connected = Connected::new(way);
        let answer = connected.after(|identity| identity.authentication.primary_thumbprint = None);
        assert_eq!(answer, Ok(connected.next_mark()), "{way:?}");
    }
}

#[test]
fn a_connection_by_policy_holds_as_long_as_the_policy_has_its_key_and_the_right() {
    let connected = Connected::new((AuthenticationKind::Sas, Kit::PolicyPrimaryKey));
    let check = |policy: Option<AccessPolicy>, expected: bool| {
        let credential = &connected.admission.credential;
        let holds = holds_with_policy(credential, POLICY, policy.as_ref());
        assert_eq!(holds, expected, "{policy:?}");
        // Of another policy nothing is to be learned.
        assert!(holds_with_policy(credential, "other", policy.as_ref()));
        assert!(holds_with_policy(credential, "Device", policy.as_ref()));
    };
    let with_keys = |primary: u8, secondary: u8| {
        let keys = SymmetricKeys { primary: key(primary), secondary: key(secondary) };
        Some(AccessPolicy { keys, ..policy(&[Right::DeviceConnect]) })
    };
    check(Some(policy(&[Right::DeviceConnect])), true);
    check(Some(policy(&Right::ALL)), true);
    check(with_keys(POLICY_KEY + 1, POLICY_KEY), true);
    check(with_keys(POLICY_KEY, 77), true);
    check(with_keys(77, POLICY_KEY + 1), false);
    check(with_keys(77, 78), false);
    for right in Right::ALL.into_iter().filter(|right| *right != Right::DeviceConnect) {
        check(Some(policy(&[right])), false);
    }
    check(Some(policy(&[])), false);
    check(None, false);
}

#[test]
fn a_connection_by_ca_holds_as_long_as_that_certificate_is_there_and_verified() {
    let connected = Connected::new((AuthenticationKind::CertificateAuthority, Kit::Certificate));
    let ours = || stored("works", connected.works.ca.der());
    let check = |ca: Option<CaCertificate>, expected: bool| {
        let credential = &connected.admission.credential;
        assert_eq!(holds_with_ca(credential, "works", ca.as_ref()), expected, "{ca:?}");
        assert!(holds_with_ca(credential, "other", ca.as_ref()));
    };
    check(Some(ours()), true);
    check(Some(CaCertificate { version: 9, last_updated: NOW.plus_secs(9), ..ours() }), true);
    check(Some(CaCertificate { verified: false, ..ours() }), false);
    check(Some(stored("works", Ca::root("works").der())), false);
    let reissued = connected.works.ca.reissued(testkit::Profile::ca("works"));
    check(Some(stored("works", reissued.der())), false);
    check(None, false);
}

#[test]
fn a_policy_or_ca_that_a_connection_does_not_rest_on_is_of_no_matter() {
    for way in WAYS {
        let Connected { admission, .. } = Connected::new(way);
        let by_policy = matches!(admission.credential, Credential::PolicyKey { .. });
        assert_eq!(holds_with_policy(&admission.credential, POLICY, None), !by_policy);
        let by_ca = matches!(admission.credential, Credential::CertificateAuthority { .. });
        assert_eq!(holds_with_ca(&admission.credential, "works", None), !by_ca);
    }
}

/// One thing that a registry write changes.
#[derive(Debug, Clone)]
enum Write {
    Status(DeviceStatus),
    Reason,
    Kind(AuthenticationKind),
    Keys(Option<(u8, u8)>),
    /// Which slot (primary or not), and what: nothing, SHA-1, SHA-256 or another's.
    Thumbprint(bool, u8),
    Edge,
}

fn write() -> impl Strategy<Value = Write> {
    let device_key = || (DEVICE_KEY..DEVICE_KEY + 4).boxed();
    prop_oneof![
        prop_oneof![Just(DeviceStatus::Enabled), Just(DeviceStatus::Disabled)]
            .prop_map(Write::Status),
        Just(Write::Reason),
        proptest::sample::select(KINDS.to_vec()).prop_map(Write::Kind),
        proptest::option::of((device_key(), device_key())).prop_map(Write::Keys),
        (any::<bool>(), 0_u8..4).prop_map(|(primary, what)| Write::Thumbprint(primary, what)),
        Just(Write::Edge),
    ]
}

fn apply(identity: &mut DeviceIdentity, write: &Write, works: &Works) {
    identity.etag_counter += 1;
    let authentication = &mut identity.authentication;
    match write {
        Write::Status(status) => identity.status = *status,
        Write::Reason => identity.status_reason = Some("why".to_owned()),
        Write::Kind(kind) => authentication.kind = *kind,
        Write::Keys(pair) => {
            authentication.keys = pair.map(|(primary, secondary)| SymmetricKeys {
                primary: key(primary),
                secondary: key(secondary),
            });
        }
        Write::Thumbprint(primary, what) => {
            let text = match what {
                0 => None,
                1 => Some(hex(&attest::certificate::thumbprint_sha1(works.leaf.der()))),
                2 => Some(hex(&attest::certificate::thumbprint_sha256(works.leaf.der()))),
                _ => Some(hex(&[7; 32])),
            };
            match primary {
                true => authentication.primary_thumbprint = text,
                false => authentication.secondary_thumbprint = text,
            }
        }
        Write::Edge => identity.iot_edge = !identity.iot_edge,
    }
}

proptest! {
    /// The two ways to look at a credential never differ: a connection goes on after a write
    /// exactly when the same device with the same evidence would be admitted anew by the same
    /// credential, and with the mark it would get. (A certificate that fits both a thumbprint and
    /// a CA is admitted by either; see the test on a change between these two.)
    #[test]
    fn a_connection_holds_exactly_when_it_would_be_admitted_anew(
        way in proptest::sample::select(WAYS.to_vec()),
        writes in proptest::collection::vec(write(), 0..6),
    ) {
        let Connected { works, mut facts, admission } = Connected::new(way);
        let shown = way.1.shown(&works, &works.leaf);
        for write in &writes {
            apply(facts.identity.as_mut().expect("an identity"), write, &works);
            let held = still_holds(&admission, facts.identity.as_ref());
            let anew = knock(&facts, &shown);
            let same = anew.as_ref().ok().filter(|anew| anew.credential == admission.credential);
            prop_assert_eq!(
                held.as_ref().ok(),
                same.map(|anew| &anew.mark),
                "{:?}: {:?}, but {:?}",
                write,
                held,
                anew
            );
            prop_assert!(same.is_none_or(|anew| anew.expires == admission.expires));
            let changed_kind = matches!(admission.credential, Credential::Thumbprint { .. })
                || matches!(admission.credential, Credential::CertificateAuthority { .. });
            prop_assert!(same.is_some() || anew.is_err() || changed_kind, "{:?}", anew);
        }
    }
}
