//! What an operator does to the service itself, and what the audit log says of it afterwards.
//! Over the embedded store.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use decide::{manage::DEFAULT_QUOTAS, scenes};
use induct_app::{
    App, No,
    ca_certificates::CaDraft,
    first_start::{self, Declared, DeclaredHub, HUB_OWNER, SERVICE_OWNER},
    limits::{DeviceCall, Rate, RateSettings},
    linked_hubs::{AccessDraft, HubDraft},
    policies::{KeySlot, PolicyDraft},
    service::SettingsDraft,
};
use model::{
    AllocationPolicy, AttestationDraft, AuditFilter, AuditLine, Caller, Change, ChangeSet,
    DeviceRefusal, Draft, EnrollmentGroupId, GroupDraft, HubName, IdentityDraft, IpAction,
    IpNetwork, IpRule, IpTarget, Json, OperatorRefusal, PolicyScope, Precondition, RegistrationId,
    Right, Rights, SasToken, ServiceSettings, Slots, SymmetricKey, TwinDraft,
};
use store::Store as _;
use testkit::{Ca, Profile};

use crate::{
    instance::{Instance, by, hub_name, instance, instance_with},
    stage::Stage,
};

fn refusal<T: std::fmt::Debug>(outcome: Result<T, No<OperatorRefusal>>) -> OperatorRefusal {
    match outcome {
        Err(No::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

fn link(text: &str) -> HubDraft {
    let (weight, apply_allocation_policy) = (None, None);
    HubDraft { name: hub_name(text), access: AccessDraft::BuiltIn, weight, apply_allocation_policy }
}

fn key(seed: u8) -> SymmetricKey {
    SymmetricKey::from_bytes(&[seed; 32]).unwrap()
}

fn draft(attestation: AttestationDraft, iot_hubs: &[&str]) -> Draft {
    let named = |text: &&str| hub_name(text).to_string();
    let iot_hubs: Vec<String> = iot_hubs.iter().map(named).collect();
    Draft {
        allocation_policy: (!iot_hubs.is_empty()).then_some(AllocationPolicy::Hashed),
        iot_hubs: (!iot_hubs.is_empty()).then_some(iot_hubs),
        ..scenes::draft(attestation)
    }
}

fn group(attestation: AttestationDraft, iot_hubs: &[&str]) -> GroupDraft {
    let group_id = EnrollmentGroupId::parse("line-4").unwrap();
    GroupDraft { group_id, draft: draft(attestation, iot_hubs) }
}

fn by_keys() -> AttestationDraft {
    AttestationDraft::SymmetricKey { primary: Some(key(1)), secondary: Some(key(2)) }
}

fn device(id: &str) -> IdentityDraft {
    IdentityDraft {
        device_id: model::DeviceId::parse(id).unwrap(),
        status: None,
        status_reason: None,
        authentication: None,
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

async fn audit(app: &App) -> Vec<AuditLine> {
    app.list_audit(&AuditFilter::default(), None, 1000).await.unwrap()
}

/// Action and target of the lines that this caller left.
async fn deeds(app: &App) -> Vec<(String, String)> {
    let filter = AuditFilter { policy: Some(by().policy), ..AuditFilter::default() };
    let lines = app.list_audit(&filter, None, 1000).await.unwrap();
    lines.into_iter().map(|line| (line.entry.action, line.entry.target)).collect()
}

#[tokio::test]
async fn a_hub_that_is_linked_answers_at_once_and_comes_back_as_it_was() {
    let Instance { app, _folder, .. } = instance().await;
    let hub = hub_name("hub-9");
    assert_eq!(app.find_hub(hub.as_str()).await.unwrap(), None);
    app.put_hub(&link("hub-9"), &Precondition::None, &by()).await.unwrap();
    assert_eq!(app.find_hub("HUB-9.example.test:8443").await.unwrap(), Some(hub.clone()));
    let scope = PolicyScope::Hub(hub.clone());
    let policies = app.list_policies(&scope).await.unwrap();
    assert_eq!(policies.len(), 5);
    app.put_identity(&hub, &device("press-17"), &Precondition::None, &by()).await.unwrap();
    app.put_group(group(by_keys(), &["hub-9"]), &Precondition::None, &by()).await.unwrap();

    let refused = refusal(app.delete_hub(&hub, &Precondition::None, false, &by()).await);
    assert!(refused.to_string().contains("has 1 devices"), "{refused}");
    let unlinked = app.delete_hub(&hub, &Precondition::None, true, &by()).await.unwrap();
    assert_eq!((unlinked.n_devices, unlinked.n_individuals, unlinked.n_groups), (1, 0, 1));
    assert!(unlinked.looked_at_all);
    assert_eq!(app.find_hub(hub.as_str()).await.unwrap(), None);
    let refused = refusal(app.list_policies(&scope).await);
    assert_eq!(refused, OperatorRefusal::HubNotLinked(hub.to_string()));

    app.put_hub(&link("hub-9"), &Precondition::None, &by()).await.unwrap();
    assert_eq!(app.device_counts(&hub).await.unwrap().total, 1);
    let keys = |policies: &[model::AccessPolicy]| -> Vec<_> {
        policies.iter().map(|policy| (policy.name.clone(), policy.keys.clone())).collect()
    };
    assert_eq!(keys(&app.list_policies(&scope).await.unwrap()), keys(&policies));
}

#[tokio::test]
async fn a_remote_hub_keeps_its_key_and_is_answered_for_by_nobody_here() {
    let Instance { app, _folder, .. } = instance().await;
    let access = |key| AccessDraft::Remote { port: Some(9443), policy: "owner".to_owned(), key };
    let far = |key| HubDraft { access: access(key), ..link("far") };
    app.put_hub(&far(Some(key(7))), &Precondition::None, &by()).await.unwrap();
    assert_eq!(app.find_hub(hub_name("far").as_str()).await.unwrap(), None);
    let kept = app.put_hub(&far(None), &Precondition::Any, &by()).await.unwrap();
    let model::HubAccess::Remote(remote) = kept.access else { panic!("remote") };
    assert_eq!(remote.key, key(7));
    let refused = refusal(app.list_policies(&PolicyScope::Hub(hub_name("far"))).await);
    assert!(matches!(refused, OperatorRefusal::BadRequest(_)), "{refused}");
}

#[tokio::test]
async fn a_start_reconciles_with_the_file_and_leaves_what_the_api_made() {
    let Instance { app, store, entropy, clock, _folder } = instance().await;
    app.put_hub(&link("by-api"), &Precondition::None, &by()).await.unwrap();
    app.put_hub(&link("taken-over"), &Precondition::None, &by()).await.unwrap();
    let declared = |hubs: &[(&str, u32)]| Declared {
        hubs: hubs
            .iter()
            .map(|(name, weight)| DeclaredHub {
                name: hub_name(name),
                weight: *weight,
                apply_allocation_policy: true,
            })
            .collect(),
        allocation_policy: AllocationPolicy::GeoLatency,
    };
    let file = declared(&[("hub-1", 5), ("hub-3", 1), ("taken-over", 1)]);
    let started = first_start::prepare(&*store, &*entropy, &*clock, &file).await.unwrap();
    assert_eq!(started.linked, [hub_name("hub-3")]);
    assert_eq!(started.updated, [hub_name("hub-1"), hub_name("taken-over")]);
    assert_eq!(started.unlinked, [hub_name("hub-2")]);
    assert_eq!(started.made_policies.len(), 5, "{:?}", started.made_policies);
    let names: Vec<HubName> =
        app.list_hubs().await.unwrap().into_iter().map(|hub| hub.name).collect();
    assert_eq!(names, ["by-api", "hub-1", "hub-3", "taken-over"].map(hub_name));
    let settings = app.service_settings().await.unwrap();
    assert_eq!(settings.allocation_policy, AllocationPolicy::Hashed, "settings are not reset");
    let refused = app.put_hub(&link("taken-over"), &Precondition::Any, &by()).await;
    let host = hub_name("taken-over").to_string();
    assert_eq!(refusal(refused), OperatorRefusal::HubDeclared(host));

    let n_lines = audit(&app).await.len();
    let again = first_start::prepare(&*store, &*entropy, &*clock, &file).await.unwrap();
    assert!(again.linked.is_empty() && again.updated.is_empty() && again.unlinked.is_empty());
    assert!(!again.made_id_scope && again.made_policies.is_empty());
    assert_eq!(audit(&app).await.len(), n_lines, "a start that changes nothing leaves no line");
}

#[tokio::test]
async fn possession_of_a_ca_key_is_proven_and_deleting_the_ca_names_its_groups() {
    let Instance { app, _folder, .. } = instance().await;
    let ca = Ca::root("Works CA");
    let draft = CaDraft { name: "works".to_owned(), der: ca.der().to_vec(), verified: None };
    let put = app.put_ca_certificate(&draft, &Precondition::None, &by()).await.unwrap();
    assert!(!put.verified);
    let tag = Precondition::Tag(put.etag.as_str().to_owned());
    let coded = app.generate_verification_code("works", &tag, &by()).await.unwrap();
    let code = coded.pending_code.unwrap();
    assert!(code.len() == 48 && code.bytes().all(|b| b.is_ascii_hexdigit()), "{code}");
    let stored = app.get_ca_certificate("works").await.unwrap();
    assert_eq!(stored.pending_code.as_deref(), Some(code.as_str()));
    let proof = ca.issue(Profile::leaf(&code));
    let stale = app.verify_ca_certificate("works", proof.der(), &tag, &by()).await;
    assert_eq!(refusal(stale), OperatorRefusal::StaleEtag);
    let any = Precondition::Any;
    let wrong = app.verify_ca_certificate("works", ca.leaf("x").der(), &any, &by()).await;
    assert!(matches!(refusal(wrong), OperatorRefusal::NotProven(_)));
    let verified = app.verify_ca_certificate("works", proof.der(), &any, &by()).await.unwrap();
    assert!(verified.verified);

    let references = Slots { primary: Some("works".to_owned()), secondary: None };
    let by_reference =
        AttestationDraft::X509 { client: None, signing: None, ca_references: Some(references) };
    app.put_group(group(by_reference, &[]), &Precondition::None, &by()).await.unwrap();
    let groups = app.delete_ca_certificate("works", &Precondition::None, &by()).await.unwrap();
    assert_eq!(groups, [EnrollmentGroupId::parse("line-4").unwrap()]);
    let gone = refusal(app.get_ca_certificate("works").await);
    assert_eq!(gone, OperatorRefusal::CaCertificateNotFound("works".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_who_delete_the_last_two_owners_at_once_leave_one() {
    let Instance { app, _folder, .. } = instance().await;
    let scope = PolicyScope::Service;
    let rights = Rights::of(&[Right::ServiceConfig, Right::EnrollmentWrite]);
    let owner =
        |name: &str| PolicyDraft { name: name.to_owned(), rights, primary: None, secondary: None };
    for n in 0..20 {
        let deputy = format!("deputy-{n}");
        app.put_policy(&scope, &owner(&deputy), &Precondition::None, &by()).await.unwrap();
        let owners: Vec<String> =
            app.list_policies(&scope).await.unwrap().into_iter().map(|p| p.name).collect();
        assert_eq!(owners.len(), 2);
        let deletions = owners.into_iter().map(|name| {
            let (app, scope) = (app.clone(), scope.clone());
            tokio::spawn(async move {
                app.delete_policy(&scope, &name, &Precondition::None, &by()).await.is_ok()
            })
        });
        let mut deleted = 0;
        for deletion in deletions.collect::<Vec<_>>() {
            deleted += u32::from(deletion.await.unwrap());
        }
        assert_eq!(deleted, 1, "round {n}");
    }
}

#[tokio::test]
async fn a_rotated_key_opens_and_the_old_one_does_not() {
    let Instance { app, _folder, .. } = instance().await;
    let scope = PolicyScope::Service;
    let old = app.get_policy(&scope, SERVICE_OWNER).await.unwrap();
    let opens = async |key: &SymmetricKey| {
        let expiry_raw = (testkit::NOW.unix_secs() + 600).to_string();
        let token = SasToken {
            resource_raw: "localhost".to_owned(),
            resource: "localhost".to_owned(),
            expiry_unix_secs: testkit::NOW.unix_secs() + 600,
            signature: testkit::sas::sign(key.bytes(), "localhost", &expiry_raw).to_vec(),
            expiry_raw,
            key_name: Some(SERVICE_OWNER.to_owned()),
        };
        let address = [127, 0, 0, 1].into();
        app.authorize_service(&token, "localhost", &[], Right::ServiceConfig, address).await
    };
    let caller = opens(&old.keys.primary).await.unwrap();
    assert_eq!(caller, Caller { policy: SERVICE_OWNER.to_owned(), ..by() });
    app.rotate_policy_key(
        &scope,
        SERVICE_OWNER,
        KeySlot::Primary,
        None,
        &Precondition::None,
        &by(),
    )
    .await
    .unwrap();
    let new = app.get_policy(&scope, SERVICE_OWNER).await.unwrap();
    assert!(opens(&old.keys.primary).await.is_err());
    assert!(opens(&old.keys.secondary).await.is_ok());
    assert!(opens(&new.keys.primary).await.is_ok());
}

#[tokio::test]
async fn whoever_is_kept_out_by_a_rule_is_refused_at_once() {
    let Instance { app, _folder, .. } = instance().await;
    let draft =
        SettingsDraft { ip_rules: Some(vec![rejecting_office()]), ..SettingsDraft::default() };
    let author = Caller { policy: "owner".to_owned(), address: Some([10, 1, 1, 1].into()) };
    let locked_out = app.update_service(&draft, &Precondition::None, false, &author).await;
    assert!(matches!(refusal(locked_out), OperatorRefusal::WouldLockOut(_)));
    app.admit_operator([10, 1, 1, 1].into()).await.unwrap();
    app.update_service(&draft, &Precondition::None, false, &by()).await.unwrap();
    let id = RegistrationId::parse("press-17").unwrap();
    let kept_out = refusal(app.admit_operator([10, 1, 1, 1].into()).await);
    assert_eq!(kept_out, OperatorRefusal::AddressRefused("10.1.1.1".to_owned()));
    assert!(app.admit_to_hub([10, 1, 1, 1].into()).await.is_err());
    assert!(app.admit_device([10, 1, 1, 1].into(), &id, DeviceCall::Register).await.is_err());
    app.admit_operator([192, 0, 2, 1].into()).await.unwrap();
    app.admit_device([192, 0, 2, 1].into(), &id, DeviceCall::Register).await.unwrap();
}

fn rejecting_office() -> IpRule {
    IpRule {
        name: "office".to_owned(),
        action: IpAction::Reject,
        network: IpNetwork { address: [10, 0, 0, 0].into(), prefix: 8 },
        target: IpTarget::All,
    }
}

/// Written past the use cases, as by another user of the store.
async fn write_rules(stage: &Stage, ip_rules: Vec<IpRule>) {
    let settings = stage.store.service_facts().await.unwrap().settings;
    let settings = ServiceSettings { ip_rules, ..settings };
    let changes = ChangeSet::new().with(Change::PutServiceSettings(Box::new(settings)));
    stage.store.commit(changes).await.unwrap();
}

#[tokio::test]
async fn rules_are_asked_without_reading_until_new_ones_are_written() {
    let stage = Stage::new().await;
    let id = RegistrationId::parse("press-17").unwrap();
    let n_reads = || stage.store.n_service_facts.load(Ordering::SeqCst);
    let admits = async || {
        let address = [10, 1, 1, 1].into();
        stage.app.admit_device(address, &id, DeviceCall::Register).await.is_ok()
    };
    for (n, rules) in [vec![], vec![rejecting_office()], vec![]].into_iter().enumerate() {
        let expected = rules.is_empty();
        write_rules(&stage, rules).await;
        let before = n_reads();
        for _ in 0..100 {
            assert_eq!(admits().await, expected);
        }
        assert_eq!(n_reads(), before + 1);
        // What else is written is of no matter to them.
        stage.create(&format!("press-{n}"), 1).await;
        assert_eq!((admits().await, n_reads()), (expected, before + 1));
    }
}

/// Others ask all the time, so that there is always somebody who has just read the rules from
/// before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_a_rule_is_acknowledged_nobody_is_admitted_against_it() {
    let stage = Stage::new().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let admits = async |app: &App| {
        let id = RegistrationId::parse("press-17").unwrap();
        app.admit_device([10, 1, 1, 1].into(), &id, DeviceCall::Register).await.is_ok()
    };
    let askers: Vec<_> = (0..4)
        .map(|_| {
            let (app, is_over) = (stage.app.clone(), Arc::clone(&is_over));
            tokio::spawn(async move {
                while !is_over.load(Ordering::SeqCst) {
                    admits(&app).await;
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for n in 0..200 {
        let rules = if n % 2 == 0 { vec![rejecting_office()] } else { Vec::new() };
        write_rules(&stage, rules).await;
        assert_eq!(admits(&stage.app).await, n % 2 == 1, "round {n}");
    }
    is_over.store(true, Ordering::SeqCst);
    for asker in askers {
        asker.await.unwrap();
    }
}

#[tokio::test]
async fn a_noisy_device_uses_up_its_own_share_only() {
    let rate = |n| Some(Rate { n, per_secs: 10 });
    let rates = RateSettings {
        device_registrations: rate(2),
        registrations: rate(4),
        ..RateSettings::default()
    };
    let Instance { app, _folder, .. } = instance_with(&["hub-1"], DEFAULT_QUOTAS, rates).await;
    let register = async |id: &str| {
        let id = RegistrationId::parse(id).unwrap();
        app.admit_device([192, 0, 2, 1].into(), &id, DeviceCall::Register).await
    };
    for _ in 0..2 {
        register("noisy").await.unwrap();
    }
    for _ in 0..50 {
        let refused = register("noisy").await;
        assert!(matches!(refused, Err(No::Refused(DeviceRefusal::Throttled(5)))), "{refused:?}");
    }
    for quiet in ["quiet-1", "quiet-2"] {
        register(quiet).await.unwrap();
    }
    let everyone = register("quiet-3").await;
    assert!(matches!(everyone, Err(No::Refused(DeviceRefusal::Throttled(3)))), "{everyone:?}");
}

#[tokio::test]
async fn usage_stands_beside_its_limits() {
    let quotas = model::Quotas { linked_hubs: 2, ca_certificates: 0, ..DEFAULT_QUOTAS };
    let Instance { app, _folder, .. } =
        instance_with(&["hub-1", "hub-2"], quotas.clone(), RateSettings::default()).await;
    let report = app.usage_report().await.unwrap();
    assert_eq!((report.linked_hubs, report.ca_certificates), (2, 0));
    assert_eq!(report.quotas, quotas);
    let one_more = refusal(app.put_hub(&link("hub-3"), &Precondition::None, &by()).await);
    assert!(matches!(one_more, OperatorRefusal::QuotaExceeded { limit: 2, .. }), "{one_more}");
    let der = Ca::root("Works CA").der().to_vec();
    let draft = CaDraft { name: "works".to_owned(), der, verified: None };
    let one_more = refusal(app.put_ca_certificate(&draft, &Precondition::None, &by()).await);
    assert!(matches!(one_more, OperatorRefusal::QuotaExceeded { limit: 0, .. }), "{one_more}");
}

#[tokio::test]
async fn every_change_leaves_one_line_and_no_line_holds_a_key() {
    let Instance { app, _folder, .. } = instance().await;
    let (none, any, me) = (Precondition::None, Precondition::Any, by());
    let hub = hub_name("hub-1");
    let id = model::DeviceId::parse("press-17").unwrap();
    app.put_group(group(by_keys(), &[]), &none, &me).await.unwrap();
    let other_keys = AttestationDraft::SymmetricKey { primary: Some(key(3)), secondary: None };
    app.put_group(group(other_keys, &[]), &any, &me).await.unwrap();
    app.put_identity(&hub, &device("press-17"), &none, &me).await.unwrap();
    let made = app.get_device(&hub, &id).await.unwrap();
    let tags = Some(Json::Object(vec![("line".to_owned(), Json::from("4"))]));
    let draft = TwinDraft { tags, desired: None };
    app.patch_twin(&hub, &id, &draft, &none, &me).await.unwrap();
    app.delete_device(&hub, &id, &any, &me).await.unwrap();
    let scope = PolicyScope::Hub(hub.clone());
    let rotated = app
        .rotate_policy_key(&scope, HUB_OWNER, KeySlot::Secondary, Some(&key(4)), &none, &me)
        .await
        .unwrap();
    app.delete_group(&EnrollmentGroupId::parse("line-4").unwrap(), &none, &me).await.unwrap();
    let draft = SettingsDraft { ip_rules: Some(Vec::new()), ..SettingsDraft::default() };
    app.update_service(&draft, &none, false, &me).await.unwrap();
    let gone = app.delete_group(&EnrollmentGroupId::parse("line-4").unwrap(), &none, &me).await;
    assert_eq!(refusal(gone), OperatorRefusal::GroupNotFound);

    let expected = [
        ("enrollment-group.create", "enrollmentGroups/line-4"),
        ("enrollment-group.update", "enrollmentGroups/line-4"),
        ("device.create", "hubs/hub-1.example.test/devices/press-17"),
        ("twin.update", "hubs/hub-1.example.test/devices/press-17"),
        ("device.delete", "hubs/hub-1.example.test/devices/press-17"),
        ("policy.rotate-secondary", "hubs/hub-1.example.test/policies/iothubowner"),
        ("enrollment-group.delete", "enrollmentGroups/line-4"),
        ("ip-rules.update", "service"),
    ];
    let expected = expected.map(|(action, target)| (action.to_owned(), target.to_owned()));
    assert_eq!(deeds(&app).await, expected);

    let lines = audit(&app).await;
    let text = format!("{lines:?}");
    let device_keys = made.identity.authentication.keys.unwrap();
    let mut secrets = vec![key(1), key(2), key(3), key(4), rotated.keys.primary];
    secrets.extend([device_keys.primary, device_keys.secondary]);
    for secret in secrets {
        assert!(!text.contains(secret.reveal()), "a key is in the log");
    }
    let changed = lines.iter().find(|line| line.entry.action == "enrollment-group.update");
    let after = changed.unwrap().entry.after.as_ref().unwrap().to_string();
    assert!(after.contains(r#""symmetricKeys":"changed""#), "{after}");

    let verified = app.verify_audit().await.unwrap();
    assert_eq!(verified.broken, None);
    assert_eq!(verified.n_lines, lines.len() as u64);
}
