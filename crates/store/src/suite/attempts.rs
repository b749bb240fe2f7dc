//! Attempts: what devices asked and what became of it.

use std::sync::Arc;

use model::{
    AllocationPolicy, ApiVersion, Attempt, AttemptAsked, AttemptFilter, AttemptOutcome,
    AttemptRepeat, AttemptShown, AttestFailure, AttestationKind, Change, DeviceRefusal, Door,
    EnrollmentRef, Failure, Reprovision, Step, Timestamp,
};

use super::{
    Harness, assert_same,
    scene::{device_id, group_id, hub, registration_id},
    write,
};
use crate::Store;

/// Of a device with a chain that no group knows.
fn attempt(tracking_id: &str, device: &str) -> Attempt {
    Attempt {
        tracking_id: tracking_id.into(),
        last_tracking_id: None,
        first: Timestamp::from_unix_secs(1_000_000),
        last: Timestamp::from_unix_secs(1_000_000),
        n: 1,
        door: Door::Https,
        address: [192, 0, 2, 7].into(),
        asked: AttemptAsked::Register {
            registration_id: registration_id(device),
            api_version: Some(ApiVersion::V2021_06_01),
        },
        shown: AttemptShown {
            kind: Some(AttestationKind::X509),
            leaf_sha256: Some([7; 32]),
            leaf_sha1: Some([8; 20]),
            endorsement_key: None,
        },
        outcome: AttemptOutcome::Refused(DeviceRefusal::NotEnrolled),
        enrollment: None,
        steps: vec![Step::ChainEnded { subject: "CN=root".to_owned() }],
        is_known: false,
    }
}

async fn append(
    store: &impl Store,
    attempts: Vec<Attempt>,
    repeats: Vec<AttemptRepeat>,
    keep: u64,
) {
    write(store, [Change::AppendAttempts { attempts, repeats, keep }]).await;
}

async fn list(store: &impl Store, filter: AttemptFilter) -> Vec<Attempt> {
    let found = store.list_attempts(&filter, None, 1000).await.expect("listed");
    assert!(found.windows(2).all(|pair| pair[0].number > pair[1].number), "{found:?}");
    found.into_iter().map(|stored| stored.attempt).collect()
}

async fn tracking_ids(store: &impl Store, filter: AttemptFilter) -> Vec<String> {
    list(store, filter).await.iter().map(|attempt| attempt.tracking_id.to_string()).collect()
}

fn every_failure() -> Vec<AttestFailure> {
    use AttestFailure as F;
    let text = || "“this”, and that".to_owned();
    vec![
        F::NoEvidence,
        F::WrongKind,
        F::WrongResource,
        F::TokenExpired,
        F::BadSignature,
        F::CommonName(text()),
        F::WrongThumbprint,
        F::NotYetValid(text()),
        F::Expired(text()),
        F::BadCertificate(text()),
        F::TooLarge(text()),
        F::BadChain(text()),
        F::TpmNotChallenged,
        F::BadTpmKey(text()),
        F::WrongEndorsementKey,
        F::Revoked(text()),
        F::StaleCrl(text()),
        F::NotEndorsed(text()),
    ]
}

fn every_step() -> Vec<Step> {
    let (id, kind) = (registration_id("Press-17"), AttestationKind::Tpm);
    let (a, b) = (hub("hub-1.example.test"), hub("hub-2.example.test"));
    let text = || "CN=“root”".to_owned();
    let mut steps = vec![
        Step::LookedUpIndividual { registration_id: id.clone(), found: true },
        Step::IndividualDecides { registration_id: id, kind },
        Step::LookedUpGroups { kind, candidates: 17 },
        Step::CertificateWithoutGroup { subject: text() },
        Step::CompletedFromStore { subject: text() },
        Step::ChainEnded { subject: text() },
        Step::GroupDecides { group_id: group_id("Line-4"), by: text() },
        Step::Banned { ban: "registration:press-17".to_owned() },
        Step::CrlOutOfDate { ca: text() },
        Step::Attested { by: text() },
        Step::EnrollmentDisabled,
        Step::KeptAssignment { hub: a.clone(), rule: Reprovision::Never },
        Step::CandidateHubs(vec![a.clone(), b.clone()]),
        Step::Allocated { policy: AllocationPolicy::GeoLatency, hub: a.clone() },
        Step::NotAllocated { why: text() },
        Step::Moved { from: a, to: b, rule: Reprovision::WithInitialTwin },
    ];
    steps.extend(every_failure().into_iter().map(Step::AttestationFailed));
    steps
}

