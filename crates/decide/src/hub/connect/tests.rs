//! Who may connect, as claims.

mod bans;
mod certificates;
mod holding;
mod modules;
mod tokens;

use model::{
    DeviceAuthentication, Evidence, Expect, IpAction, IpNetwork, IpRule, IpTarget, PolicyScope,
    Rights, ServiceSettings, Subscriptions,
};
use testkit::{Ca, Credential as Shows, NOW, sas::sign};

use super::*;
use crate::{
    hub::scene::{dev1, id, key, keys},
    scenes::World,
};

const HUB: &str = "hub.example.test";
const POLICY: &str = "device";
/// The policy's keys are 50 and 51, those of the device 10 and 11.
const POLICY_KEY: u8 = 50;
const DEVICE_KEY: u8 = 10;

fn hub() -> HubName {
    HubName::parse(HUB).expect("a host name")
}

/// A CA, and the certificate it gave to `dev1`.
struct Works {
    ca: Ca,
    leaf: Shows,
}

impl Works {
    fn new() -> Self {
        let ca = Ca::root("works");
        let leaf = ca.leaf("dev1");
        Self { ca, leaf }
    }

    /// An identity that any of the device's credentials fits, so that only its kind decides.
    fn identity(&self, kind: AuthenticationKind) -> DeviceIdentity {
        let thumbprint = hex(&attest::certificate::thumbprint_sha256(self.leaf.der()));
        let authentication = DeviceAuthentication {
            kind,
            keys: Some(keys(DEVICE_KEY)),
            primary_thumbprint: Some(thumbprint),
            secondary_thumbprint: None,
        };
        DeviceIdentity { authentication, ..dev1().identity }
    }

    /// What is known when a device of this kind knocks.
    fn facts(&self, kind: AuthenticationKind) -> ConnectFacts {
        ConnectFacts {
            hub_is_built_in: true,
            identity: Some(self.identity(kind)),
            parent: None,
            subscriptions: Some(Subscriptions::default()),
            policy: Some(policy(&[Right::DeviceConnect])),
            ca_certificates: vec![stored("works", self.ca.der())],
            settings: settings(),
            hubs_version: 0,
            origin: None,
            assigned: Vec::new(),
            bans: Vec::new(),
            known_cas: Vec::new(),
            bans_version: 0,
            bans_expected: Expect::Bans(0),
            crls: Vec::new(),
        }
    }
}

