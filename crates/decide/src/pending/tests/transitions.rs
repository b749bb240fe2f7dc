//! Every transition of a pending assignment, one claim each.

use model::{
    AllocationPolicy, BanKind, BanSubject, CustomAllocation, DeviceStatus, Draft, HubName, Json,
    ProvisioningStatus, RegistrationRecord, RegistrationStatus, ReprovisionPolicy, Substatus,
};

use super::remote::{DEADLINE_SECS, Fault, Remotes, Worker};
use crate::{
    pending::{LEASE_SECS, RemoteFailure},
    register::{Answer, Chosen, Decision, Prepared, resume},
    scenes::{World, draft, keys, linked_remote, name, request, token},
};

/// A world with one device, two hubs of ours and two remote ones.
struct Scene {
    world: World,
    remotes: Remotes,
}

fn sent_to(hub: &str, data: bool) -> Draft {
    let mut draft = draft(keys(&name::key(1), &name::key(2)));
    draft.allocation_policy = Some(AllocationPolicy::Static);
    draft.iot_hubs = Some(vec![name::hub(hub).as_str().to_owned()]);
    let (update_hub_assignment, migrate_device_data) = (Some(true), Some(data));
    draft.reprovision_policy =
        Some(ReprovisionPolicy { update_hub_assignment, migrate_device_data });
    draft.initial_twin = Some(twin("first"));
    draft
}

