//! Plain values for the cases, told apart by their names.

use model::{
    AccessPolicy, Assignment, AttestationKind, AttestationMechanism, AuditEntry, AuthMethod,
    AuthenticationKind, Ban, BanKind, BanSubject, CaCertificate, CaKeys, Caller, CertificateDer,
    CertificateInfo, Change, CloudMessage, ConnectionNumber, Device, DeviceAuthentication,
    DeviceId, DeviceIdentity, DeviceStatus, EnrolledCertificate, EnrollmentGroup,
    EnrollmentGroupId, EnrollmentRef, Etag, Event, EventSource, Feedback, FeedbackWish, Grounds,
    GroupQuery, GroupSettings, HubAccess, HubName, IndividualEnrollment, Json, KnownProof,
    LinkedHub, MessageEnd, MessageProperties, Metadata, ModuleId, PathCertificate,
    PendingAssignment, PolicyScope, RegisterQuery, RegistrationId, RegistrationRecord,
    RegistrationStatus, RemoteAccess, RemoteRemoval, Reprovision, Right, Rights, Sent, Slots,
    Substatus, SymmetricKey, SymmetricKeys, Terms, Timestamp, TpmChallenge, Twin, TwinSection,
};

/// A registration ID.
///
/// # Panics
/// When it is not legal; so do the other functions here.
#[must_use]
pub fn registration_id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).expect("a legal registration ID")
}

/// A group's ID.
#[must_use]
pub fn group_id(text: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(text).expect("a legal group ID")
}

/// A device ID.
#[must_use]
pub fn device_id(text: &str) -> DeviceId {
    DeviceId::parse(text).expect("a legal device ID")
}

/// A hub's name.
#[must_use]
pub fn hub(text: &str) -> HubName {
    HubName::parse(text).expect("a legal hub name")
}

/// Two keys.
#[must_use]
pub fn keys(seed: u8) -> SymmetricKeys {
    SymmetricKeys {
        primary: SymmetricKey::generated(&[seed; 64]),
        secondary: SymmetricKey::derived(&[seed.wrapping_add(1); 32]),
    }
}

/// Terms with nothing set but an attestation mechanism.
#[must_use]
pub fn terms(attestation: AttestationMechanism) -> Terms {
    Terms {
        attestation,
        iot_edge: None,
        iot_hub_host_name: None,
        initial_twin: None,
        etag: Etag::from_random([1; 16]),
        provisioning_status: Sent::Absent,
        reprovision_policy: None,
        created: Timestamp::from_unix_secs(1_000_000),
        last_updated: Timestamp::from_unix_secs(1_000_001),
        allocation_policy: None,
        iot_hubs: None,
        custom_allocation: None,
        version: 0,
    }
}

/// An individual enrollment with keys.
#[must_use]
pub fn individual(id: &str) -> IndividualEnrollment {
    IndividualEnrollment {
        registration_id: registration_id(id),
        device_id: None,
        optional_device_information: None,
        terms: terms(AttestationMechanism::SymmetricKey(keys(1))),
    }
}

/// A group with keys.
#[must_use]
pub fn symmetric_key_group(id: &str) -> EnrollmentGroup {
    group(id, AttestationMechanism::SymmetricKey(keys(3)))
}

/// A group that keeps certificates itself.
#[must_use]
pub fn signing_group(
    id: &str,
    primary: Option<EnrolledCertificate>,
    secondary: Option<EnrolledCertificate>,
) -> EnrollmentGroup {
    group(id, AttestationMechanism::X509Signing(Slots { primary, secondary }))
}

/// A group that refers to certificates of the CA store.
#[must_use]
pub fn referring_group(
    id: &str,
    primary: Option<&str>,
    secondary: Option<&str>,
) -> EnrollmentGroup {
    let slots =
        Slots { primary: primary.map(str::to_owned), secondary: secondary.map(str::to_owned) };
    group(id, AttestationMechanism::X509CaReferences(slots))
}

/// A group with an attestation mechanism.
#[must_use]
pub fn group(id: &str, attestation: AttestationMechanism) -> EnrollmentGroup {
    EnrollmentGroup {
        group_id: group_id(id),
        terms: terms(attestation),
        settings: GroupSettings::default(),
    }
}

/// A group of TPMs.
#[must_use]
pub fn tpm_group(id: &str, primary: EnrolledCertificate) -> EnrollmentGroup {
    group(id, AttestationMechanism::TpmIssuer(Slots { primary: Some(primary), secondary: None }))
}

