use proptest::prelude::*;

use super::*;
use crate::scenes::{linked, name};

fn hubs(weights: &[u32]) -> Vec<LinkedHub> {
    let hub = |(n, weight): (usize, &u32)| linked(name::hub(&format!("hub-{n}")), *weight);
    weights.iter().enumerate().map(hub).collect()
}

fn place(device: usize, hubs: &[LinkedHub]) -> Option<HubName> {
    hashed(&name::id(&format!("device-{device}")), &hubs.iter().collect::<Vec<_>>())
}

#[test]
fn shares_follow_the_weights() {
    let hubs = hubs(&[1, 2, 7]);
    let n_devices = 10_000;
    let mut counts = [0_u32; 3];
    for device in 0..n_devices {
        let hub = place(device, &hubs).expect("a hub");
        let at = hubs.iter().position(|h| h.name == hub).expect("one of them");
        counts[at] += 1;
    }
    // Four standard deviations of a binomial draw, and then some.
    for (count, share) in counts.into_iter().zip([1_000_u32, 2_000, 7_000]) {
        assert!(count.abs_diff(share) < 200, "{counts:?}");
    }
}

#[test]
fn a_new_hub_takes_its_share_and_nothing_else_moves() {
    let before = hubs(&[1, 1, 1]);
    let after = hubs(&[1, 1, 1, 1]);
    let newcomer = &after[3].name;
    let mut moved = 0;
    for device in 0..4_000 {
        let (was, is) = (place(device, &before), place(device, &after));
        if was != is {
            assert_eq!(is.as_ref(), Some(newcomer), "moved to a hub that was there before");
            moved += 1;
        }
    }
    assert!((850..1150).contains(&moved), "a quarter moves, {moved} of 4000 did");
}

#[test]
fn geo_latency_is_hashed_because_all_hubs_tie() {
    use crate::scenes::{World, draft, keys, request, token};
    use model::AllocationPolicy::{GeoLatency, Hashed};
    let hub_by = |policy, device: usize| {
        let id = format!("device-{device}");
        let mut world = World::default();
        let mut enrolled = draft(keys(&name::key(1), &name::key(2)));
        enrolled.allocation_policy = Some(policy);
        world.enroll(&id, enrolled);
        world.register(request(&id, token(&id, &name::key(1))));
        world.records[&id].assignment.as_ref().expect("assigned").hub.clone()
    };
    let mut seen = std::collections::BTreeSet::new();
    for device in 0..12 {
        let hub = hub_by(GeoLatency, device);
        assert_eq!(hub, hub_by(Hashed, device));
        seen.insert(hub);
    }
    assert_eq!(seen.len(), 2, "both hubs get devices");
}

#[test]
fn no_weight_means_no_devices() {
    assert_eq!(place(1, &hubs(&[0, 0])), None);
    assert_eq!(place(1, &hubs(&[])), None);
}

proptest! {
    #[test]
    fn the_order_of_hubs_and_the_case_of_the_id_do_not_matter(
        id in "[A-Za-z0-9]{1,30}",
        weights in prop::collection::vec(1_u32..1000, 1..8),
        rotation in 0_usize..8,
    ) {
        let hubs = hubs(&weights);
        let mut turned: Vec<&LinkedHub> = hubs.iter().collect();
        let straight = hashed(&name::id(&id), &turned);
        turned.rotate_left(rotation % weights.len());
        prop_assert_eq!(&straight, &hashed(&name::id(&id), &turned));
        prop_assert_eq!(&straight, &hashed(&name::id(&id.to_lowercase()), &turned));
    }

    #[test]
    fn removing_a_hub_moves_only_its_own_devices(
        device in 0_usize..100_000,
        weights in prop::collection::vec(1_u32..1000, 2..8),
        gone in 0_usize..8,
    ) {
        let mut hubs = hubs(&weights);
        let before = place(device, &hubs);
        let gone = hubs.remove(gone % weights.len());
        if before.as_ref() != Some(&gone.name) {
            prop_assert_eq!(before, place(device, &hubs));
        }
    }
}
