//! For generated scenes it is said who loses, gains and moves; then the change is made, and every
//! device registers anew.
//!
//! Two stages have the same history: on one, every device registers before the change, on the other
//! after it.

use std::sync::OnceLock;

use induct_app::{bans::Wet, ca_certificates::CaDraft};
use model::{
    AttestationDraft, Ban, CertificateDraft, ChangeDraft, EnrollmentRef, Evidence, GroupDraft,
    IndividualDraft, Precondition, ProvisioningStatus, Sent, SimulatedEffect, SimulatedEntry,
    Slots,
    ban::{BanDraft, SubjectDraft},
};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any},
    prop_oneof, proptest,
};
use store::Store;
use testkit::{Ca, Credential};

use super::{GROUP_KEY, draft, group_id, registration, token};
use crate::{
    instance::by,
    stage::{Stage, key},
};

/// Devices with certificates, and then as many with keys.
const DEVICES: [&str; 4] = ["press-1", "press-2", "arm-1", "arm-2"];
const N_PRESSES: usize = 2;

struct Papers {
    root: Ca,
    issuer: Ca,
    leaves: [Credential; N_PRESSES],
}

fn papers() -> &'static Papers {
    static PAPERS: OnceLock<Papers> = OnceLock::new();
    PAPERS.get_or_init(|| {
        let root = Ca::root("root");
        let issuer = root.intermediate("issuer");
        let leaves = [issuer.leaf(DEVICES[0]), issuer.leaf(DEVICES[1])];
        Papers { root, issuer, leaves }
    })
}

fn evidence(device: usize) -> Evidence {
    match papers().leaves.get(device) {
        // Alone, so that the certificates between are ours to know.
        Some(leaf) if device == 0 => Evidence::X509(leaf.alone()),
        Some(leaf) => Evidence::X509(leaf.chain()),
        None => token(DEVICES[device]),
    }
}

#[derive(Debug, Clone, Copy)]
enum Mechanism {
    GroupKey,
    Issuer,
    Root,
    Reference(usize),
}

#[derive(Debug, Clone, Copy)]
enum Subject {
    Device(usize),
    Leaf(usize),
    Issuer,
    Root,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    /// With the device's own credential, or another's.
    PutIndividual {
        device: usize,
        is_its: bool,
        is_enabled: bool,
    },
    SwitchIndividual {
        device: usize,
        is_enabled: bool,
    },
    DeleteIndividual(usize),
    PutGroup {
        at: usize,
        by: Mechanism,
        is_enabled: bool,
    },
    SwitchGroup {
        at: usize,
        is_enabled: bool,
    },
    DeleteGroup(usize),
    PutCa {
        at: usize,
        is_root: bool,
        is_verified: bool,
    },
    DeleteCa(usize),
    PutBan(Subject),
    LiftBan(Subject),
}

fn acts() -> impl Strategy<Value = Act> {
    let device = || 0..DEVICES.len();
    let mechanism = prop_oneof![
        3 => Just(Mechanism::GroupKey),
        2 => Just(Mechanism::Issuer),
        2 => Just(Mechanism::Root),
        1 => (0..2_usize).prop_map(Mechanism::Reference),
    ];
    let subject = || {
        prop_oneof![
            device().prop_map(Subject::Device),
            (0..N_PRESSES).prop_map(Subject::Leaf),
            Just(Subject::Issuer),
            Just(Subject::Root),
        ]
    };
    let mostly = || prop_oneof![3 => Just(true), 1 => Just(false)];
    prop_oneof![
        3 => (device(), mostly(), mostly()).prop_map(|(device, is_its, is_enabled)| {
            Act::PutIndividual { device, is_its, is_enabled }
        }),
        1 => (device(), any::<bool>())
            .prop_map(|(device, is_enabled)| Act::SwitchIndividual { device, is_enabled }),
        2 => device().prop_map(Act::DeleteIndividual),
        6 => (0..3_usize, mechanism, mostly())
            .prop_map(|(at, by, is_enabled)| Act::PutGroup { at, by, is_enabled }),
        2 => (0..3_usize, any::<bool>())
            .prop_map(|(at, is_enabled)| Act::SwitchGroup { at, is_enabled }),
        3 => (0..3_usize).prop_map(Act::DeleteGroup),
        3 => (0..2_usize, any::<bool>(), mostly())
            .prop_map(|(at, is_root, is_verified)| Act::PutCa { at, is_root, is_verified }),
        1 => (0..2_usize).prop_map(Act::DeleteCa),
        1 => subject().prop_map(Act::PutBan),
        1 => subject().prop_map(Act::LiftBan),
    ]
}

