//! Strategies for every legal value a store may be given, the odd ones included.

use model::{
    AccessPolicy, AllocationPolicy, Assignment, AttestationKind, AttestationMechanism, AuditEntry,
    AuthenticationKind, CaCertificate, CaKeys, Caller, CertificateDer, CertificateInfo,
    CustomAllocation, Device, DeviceAuthentication, DeviceId, DeviceIdentity, DeviceStatus,
    Endorsement, EnrolledCertificate, EnrollmentGroup, EnrollmentGroupId, EnrollmentRef, Etag,
    Failure, GroupSettings, HubAccess, HubName, IndividualEnrollment, Json, LinkedHub, Metadata,
    OperationId, OperationRef, PendingAssignment, PolicyScope, ProvisioningStatus, RegistrationId,
    RegistrationRecord, RegistrationStatus, RemoteAccess, Reprovision, ReprovisionPolicy, Right,
    Rights, Sent, Slots, StaleCrl, Substatus, SymmetricKey, SymmetricKeys, Terms, Timestamp,
    TpmChallenge, TpmIdentity, Twin, TwinSection,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
};

mod bans;
mod messages;
mod receipts;

pub use bans::{bans, grounds};
pub use messages::{cloud_messages, events, feedback, subscriptions};
pub use receipts::{deprovision_items, deprovisionings, receipt_id, receipt_ids};

/// Registration IDs in any spelling.
pub fn registration_ids() -> impl Strategy<Value = RegistrationId> {
    "[A-Za-z0-9._:-]{0,127}[A-Za-z0-9-]".prop_map(|text| parsed(RegistrationId::parse(&text)))
}

/// Group IDs in any spelling.
pub fn group_ids() -> impl Strategy<Value = EnrollmentGroupId> {
    "[A-Za-z0-9._:-]{0,20}[A-Za-z0-9-]".prop_map(|text| parsed(EnrollmentGroupId::parse(&text)))
}

/// Device IDs with all that a hub allows.
pub fn device_ids() -> impl Strategy<Value = DeviceId> {
    "[-A-Za-z0-9.+%_#*?!(),=@$':]{1,128}".prop_map(|text| parsed(DeviceId::parse(&text)))
}

/// Hub names.
pub fn hubs() -> impl Strategy<Value = HubName> {
    "[a-zA-Z0-9-]{1,20}\\.[a-z0-9]{1,9}".prop_map(|text| parsed(HubName::parse(&text)))
}

/// Any moment.
pub fn timestamps() -> impl Strategy<Value = Timestamp> {
    prop_oneof![
        any::<i64>().prop_map(Timestamp::from_ticks),
        Just(Timestamp::from_ticks(i64::MIN)),
        Just(Timestamp::from_ticks(0)),
    ]
}

/// Any text, also with quotes, control characters and NUL.
pub fn texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        vec(any::<char>(), 0..20).prop_map(|chars| chars.into_iter().collect()),
        Just(String::new()),
        Just("\u{0}\u{7f}\u{feff}\"\\'\u{1f}".to_owned()),
    ]
}

/// Two keys of any legal length.
pub fn key_pairs() -> impl Strategy<Value = SymmetricKeys> {
    let key = || vec(any::<u8>(), 16..=64).prop_map(|b| parsed(SymmetricKey::from_bytes(&b)));
    (key(), key()).prop_map(|(primary, secondary)| SymmetricKeys { primary, secondary })
}

/// JSON of any kind, with numbers no machine word holds.
pub fn jsons() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::Bool),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?"
            .prop_map(|token| Json::Number(token.into())),
        texts().prop_map(Json::String),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Json::Array),
            vec((texts(), inner), 0..6).prop_map(object),
        ]
    })
}

/// JSON objects.
pub fn objects() -> impl Strategy<Value = Json> {
    vec((texts(), jsons()), 0..6).prop_map(object)
}

/// Individual enrollments.
pub fn individuals() -> impl Strategy<Value = IndividualEnrollment> {
    (registration_ids(), option::of(device_ids()), option::of(jsons()), terms()).prop_map(
        |(registration_id, device_id, optional_device_information, terms)| IndividualEnrollment {
            registration_id,
            device_id,
            optional_device_information,
            terms,
        },
    )
}

/// Groups.
pub fn groups() -> impl Strategy<Value = EnrollmentGroup> {
    (group_ids(), terms(), group_settings())
        .prop_map(|(group_id, terms, settings)| EnrollmentGroup { group_id, terms, settings })
}