fn object(members: &[(&str, Json)]) -> Json {
    Json::Object(members.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn tags(site: &str) -> Json {
    object(&[("site", Json::from(site))])
}

/// An initial twin that is recognised by its tag.
fn twin(site: &str) -> Json {
    let desired = object(&[("rate", Json::from(1_u64))]);
    object(&[("tags", tags(site)), ("properties", object(&[("desired", desired)]))])
}

impl Scene {
    fn new(hub: &str, data: bool) -> Self {
        let mut world = World::default();
        world.settings.attest.clock_skew_secs = i64::from(u32::MAX);
        for far in ["far-1", "far-2"] {
            world.hubs.hubs.push(linked_remote(name::hub(far)));
        }
        world.enroll("press-17", sent_to(hub, data));
        Self { world, remotes: Remotes::default() }
    }

    fn knock(&mut self) -> RegistrationRecord {
        let knock = request("press-17", token("press-17", &name::key(1)));
        match self.world.register(knock) {
            Decision::Settle(settlement) => settlement.record,
            other => panic!("{other:?}"),
        }
    }

    /// Registers and works it off.
    fn settle(&mut self) -> RegistrationRecord {
        self.knock();
        self.finish();
        self.record().clone()
    }

    fn finish(&mut self) {
        let Self { world, remotes } = self;
        Worker { world, remotes, seed: 7 }.finish();
    }

    /// One pass, where the next calls go wrong in these ways.
    fn pass(&mut self, faults: Vec<Option<Fault>>) {
        let Self { world, remotes } = self;
        Worker { world, remotes, seed: 7 }.pass(&mut faults.into_iter());
    }

    fn send(&mut self, hub: &str, data: bool) {
        self.world.enroll("press-17", sent_to(hub, data));
    }

    fn record(&self) -> &RegistrationRecord {
        self.world.records.get("press-17").expect("a record")
    }

    /// The hubs that know the device, and the site its tags name there.
    fn sites(&self) -> Vec<(HubName, Json)> {
        let here =
            self.world.devices.iter().map(|((hub, _), d)| (hub.clone(), d.twin.tags.clone()));
        let there = self.remotes.devices.iter().map(|((hub, _), d)| (hub.clone(), d.tags.clone()));
        here.chain(there).collect()
    }

    #[track_caller]
    fn check(&self, status: RegistrationStatus, sites: &[(&str, &str)]) {
        assert_eq!(self.record().status, status, "{:?}", self.record());
        let expected: Vec<_> =
            sites.iter().map(|(hub, site)| (name::hub(hub), tags(site))).collect();
        assert_eq!(self.sites(), expected);
        assert!(self.world.removals.is_empty(), "{:?}", self.world.removals);
    }
}

use RegistrationStatus::{Assigned, Assigning, Disabled, Failed};

#[test]
fn a_remote_hub_is_told_before_the_device_is() {
    let mut scene = Scene::new("far-1", true);
    let record = scene.knock();
    assert_eq!((record.status, &record.assignment), (Assigning, &None));
    assert!(scene.sites().is_empty(), "nothing was asked of anyone yet");
    scene.finish();
    scene.check(Assigned, &[("far-1", "first")]);
    let far = "far-1.example.test";
    let calls =
        [format!("GET device {far}"), format!("PUT device {far}"), format!("PUT twin {far}")];
    assert_eq!(scene.remotes.log, calls);
    let assignment = scene.record().assignment.clone().expect("assigned");
    assert_eq!(assignment.substatus, Substatus::InitialAssignment);
}

#[test]
fn an_assignment_between_hubs_of_ours_pends_at_no_time() {
    let mut scene = Scene::new("hub-1", true);
    assert_eq!(scene.knock().status, Assigned);
    scene.send("hub-2", true);
    let record = scene.knock();
    assert_eq!((record.status, record.pending), (Assigned, None));
    scene.check(Assigned, &[("hub-2", "first")]);
}

/// A device at one hub with tags of its own moves to another: where its data ends up.
#[track_caller]
fn check_move(from: &str, to: &str, data: bool, site: &str, substatus: Substatus) {
    let mut scene = Scene::new(from, data);
    scene.settle();
    for device in scene.world.devices.values_mut() {
        device.twin.tags = tags("its own");
    }
    for device in scene.remotes.devices.values_mut() {
        device.tags = tags("its own");
    }
    scene.send(to, data);
    let record = scene.knock();
    assert_eq!(record.status, Assigning);
    let kept = record.assignment.expect("it is still there");
    assert_eq!(kept.hub, name::hub(from), "until the move is done");
    scene.finish();
    scene.check(Assigned, &[(to, site)]);
    assert_eq!(scene.record().assignment.as_ref().expect("assigned").substatus, substatus);
}

#[test]
fn data_moves_along_or_begins_anew_between_any_two_hubs() {
    for (from, to) in [("far-1", "far-2"), ("hub-1", "far-1"), ("far-1", "hub-1")] {
        check_move(from, to, true, "its own", Substatus::DeviceDataMigrated);
        check_move(from, to, false, "first", Substatus::DeviceDataReset);
    }
}

#[test]
fn a_twin_that_an_interrupted_attempt_did_not_reach_is_written_later() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    // GET, PUT of the identity, and then our process ends.
    scene.pass(vec![None, Some(Fault::Crash)]);
    assert_eq!(scene.sites(), [(name::hub("far-1"), Json::empty_object())]);
    scene.pass(vec![]);
    assert_eq!(scene.record().status, Assigning, "the claim of the process that ended holds");
    scene.world.now = scene.world.now.plus_secs(LEASE_SECS);
    scene.pass(vec![]);
    scene.check(Assigned, &[("far-1", "first")]);
}

#[test]
fn an_identity_that_a_remote_operator_disabled_stays_disabled() {
    let mut scene = Scene::new("far-1", true);
    scene.settle();
    let device = scene.remotes.devices.values_mut().next().expect("a device");
    device.identity.status = Some(DeviceStatus::Disabled);
    device.identity.status_reason = Some("lost".to_owned());
    device.identity.iot_edge = Some(true);
    scene.settle();
    let identity = &scene.remotes.devices.values().next().expect("a device").identity;
    assert_eq!(identity.status, Some(DeviceStatus::Disabled));
    assert_eq!(identity.status_reason.as_deref(), Some("lost"));
    assert_eq!(identity.iot_edge, Some(false), "the enrollment's, again");
}

#[test]
fn a_device_that_comes_again_unchanged_costs_one_question() {
    let mut scene = Scene::new("far-1", true);
    scene.settle();
    scene.remotes.log.clear();
    scene.remotes.devices.values_mut().for_each(|device| device.tags = tags("its own"));
    scene.settle();
    scene.check(Assigned, &[("far-1", "its own")]);
    let twice = ["GET device far-1.example.test", "GET twin far-1.example.test"];
    assert_eq!(scene.remotes.log, twice, "and one for the twin, which is not written over");
}

#[test]
fn off_means_off_while_the_hub_is_being_told() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.pass(vec![None, Some(Fault::After(RemoteFailure::transient("timeout")))]);
    assert_eq!(scene.sites().len(), 1, "the identity was made");
    scene.world.switch("press-17", ProvisioningStatus::Disabled);
    scene.finish();
    scene.check(Disabled, &[]);
    scene.world.switch("press-17", ProvisioningStatus::Enabled);
    scene.settle();
    scene.check(Assigned, &[("far-1", "first")]);
}

