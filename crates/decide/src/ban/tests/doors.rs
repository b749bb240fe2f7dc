//! While a ban in force is about a device, no door lets it in, whatever operators write besides; and
//! what is said of known devices is what the door says to them.
//!
//! The oracle knows which bans are about which device, and nothing of entries.

use std::sync::OnceLock;

use model::{
    CaCertificate, Change, ChangeSet, EnrollmentRef, Etag, OperationId, ProvisioningStatus,
    RegistrationRecord, Sent, Slots,
};
use proptest::prelude::*;

use super::*;
use crate::{
    attestation::{Known, known},
    record,
    register::Prepared,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// With a certificate, below line and root.
    Press,
    /// With a key derived from a group's.
    Drill,
    /// With a key of its own.
    Pump,
    /// With a TPM.
    Tpm,
}

/// The root's name in the service's store.
pub(crate) const STORED: &str = "the root";

pub(crate) const EVERYONE: [Who; 4] = [Who::Press, Who::Drill, Who::Pump, Who::Tpm];

/// What could admit one of them, or stand in their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    Line,
    Root,
    /// A group that refers to the root in the service's store.
    Reference,
    Press,
    /// An individual enrollment of the press by keys, which it does not have.
    PressByKey,
    Keys,
    /// An individual enrollment of the drill by a certificate, which it does not have.
    Drill,
    Pump,
    Tpm,
    Vendor,
}

pub(crate) const ENTRIES: [Entry; 10] = [
    Entry::Line,
    Entry::Root,
    Entry::Reference,
    Entry::Press,
    Entry::PressByKey,
    Entry::Keys,
    Entry::Drill,
    Entry::Pump,
    Entry::Tpm,
    Entry::Vendor,
];

/// Whom a ban is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Name(Who),
    Leaf(usize),
    Line,
    Root,
    EndorsementKey,
    Vendor,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Act {
    Put(Entry, bool),
    Delete(Entry),
    /// The root comes into the service's store, verified or not.
    PutCa(bool),
    DeleteCa,
    Ban(Subject, BanKind, Option<i64>),
    Lift(Subject),
    DeleteRecord(Who),
    Wait(i64),
    Knock(Who),
}

fn whoever() -> impl Strategy<Value = Who> {
    prop::sample::select(&EVERYONE[..])
}

fn subjects() -> impl Strategy<Value = Subject> {
    prop_oneof![
        4 => whoever().prop_map(Subject::Name),
        1 => (0..3_usize).prop_map(Subject::Leaf),
        1 => Just(Subject::Line),
        1 => Just(Subject::Root),
        1 => Just(Subject::EndorsementKey),
        1 => Just(Subject::Vendor),
    ]
}

pub(crate) fn acts() -> impl Strategy<Value = Act> {
    let entry = || prop::sample::select(&ENTRIES[..]);
    let kind = prop::sample::select(&[BanKind::Suspended, BanKind::Retired, BanKind::Revoked][..]);
    let lasts = prop::option::weighted(0.3, 1..90_i64);
    prop_oneof![
        6 => (entry(), prop::bool::weighted(0.7)).prop_map(|(entry, on)| Act::Put(entry, on)),
        2 => entry().prop_map(Act::Delete),
        2 => prop::bool::weighted(0.7).prop_map(Act::PutCa),
        1 => Just(Act::DeleteCa),
        3 => (subjects(), kind, lasts).prop_map(|(of, kind, lasts)| Act::Ban(of, kind, lasts)),
        2 => subjects().prop_map(Act::Lift),
        1 => whoever().prop_map(Act::DeleteRecord),
        1 => (1..60_i64).prop_map(Act::Wait),
        8 => whoever().prop_map(Act::Knock),
    ]
}

/// Certificates and keys are made once.
pub(crate) struct Material {
    root: Ca,
    line: Ca,
    press: Credential,
    other: Credential,
    vendor: Ca,
    tpm: SoftTpm,
}

pub(crate) fn material() -> &'static Material {
    static MATERIAL: OnceLock<Material> = OnceLock::new();
    MATERIAL.get_or_init(|| {
        let root = Ca::root("root");
        let line = root.intermediate("line-4");
        Material {
            press: line.leaf("press-17"),
            other: Credential::self_signed(testkit::Profile::leaf("drill-1")),
            vendor: Ca::root("TPM vendor root"),
            tpm: SoftTpm::from_fixture(),
            root,
            line,
        }
    })
}

impl Material {
    pub(crate) fn id(&self, who: Who) -> String {
        match who {
            Who::Press => "press-17".to_owned(),
            Who::Drill => "drill-1".to_owned(),
            Who::Pump => "pump-1".to_owned(),
            Who::Tpm => self.tpm.registration_id(),
        }
    }