/// A challenge to a TPM whose certificates have these names.
#[must_use]
pub fn challenge(id: &str, seed: u8, names: &[&str], expires: Timestamp) -> TpmChallenge {
    TpmChallenge {
        registration_id: registration_id(id),
        endorsement_key: vec![seed, 0xff, 0],
        storage_root_key: vec![0, seed],
        enrolled_root: false,
        endorsement_certificates: names
            .iter()
            .map(|n| CertificateDer(n.as_bytes().into()))
            .collect(),
        endorsement_names: names.iter().map(|name| name_hash(name)).collect(),
        ban_keys: Vec::new(),
        key: SymmetricKey::derived(&[seed; 32]),
        expires,
    }
}

/// What stands for the hash of a name.
#[must_use]
pub fn name_hash(name: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    hash
}

/// A certificate of a subject from an issuer.
#[must_use]
pub fn certificate(subject: &str, issuer: &str) -> EnrolledCertificate {
    let mut subject_and_key = name_hash(subject);
    subject_and_key[31] = 1;
    EnrolledCertificate {
        der: [subject.as_bytes(), &[0xff, 0], issuer.as_bytes()].concat(),
        info: CertificateInfo {
            subject_name: format!("CN={subject}"),
            sha1_thumbprint: "A".repeat(40),
            sha256_thumbprint: "B".repeat(64),
            issuer_name: format!("CN={issuer}"),
            not_before: Timestamp::from_unix_secs(0),
            not_after: Timestamp::from_unix_secs(4_000_000_000),
            serial_number: "01".to_owned(),
            version: 3,
        },
        keys: CaKeys { subject: name_hash(subject), subject_and_key, issuer: name_hash(issuer) },
    }
}

/// A certificate of the CA store.
#[must_use]
pub fn ca_certificate(name: &str, certificate: EnrolledCertificate) -> CaCertificate {
    CaCertificate {
        name: name.to_owned(),
        certificate,
        verified: true,
        pending_code: None,
        etag: Etag::from_random([2; 16]),
        created: Timestamp::from_unix_secs(1_000_000),
        last_updated: Timestamp::from_unix_secs(1_000_001),
        version: 0,
    }
}

/// An assigned registration record.
#[must_use]
pub fn record(id: &str, enrollment: EnrollmentRef) -> RegistrationRecord {
    RegistrationRecord {
        registration_id: registration_id(id),
        created: Timestamp::from_unix_secs(1_000_002),
        last_updated: Timestamp::from_unix_secs(1_000_003),
        status: RegistrationStatus::Assigned,
        assignment: Some(Assignment {
            hub: hub("hub-1.test"),
            device_id: device_id(id),
            substatus: Substatus::InitialAssignment,
            initial_hub: hub("hub-1.test"),
        }),
        pending: None,
        failure: None,
        payload: None,
        wrapped_hub_key: None,
        etag: Etag::from_random([3; 16]),
        enrollment,
        mechanism: AttestationKind::SymmetricKey,
        operations: Vec::new(),
        version: 0,
    }
}

/// A record of a group's device.
#[must_use]
pub fn record_of_group(id: &str, group: &str) -> RegistrationRecord {
    record(id, EnrollmentRef::Group(group_id(group)))
}

/// A record of an individually enrolled device.
#[must_use]
pub fn record_of_individual(id: &str) -> RegistrationRecord {
    record(id, EnrollmentRef::Individual(registration_id(id)))
}

/// An enabled device with a fresh twin.
#[must_use]
pub fn device(id: &str) -> Device {
    Device {
        identity: DeviceIdentity {
            device_id: device_id(id),
            generation_id: "638000000000000000".to_owned(),
            etag_counter: 1,
            status: DeviceStatus::Enabled,
            status_reason: None,
            status_updated: None,
            connected: false,
            connection_state_updated: None,
            last_activity: None,
            cloud_to_device_messages: 0,
            authentication: DeviceAuthentication {
                kind: AuthenticationKind::Sas,
                keys: Some(keys(5)),
                primary_thumbprint: None,
                secondary_thumbprint: None,
            },
            iot_edge: false,
            device_scope: None,
            parent_scopes: Vec::new(),
            managed_by: None,
            version: 0,
        },
        twin: twin(),
    }
}