/// What happens before: an operator's act, or that a device registers.
#[derive(Debug, Clone, Copy)]
enum Event {
    Act(Act),
    Knock(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        1 => acts().prop_map(Event::Act),
        1 => (0..DEVICES.len()).prop_map(Event::Knock),
    ];
    proptest::collection::vec(event, 0..12)
}

fn status(is_enabled: bool) -> ProvisioningStatus {
    if is_enabled { ProvisioningStatus::Enabled } else { ProvisioningStatus::Disabled }
}

fn slot<T>(primary: T) -> Option<Slots<T>> {
    Some(Slots { primary: Some(primary), secondary: None })
}

fn der(der: &[u8]) -> Option<Slots<CertificateDraft>> {
    slot(CertificateDraft::Der(der.to_vec()))
}

fn of_group(by: Mechanism) -> AttestationDraft {
    let x509 =
        |signing, ca_references| AttestationDraft::X509 { client: None, signing, ca_references };
    match by {
        Mechanism::GroupKey => AttestationDraft::SymmetricKey {
            primary: Some(key(GROUP_KEY)),
            secondary: Some(key(GROUP_KEY)),
        },
        Mechanism::Issuer => x509(der(papers().issuer.der()), None),
        Mechanism::Root => x509(der(papers().root.der()), None),
        Mechanism::Reference(at) => x509(None, slot(format!("ca-{at}"))),
    }
}

fn of_individual(device: usize, is_its: bool) -> AttestationDraft {
    match papers().leaves.get(device) {
        Some(_) => {
            let of = if is_its { device } else { 1 - device };
            let client = der(papers().leaves[of].der());
            AttestationDraft::X509 { client, signing: None, ca_references: None }
        }
        // That keys are replaced cannot be told from a device that has the new ones.
        None => {
            let its = testkit::sas::derive_device_key(&key(GROUP_KEY), DEVICES[device]);
            AttestationDraft::SymmetricKey { primary: Some(its.clone()), secondary: Some(its) }
        }
    }
}

fn subject(subject: Subject) -> SubjectDraft {
    match subject {
        Subject::Device(at) => SubjectDraft::Registration(registration(DEVICES[at])),
        Subject::Leaf(at) => SubjectDraft::Certificate(papers().leaves[at].der().to_vec()),
        Subject::Issuer => SubjectDraft::Certificate(papers().issuer.der().to_vec()),
        Subject::Root => SubjectDraft::Certificate(papers().root.der().to_vec()),
    }
}

fn ban(of: Subject) -> BanDraft {
    BanDraft { subject: subject(of), reason: None, expires: None }
}

fn named(at: usize) -> String {
    format!("group-{at}")
}

/// A ban of this subject, whether it is set or not.
async fn thought(stage: &Stage, of: Subject) -> Ban {
    stage.app.put_ban(&ban(of), Wet::Dry, &by()).await.unwrap()
}