fn group_settings() -> impl Strategy<Value = GroupSettings> {
    let stale_crl = option::of(select(vec![StaleCrl::Admit, StaleCrl::Refuse]));
    (option::of(any::<bool>()), stale_crl).prop_map(|(disenroll_ends_sessions, stale_crl)| {
        GroupSettings { disenroll_ends_sessions, stale_crl }
    })
}

/// Certificates of the CA store.
pub fn ca_certificates() -> impl Strategy<Value = CaCertificate> {
    let code = option::of(texts());
    (texts(), certificates(), any::<bool>(), code, texts(), timestamps(), timestamps()).prop_map(
        |(name, certificate, verified, pending_code, etag, created, last_updated)| CaCertificate {
            name,
            certificate,
            verified,
            pending_code,
            etag: Etag::from_stored(&etag),
            created,
            last_updated,
            version: 0,
        },
    )
}

/// Registration records.
pub fn records() -> impl Strategy<Value = RegistrationRecord> {
    let status = select(vec![
        RegistrationStatus::Assigning,
        RegistrationStatus::Assigned,
        RegistrationStatus::Failed,
        RegistrationStatus::Disabled,
    ]);
    let enrollment = prop_oneof![
        registration_ids().prop_map(EnrollmentRef::Individual),
        group_ids().prop_map(EnrollmentRef::Group),
    ];
    let failure = (any::<i32>(), texts()).prop_map(|(code, message)| Failure { code, message });
    let operation = ("[0-9a-zA-Z.-]{1,128}", timestamps())
        .prop_map(|(id, started)| OperationRef { id: parsed(OperationId::parse(&id)), started });
    (
        (registration_ids(), timestamps(), timestamps(), status, option::of(assignments())),
        (option::of(failure), option::of(jsons()), texts(), enrollment, attestation_kinds()),
        vec(operation, 0..=model::MAX_RECENT_OPERATIONS),
        option::of(pending().prop_map(Box::new)),
        option::of(vec(any::<u8>(), 0..40)),
    )
        .prop_map(|(first, second, operations, pending, wrapped_hub_key)| {
            let (registration_id, created, last_updated, status, assignment) = first;
            let (failure, payload, etag, enrollment, mechanism) = second;
            RegistrationRecord {
                registration_id,
                created,
                last_updated,
                status,
                assignment,
                pending,
                failure,
                payload,
                wrapped_hub_key,
                etag: Etag::from_stored(&etag),
                enrollment,
                mechanism,
                operations,
                version: 0,
            }
        })
}

/// Devices.
pub fn devices() -> impl Strategy<Value = Device> {
    (identities(), twins()).prop_map(|(identity, twin)| Device { identity, twin })
}

/// Device identities.
pub fn identities() -> impl Strategy<Value = DeviceIdentity> {
    let status = select(vec![DeviceStatus::Enabled, DeviceStatus::Disabled]);
    let when = || option::of(timestamps());
    (
        (device_ids(), texts(), any::<u64>(), status, option::of(texts()), when()),
        (any::<bool>(), when(), when(), any::<u32>(), authentications(), any::<bool>()),
        (option::of(texts()), vec(texts(), 0..4)),
    )
        .prop_map(|(first, second, (device_scope, parent_scopes))| {
            let (device_id, generation_id, etag_counter, status, status_reason, status_updated) =
                first;
            let (connected, changed, last_activity, messages, authentication, iot_edge) = second;
            DeviceIdentity {
                device_id,
                generation_id,
                etag_counter,
                status,
                status_reason,
                status_updated,
                connected,
                connection_state_updated: changed,
                last_activity,
                cloud_to_device_messages: messages,
                authentication,
                iot_edge,
                device_scope,
                parent_scopes,
                managed_by: None,
                version: 0,
            }
        })
}

/// Twins.
pub fn twins() -> impl Strategy<Value = Twin> {
    let section = || {
        (objects(), metadata(), any::<u64>()).prop_map(|(content, metadata, version_number)| {
            TwinSection { content, metadata, version_number }
        })
    };
    (objects(), section(), section(), any::<u64>(), any::<u64>()).prop_map(
        |(tags, desired, reported, etag_counter, version_number)| Twin {
            tags,
            desired,
            reported,
            etag_counter,
            version_number,
            version: 0,
        },
    )
}

/// Policies.
pub fn policies() -> impl Strategy<Value = AccessPolicy> {
    let scope = prop_oneof![Just(PolicyScope::Service), hubs().prop_map(PolicyScope::Hub)];
    let rights = vec(select(Right::ALL.to_vec()), 0..9).prop_map(|rights| Rights::of(&rights));
    (scope, texts(), key_pairs(), rights, texts(), timestamps(), timestamps()).prop_map(
        |(scope, name, keys, rights, etag, created, last_updated)| AccessPolicy {
            scope,
            name,
            keys,
            rights,
            etag: Etag::from_stored(&etag),
            created,
            last_updated,
            version: 0,
        },
    )
}

