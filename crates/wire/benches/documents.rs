//! Parsing and rendering the three documents that travel most: a register body and its answer, an
//! enrollment, a twin. Run with `cargo bench -p induct-wire`.

#![expect(clippy::expect_used, reason = "the documents are constants and legal")]

use std::hint::black_box;

use induct_wire::{device, hub, operator};
use model::{
    Assignment, AttestationKind, AttestationMechanism, AuthenticationKind, Device,
    DeviceAuthentication, DeviceId, DeviceIdentity, DeviceStatus, EnrollmentRef, Etag, HubName,
    IndividualEnrollment, Json, Metadata, OperationId, RegistrationId, RegistrationRecord,
    RegistrationStatus, Sent, Substatus, SymmetricKey, SymmetricKeys, Terms, Timestamp, Twin,
    TwinSection,
};

const REGISTER: &[u8] =
    br#"{"registrationId":"press-17","payload":{"model":"P7","slots":[1,2,3]}}"#;
const ENROLLMENT: &[u8] = br#"{"registrationId":"press-17","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=","secondaryKey":"MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}},"capabilities":{"iotEdge":false},"initialTwin":{"tags":{"site":"north","line":4},"properties":{"desired":{"telemetry":{"interval":60}}}},"provisioningStatus":"enabled","reprovisionPolicy":{"updateHubAssignment":true,"migrateDeviceData":true},"allocationPolicy":"hashed","iotHubs":["hub-1.example.net","hub-2.example.net"]}"#;
const TWIN: &[u8] = br#"{"tags":{"site":"north","line":4},"properties":{"desired":{"telemetry":{"interval":60,"fields":["a","b","c"]},"limits":{"low":-1.5,"high":99.25}}}}"#;

fn main() {
    divan::main();
}

#[divan::bench]
fn parse_register_body() -> device::RegisterBody {
    device::parse_register(black_box(REGISTER)).expect("legal")
}

#[divan::bench]
fn render_assigned(bencher: divan::Bencher<'_, '_>) {
    let id = RegistrationId::parse("press-17").expect("id");
    let hub = HubName::parse("hub-1.example.net").expect("hub");
    let operation = OperationId::parse("4.0bdadb0c47c2d6b4.4a081f01").expect("id");
    let record = RegistrationRecord {
        created: Timestamp::from_ticks(17_000_000_000_000_000),
        last_updated: Timestamp::from_ticks(17_000_000_000_000_001),
        status: RegistrationStatus::Assigned,
        assignment: Some(Assignment {
            hub: hub.clone(),
            device_id: DeviceId::from(&id),
            substatus: Substatus::InitialAssignment,
            initial_hub: hub,
        }),
        pending: None,
        failure: None,
        payload: None,
        wrapped_hub_key: None,
        etag: Etag::from_random([7; 16]),
        enrollment: EnrollmentRef::Individual(id.clone()),
        registration_id: id,
        mechanism: AttestationKind::X509,
        operations: vec![],
        version: 1,
    };
    let version = model::ApiVersion::V2019_03_31;
    bencher.bench(|| device::operation_status(&operation, black_box(&record), version).to_string());
}

#[divan::bench]
fn parse_enrollment() -> bool {
    operator::parse_individual(black_box(ENROLLMENT)).is_ok()
}

#[divan::bench]
fn render_enrollment(bencher: divan::Bencher<'_, '_>) {
    let sent = operator::parse_individual(ENROLLMENT).expect("legal");
    let key = SymmetricKey::from_bytes(&[7; 64]).expect("key");
    let keys = SymmetricKeys { primary: key.clone(), secondary: key };
    let now = Timestamp::from_ticks(17_000_000_000_000_000);
    let enrollment = IndividualEnrollment {
        registration_id: sent.registration_id,
        device_id: None,
        optional_device_information: None,
        terms: Terms {
            attestation: AttestationMechanism::SymmetricKey(keys),
            iot_edge: Some(false),
            iot_hub_host_name: None,
            initial_twin: sent.draft.initial_twin,
            etag: Etag::from_random([7; 16]),
            provisioning_status: Sent::Absent,
            reprovision_policy: sent.draft.reprovision_policy,
            created: now,
            last_updated: now,
            allocation_policy: sent.draft.allocation_policy,
            iot_hubs: sent.draft.iot_hubs,
            custom_allocation: None,
            version: 1,
        },
    };
    let show = operator::Show::PutAnswer;
    bencher.bench(|| operator::individual(black_box(&enrollment), show).to_string());
}

#[divan::bench]
fn parse_twin_patch() -> bool {
    hub::parse_twin(black_box(TWIN)).is_ok()
}

#[divan::bench]
fn render_twin(bencher: divan::Bencher<'_, '_>) {
    let sent = hub::parse_twin(TWIN).expect("legal");
    let now = Some(Timestamp::from_ticks(17_000_000_000_000_000));
    let desired = sent.desired.unwrap_or(Json::empty_object());
    let section =
        |content: Json| TwinSection { metadata: stamps(&content, now), content, version_number: 2 };
    let device = Device {
        identity: DeviceIdentity {
            device_id: DeviceId::parse("press-17").expect("id"),
            generation_id: "637612875240648717".to_owned(),
            etag_counter: 727_894_863,
            status: DeviceStatus::Enabled,
            status_reason: None,
            status_updated: None,
            connected: false,
            connection_state_updated: None,
            last_activity: None,
            cloud_to_device_messages: 0,
            authentication: DeviceAuthentication {
                kind: AuthenticationKind::SelfSigned,
                keys: None,
                primary_thumbprint: Some("AB".repeat(32)),
                secondary_thumbprint: Some("AB".repeat(32)),
            },
            iot_edge: false,
            device_scope: None,
            parent_scopes: vec![],
            managed_by: None,
            version: 1,
        },
        twin: Twin {
            tags: sent.tags.unwrap_or(Json::empty_object()),
            desired: section(desired.clone()),
            reported: section(desired),
            etag_counter: 2,
            version_number: 3,
            version: 1,
        },
    };
    bencher.bench(|| hub::twin(black_box(&device)).to_string());
}

fn stamps(content: &Json, now: Option<Timestamp>) -> Metadata {
    let members = content.as_object().unwrap_or_default();
    Metadata {
        last_updated: now,
        last_updated_version: Some(2),
        members: members.iter().map(|(name, v)| (name.clone(), stamps(v, now))).collect(),
    }
}
