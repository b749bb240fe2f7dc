//! No sequence of questions and answers admits anyone without the key that one TPM alone can take
//! out of a challenge of that name, in time.
//!
//! The oracle remembers who was asked what and when, and knows nothing of how it is checked.

use proptest::prelude::*;
use testkit::DeviceToken;

use super::*;

const NAMES: [&str; 2] = ["tpm-1", "tpm-2"];

/// Which of the two TPMs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    One,
    Other,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Enroll {
        name: usize,
        who: Who,
        /// Whether its storage root key is enrolled as well.
        root: bool,
        enabled: bool,
    },
    Disenroll {
        name: usize,
    },
    /// A TPM asks to be challenged.
    Ask {
        name: usize,
        who: Who,
    },
    /// Somebody shows the endorsement key of one TPM with the storage root key of the other.
    Mix {
        name: usize,
        ek: Who,
    },
    /// Somebody answers with a key that a TPM was given before, whichever, or with one of their own.
    Answer {
        name: usize,
        key: Option<usize>,
    },
    Wait {
        secs: i64,
    },
    Trim,
}

fn acts() -> impl Strategy<Value = Act> {
    let name = || 0..NAMES.len();
    let who = || prop_oneof![Just(Who::One), Just(Who::Other)];
    prop_oneof![
        2 => (name(), who(), any::<bool>(), any::<bool>())
            .prop_map(|(name, who, root, enabled)| Act::Enroll { name, who, root, enabled }),
        1 => name().prop_map(|name| Act::Disenroll { name }),
        4 => (name(), who()).prop_map(|(name, who)| Act::Ask { name, who }),
        2 => (name(), who()).prop_map(|(name, ek)| Act::Mix { name, ek }),
        6 => (name(), prop::option::weighted(0.9, 0..6_usize))
            .prop_map(|(name, key)| Act::Answer { name, key }),
        1 => (1..2 * TPM_CHALLENGE_LIFE_SECS).prop_map(|secs| Act::Wait { secs }),
        1 => Just(Act::Trim),
    ]
}

/// A challenge as the oracle remembers it: whose key was wrapped, if a TPM could take it out.
#[derive(Debug, Clone, Copy)]
struct Asked {
    ek: Who,
    key: Option<[u8; 32]>,
    /// Whether the storage root key shown was the enrolled one.
    root: bool,
    at: Timestamp,
}

#[derive(Default)]
struct Oracle {
    enrolled: [Option<Enrolled>; 2],
    /// The last two of each name, by whether the storage root key was enrolled.
    asked: [[Vec<Asked>; 2]; 2],
    /// Every key that a TPM was ever given, the latest first.
    keys: Vec<[u8; 32]>,
}

#[derive(Debug, Clone, Copy)]
struct Enrolled {
    who: Who,
    root: bool,
    enabled: bool,
}

impl Oracle {
    /// Whether a storage root key of this TPM, shown under this name, is the enrolled one.
    fn is_root(&self, name: usize, root: Who) -> bool {
        self.enrolled[name].is_some_and(|enrolled| enrolled.root && enrolled.who == root)
    }

    /// A challenge that asks what the one before asked is the one before, for half its time.
    fn asked(&mut self, name: usize, asked: Asked) {
        let waiting = &mut self.asked[name][usize::from(asked.root)];
        let again = waiting.first().is_some_and(|last| {
            let same = last.ek == asked.ek && last.key.is_some() == asked.key.is_some();
            same && asked.at < last.at.plus_secs(1800)
        });
        if again {
            assert_eq!(asked.key, waiting[0].key);
            return;
        }
        assert!(asked.key.is_none_or(|key| self.keys[1..].iter().all(|old| *old != key)));
        waiting.insert(0, asked);
        waiting.truncate(2);
    }

    /// What becomes of an answer: admitted, told to be disabled, or neither.
    fn answer(&self, name: usize, key: [u8; 32], now: Timestamp) -> Option<Heard> {
        let in_time = |at: Timestamp| now < at.plus_secs(3600);
        let mut waiting = self.asked[name].iter().flatten();
        let asked = waiting.find(|a| a.key == Some(key) && in_time(a.at))?;
        match self.enrolled[name] {
            Some(Enrolled { who, enabled, .. }) if who == asked.ek => {
                Some(if enabled { Heard::Assigned } else { Heard::Disabled })
            }
            _ => None,
        }
    }
}

fn of(who: Who) -> SoftTpm {
    match who {
        Who::One => tpm(),
        Who::Other => other_tpm(),
    }
}

