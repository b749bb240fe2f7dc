use proptest::prelude::*;

use super::*;
use crate::hub::scene::{CREATED, LATER, id};

fn draft(application: &[(&str, Option<&str>)]) -> EventDraft {
    let owned = |(name, text): &(&str, Option<&str>)| (name.to_string(), text.map(str::to_owned));
    EventDraft { application: application.iter().map(owned).collect(), ..EventDraft::default() }
}

fn hub() -> HubName {
    HubName::parse("hub.example.test").expect("a host name")
}

fn state(first_offset: u64, next_offset: u64) -> PartitionState {
    PartitionState {
        partition: 0,
        first_offset,
        next_offset,
        last_enqueued: (next_offset > 0).then_some(CREATED),
        size_bytes: 300 * (next_offset - first_offset),
    }
}

/// The figures were computed apart from this code, from the definition of FNV-1a.
#[test]
fn the_partition_of_a_device_is_written_down_and_never_changes() {
    for (device, of_4, of_32, of_128) in PARTITIONS {
        let found = [4, 32, 128].map(|n| partition(&id(device), n));
        assert_eq!(found, [of_4, of_32, of_128], "{device}");
        assert_eq!([0, 1].map(|n| partition(&id(device), n)), [0, 0], "{device}");
    }
}

const PARTITIONS: [(&str, u16, u16, u16); 5] = [
    ("dev1", 3, 23, 87),
    ("Dev1", 3, 23, 55),
    ("dev10", 1, 5, 5),
    ("press-17", 3, 11, 75),
    ("a", 0, 12, 12),
];

#[test]
fn devices_are_spread_over_all_partitions() {
    let mut n_devices = [0_u32; 8];
    for n in 0..8_000 {
        n_devices[usize::from(partition(&id(&format!("press-{n}")), 8))] += 1;
    }
    assert!(n_devices.iter().all(|n| (800..1200).contains(n)), "{n_devices:?}");
}

#[test]
fn an_event_is_what_the_device_sent_with_the_marks_of_the_hub() {
    let sent_draft = EventDraft {
        properties: MessageProperties {
            message_id: Some("m1".to_owned()),
            other: vec![("$.diagid".to_owned(), Some("d".to_owned()))],
            ..MessageProperties::default()
        },
        body: vec![0, 255, 10],
        ..draft(&[("alert", Some("yes")), ("null", None), ("alert", Some(""))])
    };
    let event = sent("637612", &id("Dev1"), AuthMethod::HubPolicy, sent_draft.clone(), LATER);
    let expected = Event {
        device_id: id("Dev1"),
        generation_id: "637612".to_owned(),
        auth_method: AuthMethod::HubPolicy,
        source: EventSource::Telemetry,
        enqueued: LATER,
        properties: sent_draft.properties,
        application: sent_draft.application,
        body: sent_draft.body,
    };
    assert_eq!(event, Ok(expected));
}

/// Checks that this much body is the most that fits beside what the draft has.
fn check_room(draft: &EventDraft, room: usize) {
    let with_body = |n_bytes: usize| {
        let draft = EventDraft { body: vec![7; n_bytes], ..draft.clone() };
        sent("1", &id("dev1"), AuthMethod::DeviceKey, draft, CREATED)
    };
    assert!(with_body(room).is_ok(), "{room} bytes beside {draft:?}");
    let refused = with_body(room + 1);
    assert!(matches!(refused, Err(HubRefusal::MessageTooLarge(_))), "{refused:?}");
}

#[test]
fn body_and_properties_together_have_at_most_256_kb() {
    check_room(&draft(&[]), 262_144);
    check_room(&draft(&[("k", Some("value"))]), 262_144 - 6);
    check_room(&draft(&[("name", None)]), 262_144 - 4);
    check_room(&draft(&[("ö", Some("ü"))]), 262_144 - 4);
    let text = || Some("12345".to_owned());
    let all = MessageProperties {
        message_id: text(),
        correlation_id: text(),
        user_id: text(),
        to: text(),
        content_type: text(),
        content_encoding: text(),
        expiry: text(),
        creation_time: text(),
        output_name: text(),
        interface_id: text(),
        component: text(),
        other: vec![("$.cdid".to_owned(), text())],
    };
    check_room(&EventDraft { properties: all, ..draft(&[]) }, 262_144 - 11 * 5 - 11);
}