/// A module ID from its text.
#[must_use]
pub fn module_id(device: &str, module: &str) -> DeviceId {
    let module = ModuleId::parse(module).expect("a legal module ID");
    DeviceId::of_module(&device_id(device), &module)
}

/// A module with a fresh twin.
#[must_use]
pub fn module(device: &str, module: &str) -> Device {
    let of_device = self::device(device);
    let identity =
        DeviceIdentity { device_id: module_id(device, module), ..of_device.identity.clone() };
    Device { identity, ..of_device }
}

/// An identity as a store keeps it that is told of no connection and no message: whatever a
/// registry write says of these, they are the store's.
#[must_use]
pub fn never_connected(identity: DeviceIdentity) -> DeviceIdentity {
    DeviceIdentity {
        connected: false,
        connection_state_updated: None,
        last_activity: None,
        cloud_to_device_messages: 0,
        ..identity
    }
}

/// A device connects to `hub-1.test`.
#[must_use]
pub fn connect(id: &str, connection: ConnectionNumber, at: Timestamp) -> Change {
    Change::Connect { hub: hub("hub-1.test"), device_id: device_id(id), connection, at }
}

/// A connection to `hub-1.test` ends.
#[must_use]
pub fn disconnect(id: &str, connection: ConnectionNumber, at: Timestamp) -> Change {
    Change::Disconnect { hub: hub("hub-1.test"), device_id: device_id(id), connection, at }
}

/// An event without properties.
#[must_use]
pub fn event(from: &str, enqueued: Timestamp, body: &[u8]) -> Event {
    Event {
        device_id: device_id(from),
        generation_id: "638000000000000000".to_owned(),
        auth_method: AuthMethod::DeviceKey,
        source: EventSource::Telemetry,
        enqueued,
        properties: MessageProperties::default(),
        application: Vec::new(),
        body: body.to_vec(),
    }
}

/// A message without properties.
#[must_use]
pub fn message(to: &str, expires: Timestamp, body: &[u8]) -> CloudMessage {
    CloudMessage {
        device_id: device_id(to),
        number: 0,
        enqueued: Timestamp::from_unix_secs(1_000_009),
        expires,
        delivery_count: 0,
        feedback: FeedbackWish::Full,
        properties: MessageProperties::default(),
        application: Vec::new(),
        body: body.to_vec(),
        version: 0,
    }
}

/// Feedback that a message arrived.
#[must_use]
pub fn feedback(message_id: &str) -> Feedback {
    Feedback {
        number: 0,
        message_id: message_id.to_owned(),
        end: MessageEnd::Success,
        at: Timestamp::from_unix_secs(1_000_010),
        device_id: device_id("press-17"),
        generation_id: "638000000000000000".to_owned(),
    }
}

/// A fresh twin.
#[must_use]
pub fn twin() -> Twin {
    let section = TwinSection {
        content: Json::empty_object(),
        metadata: Metadata { last_updated: None, last_updated_version: None, members: Vec::new() },
        version_number: 1,
    };
    Twin {
        tags: Json::empty_object(),
        desired: section.clone(),
        reported: section,
        etag_counter: 1,
        version_number: 2,
        version: 0,
    }
}

/// A policy.
#[must_use]
pub fn policy(scope: PolicyScope, name: &str, rights: &[Right]) -> AccessPolicy {
    AccessPolicy {
        scope,
        name: name.to_owned(),
        keys: keys(7),
        rights: Rights::of(rights),
        etag: Etag::from_random([4; 16]),
        created: Timestamp::from_unix_secs(1_000_004),
        last_updated: Timestamp::from_unix_secs(1_000_005),
        version: 0,
    }
}

/// A linked built-in hub.
#[must_use]
pub fn linked_hub(name: &str) -> LinkedHub {
    LinkedHub {
        name: hub(name),
        access: HubAccess::BuiltIn,
        weight: 1,
        apply_allocation_policy: true,
        declared: false,
        etag: Etag::from_random([5; 16]),
        created: Timestamp::from_unix_secs(1_000_006),
        last_updated: Timestamp::from_unix_secs(1_000_007),
        version: 0,
    }
}

/// A linked remote hub.
#[must_use]
pub fn remote_hub(name: &str) -> LinkedHub {
    let remote =
        RemoteAccess { port: Some(8443), policy: "iothubowner".to_owned(), key: keys(11).primary };
    LinkedHub { access: HubAccess::Remote(remote), ..linked_hub(name) }
}

