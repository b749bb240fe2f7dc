//! No sequence of operator actions admits a device whose first matching entry is disabled.
//!
//! The oracle is another, simpler telling of D §5.1: it knows which certificates are above a
//! device and asks nobody's code which entry comes first.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// What an operator or the device may do, in terms of the entries that could admit one device.
#[derive(Debug, Clone, Copy)]
enum Act {
    Individual(bool, Kind),
    Group(Level, bool),
    DeleteIndividual,
    DeleteGroup(Level),
    DeleteRecord,
    DisableInHub,
    DeleteInHub,
    Register(Sends),
    AddHub,
}

/// What an individual enrollment wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Key,
    OwnCertificate,
    OtherCertificate,
}

/// Whose group it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Intermediate,
}

/// How much of its chain the device sends.
#[derive(Debug, Clone, Copy)]
enum Sends {
    Leaf,
    Chain,
    WithRoot,
    Reissued,
}

fn acts() -> impl Strategy<Value = Act> {
    let kind =
        prop_oneof![Just(Kind::Key), Just(Kind::OwnCertificate), Just(Kind::OtherCertificate)];
    let level = prop_oneof![Just(Level::Root), Just(Level::Intermediate)];
    let sends = prop_oneof![
        Just(Sends::Leaf),
        Just(Sends::Chain),
        Just(Sends::WithRoot),
        Just(Sends::Reissued)
    ];
    prop_oneof![
        2 => (any::<bool>(), kind).prop_map(|(on, kind)| Act::Individual(on, kind)),
        3 => (level.clone(), any::<bool>()).prop_map(|(level, on)| Act::Group(level, on)),
        1 => Just(Act::DeleteIndividual),
        1 => level.prop_map(Act::DeleteGroup),
        1 => Just(Act::DeleteRecord),
        1 => Just(Act::DisableInHub),
        1 => Just(Act::DeleteInHub),
        1 => Just(Act::AddHub),
        6 => sends.prop_map(Act::Register),
    ]
}

/// What the oracle remembers.
#[derive(Debug, Default)]
struct Oracle {
    individual: Option<(bool, Kind)>,
    intermediate: Option<bool>,
    root: Option<bool>,
}

impl Oracle {
    /// Whether the device is admitted, by the first entry that matches it.
    fn admits(&self, sends: Sends) -> bool {
        match self.individual {
            Some((enabled, Kind::OwnCertificate)) => return enabled,
            Some((_, Kind::Key | Kind::OtherCertificate)) => return false,
            None => {}
        }
        if let Some(enabled) = self.intermediate {
            return enabled;
        }
        // The leaf alone does not lead to the root: nobody knows the certificate in between.
        !matches!(sends, Sends::Leaf) && self.root == Some(true)
    }

    /// Whether the first entry that matches is there and disabled.
    fn first_match_is_disabled(&self, sends: Sends) -> bool {
        match (self.individual, self.intermediate, self.root) {
            (Some((enabled, _)), _, _) | (None, Some(enabled), _) => !enabled,
            (None, None, Some(enabled)) => !enabled && !matches!(sends, Sends::Leaf),
            (None, None, None) => false,
        }
    }
}

/// Certificates are made once: keys cost time, and the property is about the entries.
struct Material {
    factory: Factory,
    reissued: Ca,
    other: Credential,
}

fn material() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let factory = Factory::new();
        let reissued = factory.intermediate.cross_signed_by(&factory.root);
        Material { factory, reissued, other: Credential::self_signed(Profile::leaf("press-17")) }
    })
}

impl Material {
    fn chain(&self, sends: Sends) -> Vec<model::CertificateDer> {
        match sends {
            Sends::Leaf => self.factory.device.alone(),
            Sends::Chain => self.factory.device.chain(),
            Sends::WithRoot => self.factory.device.chain_with_root(),
            Sends::Reissued => {
                let mut chain = self.factory.device.alone();
                chain.push(model::CertificateDer(self.reissued.der().to_vec()));
                chain
            }
        }
    }

    fn attestation(&self, kind: Kind) -> AttestationDraft {
        match kind {
            Kind::Key => keys(&name::key(1), &name::key(2)),
            Kind::OwnCertificate => client(Some(self.factory.device.der()), None),
            Kind::OtherCertificate => client(Some(self.other.der()), None),
        }
    }
}

fn with_status(draft: Draft, enabled: bool) -> Draft {
    if enabled { draft } else { disabled(draft) }
}

fn play(acts: &[Act]) {
    let material = material();
    let (mut world, mut oracle) = (World::default(), Oracle::default());
    for act in acts {
        match *act {
            Act::Individual(enabled, kind) => {
                let attestation = material.attestation(kind);
                world.enroll("press-17", with_status(draft(attestation), enabled));
                oracle.individual = Some((enabled, kind));
            }
            Act::Group(Level::Root, enabled) => {
                let attestation = material.factory.on_root();
                world.enroll_group("root", with_status(draft(attestation), enabled));
                oracle.root = Some(enabled);
            }
            Act::Group(Level::Intermediate, enabled) => {
                let attestation = material.factory.on_intermediate();
                world.enroll_group("middle", with_status(draft(attestation), enabled));
                oracle.intermediate = Some(enabled);
            }
            Act::DeleteIndividual => {
                world.disenroll("press-17");
                oracle.individual = None;
            }
            Act::DeleteGroup(Level::Root) => {
                world.disenroll_group("root");
                oracle.root = None;
            }
            Act::DeleteGroup(Level::Intermediate) => {
                world.disenroll_group("middle");
                oracle.intermediate = None;
            }
            Act::DeleteRecord => {
                world.apply(ChangeSet::new().with(Change::DeleteRecord(name::id("press-17"))));
            }
            Act::DisableInHub => {
                for device in world.devices.values_mut() {
                    device.identity.status = DeviceStatus::Disabled;
                }
            }
            Act::DeleteInHub => world.devices.clear(),
            Act::AddHub => {
                let n = world.hubs.hubs.len() + 1;
                world.hubs.hubs.push(linked(name::hub(&format!("hub-{n}")), 1));
            }
            Act::Register(sends) => {
                let decision = world.register(request("press-17", chain(material.chain(sends))));
                let admitted = heard(&decision) == Heard::Assigned;
                assert!(
                    !(admitted && oracle.first_match_is_disabled(sends)),
                    "a disabled entry admitted: {oracle:?} {sends:?} {acts:?}"
                );
                assert_eq!(admitted, oracle.admits(sends), "{oracle:?} {sends:?} {acts:?}");
                if admitted {
                    world.check_invariants();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_sequence_of_acts_admits_a_device_whose_first_matching_entry_is_disabled(
        acts in prop::collection::vec(acts(), 1..24),
    ) {
        play(&acts);
    }
}