/// Linked hubs.
pub fn linked_hubs() -> impl Strategy<Value = LinkedHub> {
    let remote =
        (option::of(any::<u16>()), texts(), key_pairs()).prop_map(|(port, policy, keys)| {
            HubAccess::Remote(RemoteAccess { port, policy, key: keys.primary })
        });
    let access = prop_oneof![Just(HubAccess::BuiltIn), remote];
    let switches = (any::<bool>(), any::<bool>());
    (hubs(), access, any::<u32>(), switches, texts(), timestamps(), timestamps()).prop_map(
        |(name, access, weight, (apply, declared), etag, created, last_updated)| LinkedHub {
            name,
            access,
            weight,
            apply_allocation_policy: apply,
            declared,
            etag: Etag::from_stored(&etag),
            created,
            last_updated,
            version: 0,
        },
    )
}

/// Lines for the audit log.
pub fn audit_entries() -> impl Strategy<Value = AuditEntry> {
    let change = (option::of(jsons()), option::of(jsons()), option::of(texts()));
    (timestamps(), callers(), texts(), texts(), change).prop_map(
        |(at, by, action, target, (before, after, etag))| AuditEntry {
            at,
            by,
            action,
            target,
            before,
            after,
            etag,
        },
    )
}

fn callers() -> impl Strategy<Value = Caller> {
    (texts(), option::of(any::<std::net::IpAddr>()))
        .prop_map(|(policy, address)| Caller { policy, address })
}

/// Challenges to TPMs.
pub fn tpm_challenges() -> impl Strategy<Value = TpmChallenge> {
    let bytes = || vec(any::<u8>(), 0..40);
    let names = (vec(any::<[u8; 32]>(), 0..4), vec(texts(), 0..4));
    let keys = (bytes(), bytes(), any::<bool>(), key_pairs());
    (registration_ids(), keys, chains(), names, timestamps()).prop_map(
        |(registration_id, keys, endorsement_certificates, names, expires)| {
            let (endorsement_names, ban_keys) = names;
            let (endorsement_key, storage_root_key, enrolled_root, keys) = keys;
            TpmChallenge {
                registration_id,
                endorsement_key,
                storage_root_key,
                enrolled_root,
                endorsement_certificates,
                endorsement_names,
                ban_keys,
                key: keys.primary,
                expires,
            }
        },
    )
}

fn chains() -> impl Strategy<Value = Vec<CertificateDer>> {
    vec(vec(any::<u8>(), 0..40).prop_map(CertificateDer), 0..4)
}

fn pending() -> impl Strategy<Value = PendingAssignment> {
    let rule =
        select(vec![Reprovision::Never, Reprovision::WithData, Reprovision::WithInitialTwin]);
    (
        (assignments(), option::of(hubs()), rule, authentications(), any::<bool>()),
        (option::of(jsons()), any::<u32>(), timestamps(), option::of(texts())),
    )
        .prop_map(|(first, (initial_twin, n_failures, due, last_error))| {
            let (assignment, from, rule, authentication, iot_edge) = first;
            PendingAssignment {
                assignment,
                from,
                rule,
                authentication,
                iot_edge,
                initial_twin,
                n_failures,
                due,
                last_error,
            }
        })
}

fn terms() -> impl Strategy<Value = Terms> {
    let status = select(vec![
        Sent::Absent,
        Sent::Null,
        Sent::Value(ProvisioningStatus::Enabled),
        Sent::Value(ProvisioningStatus::Disabled),
    ]);
    let switch = || option::of(any::<bool>());
    let reprovision =
        (switch(), switch()).prop_map(|(update_hub_assignment, migrate_device_data)| {
            ReprovisionPolicy { update_hub_assignment, migrate_device_data }
        });
    let allocation = select(vec![
        AllocationPolicy::Hashed,
        AllocationPolicy::GeoLatency,
        AllocationPolicy::Static,
        AllocationPolicy::Custom,
    ]);
    let custom = (texts(), texts())
        .prop_map(|(webhook_url, api_version)| CustomAllocation { webhook_url, api_version });
    (
        (mechanisms(), switch(), option::of(texts()), option::of(objects()), texts(), status),
        (option::of(reprovision), timestamps(), timestamps(), option::of(allocation)),
        (option::of(vec(texts(), 0..4)), option::of(custom)),
    )
        .prop_map(|(first, second, (iot_hubs, custom_allocation))| {
            let (attestation, iot_edge, iot_hub_host_name, initial_twin, etag, status) = first;
            let (reprovision_policy, created, last_updated, allocation_policy) = second;
            Terms {
                attestation,
                iot_edge,
                iot_hub_host_name,
                initial_twin,
                etag: Etag::from_stored(&etag),
                provisioning_status: status,
                reprovision_policy,
                created,
                last_updated,
                allocation_policy,
                iot_hubs,
                custom_allocation,
                version: 0,
            }
        })
}

