//! Which devices a selection means. Several conditions mean that all hold.

use model::{
    BanSubject, EnrollmentRef, Evidence, Intent, OperatorRefusal, Precondition, RecordCondition,
    RegistrationStatus, SelectedCertificate, Selection, SharedAct, TwinCondition, TwinDraft,
    deprovision::MAX_LISTED_IDS,
    query::{Comparison, Filter, Literal, Path},
};
use testkit::{Ca, NOW};

use crate::{
    fleet::{Fleet, GROUP_KEY, by_ca, derived, group_id, ids, of_group, registration},
    instance::{by, hub_name},
};

async fn check(fleet: &Fleet, selection: Selection, expected: &[&str]) {
    let plan = fleet.plan(&selection, Intent::Retire).await;
    let mut found = fleet.devices(&plan.head.id).await;
    found.sort();
    assert_eq!(found, expected, "{selection:?}");
    assert_eq!(plan.counts.items, expected.len() as u64);
    let totals = &plan.head.totals;
    assert_eq!(totals.n_devices + totals.n_unchanged, expected.len() as u64);
}

fn records(condition: RecordCondition) -> Selection {
    Selection { records: Some(condition), ..Selection::default() }
}

fn on_hub(hub: &str) -> Selection {
    Selection { hub: Some(hub_name(hub)), ..Selection::default() }
}

fn tagged(floor: &str) -> TwinCondition {
    let path = Path(vec!["tags".to_owned(), "floor".to_owned()]);
    let literal = Literal::String(floor.to_owned());
    TwinCondition {
        text: format!("tags.floor = '{floor}'"),
        filter: Some(Filter::Compare(path, Comparison::Equal, literal)),
    }
}

#[tokio::test]
async fn devices_are_selected_by_name_group_hub_record_and_twin() {
    let fleet = Fleet::new().await;
    check(&fleet, ids(&["ARM-2", "arm-2", "press-17", "new-1"]), &["arm-2", "new-1", "press-17"])
        .await;
    check(&fleet, of_group("LINE-4"), &["arm-1", "arm-2", "arm-3"]).await;
    check(&fleet, on_hub("hub-1"), &["arm-1", "arm-2", "arm-3", "press-17"]).await;
    check(&fleet, on_hub("hub-2"), &["by-hand", "odd#1"]).await;
    let all = RecordCondition::default();
    check(&fleet, records(all.clone()), &["arm-1", "arm-2", "arm-3", "press-17"]).await;
    let own = EnrollmentRef::Individual(registration("press-17"));
    let by_own = RecordCondition { enrollment: Some(own), ..all.clone() };
    check(&fleet, records(by_own), &["press-17"]).await;
    let by_group = RecordCondition {
        enrollment: Some(EnrollmentRef::Group(group_id("line-4"))),
        ..all.clone()
    };
    check(&fleet, records(by_group), &["arm-1", "arm-2", "arm-3"]).await;
    let failed = RecordCondition { status: Some(RegistrationStatus::Failed), ..all.clone() };
    check(&fleet, records(failed), &[]).await;
    let assigned = RecordCondition { status: Some(RegistrationStatus::Assigned), ..all.clone() };
    check(&fleet, records(assigned), &["arm-1", "arm-2", "arm-3", "press-17"]).await;
    let old = RecordCondition { updated_before: Some(NOW), ..all.clone() };
    check(&fleet, records(old), &[]).await;
    let recent = RecordCondition { updated_since: Some(NOW), ..all.clone() };
    check(&fleet, records(recent), &["arm-1", "arm-2", "arm-3", "press-17"]).await;
    let elsewhere = RecordCondition { hub: Some(hub_name("hub-2")), ..all };
    check(&fleet, records(elsewhere), &[]).await;
    for (hub, device, floor) in
        [("hub-1", "arm-1", "2"), ("hub-2", "by-hand", "2"), ("hub-1", "arm-2", "3")]
    {
        let mut tags = model::Json::empty_object();
        tags.set("floor", model::Json::from(floor));
        let draft = TwinDraft { tags: Some(tags), desired: None };
        let (hub, device) = (hub_name(hub), crate::stage::id(device));
        fleet.app.patch_twin(&hub, &device, &draft, &Precondition::None, &by()).await.unwrap();
    }
    let twins = |floor| Selection { twins: Some(tagged(floor)), ..Selection::default() };
    check(&fleet, twins("2"), &["arm-1", "by-hand"]).await;
    check(&fleet, Selection { hub: Some(hub_name("hub-2")), ..twins("2") }, &["by-hand"]).await;
    let every = TwinCondition { text: String::new(), filter: None };
    let every = Selection { twins: Some(every), ..Selection::default() };
    let expected = ["arm-1", "arm-2", "arm-3", "by-hand", "odd#1", "press-17"];
    check(&fleet, every, &expected).await;
}