/// Takes the key out of a blob with whichever TPM can.
fn take_out(blob: &[u8]) -> Vec<(Who, [u8; 32])> {
    let with = |who| {
        let mut tpm = of(who);
        tpm.activate(blob).ok().and_then(|()| tpm.key()).map(|key| (who, key))
    };
    [Who::One, Who::Other].into_iter().filter_map(with).collect()
}

fn play(acts: &[Act]) {
    let (mut world, mut oracle) = (World::default(), Oracle::default());
    for act in acts {
        match *act {
            Act::Enroll { name, who, root, enabled } => {
                let by = draft(AttestationDraft::Tpm(TpmDraft {
                    endorsement_key: of(who).endorsement_key(),
                    storage_root_key: root.then(|| of(who).storage_root_key()),
                    endorsement: EndorsementDraft::Keep,
                }));
                world.enroll(NAMES[name], if enabled { by } else { disabled(by) });
                oracle.enrolled[name] = Some(Enrolled { who, root, enabled });
            }
            Act::Disenroll { name } => {
                world.disenroll(NAMES[name]);
                oracle.enrolled[name] = None;
            }
            Act::Ask { name, who } => {
                let blob = world.challenge(NAMES[name], tpm_keys(&of(who), Vec::new()));
                let is_its = oracle.enrolled[name].is_some_and(|enrolled| enrolled.who == who);
                assert_eq!(blob.is_ok(), is_its, "{act:?}");
                let Ok(blob) = blob else { continue };
                let taken = take_out(&blob);
                let [(taker, key)] = taken[..] else { panic!("one TPM can: {taken:?}") };
                assert_eq!(taker, who);
                oracle.keys.insert(0, key);
                let root = oracle.is_root(name, who);
                oracle.asked(name, Asked { ek: who, key: Some(key), root, at: world.now });
            }
            Act::Mix { name, ek } => {
                let other = if ek == Who::One { Who::Other } else { Who::One };
                let mixed = TpmKeys {
                    storage_root_key: Some(of(other).storage_root_key()),
                    ..tpm_keys(&of(ek), Vec::new())
                };
                if let Ok(blob) = world.challenge(NAMES[name], mixed) {
                    assert!(take_out(&blob).is_empty(), "no TPM has both keys");
                    let root = oracle.is_root(name, other);
                    oracle.asked(name, Asked { ek, key: None, root, at: world.now });
                }
            }
            Act::Answer { name, key } => {
                let key = key.and_then(|n| oracle.keys.get(n).copied()).unwrap_or([0x5a; 32]);
                let token = DeviceToken {
                    style: ClientStyle::CSharp,
                    id_scope: crate::scenes::SCOPE,
                    registration_id: NAMES[name],
                    key: &SymmetricKey::derived(&key),
                    expiry_unix_secs: world.now.unix_secs() + 60,
                };
                let token = Evidence::Sas(token.parsed());
                let heard = heard(&world.register(request(NAMES[name], token)));
                match oracle.answer(name, key, world.now) {
                    Some(expected) => assert_eq!(heard, expected, "{act:?}"),
                    None => assert!(matches!(heard, Heard::Refused(_)), "{act:?}: {heard:?}"),
                }
            }
            Act::Wait { secs } => world.now = world.now.plus_secs(secs),
            Act::Trim => {
                let before = forgotten_before(world.now);
                world.apply(ChangeSet::new().with(Change::TrimTpmChallenges(before)));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn nobody_is_admitted_without_the_key_of_a_live_challenge(
        acts in prop::collection::vec(acts(), 1..24),
    ) {
        play(&acts);
    }
}

/// The oracle is no use if nobody is ever admitted.
#[test]
fn the_oracle_admits_someone() {
    let (name, who) = (0, Who::One);
    play(&[
        Act::Enroll { name, who, root: false, enabled: true },
        Act::Ask { name, who },
        Act::Answer { name, key: Some(0) },
    ]);
    let asked = Asked { ek: who, key: Some([1; 32]), root: false, at: testkit::NOW };
    let oracle = Oracle {
        enrolled: [Some(Enrolled { who, root: false, enabled: true }), None],
        asked: [[vec![asked], Vec::new()], [Vec::new(), Vec::new()]],
        keys: vec![[1; 32]],
    };
    assert_eq!(oracle.answer(0, [1; 32], testkit::NOW), Some(Heard::Assigned));
    assert_eq!(oracle.answer(1, [1; 32], testkit::NOW), None);
}