fn mechanisms() -> impl Strategy<Value = AttestationMechanism> {
    let bytes = || vec(any::<u8>(), 0..40);
    let endorsement = (slots(certificates()), chains())
        .prop_map(|(roots, certificates)| Box::new(Endorsement { roots, certificates }));
    let tpm = (bytes(), option::of(bytes()), option::of(endorsement)).prop_map(
        |(endorsement_key, storage_root_key, endorsement)| {
            AttestationMechanism::Tpm(TpmIdentity {
                endorsement_key,
                storage_root_key,
                endorsement,
            })
        },
    );
    prop_oneof![
        key_pairs().prop_map(AttestationMechanism::SymmetricKey),
        slots(certificates()).prop_map(AttestationMechanism::X509Client),
        slots(certificates()).prop_map(AttestationMechanism::X509Signing),
        slots(texts()).prop_map(AttestationMechanism::X509CaReferences),
        slots(certificates()).prop_map(AttestationMechanism::TpmIssuer),
        tpm,
    ]
}

/// At least one of two is there.
fn slots<T: Clone + std::fmt::Debug>(
    one: impl Strategy<Value = T>,
) -> impl Strategy<Value = Slots<T>> {
    (vec(one, 2), 0..3).prop_map(|(mut two, which)| {
        let (secondary, primary) = (two.pop(), two.pop());
        match which {
            0 => Slots { primary, secondary: None },
            1 => Slots { primary: None, secondary },
            _ => Slots { primary, secondary },
        }
    })
}

fn certificates() -> impl Strategy<Value = EnrolledCertificate> {
    let hash = any::<[u8; 32]>;
    (
        vec(any::<u8>(), 0..200),
        (texts(), texts(), texts(), texts(), timestamps(), timestamps(), texts(), any::<u32>()),
        (hash(), hash(), hash()),
    )
        .prop_map(|(der, info, (subject, subject_and_key, issuer))| EnrolledCertificate {
            der,
            info: CertificateInfo {
                subject_name: info.0,
                sha1_thumbprint: info.1,
                sha256_thumbprint: info.2,
                issuer_name: info.3,
                not_before: info.4,
                not_after: info.5,
                serial_number: info.6,
                version: info.7,
            },
            keys: CaKeys { subject, subject_and_key, issuer },
        })
}

fn assignments() -> impl Strategy<Value = Assignment> {
    let substatus = select(vec![
        Substatus::InitialAssignment,
        Substatus::DeviceDataMigrated,
        Substatus::DeviceDataReset,
        Substatus::ReprovisionedToInitialAssignment,
    ]);
    (hubs(), device_ids(), substatus, hubs()).prop_map(
        |(hub, device_id, substatus, initial_hub)| Assignment {
            hub,
            device_id,
            substatus,
            initial_hub,
        },
    )
}

fn authentications() -> impl Strategy<Value = DeviceAuthentication> {
    let kind = select(vec![
        AuthenticationKind::Sas,
        AuthenticationKind::SelfSigned,
        AuthenticationKind::CertificateAuthority,
    ]);
    (kind, option::of(key_pairs()), option::of(texts()), option::of(texts())).prop_map(
        |(kind, keys, primary_thumbprint, secondary_thumbprint)| DeviceAuthentication {
            kind,
            keys,
            primary_thumbprint,
            secondary_thumbprint,
        },
    )
}

fn attestation_kinds() -> impl Strategy<Value = AttestationKind> {
    select(vec![AttestationKind::SymmetricKey, AttestationKind::X509, AttestationKind::Tpm])
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let leaf = || (option::of(timestamps()), option::of(any::<u64>()));
    let node = |(last_updated, last_updated_version), members| Metadata {
        last_updated,
        last_updated_version,
        members,
    };
    leaf().prop_map(move |stamps| node(stamps, Vec::new())).prop_recursive(5, 30, 5, move |inner| {
        (leaf(), vec((texts(), inner), 0..5))
            .prop_map(move |(stamps, members)| node(stamps, members))
    })
}

/// Each name once, the first one stays.
fn object(members: Vec<(String, Json)>) -> Json {
    let mut object = Json::empty_object();
    for (name, value) in members {
        if object.get(&name).is_none() {
            object.set(&name, value);
        }
    }
    object
}

fn parsed<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.expect("the strategy makes legal values only")
}