/// The act as a change that can be thought of.
async fn change(stage: &Stage, act: Act) -> ChangeDraft {
    match act {
        Act::PutIndividual { device, is_its, is_enabled } => {
            let status = Sent::Value(status(is_enabled));
            ChangeDraft::PutIndividual(Box::new(IndividualDraft {
                registration_id: registration(DEVICES[device]),
                device_id: None,
                optional_device_information: None,
                draft: draft(of_individual(device, is_its), status),
            }))
        }
        Act::SwitchIndividual { device, is_enabled } => {
            ChangeDraft::SwitchIndividual(registration(DEVICES[device]), status(is_enabled))
        }
        Act::DeleteIndividual(device) => {
            ChangeDraft::DeleteIndividual(registration(DEVICES[device]))
        }
        Act::PutGroup { at, by, is_enabled } => {
            let draft = draft(of_group(by), Sent::Value(status(is_enabled)));
            ChangeDraft::PutGroup(Box::new(GroupDraft { group_id: group_id(&named(at)), draft }))
        }
        Act::SwitchGroup { at, is_enabled } => {
            ChangeDraft::SwitchGroup(group_id(&named(at)), status(is_enabled))
        }
        Act::DeleteGroup(at) => ChangeDraft::DeleteGroup(group_id(&named(at))),
        Act::PutCa { at, is_root, is_verified } => {
            let ca = if is_root { &papers().root } else { &papers().issuer };
            ChangeDraft::PutCertificate {
                name: format!("ca-{at}"),
                der: ca.der().to_vec(),
                verified: Some(is_verified),
            }
        }
        Act::DeleteCa(at) => ChangeDraft::DeleteCertificate(format!("ca-{at}")),
        Act::PutBan(of) => ChangeDraft::PutBan(Box::new(ban(of))),
        Act::LiftBan(of) => ChangeDraft::LiftBan(thought(stage, of).await.subject.key()),
    }
}

/// Makes a change; whether it was made.
async fn make(stage: &Stage, change: &ChangeDraft) -> bool {
    let (app, by) = (&stage.app, by());
    let whatever = |is_there: bool| match is_there {
        true => Precondition::Any,
        false => Precondition::None,
    };
    match change {
        ChangeDraft::PutIndividual(put) => {
            let there = stage.store.individual_facts(&put.registration_id).await.unwrap();
            let precondition = whatever(there.enrollment.is_some());
            app.put_individual((**put).clone(), &precondition, &by).await.is_ok()
        }
        ChangeDraft::SwitchIndividual(id, status) => {
            let Some(found) = stage.store.individual_facts(id).await.unwrap().enrollment else {
                return false;
            };
            let is_its = |device: &usize| DEVICES[*device] == id.as_str();
            let device = (0..DEVICES.len()).find(is_its).unwrap();
            let other = of_individual(device, false);
            let its = of_individual(device, true);
            let written = found.terms.attestation;
            let is_other = match (&written, papers().leaves.get(1_usize.saturating_sub(device))) {
                (model::AttestationMechanism::X509Client(slots), Some(leaf)) => {
                    slots.iter().any(|slot| slot.der == leaf.der())
                }
                _ => false,
            };
            let put = IndividualDraft {
                registration_id: id.clone(),
                device_id: None,
                optional_device_information: None,
                draft: draft(if is_other { other } else { its }, Sent::Value(*status)),
            };
            app.put_individual(put, &Precondition::Any, &by).await.is_ok()
        }
        ChangeDraft::DeleteIndividual(id) => {
            app.delete_individual(id, &Precondition::None, &by).await.is_ok()
        }
        ChangeDraft::PutGroup(put) => {
            let there = stage.store.find_group(&put.group_id).await.unwrap().is_some();
            app.put_group((**put).clone(), &whatever(there), &by).await.is_ok()
        }
        ChangeDraft::SwitchGroup(id, status) => {
            let Some(found) = stage.store.find_group(id).await.unwrap() else { return false };
            let attestation = match &found.terms.attestation {
                model::AttestationMechanism::SymmetricKey(_) => of_group(Mechanism::GroupKey),
                model::AttestationMechanism::X509CaReferences(slots) => AttestationDraft::X509 {
                    client: None,
                    signing: None,
                    ca_references: Some(slots.clone()),
                },
                model::AttestationMechanism::X509Signing(slots) => {
                    let ca = slots.iter().next().unwrap();
                    let signing = der(&ca.der);
                    AttestationDraft::X509 { client: None, signing, ca_references: None }
                }
                other => panic!("{other:?}"),
            };
            let draft = draft(attestation, Sent::Value(*status));
            let put = GroupDraft { group_id: id.clone(), draft };
            app.put_group(put, &Precondition::Any, &by).await.is_ok()
        }
        ChangeDraft::DeleteGroup(id) => {
            app.delete_group(id, &Precondition::None, &by).await.is_ok()
        }
        ChangeDraft::PutCertificate { name, der, verified } => {
            let there = stage.store.find_ca_certificate(name).await.unwrap().is_some();
            let draft = CaDraft { name: name.clone(), der: der.clone(), verified: *verified };
            app.put_ca_certificate(&draft, &whatever(there), &by).await.is_ok()
        }
        ChangeDraft::DeleteCertificate(name) => {
            app.delete_ca_certificate(name, &Precondition::None, &by).await.is_ok()
        }
        ChangeDraft::PutBan(draft) => app.put_ban(draft, Wet::Done, &by).await.is_ok(),
        ChangeDraft::LiftBan(key) => app.lift_ban(key, Wet::Done, &by).await.is_ok(),
    }
}