#[tokio::test]
async fn several_conditions_mean_that_all_hold() {
    let fleet = Fleet::new().await;
    let names = ids(&["arm-1", "arm-3", "press-17", "by-hand"]);
    let and = |selection: Selection| Selection {
        registration_ids: names.registration_ids.clone(),
        ..selection
    };
    check(&fleet, and(of_group("line-4")), &["arm-1", "arm-3"]).await;
    check(&fleet, and(on_hub("hub-2")), &["by-hand"]).await;
    check(&fleet, and(records(RecordCondition::default())), &["arm-1", "arm-3", "press-17"]).await;
    let hub = Some(hub_name("hub-2"));
    check(&fleet, Selection { hub, ..of_group("line-4") }, &[]).await;
    // A part of a group is not the group as a whole.
    let plan = fleet.plan(&and(of_group("line-4")), Intent::Retire).await;
    assert!(plan.head.shared.is_empty(), "{:?}", plan.head.shared);
    fleet.apply(&plan.head.id).await;
    assert_eq!(fleet.picture().await["groups/line-4"], "enabled");
}

#[tokio::test]
async fn orphans_and_devices_of_a_group_that_is_gone_are_selected() {
    let fleet = Fleet::new().await;
    let orphaned = || records(RecordCondition { orphaned: true, ..RecordCondition::default() });
    check(&fleet, orphaned(), &[]).await;
    fleet.app.delete_group(&group_id("line-4"), &Precondition::None, &by()).await.unwrap();
    check(&fleet, of_group("line-4"), &["arm-1", "arm-2", "arm-3"]).await;
    check(&fleet, orphaned(), &["arm-1", "arm-2", "arm-3"]).await;
    let listed =
        Selection { registration_ids: ids(&["arm-1", "press-17"]).registration_ids, ..orphaned() };
    check(&fleet, listed, &["arm-1"]).await;
}

#[tokio::test]
async fn devices_are_selected_by_any_certificate_they_rest_on() {
    let fleet = Fleet::new().await;
    let root = Ca::root("root");
    let (works, other) = (root.intermediate("works"), root.intermediate("other"));
    fleet.enroll_group("works", by_ca(&works)).await;
    fleet.enroll_group("other", by_ca(&other)).await;
    let mut leaves = Vec::new();
    for (id, ca) in [("saw-1", &works), ("saw-2", &works), ("drill-1", &other)] {
        let leaf = ca.leaf(id);
        fleet.show(id, Evidence::X509(leaf.chain())).await.unwrap();
        leaves.push(leaf);
    }
    let sha256 = |der: &[u8]| {
        let known = attest::certificate::describe(der).unwrap();
        let text = known.info.sha256_thumbprint;
        let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..32).map(|n| byte(2 * n)).collect();
        SelectedCertificate::Sha256 { sha256: bytes.try_into().unwrap(), tbs: None }
    };
    let by_it = |certificate| Selection { certificate: Some(certificate), ..Selection::default() };
    check(&fleet, by_it(sha256(works.der())), &["saw-1", "saw-2"]).await;
    check(&fleet, by_it(sha256(leaves[0].der())), &["saw-1"]).await;
    check(&fleet, by_it(sha256(root.der())), &[]).await;
    let one = Selection {
        registration_ids: ids(&["saw-2", "drill-1"]).registration_ids,
        ..by_it(sha256(works.der()))
    };
    check(&fleet, one, &["saw-2"]).await;
    // The thumbprint of an enrolled CA means the CA, and revoking it as a whole bans it.
    let plan = fleet.plan(&by_it(sha256(works.der())), Intent::Revoke).await;
    let acts: Vec<_> = plan.head.shared.iter().map(|part| &part.act).collect();
    assert!(
        matches!(acts[..], [SharedAct::SetBan(BanSubject::Ca(ca))] if ca.der == works.der()),
        "{acts:?}"
    );
    let fresh = works.leaf("saw-3");
    fleet.show("saw-3", Evidence::X509(fresh.chain())).await.unwrap();
    let receipt = fleet.apply(&plan.head.id).await;
    assert_eq!((receipt.counts.done, receipt.counts.items), (3, 3), "the late one as well");
    let picture = fleet.picture().await;
    for id in ["saw-1", "saw-2", "saw-3"] {
        assert!(!picture.contains_key(&format!("records/{id}")), "{id}");
        assert!(!picture.contains_key(&format!("hub-1/{id}")), "{id}");
        let again = fleet.show(id, Evidence::X509(works.leaf(id).chain())).await;
        assert!(again.is_err(), "{id}: {again:?}");
    }
    let never_seen = fleet.show("saw-4", Evidence::X509(works.leaf("saw-4").chain())).await;
    assert!(never_seen.is_err(), "{never_seen:?}");
    assert_eq!(picture["groups/works"], "enabled", "the CA is banned, the group is as it was");
    let other = fleet.show("drill-1", Evidence::X509(leaves[2].chain())).await;
    assert_eq!(other, Ok(RegistrationStatus::Assigned));
    // Each by its leaf as well, so that lifting the CA's ban brings none of them back.
    let n_leaves = picture.keys().filter(|name| name.starts_with("bans/sha256:")).count();
    assert_eq!(n_leaves, 3, "{picture:?}");
}

