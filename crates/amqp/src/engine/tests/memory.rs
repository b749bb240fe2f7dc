//! What sessions and links at rest cost, in bytes of memory that is asked for.

use std::mem::size_of;

use super::{
    super::{link::Link, session::Session, unsettled::Entry},
    *,
};

/// What a map of boxes takes for each entry: key and pointer, in nodes that are at least half full.
const fn in_map<K>(n_maps: usize) -> usize {
    2 * n_maps * (size_of::<K>() + size_of::<usize>())
}

#[test]
fn a_link_at_rest_takes_less_than_200_bytes() {
    // Among the links of its session, among those of the connection, and its handle.
    let maps = in_map::<u32>(1) + 2 * size_of::<(LinkId, (u16, u32))>() + 2 * size_of::<u32>();
    assert_eq!(size_of::<Link>(), 112);
    assert!(size_of::<Link>() + maps < 200, "{} + {maps}", size_of::<Link>());
}

#[test]
fn a_session_at_rest_takes_less_than_300_bytes() {
    let maps = 2 * size_of::<(u16, Slot)>() + 2 * size_of::<u16>();
    assert!(size_of::<Session>() + maps < 300, "{} + {maps}", size_of::<Session>());
}

#[test]
fn a_connection_takes_less_than_500_bytes() {
    assert!(size_of::<Engine>() < 500, "{}", size_of::<Engine>());
}

#[test]
fn a_delivery_under_way_takes_24_bytes() {
    assert_eq!(size_of::<Entry>(), 24);
}

#[test]
fn a_connection_at_rest_keeps_no_memory_for_what_passed() {
    let mut scene = scene();
    let from = scene.client_sends(attach(0), 10);
    let to = scene.we_send(attach(1), 100);
    for round in 0..50 {
        scene.transfer(first_piece(0, round), &[0; 900]);
        scene.transfer(next_piece(0, false), &[0; 900]);
        let Some(Event::Message { delivery, .. }) = scene.engine.next_event() else { panic!() };
        scene.engine.settle(from, delivery, Outcome::Accepted);
        scene.send(to, round.into(), 1_000).unwrap();
    }
    scene.heard();
    scene.say(0, said(0, 100, true, Some(Outcome::Accepted)));
    scene.events();
    let shared = &scene.engine.shared;
    assert_eq!(shared.events.capacity() + shared.line.capacity() + shared.out.capacity(), 0);
    assert_eq!(shared.partial_bytes, 0);
    let Some(Slot::Live(session)) = scene.engine.sessions.get(&0) else { panic!() };
    assert_eq!(session.incoming.len() + session.outgoing.len(), 0);
    let link::End::Sending(sending) = &session.links[&1].end else { panic!() };
    assert_eq!(sending.waiting.capacity(), 0);
}