#[test]
fn a_ban_ends_an_assignment_that_is_under_way_and_takes_back_what_it_made() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.pass(vec![None, Some(Fault::After(RemoteFailure::transient("timeout")))]);
    assert_eq!(scene.sites().len(), 1, "the identity was made");
    let subject = BanSubject::Registration(name::id("press-17"));
    scene.world.ban(subject.clone(), BanKind::Suspended);
    scene.finish();
    scene.check(Failed, &[]);
    assert_eq!(scene.record().failure.as_ref().expect("a failure").code, 401_002);
    scene.world.lift(&subject);
    scene.settle();
    scene.check(Assigned, &[("far-1", "first")]);
}

#[test]
fn a_retired_device_with_an_enrollment_of_its_own_goes_on() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.world.ban(BanSubject::Registration(name::id("press-17")), BanKind::Retired);
    scene.finish();
    scene.check(Assigned, &[("far-1", "first")]);
}

#[test]
fn a_group_that_is_gone_admits_nobody_any_more() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    let mut orphan = scene.record().clone();
    orphan.enrollment = model::EnrollmentRef::Group(name::group("line-4"));
    let set = model::ChangeSet::new().with(model::Change::PutRecord(Box::new(orphan)));
    scene.world.apply(set);
    scene.finish();
    scene.check(Failed, &[]);
    assert_eq!(scene.record().failure.as_ref().expect("a failure").code, 401_002);
}

#[track_caller]
fn check_end(failure: RemoteFailure, code: i32, told: &str) {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.pass(vec![None, Some(Fault::Before(failure))]);
    let failure = scene.record().failure.clone().expect("it has failed");
    assert_eq!((failure.code, failure.message.as_str()), (code, told));
    scene.finish();
    scene.check(Failed, &[]);
}

#[test]
fn what_a_hub_refuses_for_good_ends_the_assignment() {
    let body = r#"{"Message":"ErrorCode:IotHubUnauthorizedAccess;Unauthorized"}"#;
    check_end(RemoteFailure::Unauthorized(body.to_owned()), 400_209, body);
    check_end(
        RemoteFailure::Refused(400, "ArgumentInvalid".to_owned()),
        400_004,
        "The hub `far-1.example.test` refused with 400: ArgumentInvalid",
    );
}

#[test]
fn what_may_pass_is_tried_again_at_growing_intervals_until_the_deadline() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    let started = scene.world.now;
    let down = || Some(Fault::Before(RemoteFailure::transient("connection refused")));
    let mut waits = Vec::new();
    while let Some(pending) = scene.record().pending.clone() {
        waits.push((pending.due.ticks() - scene.world.now.ticks()) / 10_000_000);
        scene.world.now = pending.due;
        scene.pass(vec![down()]);
    }
    let first: Vec<_> = waits.iter().copied().take(10).collect();
    let bounds = [(0, 0), (1, 2), (2, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, 128)];
    for (wait, (least, most)) in first.iter().zip(bounds) {
        assert!((least..=most).contains(wait), "{first:?}");
    }
    assert!(waits.iter().all(|wait| *wait <= 300), "{waits:?}");
    let took = scene.world.now.unix_secs() - started.unix_secs();
    assert!((DEADLINE_SECS..DEADLINE_SECS + 301).contains(&took), "{took}");
    let failure = scene.record().failure.clone().expect("it has failed");
    assert_eq!(failure.code, 400_208);
    assert!(failure.message.ends_with("connection refused"), "{}", failure.message);
}

#[test]
fn a_hub_that_asks_for_time_gets_it() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    let text = "busy".to_owned();
    let busy = RemoteFailure::Transient { text, retry_after_secs: Some(77) };
    scene.pass(vec![Some(Fault::Before(busy))]);
    let pending = scene.record().pending.clone().expect("pending");
    assert_eq!(pending.due, scene.world.now.plus_secs(77));
    assert_eq!((pending.n_failures, pending.last_error.as_deref()), (1, Some("busy")));
}

#[test]
fn a_new_request_for_another_hub_takes_back_what_the_first_may_have_made() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.pass(vec![None, Some(Fault::After(RemoteFailure::transient("timeout")))]);
    scene.send("hub-1", true);
    assert_eq!(scene.knock().status, Assigned);
    assert_eq!(scene.sites().len(), 2, "the removal is recorded and not yet done");
    scene.finish();
    scene.check(Assigned, &[("hub-1", "first")]);
}

#[test]
fn a_hub_unlinked_meanwhile_fails_the_assignment_to_it() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    scene.world.hubs.hubs.retain(|hub| hub.name != name::hub("far-1"));
    scene.finish();
    scene.check(Failed, &[]);
    assert_eq!(scene.record().failure.as_ref().expect("a failure").code, 400_208);
}