#[test]
fn a_will_and_a_retained_message_are_marked_once_whatever_the_device_sent() {
    let device = draft(&[
        ("a", None),
        ("iothub-MessageType", Some("mine")),
        ("mqtt-retain", None),
        ("b", Some("")),
    ]);
    assert_eq!(
        will(device.clone()),
        draft(&[
            ("a", None),
            ("mqtt-retain", None),
            ("b", Some("")),
            ("iothub-MessageType", Some("Will")),
        ])
    );
    assert_eq!(
        retained(device),
        draft(&[
            ("a", None),
            ("iothub-MessageType", Some("mine")),
            ("b", Some("")),
            ("mqtt-retain", Some("true")),
        ])
    );
}

#[test]
fn a_log_without_events_is_left_alone() {
    let retention = Retention::default();
    assert_eq!(trim(&hub(), &[], &retention, LATER), None);
    assert_eq!(trim(&hub(), &[state(0, 0), state(9, 9)], &retention, LATER), None);
}

fn check_trim(retention: Retention, before: Timestamp, at_most: u64) {
    let change = Change::TrimEvents {
        hub: hub(),
        before,
        max_partition_bytes: retention.max_partition_bytes,
        at_most,
    };
    let expected = Some(ChangeSet::new().with(change));
    assert_eq!(trim(&hub(), &[state(9, 9), state(3, 4)], &retention, LATER), expected);
}

#[test]
fn a_log_with_events_is_trimmed_by_age_and_size_in_bounded_steps() {
    let retention = Retention { max_age_secs: 3600, max_partition_bytes: 5_000, batch: 100 };
    check_trim(retention, CREATED, 100);
}

#[test]
fn odd_settings_neither_trim_the_future_nor_stop_the_trimming() {
    let retention = Retention { max_age_secs: 0, max_partition_bytes: 0, batch: 0 };
    check_trim(retention, LATER, 1);
    check_trim(Retention { max_age_secs: i64::MIN, ..retention }, LATER, 1);
    let for_ever = Retention { max_age_secs: i64::MAX, ..retention };
    // As far back as a moment's arithmetic reaches.
    check_trim(for_ever, Timestamp::from_ticks(LATER.ticks() + i64::MIN), 1);
}

proptest! {
    #[test]
    fn a_partition_is_always_one_of_the_hubs(device in "[A-Za-z0-9._-]{1,128}", n in 0_u16..) {
        let found = partition(&id(&device), n);
        prop_assert!(found < n.max(1));
        prop_assert_eq!(found, partition(&id(&device), n));
    }

    /// What fits is stored as it came; the store's own measure of it is 256 more.
    #[test]
    fn an_event_is_refused_exactly_when_it_counts_for_more_than_the_limit(
        n_body in 262_000_usize..262_200,
        name in "\\PC{0,40}",
        text in proptest::option::of("\\PC{0,40}"),
    ) {
        let n_bytes = n_body + name.len() + text.as_ref().map_or(0, String::len);
        let draft = EventDraft {
            application: vec![(name, text)],
            body: vec![0; n_body],
            ..EventDraft::default()
        };
        match sent("1", &id("dev1"), AuthMethod::Thumbprint, draft.clone(), CREATED) {
            Ok(event) => {
                prop_assert!(n_bytes <= 262_144);
                prop_assert_eq!(event.size_bytes(), u64::try_from(n_bytes).expect("few") + 256);
                prop_assert_eq!((event.application, event.body), (draft.application, draft.body));
            }
            Err(refusal) => {
                prop_assert!(n_bytes > 262_144, "{}", refusal);
                prop_assert!(matches!(refusal, HubRefusal::MessageTooLarge(_)));
            }
        }
    }
}
