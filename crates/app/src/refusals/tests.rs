//! The memory by itself: bounded, and never of use after a change.

use model::{Change, Evidence, SasToken};

use super::*;

const NOW: Timestamp = Timestamp::from_unix_secs(1_700_000_000);

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).expect("legal")
}

fn memory(max_remembered: usize) -> Refusals {
    Refusals::new(StormSettings { max_remembered, ..StormSettings::default() })
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

/// Remembers a refusal that was decided in this epoch.
fn remember(memory: &Refusals, asked: &Asked, before: Epoch, keeping: Keeping) -> Standing {
    let (name, reason) = ("NotEnrolled", "no enrollment matches");
    let given = Given { name, reason, before, after: before, keeping: Some(keeping) };
    memory.remember(asked, given, &"t-1".into(), NOW)
}

fn is_told_again(memory: &Refusals, asked: &Asked, secs: i64) -> bool {
    memory.again(asked, NOW.plus_secs(secs)).is_some()
}

/// Whether a refusal is told again after something happened between its facts and now.
fn check(happens: impl FnOnce(&Refusals), expected: bool) {
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    let before = memory.epoch(&id("press-17"));
    happens(&memory);
    remember(&memory, &asked, before, keeping(60));
    assert_eq!(is_told_again(&memory, &asked, 1), expected);
}

fn commit(memory: &Refusals, change: Change, committed: Result<(), CommitError>) {
    memory.begin(&ChangeSet::new().with(change)).settle(&committed);
}

#[test]
fn a_change_between_the_facts_and_the_memory_makes_it_useless() {
    check(|_| {}, true);
    let individual = || Change::DeleteIndividual(id("Press-17"));
    check(|memory| commit(memory, individual(), Ok(())), false);
    let ban = || Change::DeleteBan("registration:press-17".to_owned());
    check(|memory| commit(memory, ban(), Ok(())), false);
    // What was not written changes nothing; what perhaps was may change all.
    check(|memory| commit(memory, individual(), Err(CommitError::Conflict)), true);
    check(|memory| drop(memory.begin(&ChangeSet::new().with(individual()))), false);
}

#[test]
fn while_an_outcome_is_unknown_nothing_is_told_again() {
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(60));
    // About somebody else.
    drop(memory.begin(&ChangeSet::new().with(Change::DeleteIndividual(id("other")))));
    assert!(!is_told_again(&memory, &asked, 1));
    remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(60));
    assert!(!is_told_again(&memory, &asked, 1));
    commit(&memory, Change::DeleteIndividual(id("third")), Ok(()));
    remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(60));
    assert!(is_told_again(&memory, &asked, 1));
}

#[test]
fn an_answer_lives_a_minute_or_until_time_could_change_it() {
    let lives = |secs: i64| {
        let memory = memory(100);
        let asked = asked(&memory, "press-17", &Evidence::Nothing);
        remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(secs));
        (0..100).take_while(|secs| is_told_again(&memory, &asked, *secs)).count()
    };
    assert_eq!(lives(7), 7);
    assert_eq!(lives(100_000), 60);
    // A clock that was put back is not believed either.
    let memory = memory(100);
    let asked = asked(&memory, "press-17", &Evidence::Nothing);
    remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(60));
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
    remember(&memory, &asked, memory.epoch(&id("press-17")), keeping(60));
    assert!(!is_told_again(&memory, &asked, 1));
}

#[test]
fn memory_is_bounded_whoever_asks() {
    let memory = memory(1000);
    for n in 0..20_000 {
        let asked = asked(&memory, &format!("stranger-{n}"), &Evidence::Nothing);
        remember(&memory, &asked, memory.epoch(&id("x")), keeping(60));
    }
    // Each shard rounds up.
    assert!(memory.len() <= 1000 + N_SHARDS, "{}", memory.len());
    assert!(memory.len() > 900, "{}", memory.len());
    // The figure that the settings document, beside what the texts of a refusal take.
    let each = size_of::<(u128, Refused)>() + size_of::<(u128, usize)>() + 64;
    assert!(each < 400, "{each} bytes");
}

#[test]
fn the_wait_doubles_to_an_hour_and_no_further() {
    let waits: Vec<_> = (0..14).map(wait).collect();
    assert_eq!(waits[..5], [None, None, Some(5), Some(10), Some(20)]);
    assert_eq!(waits[11..], [Some(2560), Some(3600), Some(3600)]);
    assert_eq!(wait(u32::MAX), Some(3600));
}