fn every_outcome() -> Vec<AttemptOutcome> {
    use DeviceRefusal as R;
    let (on, device) = (hub("hub-1.example.test"), device_id("Press-17"));
    let text = || "“this”, and that".to_owned();
    let refusals = [
        R::UnknownIdScope,
        R::NotEnrolled,
        R::TpmNotEnrolled,
        R::Banned { ban: text(), is_tpm: true },
        R::UnknownOperation,
        R::NotRegistered,
        R::Conflict,
        R::TooManyRegistrations(u64::MAX >> 1),
        R::AddressRefused(text()),
        R::Throttled(7),
        R::BadRequest(text()),
    ];
    let refused = refusals.into_iter().chain(every_failure().into_iter().map(R::NotAttested));
    let mut outcomes = vec![
        AttemptOutcome::Assigned { hub: on.clone(), device_id: device.clone() },
        AttemptOutcome::Assigning { hub: on, device_id: device },
        AttemptOutcome::Disabled,
        AttemptOutcome::Failed(Failure { code: 400_208, message: text() }),
        AttemptOutcome::Challenged,
        AttemptOutcome::NotConnected { name: "Banned".to_owned(), reason: text() },
        AttemptOutcome::Fault,
    ];
    outcomes.extend(refused.map(AttemptOutcome::Refused));
    outcomes
}

/// Every kind of outcome, of step, of door and of question comes back as it was.
pub async fn attempts_read_back_as_they_were_written(harness: &impl Harness) {
    let store = harness.open().await;
    let mut attempts: Vec<Attempt> = every_outcome()
        .into_iter()
        .enumerate()
        .map(|(n, outcome)| Attempt { outcome, ..attempt(&format!("t-{n}"), "Press-17") })
        .collect();
    attempts.push(Attempt { steps: every_step(), is_known: true, ..attempt("steps", "Press-17") });
    attempts.push(Attempt {
        last_tracking_id: Some("last".into()),
        last: Timestamp::from_unix_secs(1_000_009),
        n: 9,
        door: Door::Mqtt,
        address: "2001:db8::7".parse().expect("an address"),
        asked: AttemptAsked::Connect {
            hub: hub("hub-1.example.test"),
            device_id: device_id("Press-17+%"),
        },
        shown: AttemptShown::default(),
        enrollment: Some(EnrollmentRef::Individual(registration_id("Press-17"))),
        ..attempt("connect", "Press-17")
    });
    attempts.push(Attempt {
        door: Door::Amqp,
        asked: AttemptAsked::Register {
            registration_id: registration_id("Press-17"),
            api_version: None,
        },
        shown: AttemptShown {
            kind: Some(AttestationKind::Tpm),
            endorsement_key: Some([9; 32]),
            ..AttemptShown::default()
        },
        enrollment: Some(EnrollmentRef::Group(group_id("Line-4"))),
        ..attempt("tpm", "Press-17")
    });
    append(&store, attempts.clone(), Vec::new(), 1000).await;
    let mut found = list(&store, AttemptFilter::All).await;
    found.reverse();
    assert_same(&found, &attempts);
    harness.close(store).await;
}

/// By name in any letter case, by thumbprint, by endorsement key, by tracking ID.
pub async fn attempts_are_found_by_what_is_known_of_them(harness: &impl Harness) {
    let store = harness.open().await;
    let connect =
        AttemptAsked::Connect { hub: hub("hub-1.example.test"), device_id: device_id("PRESS-17") };
    let bare = AttemptShown::default();
    let tpm = AttemptShown { endorsement_key: Some([9; 32]), ..bare };
    let attempts = vec![
        attempt("a", "Press-17"),
        Attempt { asked: connect, shown: bare, ..attempt("b", "x") },
        Attempt { shown: tpm, ..attempt("c", "other") },
    ];
    append(&store, attempts, Vec::new(), 1000).await;
    let found = async |filter| tracking_ids(&store, filter).await.join(" ");
    assert_eq!(found(AttemptFilter::All).await, "c b a");
    assert_eq!(found(AttemptFilter::Device("press-17".to_owned())).await, "b a");
    assert_eq!(found(AttemptFilter::Device("PRESS-17".to_owned())).await, "b a");
    assert_eq!(found(AttemptFilter::Device("press-1".to_owned())).await, "");
    assert_eq!(found(AttemptFilter::TrackingId("c".to_owned())).await, "c");
    assert_eq!(found(AttemptFilter::Sha256([7; 32])).await, "a");
    assert_eq!(found(AttemptFilter::Sha1([8; 20])).await, "a");
    assert_eq!(found(AttemptFilter::EndorsementKey([9; 32])).await, "c");
    assert_eq!(found(AttemptFilter::Sha256([9; 32])).await, "");
    harness.close(store).await;
}

