use proptest::prelude::*;

use super::*;

const START: Timestamp = Timestamp::from_unix_secs(1_700_000_000);
const FIVE_IN_TEN: Rate = Rate { n: 5, per_secs: 10 };

fn at(secs: i64) -> Timestamp {
    START.plus_secs(secs)
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn press(from: &str) -> Key {
    Key::device(&RegistrationId::parse("press-17").expect("an ID"), address(from))
}

/// What comes of each of these polls, at seconds from the start.
fn check(limits: &Limits, key: &Key, polls: &[(i64, Result<(), u32>)]) {
    for (secs, expected) in polls {
        let outcome = limits.check(Kind::DevicePolls, key.clone(), at(*secs));
        assert_eq!(outcome, *expected, "{key:?} at {secs} s");
    }
}

fn polls_limited() -> Limits {
    Limits::new(RateSettings { device_polls: Some(FIVE_IN_TEN), ..RateSettings::default() })
}

#[test]
fn without_settings_nothing_is_limited() {
    let limits = Limits::new(RateSettings::default());
    check(&limits, &press("10.0.0.1"), &[(0, Ok(())); 1000]);
    assert_eq!(limits.buckets.lock().expect("lock").len(), 0);
}

#[test]
fn five_polls_in_ten_seconds_pass_and_the_next_is_told_when_to_come() {
    check(
        &polls_limited(),
        &press("10.0.0.1"),
        &[
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Ok(())),
            (0, Err(2)),
            (1, Err(1)),
            (2, Ok(())),
            (2, Err(2)),
            (60, Ok(())),
            (60, Ok(())),
        ],
    );
}

#[test]
fn one_device_uses_up_nothing_of_anothers() {
    let limits = polls_limited();
    check(&limits, &press("10.0.0.1"), &[(0, Ok(())); 5]);
    check(&limits, &press("10.0.0.1"), &[(0, Err(2))]);
    check(&limits, &press("10.0.0.2"), &[(0, Ok(()))]);
    let other =
        Key::device(&RegistrationId::parse("press-18").expect("an ID"), address("10.0.0.1"));
    check(&limits, &other, &[(0, Ok(()))]);
    let same = Key::device(&RegistrationId::parse("PRESS-17").expect("an ID"), address("10.0.0.1"));
    check(&limits, &same, &[(0, Err(2))]);
}

#[test]
fn an_ipv6_network_of_one_subscriber_counts_as_one_address() {
    let key = |text: &str| Key::address(address(text));
    assert_eq!(key("2001:db8::1"), key("2001:db8::ffff:1"));
    assert_ne!(key("2001:db8::1"), key("2001:db8:0:1::1"));
    assert_eq!(key("::ffff:10.0.0.1"), key("10.0.0.1"));
    assert_ne!(key("10.0.0.1"), key("10.0.0.2"));
}

#[test]
fn a_clock_that_goes_back_shuts_nobody_out_for_longer_than_the_period() {
    let limits = polls_limited();
    check(&limits, &press("10.0.0.1"), &[(86_400, Ok(())), (0, Err(2)), (2, Err(2)), (0, Err(2))]);
    check(&limits, &press("10.0.0.2"), &[(0, Ok(()))]);
}

#[test]
fn the_bucket_that_is_full_for_longest_is_forgotten_first() {
    let max_remembered = 2;
    let device_polls = Some(FIVE_IN_TEN);
    let limits = Limits::new(RateSettings { device_polls, max_remembered, ..Default::default() });
    let noisy = press("10.0.0.1");
    check(&limits, &noisy, &[(0, Ok(())); 5]);
    for n in 2..100 {
        check(&limits, &press(&format!("10.0.0.{n}")), &[(0, Ok(()))]);
        assert_eq!(limits.buckets.lock().expect("lock").len(), 2);
    }
    check(&limits, &noisy, &[(0, Err(2))]);
}

proptest! {
    #[test]
    fn whoever_waits_as_told_gets_in(n in 1_u32..20, per_secs in 1_u32..60) {
        let mut buckets = Buckets::new(1);
        let rate = Rate { n, per_secs };
        for _ in 0..n {
            prop_assert_eq!(buckets.take(0_u8, rate, START), Ok(()));
        }
        let wait = buckets.take(0_u8, rate, START).expect_err("empty");
        prop_assert_eq!(buckets.take(0_u8, rate, at(i64::from(wait))), Ok(()));
    }

    #[test]
    fn one_key_alone_never_passes_faster_than_its_rate(
        n in 1_u32..20,
        per_secs in 1_u32..60,
        pauses in prop::collection::vec(0_i64..5, 1..200),
    ) {
        let mut buckets = Buckets::new(1);
        let (mut secs, mut passed) = (0_i64, 0_i64);
        for pause in pauses {
            secs += pause;
            passed += i64::from(buckets.take(0_u8, Rate { n, per_secs }, at(secs)).is_ok());
            // A full bucket, and what trickled in since.
            let allowed = i64::from(n) + secs * i64::from(n) / i64::from(per_secs) + 1;
            prop_assert!(passed <= allowed, "{} of {} after {} s", passed, allowed, secs);
        }
    }
}
