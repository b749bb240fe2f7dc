use model::{DeviceIdentity, DeviceStatus, IdentityDraft, TwinDraft};

use super::*;
use crate::hub::scene::{CREATED, LATER, dev1_with, draft, fresh, id, keys, sas, sections, stamps};

const MODES: [ImportMode; 9] = [
    ImportMode::Create,
    ImportMode::CreateOrUpdate,
    ImportMode::CreateOrUpdateIfMatchEtag,
    ImportMode::Update,
    ImportMode::UpdateIfMatchEtag,
    ImportMode::Delete,
    ImportMode::DeleteIfMatchEtag,
    ImportMode::UpdateTwin,
    ImportMode::UpdateTwinIfMatchEtag,
];

fn element(mode: ImportMode) -> BulkDevice {
    BulkDevice {
        mode,
        identity: IdentityDraft { status: Some(DeviceStatus::Disabled), ..draft("dev1") },
        etag: None,
        twin_etag: None,
        twin: sections(r#"{"new":1}"#, r#"{"new":2}"#),
    }
}

fn existing() -> Device {
    let mut device = dev1_with(r#"{"old":1}"#, r#"{"old":2}"#);
    device.identity.authentication = sas(30);
    device
}

/// In a word, what an element came to: an action with the tags it leaves, or an error's code.
fn told(result: &Result<BulkAction, BulkError>) -> String {
    match result {
        Ok(BulkAction::Put(device)) => format!("put {}", device.twin.tags),
        Ok(BulkAction::Delete) => "delete".to_owned(),
        Ok(BulkAction::UpdateTwin(twin)) => format!("twin {}", twin.tags),
        Err(error) => error.code.to_owned(),
    }
}

/// Each mode in the order of [`MODES`], with this etag of both kinds.
fn check(
    existing: Option<&Device>,
    etag: Option<&str>,
    twin_etag: Option<&str>,
    expected: [&str; 9],
) {
    for (mode, expected) in MODES.into_iter().zip(expected) {
        let element = BulkDevice {
            etag: etag.map(str::to_owned),
            twin_etag: twin_etag.map(str::to_owned),
            ..element(mode)
        };
        let result = decide(existing, &element, LATER, &fresh());
        assert_eq!(told(&result), expected, "{mode:?} with {etag:?}, {twin_etag:?}");
    }
}

#[test]
fn modes_decide_by_the_table() {
    let device = existing();
    let etag = device.identity.etag();
    let twin_etag = device.twin.etag();
    let (created, updated) = (r#"put {"new":1}"#, r#"put {"old":1,"new":1}"#);
    let patched = r#"twin {"old":1,"new":1}"#;
    let (missing, stale) = ("DeviceNotFound", "PreconditionFailed");

    for etag in [None, Some("NzI3ODk0ODYz"), Some("*")] {
        check(
            None,
            etag,
            etag,
            [created, created, created, missing, missing, missing, missing, missing, missing],
        );
    }
    let exists = "DeviceAlreadyExists";
    for (etag, twin_etag) in [
        (None, None),
        (Some(""), Some("\"\"")),
        (Some("MQ=="), Some("AAAAAAAAAAk=")),
        (Some(twin_etag.as_str()), Some(etag.as_str())),
    ] {
        check(
            Some(&device),
            etag,
            twin_etag,
            [exists, updated, stale, updated, stale, "delete", stale, patched, stale],
        );
    }
    let (quoted, quoted_twin) = (format!("\"{etag}\""), format!("\"{twin_etag}\""));
    for (etag, twin_etag) in [
        (etag.as_str(), twin_etag.as_str()),
        (&quoted, &quoted_twin),
        ("*", "*"),
        ("\"*\"", "\"*\""),
    ] {
        check(
            Some(&device),
            Some(etag),
            Some(twin_etag),
            [exists, updated, updated, updated, updated, "delete", "delete", patched, patched],
        );
    }
}

#[test]
fn a_device_created_with_twin_content_starts_as_recorded() {
    let action = decide(None, &element(ImportMode::Create), CREATED, &fresh());
    let Ok(BulkAction::Put(device)) = action else { panic!("{action:?}") };
    assert_eq!(device.identity.status, DeviceStatus::Disabled);
    assert_eq!(device.identity.authentication.keys, Some(keys(3)));
    assert_eq!(device.twin.etag(), "AAAAAAAAAAE=");
    assert_eq!((device.twin.version_number, device.twin.desired.version_number), (2, 1));
    assert_eq!(stamps(&device.twin.desired.metadata), "-1(new:-1)");
}

#[test]
fn an_update_without_a_twin_leaves_the_twin_alone_and_without_keys_mints_new_ones() {
    let device = existing();
    let update = BulkDevice { twin: TwinDraft::default(), ..element(ImportMode::Update) };
    let action = decide(Some(&device), &update, LATER, &fresh());
    let Ok(BulkAction::Put(updated)) = action else { panic!("{action:?}") };
    assert_eq!(updated.twin, device.twin);
    assert_eq!(updated.identity.authentication, sas(3));
    assert_eq!(updated.identity.generation_id, device.identity.generation_id);
    assert_eq!(updated.identity.status_updated, Some(LATER));
}

#[test]
fn content_that_breaks_a_rule_fails_its_element_by_name() {
    let mut bad_reason = element(ImportMode::Create);
    bad_reason.identity.status_reason = Some("x".repeat(129));
    let bad_tags = BulkDevice { twin: sections("[]", ""), ..element(ImportMode::CreateOrUpdate) };
    let bad_desired =
        BulkDevice { twin: sections("", r#"{"a.b":1}"#), ..element(ImportMode::UpdateTwin) };
    for (existing, element, code) in [
        (None, bad_reason, "ArgumentInvalid"),
        (None, bad_tags.clone(), "IotHubFormatError"),
        (Some(existing()), bad_tags, "IotHubFormatError"),
        (Some(existing()), bad_desired, "ArgumentInvalid"),
    ] {
        assert_eq!(told(&decide(existing.as_ref(), &element, LATER, &fresh())), code);
    }
    let exists = decide(Some(&existing()), &element(ImportMode::Create), LATER, &fresh());
    assert_eq!(
        exists.expect_err("exists").status,
        "A device with ID 'dev1' is already registered."
    );
}

#[test]
fn a_batch_holds_at_most_100_devices_each_once() {
    let batch = |ids: &[String]| -> Vec<BulkDevice> {
        ids.iter()
            .map(|id| BulkDevice { identity: draft(id), ..element(ImportMode::Create) })
            .collect()
    };
    let ids = |n| (0..n).map(|i| format!("dev{i}")).collect::<Vec<_>>();
    assert_eq!(check_batch(&batch(&[])), Ok(()));
    assert_eq!(check_batch(&batch(&ids(100))), Ok(()));
    assert_eq!(check_batch(&batch(&ids(101))), Err(HubRefusal::TooManyDevices(101)));
    let named = |ids: &[&str]| batch(&ids.iter().map(|&id| id.to_owned()).collect::<Vec<_>>());
    assert_eq!(check_batch(&named(&["a", "A"])), Ok(()));
    assert_eq!(
        check_batch(&named(&["a", "b", "a", "b"])),
        Err(HubRefusal::DeviceDefinedMultipleTimes("a".to_owned()))
    );
}

#[test]
fn a_module_is_refused_by_names_of_its_own() {
    let of_module = |mode| BulkDevice { identity: draft("dev1/m"), ..element(mode) };
    let code = |existing: Option<&Device>, mode| {
        told(&decide(existing, &of_module(mode), LATER, &fresh()))
    };
    let module = Device {
        identity: DeviceIdentity { device_id: id("dev1/m"), ..existing().identity },
        ..existing()
    };
    assert_eq!(code(Some(&module), ImportMode::Create), "ModuleAlreadyExistsOnDevice");
    assert_eq!(code(None, ImportMode::Delete), "ModuleNotFound");
    assert_eq!(code(None, ImportMode::Create), r#"put {"new":1}"#);
    assert_eq!(code(Some(&module), ImportMode::UpdateTwin), r#"twin {"old":1,"new":1}"#);
    // A device and its module are two things.
    let batch = [element(ImportMode::Create), of_module(ImportMode::Create)];
    assert_eq!(check_batch(&batch), Ok(()));
}