fn policy(rights: &[Right]) -> AccessPolicy {
    AccessPolicy {
        scope: PolicyScope::Hub(hub()),
        name: POLICY.to_owned(),
        keys: keys(POLICY_KEY),
        rights: Rights::of(rights),
        etag: model::Etag::from_random([0; 16]),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

/// A verified CA certificate.
fn stored(name: &str, der: &[u8]) -> CaCertificate {
    CaCertificate {
        name: name.to_owned(),
        certificate: attest::certificate::describe(der).expect("a certificate"),
        verified: true,
        pending_code: None,
        etag: model::Etag::from_random([0; 16]),
        created: NOW,
        last_updated: NOW,
        version: 1,
    }
}

/// Devices from 192.0.2.0/24 are kept out.
fn settings() -> ServiceSettings {
    let network = IpNetwork { address: [192, 0, 2, 0].into(), prefix: 24 };
    ServiceSettings {
        allocation_policy: model::AllocationPolicy::Hashed,
        operator_api_on_loopback_only: true,
        disenroll_ends_sessions: false,
        ip_rules: vec![IpRule {
            name: "elsewhere".to_owned(),
            action: IpAction::Reject,
            network,
            target: IpTarget::DeviceApi,
        }],
        etag: model::Etag::from_random([0; 16]),
        last_updated: NOW,
    }
}

fn attest_settings() -> AttestSettings {
    World::default().settings.attest
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// A token for this resource, which stands in it as it is, valid for an hour.
fn token(resource: &str, key_name: Option<&str>, key: &SymmetricKey) -> SasToken {
    token_until(resource, key_name, key, NOW.unix_secs() + 3600)
}

fn token_until(
    resource: &str,
    key_name: Option<&str>,
    key: &SymmetricKey,
    expiry_unix_secs: i64,
) -> SasToken {
    let expiry_raw = expiry_unix_secs.to_string();
    SasToken {
        resource_raw: resource.to_owned(),
        resource: resource.to_owned(),
        signature: sign(key.bytes(), resource, &expiry_raw).to_vec(),
        expiry_raw,
        expiry_unix_secs,
        key_name: key_name.map(str::to_owned),
    }
}

fn device_token(byte: u8) -> Shown {
    Shown::Sas(token(&format!("{HUB}/devices/dev1"), None, &key(byte)))
}

fn policy_token(byte: u8) -> Shown {
    Shown::Sas(token(HUB, Some(POLICY), &key(byte)))
}

fn certificate(chain: &[model::CertificateDer]) -> Shown {
    Shown::parse(&Evidence::X509(chain.to_vec()), &attest_settings().limits).expect("a chain")
}

/// `dev1` knocks with this at the moment of the tests, from an address nobody objects to.
fn knock(facts: &ConnectFacts, shown: &Shown) -> Result<Admission, ConnectRefusal> {
    knock_at(facts, shown, NOW)
}

fn knock_at(
    facts: &ConnectFacts,
    shown: &Shown,
    now: Timestamp,
) -> Result<Admission, ConnectRefusal> {
    knock_as("dev1", facts, shown, now)
}

fn knock_as(
    device_id: &str,
    facts: &ConnectFacts,
    shown: &Shown,
    now: Timestamp,
) -> Result<Admission, ConnectRefusal> {
    let address = [203, 0, 113, 9].into();
    let (hub, device_id) = (hub(), id(device_id));
    let request = ConnectRequest { hub: &hub, device_id: &device_id, shown, address };
    admit(facts, &request, &attest_settings(), now)
}

fn not_attested(failure: AttestFailure) -> ConnectRefusal {
    ConnectRefusal::NotAttested(failure)
}

const KINDS: [AuthenticationKind; 3] = [
    AuthenticationKind::Sas,
    AuthenticationKind::SelfSigned,
    AuthenticationKind::CertificateAuthority,
];

/// What a device may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kit {
    Nothing,
    Tpm,
    PrimaryKey,
    SecondaryKey,
    StrangersKey,
    PolicyPrimaryKey,
    PolicySecondaryKey,
    StrangersPolicyKey,
    Certificate,
    StrangersCertificate,
}

impl Kit {
    const ALL: [Self; 10] = [
        Self::Nothing,
        Self::Tpm,
        Self::PrimaryKey,
        Self::SecondaryKey,
        Self::StrangersKey,
        Self::PolicyPrimaryKey,
        Self::PolicySecondaryKey,
        Self::StrangersPolicyKey,
        Self::Certificate,
        Self::StrangersCertificate,
    ];

    fn shown(self, works: &Works, stranger: &Shows) -> Shown {
        match self {
            Self::Nothing => Shown::Nothing,
            Self::Tpm => a_tpm(),
            Self::PrimaryKey => device_token(DEVICE_KEY),
            Self::SecondaryKey => device_token(DEVICE_KEY + 1),
            Self::StrangersKey => device_token(99),
            Self::PolicyPrimaryKey => policy_token(POLICY_KEY),
            Self::PolicySecondaryKey => policy_token(POLICY_KEY + 1),
            Self::StrangersPolicyKey => policy_token(99),
            Self::Certificate => certificate(&works.leaf.chain()),
            Self::StrangersCertificate => certificate(&stranger.chain()),
        }
    }

    /// Whom it lets in when nothing else is wrong: the rules of H §4.1, said a second time.
    fn opens(self, kind: AuthenticationKind) -> Option<AuthMethod> {
        use AuthenticationKind::{CertificateAuthority, Sas, SelfSigned};
        match (self, kind) {
            (Self::PrimaryKey | Self::SecondaryKey, Sas) => Some(AuthMethod::DeviceKey),
            (Self::PolicyPrimaryKey | Self::PolicySecondaryKey, Sas) => Some(AuthMethod::HubPolicy),
            (Self::Certificate, SelfSigned) => Some(AuthMethod::Thumbprint),
            (Self::Certificate, CertificateAuthority) => Some(AuthMethod::CertificateAuthority),
            _ => None,
        }
    }
}

/// A hub's other policies, and a policy that is not there.
fn policies() -> Vec<Option<AccessPolicy>> {
    let one = Right::ALL.into_iter().map(|right| Some(policy(&[right])));
    let all_but_one: Vec<Right> =
        Right::ALL.into_iter().filter(|right| *right != Right::DeviceConnect).collect();
    one.chain([Some(policy(&Right::ALL)), Some(policy(&all_but_one)), Some(policy(&[])), None])
        .collect()
}

#[test]
fn exactly_those_are_admitted_whom_the_rules_name() {
    let works = Works::new();
    let stranger = Ca::root("works").leaf("dev1");
    let elsewhere: IpAddr = [192, 0, 2, 7].into();
    let elsewhere_inside_6 = "::ffff:192.0.2.7".parse().expect("an address");
    let addresses: [(IpAddr, bool); 4] = [
        ([203, 0, 113, 9].into(), true),
        (elsewhere, false),
        (elsewhere_inside_6, false),
        ([127, 0, 0, 1].into(), true),
    ];
    let (hub, device_id) = (hub(), id("dev1"));
    let mut n_admitted = 0;
    for kit in Kit::ALL {
        let shown = kit.shown(&works, &stranger);
        for (kind, policy) in
            KINDS.iter().flat_map(|kind| policies().into_iter().map(move |p| (*kind, p)))
        {
            for (status, is_there, is_built_in) in SITUATIONS {
                for (address, is_welcome) in addresses {
                    let mut facts = works.facts(kind);
                    facts.policy = policy.clone();
                    facts.hub_is_built_in = is_built_in;
                    facts.identity = facts.identity.filter(|_| is_there).map(|mut identity| {
                        identity.status = status;
                        identity
                    });
                    let request =
                        ConnectRequest { hub: &hub, device_id: &device_id, shown: &shown, address };
                    let answer = admit(&facts, &request, &attest_settings(), NOW);

                    let lets_connect = policy
                        .as_ref()
                        .is_some_and(|policy| policy.rights.allow(Right::DeviceConnect));
                    let expected = kit
                        .opens(kind)
                        .filter(|method| *method != AuthMethod::HubPolicy || lets_connect)
                        .filter(|_| status == DeviceStatus::Enabled)
                        .filter(|_| is_there && is_built_in && is_welcome);
                    let admitted = answer.as_ref().ok().map(|a| a.credential.auth_method());
                    assert_eq!(
                        admitted, expected,
                        "{kit:?} as {kind:?}, {status:?} ({is_there}, {is_built_in}) from \
                         {address} with {policy:?}: {answer:?}"
                    );
                    n_admitted += u32::from(admitted.is_some());
                }
            }
        }
    }
    // Two welcome addresses; own keys and certificates with any of the 13 policies, policy keys
    // with those two that let devices connect.
    assert_eq!(n_admitted, 2 * (4 * 13 + 2 * 2));
}

/// Status, whether the device is there, whether the hub is built in.
const SITUATIONS: [(DeviceStatus, bool, bool); 4] = [
    (DeviceStatus::Enabled, true, true),
    (DeviceStatus::Disabled, true, true),
    (DeviceStatus::Enabled, false, true),
    (DeviceStatus::Enabled, true, false),
];

#[test]
fn an_admission_names_the_identity_as_it_was() {
    let works = Works::new();
    for (kind, kit) in [
        (AuthenticationKind::Sas, Kit::SecondaryKey),
        (AuthenticationKind::Sas, Kit::PolicyPrimaryKey),
        (AuthenticationKind::SelfSigned, Kit::Certificate),
        (AuthenticationKind::CertificateAuthority, Kit::Certificate),
    ] {
        let facts = works.facts(kind);
        let admission = knock(&facts, &kit.shown(&works, &works.leaf)).expect("admitted");
        assert_eq!(Some(admission.mark), facts.identity.map(|identity| identity.mark()));
    }
}

#[test]
fn a_stranger_does_not_learn_that_a_device_is_disabled() {
    let works = Works::new();
    let stranger = Ca::root("works").leaf("dev1");
    for kind in KINDS {
        let mut facts = works.facts(kind);
        let identity = facts.identity.as_mut().expect("an identity");
        identity.status = DeviceStatus::Disabled;
        identity.status_reason = Some("stolen".to_owned());
        for kit in Kit::ALL {
            let answer = knock(&facts, &kit.shown(&works, &stranger));
            let told = answer == Err(ConnectRefusal::Disabled(Some("stolen".to_owned())));
            assert_eq!(told, kit.opens(kind).is_some(), "{kit:?} as {kind:?}: {answer:?}");
        }
    }
}

#[test]
fn evidence_of_another_kind_hears_what_is_wanted() {
    let works = Works::new();
    let check = |kind, kit: Kit, wanted| {
        let answer = knock(&works.facts(kind), &kit.shown(&works, &works.leaf));
        assert_eq!(answer, Err(ConnectRefusal::WrongKind(wanted)), "{kit:?} as {kind:?}");
    };
    check(AuthenticationKind::Sas, Kit::Certificate, "a token");
    check(AuthenticationKind::Sas, Kit::Tpm, "a token");
    for kind in [AuthenticationKind::SelfSigned, AuthenticationKind::CertificateAuthority] {
        for kit in [Kit::PrimaryKey, Kit::PolicyPrimaryKey, Kit::Tpm] {
            check(kind, kit, "a certificate");
        }
    }
}

#[test]
fn facts_about_another_device_or_policy_admit_nobody() {
    let works = Works::new();
    let facts = works.facts(AuthenticationKind::Sas);
    for other in ["dev10", "dev", "Dev1"] {
        let own = token(&format!("{HUB}/devices/{other}"), None, &key(DEVICE_KEY));
        for shown in [Shown::Sas(own), policy_token(POLICY_KEY)] {
            let answer = knock_as(other, &facts, &shown, NOW);
            assert_eq!(answer, Err(ConnectRefusal::UnknownDevice), "{other}: {shown:?}");
        }
    }
    let check = |change: fn(&mut AccessPolicy)| {
        let mut facts = works.facts(AuthenticationKind::Sas);
        change(facts.policy.as_mut().expect("a policy"));
        let answer = knock(&facts, &policy_token(POLICY_KEY));
        assert_eq!(answer, Err(ConnectRefusal::PolicyRefused), "{:?}", facts.policy);
    };
    check(|policy| policy.name = "Device".to_owned());
    check(|policy| policy.scope = PolicyScope::Service);
    let other_hub = |policy: &mut AccessPolicy| {
        let name = HubName::parse("other.example.test").expect("a host name");
        policy.scope = PolicyScope::Hub(name);
    };
    check(other_hub);
}

#[test]
fn what_is_read_is_what_the_evidence_makes_matter() {
    let works = Works::new();
    let check = |shown: &Shown, policy: Option<&str>, with_ca_certificates| {
        let (hub, device_id) = (hub(), id("dev1"));
        let address = [203, 0, 113, 9].into();
        let request = ConnectRequest { hub: &hub, device_id: &device_id, shown, address };
        let policy = policy.map(str::to_owned);
        let expected = ConnectQuery {
            hub: hub.clone(),
            device_id: device_id.clone(),
            policy,
            with_ca_certificates,
            ban_keys: shown.ban_keys(),
            ca_names: shown.ca_names(),
            serials: shown.serials(),
        };
        assert_eq!(request.query(), expected);
    };
    check(&Shown::Nothing, None, false);
    check(&a_tpm(), None, false);
    check(&device_token(DEVICE_KEY), None, false);
    check(&Shown::Sas(token(HUB, Some(""), &key(1))), None, false);
    check(&policy_token(POLICY_KEY), Some(POLICY), false);
    check(&certificate(&works.leaf.chain()), None, true);
}

#[test]
fn a_credential_shows_no_key() {
    let works = Works::new();
    let facts = works.facts(AuthenticationKind::Sas);
    for shown in [device_token(DEVICE_KEY), policy_token(POLICY_KEY)] {
        let text = format!("{:?}", knock(&facts, &shown).expect("admitted").credential);
        assert!(text.contains("KeyPrint(…)"), "{text}");
        assert!(text.len() < 100 && !text.contains('['), "{text}");
    }
}

#[test]
fn a_mark_is_what_a_session_writes_against() {
    let identity = dev1().identity;
    let expect = |identity: &DeviceIdentity| Expect::Mark(hub(), id("dev1"), identity.mark());
    let mut active = identity.clone();
    active.connected = true;
    active.cloud_to_device_messages = 3;
    active.last_activity = Some(NOW);
    active.version = 99;
    assert_eq!(expect(&active), expect(&identity));
    let written = DeviceIdentity { etag_counter: identity.etag_counter + 1, ..identity.clone() };
    assert_ne!(expect(&written), expect(&identity));
    let again = DeviceIdentity { generation_id: "1".to_owned(), ..identity.clone() };
    assert_ne!(expect(&again), expect(&identity));
}

/// A TPM's keys, which are nothing to a hub.
fn a_tpm() -> Shown {
    let keys = model::TpmKeys {
        endorsement_key: vec![1],
        storage_root_key: None,
        endorsement_certificates: Vec::new(),
    };
    let limits = chain::Limits::default();
    Shown::parse(&Evidence::Tpm(keys), &limits).expect("nothing to take apart")
}
