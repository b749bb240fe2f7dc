//! Modules in the registry (H §2.8).

use decide::hub::method::MethodCall;
use induct_app::No;
use model::{
    AuditFilter, BulkDevice, HubRefusal, IdentityDraft, ImportMode, MAX_MODULES, Precondition,
    TwinDraft,
};

use crate::{
    instance::by,
    stage::{Stage, id, keyed},
};

const DEVICE: &str = "press-17";
const MODULE: &str = "press-17/camera";

fn refusal<T: std::fmt::Debug>(outcome: Result<T, No<HubRefusal>>) -> HubRefusal {
    match outcome {
        Err(No::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

async fn names(stage: &Stage, device: &str) -> Vec<String> {
    let modules = stage.app.list_modules(&stage.hub, &id(device)).await.unwrap();
    modules.iter().map(|module| module.identity.device_id.to_string()).collect()
}

fn element(mode: ImportMode, name: &str) -> BulkDevice {
    BulkDevice {
        mode,
        identity: keyed(name, 2),
        etag: None,
        twin_etag: None,
        twin: TwinDraft::default(),
    }
}

#[tokio::test]
async fn a_module_comes_and_goes_with_its_device() {
    let stage = Stage::with_device(DEVICE).await;
    assert_eq!(names(&stage, DEVICE).await, [""; 0]);
    stage.create(MODULE, 2).await;
    stage.create("press-17/axle", 2).await;
    assert_eq!(names(&stage, DEVICE).await, ["press-17/axle", MODULE]);
    let exists = HubRefusal::ModuleExists { device: DEVICE.into(), module: "camera".into() };
    assert_eq!(refusal(stage.put(keyed(MODULE, 2), Precondition::None).await), exists);
    let managed = IdentityDraft { managed_by: Some("somebody".to_owned()), ..keyed(MODULE, 3) };
    stage.put(managed, Precondition::Any).await.unwrap();
    assert_eq!(stage.identity(MODULE).await.managed_by.as_deref(), Some("somebody"));
    stage.delete("press-17/axle").await;
    assert_eq!(names(&stage, DEVICE).await, [MODULE]);
    let devices = stage.app.list_devices(&stage.hub, 10).await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(stage.app.device_counts(&stage.hub).await.unwrap().total, 1);

    stage.delete(DEVICE).await;
    stage.create(DEVICE, 1).await;
    assert_eq!(names(&stage, DEVICE).await, [""; 0]);
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let stage = Stage::with_device(DEVICE).await;
    let (app, hub, any, none) = (&stage.app, &stage.hub, Precondition::Any, Precondition::None);
    let no_device = HubRefusal::DeviceNotFound("press-18".to_owned());
    let no_module = HubRefusal::ModuleNotFound(MODULE.to_owned());
    let elsewhere = "press-18/camera";
    assert_eq!(refusal(app.list_modules(hub, &id("press-18")).await), no_device);
    assert_eq!(refusal(stage.put(keyed(elsewhere, 2), none.clone()).await), no_device);
    assert_eq!(refusal(app.get_device(hub, &id(elsewhere)).await), no_device);
    assert_eq!(refusal(app.delete_device(hub, &id(elsewhere), &any, &by()).await), no_device);
    assert_eq!(refusal(app.get_device(hub, &id(MODULE)).await), no_module);
    assert_eq!(refusal(app.delete_device(hub, &id(MODULE), &any, &by()).await), no_module);
    assert_eq!(refusal(stage.put(keyed(MODULE, 2), any).await), no_module);
    let method = MethodCall {
        name: "stop".to_owned(),
        payload: "{}".to_owned(),
        response_timeout_secs: 30,
        connect_timeout_secs: 0,
    };
    assert_eq!(refusal(app.call_method(hub, &id(MODULE), &method).await), no_module);
    // As the service we are compatible with says of twins.
    let no_twin = HubRefusal::DeviceNotFound(DEVICE.to_owned());
    assert_eq!(refusal(app.get_twin(hub, &id(MODULE)).await), no_twin);
    let draft = TwinDraft::default();
    assert_eq!(refusal(app.patch_twin(hub, &id(MODULE), &draft, &none, &by()).await), no_twin);
    stage.create(MODULE, 2).await;
    let offline = HubRefusal::DeviceNotOnline(MODULE.to_owned());
    assert_eq!(refusal(app.call_method(hub, &id(MODULE), &method).await), offline);
}

#[tokio::test]
async fn a_device_has_no_more_modules_than_it_may() {
    let stage = Stage::with_device(DEVICE).await;
    for n in 0..MAX_MODULES {
        stage.create(&format!("{DEVICE}/m{n}"), 2).await;
    }
    let full = HubRefusal::TooManyModules { device: DEVICE.to_owned(), limit: MAX_MODULES };
    assert_eq!(refusal(stage.put(keyed(MODULE, 2), Precondition::None).await), full);
    let element = element(ImportMode::Create, MODULE);
    let refused = stage.app.bulk_devices(&stage.hub, &[element], &by()).await.unwrap();
    assert_eq!(refused[0].1.code, "TooManyModulesOnDevice");
    // Those that are there can still be written.
    stage.put(keyed("press-17/m7", 3), Precondition::Any).await.unwrap();
    stage.delete("press-17/m7").await;
    stage.create(MODULE, 2).await;
    assert_eq!(names(&stage, DEVICE).await.len(), 50);
}

#[tokio::test]
async fn a_bulk_call_works_off_devices_and_modules_in_its_order() {
    let stage = Stage::new().await;
    let elements = [
        element(ImportMode::Create, MODULE),
        element(ImportMode::Create, DEVICE),
        element(ImportMode::Create, "press-17/axle"),
        element(ImportMode::CreateOrUpdate, "press-17/wheel"),
        element(ImportMode::Delete, "press-17/door"),
        element(ImportMode::UpdateTwin, "press-18/door"),
    ];
    let refused = stage.app.bulk_devices(&stage.hub, &elements, &by()).await.unwrap();
    let refused: Vec<_> = refused.iter().map(|(place, error)| (*place, error.code)).collect();
    let expected = [(0, "DeviceNotFound"), (4, "ModuleNotFound"), (5, "DeviceNotFound")];
    assert_eq!(refused, expected);
    assert_eq!(names(&stage, DEVICE).await, ["press-17/axle", "press-17/wheel"]);
}

#[tokio::test]
async fn every_change_of_a_module_leaves_a_line_that_names_it() {
    let stage = Stage::with_device(DEVICE).await;
    stage.create(MODULE, 2).await;
    stage.put(keyed(MODULE, 3), Precondition::Any).await.unwrap();
    stage.delete(MODULE).await;
    let lines = stage.app.list_audit(&AuditFilter::default(), None, 100).await.unwrap();
    let target = "hubs/hub-1.example.test/devices/press-17/modules/camera";
    let deeds: Vec<&str> = lines
        .iter()
        .filter(|line| line.entry.target == target)
        .map(|line| line.entry.action.as_str())
        .collect();
    assert_eq!(deeds, ["module.create", "module.update", "module.delete"]);
    let text = format!("{lines:?}");
    assert!(text.contains("moduleId") && text.contains("camera"), "{text}");
}