/// A record of a group's device on its way to a remote hub.
#[must_use]
pub fn pending_record(id: &str, due: Timestamp) -> RegistrationRecord {
    let mut record = record_of_group(id, "line-4");
    record.status = RegistrationStatus::Assigning;
    record.pending = Some(Box::new(PendingAssignment {
        assignment: Assignment {
            hub: hub("far.test"),
            device_id: device_id(id),
            substatus: Substatus::DeviceDataMigrated,
            initial_hub: hub("hub-1.test"),
        },
        from: Some(hub("hub-1.test")),
        rule: Reprovision::WithData,
        authentication: DeviceAuthentication {
            kind: AuthenticationKind::Sas,
            keys: Some(keys(9)),
            primary_thumbprint: None,
            secondary_thumbprint: None,
        },
        iot_edge: false,
        initial_twin: None,
        n_failures: 1,
        due,
        last_error: Some("401".to_owned()),
    }));
    record
}

/// A removal from a remote hub.
#[must_use]
pub fn removal(from: &str, device: &str, due: Timestamp) -> RemoteRemoval {
    RemoteRemoval {
        hub: hub(from),
        device_id: device_id(device),
        task: model::RemoteTask::Delete,
        report_to: None,
        n_failures: 2,
        due,
        last_error: Some("timed out".to_owned()),
        version: 0,
    }
}

/// What an operator did.
#[must_use]
pub fn audit_entry(action: &str, target: &str) -> AuditEntry {
    AuditEntry {
        at: Timestamp::from_unix_secs(1_000_008),
        by: Caller { policy: "owner".to_owned(), address: Some([192, 0, 2, 7].into()) },
        action: action.to_owned(),
        target: target.to_owned(),
        before: None,
        after: Some(Json::Bool(true)),
        etag: Some("1".to_owned()),
    }
}

/// A ban that an operator lifts.
#[must_use]
pub fn ban(subject: BanSubject) -> Ban {
    Ban {
        subject,
        kind: BanKind::Revoked,
        reason: Some("lost".to_owned()),
        by: Caller { policy: "owner".to_owned(), address: None },
        created: Timestamp::from_unix_secs(1_000_011),
        expires: None,
        receipt: None,
        version: 0,
    }
}

/// A ban on a registration ID.
#[must_use]
pub fn ban_on(id: &str) -> Ban {
    ban(BanSubject::Registration(registration_id(id)))
}

/// A ban on a CA.
#[must_use]
pub fn ban_on_ca(subject: &str, issuer: &str) -> Ban {
    ban(BanSubject::Ca(Box::new(certificate(subject, issuer))))
}

/// A certificate in a path: of a CA the one of the same name that [`certificate`] makes.
#[must_use]
pub fn path_certificate(subject: &str, issuer: &str) -> PathCertificate {
    let EnrolledCertificate { info, keys, .. } = certificate(subject, issuer);
    let mut sha1 = [0; 20];
    sha1.iter_mut().zip(subject.bytes()).for_each(|(to, from)| *to = from);
    PathCertificate {
        sha256: name_hash(&format!("{subject} of {issuer}")),
        sha1,
        tbs: name_hash(&format!("{subject} signed by {issuer}")),
        subject_and_key: keys.subject_and_key,
        subject: keys.subject,
        issuer: keys.issuer,
        serial: subject.bytes().map(|byte| format!("{byte:02X}")).collect(),
        subject_name: info.subject_name,
    }
}

/// What an admission rests on whose path has these subjects, leaf first, from the issuer `root`.
#[must_use]
pub fn grounds(path: &[&str]) -> Grounds {
    let issuers = path.iter().skip(1).chain(&["root"]);
    let shown = |subject: &&str| CertificateDer(subject.as_bytes().into());
    Grounds {
        proof: KnownProof::Certificates(path.iter().map(shown).collect()),
        path: path.iter().zip(issuers).map(|(of, by)| path_certificate(of, by)).collect(),
    }
}

/// A query for the facts of a registration.
#[must_use]
pub fn query(id: &str, groups: GroupQuery) -> RegisterQuery {
    RegisterQuery {
        registration_id: registration_id(id),
        groups,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

/// A query by the names in a chain.
#[must_use]
pub fn by_ca(names: &[&str]) -> GroupQuery {
    GroupQuery::ByCa { subjects: names.iter().map(|name| name_hash(name)).collect() }
}