    pub(crate) fn subject(&self, subject: Subject) -> BanSubject {
        match subject {
            Subject::Name(who) => registration(&self.id(who)),
            Subject::Leaf(at) => bans_on_certificate(&self.press).remove(at),
            Subject::Line => ban_on(&self.line),
            Subject::Root => ban_on(&self.root),
            Subject::EndorsementKey => endorsement_key_of(&self.tpm),
            Subject::Vendor => ban_on(&self.vendor),
        }
    }

    fn stored(&self, verified: bool) -> CaCertificate {
        CaCertificate {
            name: STORED.to_owned(),
            certificate: ca(&self.root),
            verified,
            pending_code: None,
            etag: Etag::from_random([0; 16]),
            created: testkit::NOW,
            last_updated: testkit::NOW,
            version: 1,
        }
    }

    /// Whose entry it is, and what it wants.
    pub(crate) fn entry(&self, entry: Entry) -> (EnrollmentRef, AttestationDraft) {
        let two = |one: u8| keys(&name::key(one), &name::key(one + 1));
        let of = |who: Who| EnrollmentRef::Individual(name::id(&self.id(who)));
        let group = |id: &str| EnrollmentRef::Group(name::group(id));
        match entry {
            Entry::Line => (group("line"), signing(Some(self.line.der()), None)),
            Entry::Root => (group("root"), signing(None, Some(self.root.der()))),
            Entry::Reference => {
                let names = Slots { primary: Some(STORED.to_owned()), secondary: None };
                let attestation = AttestationDraft::X509 {
                    client: None,
                    signing: None,
                    ca_references: Some(names),
                };
                (group("reference"), attestation)
            }
            Entry::Press => (of(Who::Press), client(None, Some(self.press.der()))),
            Entry::PressByKey => (of(Who::Press), two(9)),
            Entry::Keys => (group("keys"), two(1)),
            Entry::Drill => (of(Who::Drill), client(Some(self.other.der()), None)),
            Entry::Pump => (of(Who::Pump), two(5)),
            Entry::Tpm => (of(Who::Tpm), by_tpm(&self.tpm)),
            Entry::Vendor => (group("tpms"), issuers(Some(self.vendor.der()), None)),
        }
    }
}

/// A world, and what its devices did last.
#[derive(Clone)]
pub(crate) struct Scene {
    pub(crate) world: World,
    asked: [Option<RegisterRequest>; 4],
    operations: [Option<OperationId>; 4],
}

impl Scene {
    pub(crate) fn new() -> Self {
        const NOBODY: Option<RegisterRequest> = None;
        let operations = [const { None }; 4];
        Self { world: World::default(), asked: [NOBODY; 4], operations }
    }

    fn put(&mut self, entry: Entry, enabled: bool) {
        let (of, attestation) = material().entry(entry);
        let mut draft = draft(attestation);
        if !enabled {
            draft.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
        }
        match of {
            EnrollmentRef::Individual(id) => self.world.enroll(id.as_str(), draft),
            EnrollmentRef::Group(id) => self.world.enroll_group(id.as_str(), draft),
        }
    }

    fn delete(&mut self, entry: Entry) {
        let change = match material().entry(entry).0 {
            EnrollmentRef::Individual(id) => Change::DeleteIndividual(id),
            EnrollmentRef::Group(id) => Change::DeleteGroup(id),
        };
        self.world.apply(ChangeSet::new().with(change));
    }

    /// Does what an operator does, or lets time pass.
    pub(crate) fn act(&mut self, act: Act) {
        match act {
            Act::Put(entry, enabled) => self.put(entry, enabled),
            Act::Delete(entry) => self.delete(entry),
            Act::PutCa(verified) => {
                let stored = material().stored(verified);
                let change = Change::PutCaCertificate(Box::new(stored));
                self.world.apply(ChangeSet::new().with(change));
            }
            Act::DeleteCa => {
                let change = Change::DeleteCaCertificate(STORED.to_owned());
                self.world.apply(ChangeSet::new().with(change));
            }
            Act::Ban(subject, kind, lasts) => {
                let subject = material().subject(subject);
                let key = subject.key();
                self.world.ban(subject, kind);
                let ban = self.world.bans.get_mut(&key).expect("just set");
                ban.expires = lasts.map(|secs| self.world.now.plus_secs(secs));
            }
            Act::Lift(subject) => self.world.lift(&material().subject(subject)),
            Act::DeleteRecord(who) => {
                let id = name::id(&material().id(who));
                self.world.apply(ChangeSet::new().with(Change::DeleteRecord(id)));
            }
            Act::Wait(secs) => self.world.now = self.world.now.plus_secs(secs),
            Act::Knock(_) => {}
        }
    }