#[test]
fn only_one_worker_gets_the_same_assignment() {
    let mut scene = Scene::new("far-1", true);
    scene.knock();
    let facts = scene.world.pending_facts(&name::id("press-17"));
    let claim = || crate::pending::claim(&facts, scene.world.now).expect("due");
    let (first, second) = (claim(), claim());
    assert_eq!(scene.world.commit(first.changes), Ok(()));
    assert!(scene.world.commit(second.changes).is_err());
    let facts = scene.world.pending_facts(&name::id("press-17"));
    assert_eq!(crate::pending::claim(&facts, scene.world.now), None, "until the claim ends");
}

/// Registers a device whose webhook answers so.
fn hooked(scene: &mut Scene, answer: Answer) -> RegistrationRecord {
    let mut custom = sent_to("hub-1", true);
    custom.allocation_policy = Some(AllocationPolicy::Custom);
    custom.iot_hubs = None;
    custom.custom_allocation = Some(CustomAllocation {
        webhook_url: "https://hook.example.test/".to_owned(),
        api_version: "2021-10-01".to_owned(),
    });
    scene.world.enroll("press-17", custom);
    let knock = request("press-17", token("press-17", &name::key(1)));
    let prepared = Prepared::new(knock, &scene.world.settings.attest.limits).expect("legal");
    let facts = scene.world.facts(&prepared.query());
    let (world, fresh) = (&scene.world, testkit::fresh(4));
    let decided = resume(&facts, &prepared, &world.settings, world.now, &fresh, &answer);
    let Decision::Settle(settlement) = decided.answer else { panic!("settled") };
    scene.world.apply(settlement.changes);
    settlement.record
}

fn chose(hub: &str, initial_twin: Option<Json>) -> Answer {
    let payload = Some(object(&[("line", Json::from(4_u64))]));
    Answer::Hub(Chosen { hub: hub.to_owned(), initial_twin, payload })
}

#[test]
fn the_webhooks_hub_and_payload_count_in_any_letter_case() {
    let mut scene = Scene::new("hub-1", true);
    let record = hooked(&mut scene, chose("HUB-2.Example.Test", None));
    scene.check(Assigned, &[("hub-2", "first")]);
    assert_eq!(record.payload.expect("a payload").to_string(), r#"{"line":4}"#);
}

#[test]
fn the_webhooks_twin_comes_before_the_enrollments_and_before_the_devices_data() {
    for (from, to) in [("hub-1", "hub-2"), ("hub-1", "far-1"), ("far-1", "hub-1")] {
        let mut scene = Scene::new(from, true);
        scene.settle();
        hooked(&mut scene, chose(name::hub(to).as_str(), Some(twin("the hook's"))));
        scene.finish();
        scene.check(Assigned, &[(to, "the hook's")]);
        let substatus = scene.record().assignment.as_ref().expect("assigned").substatus;
        assert_eq!(substatus, Substatus::DeviceDataReset);
    }
}

#[test]
fn a_hub_that_is_not_linked_is_no_answer() {
    let mut scene = Scene::new("hub-1", true);
    let record = hooked(&mut scene, chose("other.example.test", None));
    let failure = record.failure.expect("it has failed");
    assert_eq!(failure.code, 400_207);
    assert!(failure.message.contains("`other.example.test` is not linked"), "{failure:?}");
}

/// Disables the device in the hub it is in, as an operator of that hub does.
fn disable(scene: &mut Scene) {
    for device in scene.world.devices.values_mut() {
        device.identity.status = DeviceStatus::Disabled;
    }
    for stored in scene.remotes.devices.values_mut() {
        stored.identity.status = Some(DeviceStatus::Disabled);
    }
}

#[test]
fn a_device_disabled_in_its_hub_stays_disabled_wherever_it_moves() {
    for data in [true, false] {
        for (from, to) in [("far-1", "far-2"), ("far-1", "hub-1"), ("hub-1", "far-1")] {
            let mut scene = Scene::new(from, data);
            scene.settle();
            disable(&mut scene);
            scene.send(to, data);
            assert_eq!(scene.settle().status, Assigned, "{from} to {to}");
            let here = scene.world.devices.values().map(|device| device.identity.status);
            let there = scene.remotes.devices.values().filter_map(|stored| stored.identity.status);
            let found: Vec<_> = here.chain(there).collect();
            assert_eq!(found, [DeviceStatus::Disabled], "{from} to {to}, with data: {data}");
        }
    }
}
