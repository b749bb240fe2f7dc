//! Whatever fails, and wherever our process ends: nothing is left half done.

use model::{
    AllocationPolicy, Change, ChangeSet, Draft, HubName, ProvisioningStatus, RegistrationStatus,
    ReprovisionPolicy,
};
use proptest::prelude::*;

use super::remote::{Fault, Remotes, Worker};
use crate::{
    pending::{RemoteFailure, left_behind},
    scenes::{World, draft, keys, linked_remote, name, request, token},
};

/// What happens next in the world.
#[derive(Debug, Clone)]
enum Event {
    /// The operator sends the device to this hub, with or without its data.
    Send(usize, bool),
    /// The device registers.
    Register,
    /// The operator flips the switch.
    Switch(bool),
    /// The operator deletes the record.
    Forget,
    /// Time passes, in seconds, and the worker works, and this goes wrong.
    Work(i64, Vec<Option<Fault>>),
    /// The worker is interrupted by the device registering again for another hub, in the middle,
    /// and by another worker that looks for work then.
    Overtaken(usize, usize),
}

fn hub(n: usize) -> HubName {
    name::hub(["hub-1", "hub-2", "far-1", "far-2"][n])
}

fn sent_to(n: usize, with_data: bool) -> Draft {
    let mut draft = draft(keys(&name::key(1), &name::key(2)));
    draft.allocation_policy = Some(AllocationPolicy::Static);
    draft.iot_hubs = Some(vec![hub(n).as_str().to_owned()]);
    draft.reprovision_policy = Some(ReprovisionPolicy {
        update_hub_assignment: Some(true),
        migrate_device_data: Some(with_data),
    });
    draft
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    let failure = prop_oneof![
        6 => Just(RemoteFailure::transient("timeout")),
        1 => Just(RemoteFailure::Unauthorized("Unauthorized".to_owned())),
        1 => Just(RemoteFailure::Refused(400, "ArgumentInvalid".to_owned())),
    ];
    let failure = failure.boxed();
    prop_oneof![
        6 => Just(None),
        2 => failure.clone().prop_map(|f| Some(Fault::Before(f))),
        2 => failure.prop_map(|f| Some(Fault::After(f))),
        2 => Just(Some(Fault::Crash)),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => (0..4_usize, any::<bool>()).prop_map(|(n, data)| Event::Send(n, data)),
        4 => Just(Event::Register),
        1 => any::<bool>().prop_map(Event::Switch),
        1 => Just(Event::Forget),
        6 => (0..90_i64, prop::collection::vec(fault(), 0..6)).prop_map(|(t, f)| Event::Work(t, f)),
        2 => (0..4_usize, 0..5_usize).prop_map(|(n, at)| Event::Overtaken(n, at)),
    ]
}

fn knock(world: &mut World) {
    world.register(request("press-17", token("press-17", &name::key(1))));
}

/// Deletes the record as the use case does.
fn forget(world: &mut World) {
    let id = name::id("press-17");
    let Some(record) = world.records.get(id.key()).cloned() else { return };
    let mut set = ChangeSet::new().with(Change::DeleteRecord(id));
    let behind = left_behind(&record, None, world.now);
    set.changes.extend(behind.map(|removal| Change::PutRemoval(Box::new(removal))));
    world.apply(set);
}

fn happen(world: &mut World, remotes: &mut Remotes, event: &Event, seed: u64) {
    match event {
        Event::Send(n, with_data) => world.enroll("press-17", sent_to(*n, *with_data)),
        Event::Register => knock(world),
        Event::Switch(true) => world.switch("press-17", ProvisioningStatus::Enabled),
        Event::Switch(false) => world.switch("press-17", ProvisioningStatus::Disabled),
        Event::Forget => forget(world),
        Event::Work(secs, faults) => {
            world.now = world.now.plus_secs(*secs);
            Worker { world, remotes, seed }.pass(&mut faults.iter().cloned());
        }
        Event::Overtaken(to, at) => {
            let id = name::id("press-17");
            let mut overtake = |world: &mut World, remotes: &mut Remotes, n: usize| {
                if n == *at {
                    world.enroll("press-17", sent_to(*to, false));
                    knock(world);
                    // Another worker does what it may while our call is on its way.
                    world.now = world.now.plus_secs(3);
                    Worker { world, remotes, seed: seed + 500 }.pass(&mut std::iter::empty());
                }
            };
            let mut worker = Worker { world, remotes, seed };
            worker.assign(&id, &mut std::iter::empty(), &mut overtake);
        }
    }
}

/// Every identity there is, and where.
fn places(world: &World, remotes: &Remotes) -> Vec<HubName> {
    let here = world.devices.keys().map(|(hub, _)| hub.clone());
    here.chain(remotes.devices.keys().map(|(hub, _)| hub.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Once everything is worked off, the device is on exactly the hub its record names, and on
    /// none when the record names none. A deleted record leaves behind what it named (D §5.7), so
    /// identities of forgotten records are counted out.
    #[test]
    fn a_device_is_on_exactly_its_records_hub_or_on_none(
        events in prop::collection::vec(event(), 1..30),
    ) {
        let mut world = World::default();
        // A token for all time: the world moves on by days.
        world.settings.attest.clock_skew_secs = i64::from(u32::MAX);
        world.hubs.hubs.push(linked_remote(hub(2)));
        world.hubs.hubs.push(linked_remote(hub(3)));
        world.enroll("press-17", sent_to(2, true));
        let mut remotes = Remotes::default();
        let mut forgotten: Vec<HubName> = Vec::new();
        for (n, event) in events.iter().enumerate() {
            if let (Event::Forget, Some(record)) = (event, world.records.get("press-17")) {
                forgotten.extend(record.assignment.iter().map(|a| a.hub.clone()));
            }
            happen(&mut world, &mut remotes, event, n as u64 * 1000);
            // At no moment does a record say `assigned` without its identity.
            if let Some(record) = world.records.get("press-17")
                && record.status == RegistrationStatus::Assigned
            {
                let place = record.assignment.as_ref().expect("assigned").hub.clone();
                prop_assert!(places(&world, &remotes).contains(&place), "{record:?}");
            }
        }
        Worker { world: &mut world, remotes: &mut remotes, seed: 1 << 40 }.finish();
        let mut there = places(&world, &remotes);
        let record = world.records.get("press-17");
        if let Some(record) = record {
            prop_assert!(record.status != RegistrationStatus::Assigning);
        }
        let named = record.and_then(|r| r.assignment.as_ref()).map(|a| a.hub.clone());
        if let Some(named) = &named {
            let before = there.len();
            there.retain(|hub| hub != named);
            prop_assert_eq!(there.len() + 1, before, "exactly one on {}: {:?}", named, record);
        }
        there.retain(|hub| !forgotten.contains(hub));
        prop_assert!(there.is_empty(), "nobody wants {:?}: {:?}", there, record);
    }
}