    /// A device registers, a TPM from the beginning.
    pub(crate) fn knock(&mut self, who: Who) -> Heard {
        let material = material();
        let id = material.id(who);
        let evidence = match who {
            Who::Press => chain(material.press.chain()),
            Who::Drill => token(&id, &attest::sas::derive(&name::key(2), &id)),
            Who::Pump => token(&id, &name::key(6)),
            Who::Tpm => {
                let mut tpm = material.tpm.clone();
                let certificates = tpm.endorsement_chain(&material.vendor);
                match self.world.challenge(&id, tpm_keys(&tpm, certificates)) {
                    Err(refusal) => return refused(refusal),
                    Ok(blob) => tpm.activate(&blob).expect("for this TPM"),
                }
                Evidence::Sas(tpm_token(&tpm, &id))
            }
        };
        let request = request(&id, evidence);
        self.asked[who as usize] = Some(request.clone());
        let decision = self.world.register(request);
        if let Decision::Settle(settlement) = &decision {
            self.operations[who as usize] = Some(settlement.operation.clone());
        }
        heard(decision)
    }

    /// What the device hears that asks again, without asking anew.
    fn asks_again(&self, who: Who) -> Option<[Result<RegistrationRecord, DeviceRefusal>; 2]> {
        let (settings, now) = (&self.world.settings.attest, self.world.now);
        let request = self.asked[who as usize].clone()?;
        let prepared = Prepared::new(request, &settings.limits).expect("parses");
        let facts = self.world.facts(&prepared.query());
        let operation = self.operations[who as usize].as_ref()?;
        Some([
            record::poll(&facts, &prepared, operation, settings, now),
            record::look_up(&facts, &prepared, settings, now),
        ])
    }

    /// Whether a ban in force is about the device; nothing where that depends on the entry.
    fn is_banned(&self, who: Who) -> Option<bool> {
        let material = material();
        let id = name::id(&material.id(who));
        let is_enrolled = self.world.individuals.contains_key(id.key());
        let in_force = |subject: Subject| {
            let ban = self.world.bans.get(&material.subject(subject).key());
            ban.filter(|ban| ban.expires.is_none_or(|expires| self.world.now < expires))
        };
        let by_name = in_force(Subject::Name(who))
            .is_some_and(|ban| ban.kind != BanKind::Retired || !is_enrolled);
        let any = |subjects: &[Subject]| subjects.iter().any(|of| in_force(*of).is_some());
        let leaves = [Subject::Leaf(0), Subject::Leaf(1), Subject::Leaf(2)];
        Some(match who {
            Who::Press => by_name || any(&leaves) || any(&[Subject::Line, Subject::Root]),
            Who::Drill | Who::Pump => by_name,
            Who::Tpm if by_name || any(&[Subject::EndorsementKey]) => true,
            // Its own enrollment asks for no certificate, so it does not rest on any.
            Who::Tpm if any(&[Subject::Vendor]) => return (!is_enrolled).then_some(true),
            Who::Tpm => false,
        })
    }

    /// What the door would say to the device, from what is known of it, and by which entry; nothing
    /// when that cannot be told.
    fn said_of(&self, who: Who) -> Option<(Heard, Option<EnrollmentRef>)> {
        let id = name::id(&material().id(who));
        let (settings, now) = (&self.world.settings.attest, self.world.now);
        let grounds = self.world.grounds.get(id.key())?;
        let query = Known::query(&id, grounds, &settings.limits).expect("readable");
        let facts = self.world.facts(&query);
        let device = Known::of(&facts, &settings.limits).ok()?;
        Some(match known(&facts, &device, settings, now, &mut Vec::new()) {
            Ok(attested) => {
                let enabled = attested.terms().is_enabled();
                let heard = if enabled { Heard::Assigned } else { Heard::Disabled };
                (heard, Some(attested.enrollment()))
            }
            Err(refusal) => (refused(refusal), None),
        })
    }
}

fn play(acts: &[Act]) {
    let mut scene = Scene::new();
    for act in acts {
        scene.act(*act);
        let Act::Knock(who) = *act else { continue };
        let banned = scene.is_banned(who);
        let heard = scene.knock(who);
        let settled = matches!(heard, Heard::Assigned | Heard::Disabled);
        match banned {
            // Where nothing would let it in either, it may hear that first.
            Some(true) => {
                assert!(!settled, "{who:?} heard {heard:?}: {acts:?}");
                for again in scene.asks_again(who).into_iter().flatten() {
                    assert!(again.is_err(), "{who:?} was told {again:?}: {acts:?}");
                }
            }
            Some(false) => assert_ne!(heard, Heard::Banned, "{who:?}: {acts:?}"),
            None => {}
        }
        let said = scene.said_of(who);
        // A disabled entry that a group's key vouches for does not say which group's it was.
        assert!(heard != Heard::Assigned || said.is_some(), "who was admitted is known: {acts:?}");
        if let Some((said, entry)) = said {
            assert_eq!(said, heard, "{who:?}: {acts:?}");
            let id = name::id(&material().id(who));
            let record = &scene.world.records[id.key()];
            assert!(!settled || entry.as_ref() == Some(&record.enrollment), "{acts:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_door_lets_a_banned_device_in_and_known_devices_are_judged_as_at_the_door(
        acts in prop::collection::vec(acts(), 1..40),
    ) {
        play(&acts);
    }
}
