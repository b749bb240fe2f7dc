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
        2 => (name(), who(), any::<bool>())
            .prop_map(|(name, who, enabled)| Act::Enroll { name, who, enabled }),
        1 => name().prop_map(|name| Act::Disenroll { name }),
        4 => (name(), who()).prop_map(|(name, who)| Act::Ask { name, who }),
        1 => (name(), who()).prop_map(|(name, ek)| Act::Mix { name, ek }),
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
    at: Timestamp,
}

#[derive(Default)]
struct Oracle {
    enrolled: [Option<(Who, bool)>; 2],
    /// The last two of each name.
    asked: [Vec<Asked>; 2],
    /// Every key that a TPM was ever given, the latest first.
    keys: Vec<[u8; 32]>,
}

impl Oracle {
    fn asked(&mut self, name: usize, asked: Asked) {
        self.asked[name].insert(0, asked);
        self.asked[name].truncate(2);
    }

    /// What becomes of an answer: admitted, told to be disabled, or neither.
    fn answer(&self, name: usize, key: [u8; 32], now: Timestamp) -> Option<Heard> {
        let in_time = |at: Timestamp| now < at.plus_secs(3600);
        let asked = self.asked[name].iter().find(|a| a.key == Some(key) && in_time(a.at))?;
        match self.enrolled[name] {
            Some((who, true)) if who == asked.ek => Some(Heard::Assigned),
            Some((who, false)) if who == asked.ek => Some(Heard::Disabled),
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
            Act::Enroll { name, who, enabled } => {
                let by = draft(by_tpm(&of(who)));
                world.enroll(NAMES[name], if enabled { by } else { disabled(by) });
                oracle.enrolled[name] = Some((who, enabled));
            }
            Act::Disenroll { name } => {
                world.disenroll(NAMES[name]);
                oracle.enrolled[name] = None;
            }
            Act::Ask { name, who } => {
                let blob = world.challenge(NAMES[name], tpm_keys(&of(who), Vec::new()));
                let is_its = oracle.enrolled[name].is_some_and(|(enrolled, _)| enrolled == who);
                assert_eq!(blob.is_ok(), is_its, "{act:?}");
                let Ok(blob) = blob else { continue };
                let taken = take_out(&blob);
                let [(taker, key)] = taken[..] else { panic!("one TPM can: {taken:?}") };
                assert_eq!(taker, who);
                oracle.keys.insert(0, key);
                oracle.asked(name, Asked { ek: who, key: Some(key), at: world.now });
            }
            Act::Mix { name, ek } => {
                let root = of(if ek == Who::One { Who::Other } else { Who::One });
                let mixed = TpmKeys {
                    storage_root_key: Some(root.storage_root_key()),
                    ..tpm_keys(&of(ek), Vec::new())
                };
                if let Ok(blob) = world.challenge(NAMES[name], mixed) {
                    assert!(take_out(&blob).is_empty(), "no TPM has both keys");
                    oracle.asked(name, Asked { ek, key: None, at: world.now });
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
        Act::Enroll { name, who, enabled: true },
        Act::Ask { name, who },
        Act::Answer { name, key: Some(0) },
    ]);
    let oracle = Oracle {
        enrolled: [Some((who, true)), None],
        asked: [vec![Asked { ek: who, key: Some([1; 32]), at: testkit::NOW }], Vec::new()],
        keys: vec![[1; 32]],
    };
    assert_eq!(oracle.answer(0, [1; 32], testkit::NOW), Some(Heard::Assigned));
    assert_eq!(oracle.answer(1, [1; 32], testkit::NOW), None);
}