/// What every history begins with, so that there is something to lose: a group for each way to be
/// admitted, which all devices come through.
fn beginning() -> impl Iterator<Item = Event> {
    let ways = [Mechanism::GroupKey, Mechanism::Root, Mechanism::Issuer];
    let groups = ways
        .into_iter()
        .enumerate()
        .map(|(at, by)| Event::Act(Act::PutGroup { at, by, is_enabled: true }));
    groups.chain((0..DEVICES.len()).map(Event::Knock))
}

async fn after(history: &[Event]) -> Stage {
    let stage = Stage::new().await;
    for event in beginning().chain(history.iter().copied()) {
        match event {
            Event::Act(act) => {
                let change = change(&stage, act).await;
                make(&stage, &change).await;
            }
            Event::Knock(device) => {
                stage.knock(DEVICES[device], evidence(device)).await;
            }
        }
    }
    stage
}

async fn play(history: Vec<Event>, act: Act) {
    let (unchanged, changed) = (after(&history).await, after(&history).await);
    let change = change(&changed, act).await;
    let said = changed.try_simulate(&change).await;
    let mut known = Vec::new();
    for (device, id) in DEVICES.into_iter().enumerate() {
        if changed.store.find_record(&registration(id)).await.unwrap().is_some() {
            known.push((device, id));
        }
    }
    let is_made = make(&changed, &change).await;
    assert_eq!(said.is_ok(), is_made, "{change:?}: {said:?}");
    let Ok(said) = said else { return };
    for (device, id) in known {
        let named = said.named.iter().find(|(of, _)| of.as_str() == id).map(|(_, effect)| effect);
        if matches!(named, Some(SimulatedEffect::Unknown(_))) {
            continue;
        }
        let before = unchanged.knock(id, evidence(device)).await;
        let after = changed.knock(id, evidence(device)).await;
        let what = format!("{id} by {change:?} after {history:?}");
        assert_eq!(named, expected(before.as_ref(), after.as_ref()).as_ref(), "{what}");
    }
}

fn expected(
    before: Option<&EnrollmentRef>,
    after: Option<&EnrollmentRef>,
) -> Option<SimulatedEffect> {
    match (before.map(SimulatedEntry::from), after.map(SimulatedEntry::from)) {
        (None, None) => None,
        (Some(was), None) => Some(SimulatedEffect::Loses { was }),
        (None, Some(by)) => Some(SimulatedEffect::Gains { by }),
        (Some(from), Some(to)) => (from != to).then_some(SimulatedEffect::Moves { from, to }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn what_is_said_of_a_change_is_what_comes_of_it(history in events(), act in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(history, act));
    }
}
