use model::{
    AuthenticationKind, CaKeys, CertificateInfo, DeviceAuthentication, DeviceId, EnrollmentGroupId,
    Etag, Fresh, HubName, RegistrationId, RemoteAccess, Right, Rights, SymmetricKey, SymmetricKeys,
    Timestamp, TpmIdentity,
};
use proptest::prelude::*;

use super::*;
use crate::hub::assignment::{self, Assignee, TwinRule};

const AT: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

fn etag() -> Etag {
    Etag::from_random([1; 16])
}

fn enrolled_certificate() -> EnrolledCertificate {
    EnrolledCertificate {
        der: vec![0x30; 64],
        info: CertificateInfo {
            subject_name: "CN=Works".to_owned(),
            sha1_thumbprint: "A".repeat(40),
            sha256_thumbprint: "B".repeat(64),
            issuer_name: "CN=Works".to_owned(),
            not_before: AT,
            not_after: AT,
            serial_number: "01".to_owned(),
            version: 3,
        },
        keys: CaKeys { subject: [0; 32], subject_and_key: [0; 32], issuer: [0; 32] },
    }
}

fn terms_with(attestation: AttestationMechanism, webhook_url: Option<String>) -> Terms {
    Terms {
        attestation,
        iot_edge: Some(true),
        iot_hub_host_name: None,
        initial_twin: Some(Json::Object(vec![("tags".to_owned(), Json::empty_object())])),
        etag: etag(),
        provisioning_status: Sent::Value(ProvisioningStatus::Disabled),
        reprovision_policy: Some(ReprovisionPolicy {
            update_hub_assignment: Some(true),
            migrate_device_data: None,
        }),
        created: AT,
        last_updated: AT,
        allocation_policy: Some(AllocationPolicy::Custom),
        iot_hubs: Some(vec!["hub-1.example.test".to_owned()]),
        custom_allocation: webhook_url.map(|webhook_url| CustomAllocation {
            webhook_url,
            api_version: "2021-10-01".to_owned(),
        }),
        version: 1,
    }
}

fn press(terms: Terms) -> IndividualEnrollment {
    IndividualEnrollment {
        registration_id: RegistrationId::parse("press-17").expect("an ID"),
        device_id: Some(DeviceId::parse("press").expect("an ID")),
        optional_device_information: None,
        terms,
    }
}

fn key() -> impl Strategy<Value = SymmetricKey> {
    prop::collection::vec(any::<u8>(), 16..=64)
        .prop_map(|bytes| SymmetricKey::from_bytes(&bytes).expect("16 to 64 bytes"))
}

fn keys() -> impl Strategy<Value = SymmetricKeys> {
    (key(), key()).prop_map(|(primary, secondary)| SymmetricKeys { primary, secondary })
}

fn secret_word() -> impl Strategy<Value = String> {
    "[A-Za-z0-9+/=_-]{12,40}"
}

/// Everything that could be in a view, made of these secrets.
fn views(keys: &SymmetricKeys, word: &str, kind: AuthenticationKind) -> Vec<Json> {
    let hub_name = HubName::parse("hub-1.example.test").expect("a name");
    let by_keys = || AttestationMechanism::SymmetricKey(keys.clone());
    let urls = [
        format!("https://works.example.test/allocate?code={word}"),
        format!("https://works.example.test/allocate#{word}"),
        format!("https://ana:{word}@works.example.test/allocate"),
    ];
    let mut views: Vec<Json> =
        urls.into_iter().map(|url| individual(&press(terms_with(by_keys(), Some(url))))).collect();
    views.push(group(&EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("line-4").expect("an ID"),
        terms: terms_with(by_keys(), None),
        settings: GroupSettings::default(),
    }));
    for access in [
        HubAccess::BuiltIn,
        HubAccess::Remote(RemoteAccess {
            port: Some(9443),
            policy: "iothubowner".to_owned(),
            key: keys.primary.clone(),
        }),
    ] {
        views.push(hub(&LinkedHub {
            name: hub_name.clone(),
            access,
            weight: 1,
            apply_allocation_policy: true,
            declared: false,
            etag: etag(),
            created: AT,
            last_updated: AT,
            version: 1,
        }));
    }
    views.push(policy(&AccessPolicy {
        scope: PolicyScope::Hub(hub_name),
        name: "owner".to_owned(),
        keys: keys.clone(),
        rights: Rights::of(&[Right::RegistryWrite, Right::ServiceConnect]),
        etag: etag(),
        created: AT,
        last_updated: AT,
        version: 1,
    }));
    let authentication = DeviceAuthentication {
        kind,
        keys: Some(keys.clone()),
        primary_thumbprint: Some("A".repeat(40)),
        secondary_thumbprint: None,
    };
    let fresh = Fresh {
        etag: [1; 16],
        operation: [2; 16],
        primary_key: [3; 64],
        secondary_key: [4; 64],
        counter: 5,
        tpm: model::TpmRandom {
            key: [5; 32],
            inner: [6; 16],
            identity_seed: [7; 32],
            duplication_seed: [8; 32],
            obfuscation: [9; 32],
        },
    };
    let device_id = DeviceId::parse("press").expect("an ID");
    let assignee =
        Assignee { device_id: &device_id, authentication, iot_edge: true, initial_twin: None };
    let assigned = assignment::device(None, &assignee, TwinRule::Keep, AT, &fresh);
    views.push(device(&assigned.expect("a device")));
    views.into_iter().map(note_new_keys).collect()
}

