//! The memory by itself: bounded, and never of use after a change.

use model::{Change, ChangeSet, Evidence, SasToken};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).expect("legal")
}

fn memory(max_remembered: usize) -> Refusals {
    let settings = StormSettings { max_remembered, ..StormSettings::default() };
    Refusals::new(settings, Arc::default())
}

fn asked(memory: &Refusals, device: &str, evidence: &Evidence) -> Asked {
    let visit = Visit { tracking_id: "t", door: Door::Https, address: [192, 0, 2, 7].into() };
    let registration_id = &id(device);
    let api_version = Some(ApiVersion::V2021_06_01);
    memory.asked(&visit, "0ne00ABCDEF", Introduction { registration_id, api_version, evidence })
}

fn keeping(secs: i64) -> Keeping {
    let told = Told::Refused(DeviceRefusal::NotEnrolled);
    Keeping { told, until: NOW.plus_secs(secs) }
}

/// Remembers a refusal that was decided at this mark.
fn remember(memory: &Refusals, asked: &Asked, before: Mark, keeping: Keeping) -> Standing {
    let (name, reason) = ("NotEnrolled", "no enrollment matches");
    let given =
        Given { name, reason, before, after: before, keeping: Some(keeping), by_clock: false };
    memory.remember(asked, given, &"t-1".into(), NOW)
}

fn is_told_again(memory: &Refusals, asked: &Asked, secs: i64) -> bool {
    memory.again(asked, NOW.plus_secs(secs)).is_some()
}

/// Whether a refusal is told again after something happened between its facts and now.
fn check(happens: impl FnOnce(&Refusals), expected: bool) {
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    let before = memory.mark(&id("press-17"));
    happens(&memory);
    remember(&memory, &asked, before, keeping(60));
    assert_eq!(is_told_again(&memory, &asked, 1), expected);
}

/// The store writes this.
fn write(memory: &Refusals, change: Change) {
    memory.marks.written(&memory.marks.moves(&ChangeSet::new().with(change)));
}

#[test]
fn a_change_between_the_facts_and_the_memory_makes_it_useless() {
    check(|_| {}, true);
    check(|memory| write(memory, Change::DeleteIndividual(id("Press-17"))), false);
    let ban = || Change::DeleteBan("registration:press-17".to_owned());
    check(|memory| write(memory, ban()), false);
    check(|memory| memory.marks.anything_written(), false);
    // What is not written yet changes nothing.
    check(|memory| drop(memory.marks.moves(&ChangeSet::new().with(ban()))), true);
}

#[test]
fn an_own_write_about_the_device_leaves_the_answer_in_place_and_one_more_does_not() {
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    let own = || Change::DeleteRecord(id("press-17"));
    let before = memory.mark(&id("press-17"));
    write(&memory, own());
    remember(&memory, &asked, before.after_own_commit(), keeping(60));
    assert!(is_told_again(&memory, &asked, 1));
    write(&memory, own());
    assert!(!is_told_again(&memory, &asked, 1));
}

#[test]
fn an_answer_lives_a_minute_or_until_time_could_change_it() {
    let lives = |secs: i64| {
        let memory = memory(100);
        let asked = asked(&memory, "press-17", &Evidence::Nothing);
        remember(&memory, &asked, memory.mark(&id("press-17")), keeping(secs));
        (0..100).take_while(|secs| is_told_again(&memory, &asked, *secs)).count()
    };
    assert_eq!(lives(7), 7);
    assert_eq!(lives(100_000), 60);
    // A clock that was put back is not believed either.
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    remember(&memory, &asked, memory.mark(&id("press-17")), keeping(60));
    assert!(!is_told_again(&memory, &asked, -1));
}

#[test]
fn no_token_is_answered_from_memory() {
    let token = Evidence::Sas(SasToken {
        resource_raw: "r".to_owned(),
        resource: "r".to_owned(),
        expiry_raw: "1".to_owned(),
        expiry_unix_secs: 1,
        signature: vec![7; 32],
        key_name: None,
    });
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &token);
    remember(&memory, &asked, memory.mark(&id("press-17")), keeping(60));
    assert!(!is_told_again(&memory, &asked, 1));
}

#[test]
fn memory_is_bounded_whoever_asks() {
    let memory = memory(1000);
    for n in 0..20_000 {
        let asked = asked(&memory, &format!("stranger-{n}"), &Evidence::Nothing);
        remember(&memory, &asked, memory.mark(&id("x")), keeping(60));
    }
    // Each shard rounds up.
    assert!(memory.len() <= 1000 + N_SHARDS, "{}", memory.len());
    assert!(memory.len() > 900, "{}", memory.len());
    // The figure that the settings document, beside what the texts of a refusal take.
    let each = size_of::<(u128, Refused)>() + size_of::<(u128, usize)>() + 64;
    assert!(each < 400, "{each} bytes");
}

#[test]
fn a_clock_that_is_wrong_costs_a_minute_at_most() {
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    let refuse = |by_clock: bool| {
        let before = memory.mark(&id("press-17"));
        let (name, reason) = ("NotAttested", "a token that is over");
        let given = Given { name, reason, before, after: before, keeping: None, by_clock };
        memory.remember(&asked, given, &"t-1".into(), NOW).retry_after_secs
    };
    let waits: Vec<_> = (0..30).map(|_| refuse(true)).collect();
    assert_eq!(waits[..6], [None, Some(5), Some(10), Some(20), Some(40), Some(60)]);
    assert!(waits[6..].iter().all(|wait| *wait == Some(60)), "{waits:?}");
    // Another reason goes on from there, and not from thirty refusals.
    assert_eq!(refuse(false), Some(160));
    // What lasts is not forgotten for a clock.
    assert_eq!((refuse(true), refuse(false)), (Some(60), Some(320)));
}

#[test]
fn the_wait_doubles_to_an_hour_and_no_further() {
    let waits: Vec<_> = (0..14).map(wait).collect();
    assert_eq!(waits[..5], [None, None, Some(5), Some(10), Some(20)]);
    assert_eq!(waits[11..], [Some(2560), Some(3600), Some(3600)]);
    assert_eq!(wait(u32::MAX), Some(3600));
}
