//! What the index holds.

use std::net::Ipv4Addr;

use decide::hub::connect::{Admission, Credential};
use model::{
    EnrollmentRef, IdentityMark, ModuleId, Origin, RegistrationId, Subscriptions, Timestamp,
};

use super::*;

fn hub() -> HubName {
    HubName::parse("hub-1.test").expect("a host name")
}

fn device(n: usize) -> DeviceId {
    DeviceId::parse(&format!("press-{n}")).expect("an ID")
}

fn module(of: &DeviceId, name: &str) -> DeviceId {
    DeviceId::of_module(of, &ModuleId::parse(name).expect("an ID"))
}

fn seated(live: &Live, id: &DeviceId) -> Arc<Seat> {
    let mark = IdentityMark { generation_id: "1".into(), etag_counter: 1 };
    let admission = Admission {
        parent: id.parent().map(|_| mark.clone()),
        mark,
        credential: Credential::Thumbprint { sha1: [1; 20], sha256: [1; 32] },
        footing: Box::default(),
        expires: Timestamp::from_unix_secs(1),
    };
    let who = (hub(), id.clone());
    let (address, arrival) = (Ipv4Addr::LOCALHOST.into(), live.next_arrival());
    let (seat, _) = Seat::new(who, address, 1, arrival, admission, Subscriptions::default());
    let seat = Arc::new(seat);
    live.sit(&seat).expect("a place");
    seat.settle();
    seat
}

#[test]
fn the_modules_of_a_device_are_found_as_long_as_they_sit() {
    let live = Live::default();
    let mut seats = Vec::new();
    // As many as fill every shard.
    for n in 0..200 {
        seats.push(seated(&live, &device(n)));
        for name in ["camera", "wheel"] {
            seats.push(seated(&live, &module(&device(n), name)));
        }
    }
    let names = |n: usize| {
        let mut names: Vec<String> =
            live.modules_of(&hub(), &device(n)).iter().map(|s| s.device_id.to_string()).collect();
        names.sort_unstable();
        names
    };
    for n in 0..200 {
        assert_eq!(names(n), [format!("press-{n}/camera"), format!("press-{n}/wheel")]);
    }
    // Taken over: the one that sits is found, once, and the other one's leaving is nothing to it.
    let again = seated(&live, &module(&device(7), "camera"));
    assert_eq!(names(7).len(), 2);
    assert!(live.modules_of(&hub(), &device(7)).iter().any(|found| Arc::ptr_eq(found, &again)));
    for seat in &seats {
        live.stand_up(seat);
    }
    assert_eq!(names(7), ["press-7/camera"]);
    live.stand_up(&again);
    let is_empty = |shard: &Shard| lock(shard).seats.is_empty() && lock(shard).modules.is_empty();
    assert!(live.shards.iter().all(is_empty));
}

#[test]
fn a_session_that_left_while_its_origin_was_read_leaves_nothing_behind() {
    let live = Live::default();
    let seat = seated(&live, &device(1));
    let registration_id = RegistrationId::parse("press-1").expect("an ID");
    let origin = Origin {
        enrollment: EnrollmentRef::Individual(registration_id.clone()),
        registration_id,
        entry: None,
        ends_sessions: None,
        taken_from: None,
        grounds: None,
        others: Vec::new(),
        expects: Vec::new(),
    };
    seat.set_origin(Some(&origin));
    live.rest(&seat);
    assert!(live.causes.n_entries() > 0);
    live.see_out(&seat);
    assert_eq!(live.causes.n_entries(), 0);
    // What was read for it comes late.
    live.rest(&seat);
    assert_eq!(live.causes.n_entries(), 0);
}

#[test]
fn loose_ends_beyond_all_room_end_what_may_rest_on_what_was() {
    let live = Live::default();
    let departed = |n: usize| LooseEnd::Departed {
        hub: hub(),
        device_id: device(n),
        connection: 1,
        at: Timestamp::from_unix_secs(1),
    };
    let (kept, twin, origin) = (device(0), device(1), device(2));
    let seats = [&kept, &twin, &origin].map(|id| seated(&live, id));
    let why = |n: usize| seats[n].why_ended().cloned();
    live.note(LooseEnd::Origin(hub(), kept));
    for n in 1..loose_ends::MAX_WAITING {
        live.note(departed(n));
    }
    assert_eq!([why(0), why(1), why(2)], [None, None, None]);
    live.note(LooseEnd::Twin(hub(), twin));
    live.note(LooseEnd::Origin(hub(), origin));
    live.note(departed(0));
    let refused = Some(End::CutOff(ConnectRefusal::Conflict));
    assert_eq!([why(0), why(1), why(2)], [None, Some(End::TooSlow), refused]);
    assert_eq!(live.loose_ends.n_waiting(), loose_ends::MAX_WAITING);
}

#[test]
fn what_is_known_of_ending_sessions_is_what_was_read_or_written_last() {
    let live = Live::default();
    let check = |expected: bool| assert_eq!(live.disenroll_ends_sessions(), expected);
    check(false);
    live.learn_disenroll_ends_sessions(1, true);
    check(true);
    live.wrote_disenroll_ends_sessions(false);
    check(false);
    // A connection that read its facts before that was written comes late.
    live.learn_disenroll_ends_sessions(1, true);
    check(false);
    // Written by a call that nobody waited for: the next connection has read it.
    live.learn_disenroll_ends_sessions(3, true);
    check(true);
}