/// Each page begins below the last number of the one before.
pub async fn pages_of_attempts_follow_one_another(harness: &impl Harness) {
    let store = harness.open().await;
    let named = |n: u64| attempt(&n.to_string(), "press-17");
    append(&store, (1..=7).map(named).collect(), Vec::new(), 1000).await;
    let (mut seen, mut before) = (Vec::new(), None);
    loop {
        let filter = AttemptFilter::Device("press-17".to_owned());
        let page = store.list_attempts(&filter, before, 3).await.expect("listed");
        before = page.last().map(|stored| stored.number);
        if before.is_none() {
            break;
        }
        assert!(page.len() <= 3);
        seen.extend(page.into_iter().map(|stored| stored.attempt.tracking_id));
        // What comes meanwhile is for whoever begins anew.
        append(&store, vec![named(100)], Vec::new(), 1000).await;
    }
    assert_eq!(seen.join(" "), "7 6 5 4 3 2 1");
    harness.close(store).await;
}

/// A repetition counts with what it repeats; of an attempt that is gone it counts for nothing.
pub async fn repetitions_are_counted_with_what_they_repeat(harness: &impl Harness) {
    let store = harness.open().await;
    let repeat = |of: &str, n, secs, last: &str| AttemptRepeat {
        tracking_id: Arc::from(of),
        n,
        last: Timestamp::from_unix_secs(secs),
        last_tracking_id: last.into(),
    };
    let first = repeat("a", 2, 1_000_005, "a-3");
    append(&store, vec![attempt("a", "a"), attempt("b", "b")], vec![first], 1000).await;
    let gone = repeat("gone", 9, 1_000_009, "never");
    append(&store, Vec::new(), vec![repeat("a", 4, 1_000_009, "a-7"), gone], 1000).await;
    let expected = Attempt {
        n: 7,
        last: Timestamp::from_unix_secs(1_000_009),
        last_tracking_id: Some("a-7".into()),
        ..attempt("a", "a")
    };
    assert_same(&list(&store, AttemptFilter::All).await, &vec![attempt("b", "b"), expected]);
    let found = async |id: &str| tracking_ids(&store, AttemptFilter::TrackingId(id.into())).await;
    assert_eq!(found("a-7").await, ["a"]);
    assert!(found("never").await.is_empty());
    harness.close(store).await;
}

/// The oldest go when there are more than are kept, and numbers go on.
pub async fn no_more_attempts_are_kept_than_are_to_be(harness: &impl Harness) {
    let store = harness.open().await;
    for n in 0..10 {
        append(&store, vec![attempt(&n.to_string(), "a")], Vec::new(), 4).await;
    }
    assert_eq!(tracking_ids(&store, AttemptFilter::All).await, ["9", "8", "7", "6"]);
    append(&store, (10..30).map(|n| attempt(&n.to_string(), "a")).collect(), Vec::new(), 4).await;
    let found = store.list_attempts(&AttemptFilter::All, None, 100).await.expect("listed");
    assert_eq!(found.iter().map(|stored| stored.number).collect::<Vec<_>>(), [30, 29, 28, 27]);
    harness.close(store).await;
}

/// Whoever makes up names displaces others like them, and no more than half of what is kept.
pub async fn attempts_of_known_devices_are_not_displaced_by_those_of_strangers(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    let known = |n: u64| Attempt { is_known: true, ..attempt(&format!("k{n}"), "press-17") };
    let strange = |n: u64| attempt(&format!("s{n}"), &format!("stranger-{n}"));
    let check = async |expected: &str| {
        assert_eq!(tracking_ids(&store, AttemptFilter::All).await.join(" "), expected);
    };
    append(&store, (1..=2).map(known).collect(), Vec::new(), 5).await;
    append(&store, (1..=50).map(strange).collect(), Vec::new(), 5).await;
    check("s50 s49 s48 k2 k1").await;
    append(&store, (3..=9).map(known).collect(), Vec::new(), 5).await;
    check("k9 k8 s50 s49 s48").await;
    append(&store, vec![strange(51), known(10)], Vec::new(), 5).await;
    check("k10 s51 k9 s50 s49").await;
    // What one of the two leaves is the other's.
    append(&store, Vec::new(), Vec::new(), 2).await;
    check("k10 s51").await;
    append(&store, (11..=20).map(known).collect(), Vec::new(), 6).await;
    check("k20 k19 k18 k17 k16 s51").await;
    harness.close(store).await;
}

/// They outlive a restart.
pub async fn attempts_are_there_after_reopening(harness: &impl Harness) {
    let store = harness.open().await;
    append(&store, vec![attempt("a", "a")], Vec::new(), 1000).await;
    harness.close(store).await;
    let store = harness.open().await;
    append(&store, vec![attempt("b", "b")], Vec::new(), 1000).await;
    assert_eq!(tracking_ids(&store, AttemptFilter::All).await, ["b", "a"]);
    harness.close(store).await;
}