#[tokio::test]
async fn a_group_of_certificates_is_revoked_with_its_cas() {
    let fleet = Fleet::new().await;
    let works = Ca::root("works");
    fleet.enroll_group("works", by_ca(&works)).await;
    fleet.show("saw-1", Evidence::X509(works.leaf("saw-1").chain())).await.unwrap();
    let receipt = fleet.act(&of_group("works"), Intent::Revoke).await;
    assert_eq!(receipt.head.shared.len(), 2, "{:?}", receipt.head.shared);
    assert_eq!(receipt.counts.done, 1);
    // Whatever group would trust it now.
    fleet.enroll_group("works-again", by_ca(&works)).await;
    for id in ["saw-1", "saw-2"] {
        let shown = fleet.show(id, Evidence::X509(works.leaf(id).chain())).await;
        assert!(shown.is_err(), "{id}: {shown:?}");
    }
}

#[tokio::test]
async fn a_selection_of_nothing_in_particular_or_of_what_is_not_there_is_refused() {
    let fleet = Fleet::new().await;
    let refused = async |selection: Selection| {
        fleet.try_plan(&selection, Intent::Retire).await.map(|plan| plan.head.selected_by)
    };
    let bad = |outcome: Result<_, OperatorRefusal>, text: &str| match outcome {
        Err(OperatorRefusal::BadRequest(said)) => assert!(said.contains(text), "{said}"),
        other => panic!("{other:?}"),
    };
    bad(refused(Selection::default()).await, "select devices");
    bad(
        refused(ids(&[])).await,
        "registrationIds is empty; list at least one, or leave the member out",
    );
    let many = vec![registration("a"); MAX_LISTED_IDS + 1];
    let many = Selection { registration_ids: Some(many), ..Selection::default() };
    bad(refused(many).await, "at most 100000");
    assert_eq!(refused(of_group("none")).await, Err(OperatorRefusal::GroupNotFound));
    let hub = hub_name("hub-9");
    let expected = OperatorRefusal::HubNotLinked(hub.to_string());
    assert_eq!(refused(on_hub("hub-9")).await, Err(expected));
    let receipt = model::ReceiptId::from_random([1; 16]);
    let expected = OperatorRefusal::ReceiptNotFound(receipt.to_string());
    assert_eq!(refused(crate::fleet::of_receipt(&receipt)).await, Err(expected));
    let long = Some("x".repeat(513));
    let outcome = fleet.app.plan_deprovision(&ids(&["a"]), Intent::Retire, long, &by()).await;
    match outcome {
        Err(induct_app::No::Refused(OperatorRefusal::BadRequest(text))) => {
            assert!(text.contains("513 characters") && text.ends_with("; shorten it"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    let n_plans = fleet.app.list_deprovisionings(None, 10).await.unwrap().items.len();
    assert_eq!(n_plans, 0, "what is refused leaves nothing");
}

#[tokio::test]
async fn a_receipt_selects_what_it_changed() {
    let fleet = Fleet::new().await;
    let suspended = fleet.act(&ids(&["arm-1", "arm-2"]), Intent::Suspend).await;
    fleet.act(&ids(&["arm-3"]), Intent::Suspend).await;
    let by_receipt = crate::fleet::of_receipt(&suspended.head.id);
    check(&fleet, by_receipt.clone(), &["arm-1", "arm-2"]).await;
    let listed = Selection {
        registration_ids: ids(&["arm-2", "arm-3"]).registration_ids,
        ..by_receipt.clone()
    };
    check(&fleet, listed, &["arm-2"]).await;
    // For good: the suspended ones are revoked.
    fleet.act(&by_receipt, Intent::Revoke).await;
    let picture = fleet.picture().await;
    assert_eq!(picture["bans/registration:arm-1"], "Revoked");
    assert_eq!(picture["bans/registration:arm-3"], "Suspended");
    assert!(fleet.register("arm-1", derived("arm-1", GROUP_KEY)).await.is_err());
}