proptest! {
    #[test]
    fn no_view_holds_a_secret(
        keys in keys(),
        word in secret_word(),
        kind in prop::sample::select(vec![
            AuthenticationKind::Sas,
            AuthenticationKind::SelfSigned,
            AuthenticationKind::CertificateAuthority,
        ]),
    ) {
        for view in views(&keys, &word, kind) {
            let text = view.to_string();
            prop_assert!(!text.contains(keys.primary.reveal()), "{text}");
            prop_assert!(!text.contains(keys.secondary.reveal()), "{text}");
            prop_assert!(!text.contains(&word), "{text}");
        }
    }

    #[test]
    fn masking_leaves_nothing_behind_a_question_mark(url in "\\PC{0,60}", secret in "[a-z]{8,20}") {
        let masked = masked_url(&format!("{url}?{secret}"));
        prop_assert!(masked.ends_with(MASK));
        prop_assert!(!masked.contains(&secret) || url.contains(&secret), "{masked}");
    }
}

#[test]
fn an_enrollment_is_shown_with_what_says_what_it_is() {
    let by_keys = AttestationMechanism::SymmetricKey(SymmetricKeys {
        primary: SymmetricKey::from_bytes(&[1; 32]).expect("a key"),
        secondary: SymmetricKey::from_bytes(&[2; 32]).expect("a key"),
    });
    let url = Some("https://works.example.test/allocate?code=secret".to_owned());
    assert_eq!(
        individual(&press(terms_with(by_keys, url))).to_string(),
        concat!(
            r#"{"registrationId":"press-17","deviceId":"press","#,
            r#""attestation":{"type":"symmetricKey"},"iotEdge":true,"initialTwin":{"tags":{}},"#,
            r#""provisioningStatus":"disabled","reprovisionPolicy":{"updateHubAssignment":true},"#,
            r#""allocationPolicy":"custom","iotHubs":["hub-1.example.test"],"#,
            r#""customAllocationDefinition":{"#,
            r#""webhookUrl":"https://works.example.test/allocate?****","apiVersion":"2021-10-01"}}"#,
        )
    );
}

#[test]
fn certificates_are_shown_by_subject_and_thumbprint() {
    let check = |mechanism: AttestationMechanism, expected: &str| {
        assert_eq!(attestation(&mechanism).to_string(), expected);
    };
    let thumbprint = "B".repeat(64);
    let shown = format!(r#"{{"subjectName":"CN=Works","sha256Thumbprint":"{thumbprint}"}}"#);
    let slots = || Slots { primary: Some(enrolled_certificate()), secondary: None };
    check(
        AttestationMechanism::X509Client(slots()),
        &format!(r#"{{"type":"x509","clientCertificates":{{"primary":{shown}}}}}"#),
    );
    check(
        AttestationMechanism::X509Signing(slots()),
        &format!(r#"{{"type":"x509","signingCertificates":{{"primary":{shown}}}}}"#),
    );
    check(
        AttestationMechanism::X509CaReferences(Slots {
            primary: None,
            secondary: Some("works".to_owned()),
        }),
        r#"{"type":"x509","caReferences":{"secondary":"works"}}"#,
    );
    check(
        AttestationMechanism::Tpm(TpmIdentity {
            endorsement: None,
            endorsement_key: vec![0; 3],
            storage_root_key: None,
        }),
        r#"{"type":"tpm","endorsementKey":"AAAA"}"#,
    );
    let leaf = testkit::Credential::self_signed(testkit::Profile::leaf("EK"));
    let demanded = Endorsement {
        roots: slots(),
        certificates: vec![model::CertificateDer(leaf.der().to_vec())],
    };
    let described =
        certificate::describe(leaf.der()).expect("a certificate").info.sha256_thumbprint;
    check(
        AttestationMechanism::Tpm(TpmIdentity {
            endorsement: Some(Box::new(demanded)),
            endorsement_key: vec![0; 3],
            storage_root_key: None,
        }),
        &format!(
            r#"{{"type":"tpm","endorsementKey":"AAAA","endorsement":{{"roots":{{"primary":{shown}}},"certificates":[{{"subjectName":"CN=EK","sha256Thumbprint":"{described}"}}]}}}}"#
        ),
    );
    check(
        AttestationMechanism::TpmIssuer(slots()),
        &format!(r#"{{"type":"tpm","issuers":{{"primary":{shown}}}}}"#),
    );
    let ca = CaCertificate {
        name: "works".to_owned(),
        certificate: enrolled_certificate(),
        verified: true,
        pending_code: None,
        etag: etag(),
        created: AT,
        last_updated: AT,
        version: 1,
    };
    assert_eq!(
        certificate(&ca).to_string(),
        format!(
            r#"{{"name":"works","subjectName":"CN=Works","sha256Thumbprint":"{thumbprint}","verified":true}}"#
        )
    );
}

#[test]
fn an_address_keeps_its_place_and_loses_what_may_be_secret() {
    let check = |url: &str, expected: &str| assert_eq!(masked_url(url), expected);
    check("https://a.test/x", "https://a.test/x");
    check("https://a.test/x?code=s&y=1", "https://a.test/x?****");
    check("https://u:p@a.test/x", "https://****@a.test/x");
    check("https://u:p@a.test/x?q", "https://****@a.test/x?****");
    check("https://u:p/?@a.test", "https://u:p/?****");
    check("nonsense", "nonsense");
    check("", "");
}
