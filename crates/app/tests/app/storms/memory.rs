//! Whoever is refused is remembered, and nobody is refused from memory who would be admitted.

use std::sync::Arc;

use decide::{
    manage::DEFAULT_QUOTAS,
    scenes::{client, draft, keys, name, signing},
};
use induct_app::{
    App, No, bans::Wet, ca_certificates::CaDraft, device::HubLimits, limits::RateSettings,
    ports::NoAllocationHook, visits::TurnedAway,
};
use model::{
    AttestationDraft, Change, DeviceRefusal, EnrollmentGroupId, EnrollmentRef, Evidence,
    GroupDraft, OperationId, Precondition, ProvisioningStatus, RegisterRequest, RegistrationStatus,
    Sent, Slots,
    ban::{SubjectDraft, registration_key},
};
use proptest::prelude::*;
use testkit::{Revocations, certificates::Credential};

use super::{
    DEVICE, ask, ask_from, ban, derived, enroll, enroll_group, id, own_keys, papers, refused,
    request, signed,
};
use crate::{
    gated::At,
    instance::{CountingEntropy, SCOPE, by, settings},
    stage::Stage,
};

#[tokio::test]
async fn a_change_that_nobody_waited_for_still_admits_who_was_refused() {
    let stage = Stage::new().await;
    let own = || signed(DEVICE, &name::key(3), 3600);
    let mut held =
        stage.store.hold(At::Queued, |change| matches!(change, Change::PutIndividual(_)));
    let app = stage.app.clone();
    let enrolling = tokio::spawn(async move { enroll(&app, DEVICE, own_keys(), true).await });
    held.reached().await;
    refused(&stage.app, DEVICE, own()).await;
    // The operator's connection breaks; the write is on its way all the same.
    enrolling.abort();
    assert!(enrolling.await.unwrap_err().is_cancelled());
    refused(&stage.app, DEVICE, own()).await;
    refused(&stage.app, DEVICE, own()).await;
    held.release();
    while stage.app.get_individual(&id(DEVICE)).await.is_err() {
        tokio::task::yield_now().await;
    }
    ask(&stage.app, DEVICE, own()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn once_an_enrollment_is_acknowledged_its_device_is_never_refused_from_memory() {
    let stage = Stage::new().await;
    let leaf = || Evidence::X509(papers().leaves[0].chain());
    for _ in 0..8 {
        let devices: Vec<_> = (0..4)
            .map(|_| {
                let app = stage.app.clone();
                tokio::spawn(async move {
                    // Until it is admitted.
                    while ask(&app, DEVICE, leaf()).await.is_err() {
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        enroll(&stage.app, DEVICE, client(Some(papers().leaves[0].der()), None), true).await;
        ask(&stage.app, DEVICE, leaf()).await.unwrap();
        for device in devices {
            device.await.unwrap();
        }
        stage.app.delete_individual(&id(DEVICE), &Precondition::Any, &by()).await.unwrap();
        refused(&stage.app, DEVICE, leaf()).await;
    }
}

/// What happens.
#[derive(Debug, Clone)]
enum Act {
    /// A device asks, from one of two addresses.
    Ask {
        shows: Shows,
        upper: bool,
        from: u8,
    },
    /// An individual enrollment is written, enabled or not; or deleted.
    Individual(Option<(Kind, bool)>),
    /// A group for certificates, or for keys.
    Group {
        by_keys: bool,
        enabled: Option<bool>,
    },
    /// The device, or the maker's CA, is banned for so many seconds; or no longer.
    Ban {
        ca: bool,
        secs: Option<Option<i64>>,
    },
    DeleteRecord,
    Wait(i64),
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Keys,
    Leaf,
}

#[derive(Debug, Clone, Copy)]
enum Shows {
    OwnKey(u8),
    GroupKey(u8),
    WrongKey(u8),
    /// A token for another device.
    OthersToken,
    Leaf,
    StrangersLeaf,
    Nothing,
}

impl Shows {
    fn evidence(self) -> Evidence {
        // Some tokens end while the story goes on; a clock may be 300 seconds off.
        let life = |n: u8| i64::from(n % 3) * 60 - 240;
        match self {
            Self::OwnKey(n) => signed(DEVICE, &name::key(3), life(n)),
            Self::GroupKey(n) => signed(DEVICE, &derived(DEVICE), life(n)),
            Self::WrongKey(n) => signed(DEVICE, &name::key(9), life(n)),
            Self::OthersToken => signed("other", &name::key(3), 3600),
            Self::Leaf => Evidence::X509(papers().leaves[0].chain()),
            Self::StrangersLeaf => Evidence::X509(papers().leaves[1].chain()),
            Self::Nothing => Evidence::Nothing,
        }
    }
}

fn shows() -> impl Strategy<Value = Shows> {
    prop_oneof![
        (0..3_u8).prop_map(Shows::OwnKey),
        (0..3_u8).prop_map(Shows::GroupKey),
        (0..3_u8).prop_map(Shows::WrongKey),
        Just(Shows::OthersToken),
        Just(Shows::Leaf),
        Just(Shows::StrangersLeaf),
        Just(Shows::Nothing),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let kind = prop_oneof![Just(Kind::Keys), Just(Kind::Leaf)];
    let secs = proptest::option::of(proptest::option::of(1..100_i64));
    prop_oneof![
        12 => (shows(), any::<bool>(), 0..2_u8)
            .prop_map(|(shows, upper, from)| Act::Ask { shows, upper, from }),
        2 => proptest::option::of((kind, any::<bool>())).prop_map(Act::Individual),
        2 => (any::<bool>(), proptest::option::of(any::<bool>()))
            .prop_map(|(by_keys, enabled)| Act::Group { by_keys, enabled }),
        1 => (any::<bool>(), secs).prop_map(|(ca, secs)| Act::Ban { ca, secs }),
        1 => Just(Act::DeleteRecord),
        3 => (1..80_i64).prop_map(Act::Wait),
    ]
}

/// What a device is told in the end: why not, or what a poll of its operation shows.
type Told = Result<(RegistrationStatus, Option<String>, EnrollmentRef), DeviceRefusal>;

async fn told(app: &App, request: RegisterRequest, operation: &OperationId) -> Told {
    let record = match app.operation_status(SCOPE, request, operation).await {
        Ok(record) => record,
        Err(No::Refused(refusal)) => return Err(refusal),
        Err(No::Fault(fault)) => panic!("{fault:?}"),
    };
    let assigned = record.assignment.map(|to| format!("{} {}", to.hub, to.device_id));
    Ok((record.status, assigned, record.enrollment))
}

/// Does one thing; what a device was told, if one asked. `remembers` takes the way of the doors.
async fn perform(stage: &Stage, act: &Act, remembers: bool) -> Option<Told> {
    let app = &stage.app;
    match act {
        Act::Ask { shows, upper, from } => {
            let device = if *upper { DEVICE.to_ascii_uppercase() } else { DEVICE.to_owned() };
            let asked = || request(&device, shows.evidence());
            let operation = match remembers {
                true => ask_from(app, [192, 0, 2, *from], &device, shows.evidence())
                    .await
                    .map_err(|TurnedAway { no, .. }| no),
                false => app.register(SCOPE, asked()).await.map(|registered| registered.operation),
            };
            return Some(match operation {
                Ok(operation) => told(app, asked(), &operation).await,
                Err(No::Refused(refusal)) => Err(refusal),
                Err(No::Fault(fault)) => panic!("{fault:?}"),
            });
        }
        Act::Individual(None) => {
            let _ = app.delete_individual(&id(DEVICE), &Precondition::Any, &by()).await;
        }
        Act::Individual(Some((kind, enabled))) => {
            let attestation = match kind {
                Kind::Keys => own_keys(),
                Kind::Leaf => client(Some(papers().leaves[0].der()), None),
            };
            enroll(app, DEVICE, attestation, *enabled).await;
        }
        Act::Group { by_keys, enabled } => {
            let (group, attestation) = match by_keys {
                true => ("keys", keys(&name::key(1), &name::key(2))),
                false => ("certificates", signing(Some(papers().cas[0].der()), None)),
            };
            match enabled {
                Some(enabled) => enroll_group(app, group, attestation, *enabled).await,
                None => {
                    let group = EnrollmentGroupId::parse(group).unwrap();
                    let _ = app.delete_group(&group, &Precondition::Any, &by()).await;
                }
            }
        }
        Act::Ban { ca, secs: Some(secs) } => {
            let subject = match ca {
                true => SubjectDraft::Certificate(papers().cas[0].der().to_vec()),
                false => SubjectDraft::Registration(id(DEVICE)),
            };
            ban(app, subject, *secs).await;
        }
        Act::Ban { ca: false, secs: None } => {
            let _ = app.lift_ban(&registration_key(&id(DEVICE)), Wet::Done, &by()).await;
        }
        Act::Ban { ca: true, secs: None } => {
            let bans = app.list_bans(None, 10).await.unwrap();
            for ban in bans.items.iter().filter(|ban| ban.subject.key().starts_with("ca:")) {
                app.lift_ban(&ban.subject.key(), Wet::Done, &by()).await.unwrap();
            }
        }
        Act::DeleteRecord => {
            let _ = app.delete_record(&id(DEVICE), &Precondition::Any, &by()).await;
        }
        Act::Wait(secs) => stage.clock.advance(*secs),
    }
    None
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn whoever_asks_hears_the_same_with_and_without_memory(
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (with, without) = (Stage::new().await, Stage::new().await);
            for (n, act) in acts.iter().enumerate() {
                let told = (perform(&with, act, true).await, perform(&without, act, false).await);
                prop_assert_eq!(&told.0, &told.1, "at {} of {:#?}", n, acts);
            }
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn a_change_that_was_written_although_the_store_failed_admits_who_was_refused() {
    let stage = Stage::new().await;
    let leaf = || Evidence::X509(papers().leaves[0].chain());
    refused(&stage.app, DEVICE, leaf()).await;
    stage.store.fail_after(0, true);
    let mut draft = draft(signing(Some(papers().cas[0].der()), None));
    draft.provisioning_status = Sent::Value(ProvisioningStatus::Enabled);
    let group = GroupDraft { group_id: EnrollmentGroupId::parse("line-4").unwrap(), draft };
    let put = stage.app.put_group(group, &Precondition::None, &by()).await;
    assert!(matches!(put, Err(No::Fault(_))) && !stage.store.is_to_fail(), "{put:?}");
    ask(&stage.app, DEVICE, leaf()).await.unwrap();
}

/// Another user of the same store, with a memory of its own.
fn neighbour(stage: &Stage) -> App {
    let settings = settings(DEFAULT_QUOTAS, RateSettings::default(), HubLimits::default());
    let (store, clock) = (Arc::clone(&stage.store), Arc::clone(&stage.clock));
    let entropy = Arc::new(CountingEntropy::default());
    App::new(store, clock, entropy, Arc::new(NoAllocationHook), settings)
}

/// Refused again and again until an operator changes something elsewhere; then admitted at once.
async fn check_repaired_elsewhere(
    evidence: impl Fn() -> Evidence,
    broken: impl AsyncFnOnce(&App),
    repaired: impl AsyncFnOnce(&App),
) {
    let stage = Stage::new().await;
    let (door, operator) = (&stage.app, &neighbour(&stage));
    broken(operator).await;
    for wait in [None, Some(5), Some(10)] {
        assert_eq!(refused(door, DEVICE, evidence()).await.1, wait);
    }
    repaired(operator).await;
    ask(door, DEVICE, evidence()).await.unwrap();
}

#[tokio::test]
async fn what_one_user_of_a_store_changes_is_at_once_forgotten_by_the_memory_of_another() {
    let leaf = || Evidence::X509(papers().leaves[0].chain());
    let own = || signed(DEVICE, &name::key(3), 3600);
    let by_maker = || signing(Some(papers().cas[0].der()), None);
    let none = async |_: &App| {};
    check_repaired_elsewhere(leaf, none, async |app| {
        enroll_group(app, "g", by_maker(), true).await
    })
    .await;
    check_repaired_elsewhere(own, none, async |app| enroll(app, DEVICE, own_keys(), true).await)
        .await;
    check_repaired_elsewhere(
        leaf,
        async |app| {
            enroll_group(app, "g", by_maker(), true).await;
            ban(app, SubjectDraft::Registration(id(DEVICE)), None).await;
        },
        async |app| {
            app.lift_ban(&registration_key(&id(DEVICE)), Wet::Done, &by()).await.unwrap();
        },
    )
    .await;
    check_repaired_elsewhere(
        leaf,
        async |app| {
            enroll_group(app, "g", by_maker(), true).await;
            revoke(app, 1, Some(&papers().leaves[0])).await;
        },
        async |app| revoke(app, 2, None).await,
    )
    .await;
    check_repaired_elsewhere(
        leaf,
        async |app| {
            put_ca(app, false).await;
            let ca_references = Slots { primary: Some("maker".to_owned()), secondary: None };
            let by_name = AttestationDraft::X509 {
                client: None,
                signing: None,
                ca_references: Some(ca_references),
            };
            enroll_group(app, "g", by_name, true).await;
        },
        async |app| put_ca(app, true).await,
    )
    .await;
    check_repaired_elsewhere(
        leaf,
        async |app| {
            enroll_group(app, "g", by_maker(), true).await;
            enroll(app, DEVICE, own_keys(), true).await;
        },
        async |app| {
            app.delete_individual(&id(DEVICE), &Precondition::Any, &by()).await.unwrap();
        },
    )
    .await;
}

/// The maker's CA in the service's store.
async fn put_ca(app: &App, verified: bool) {
    let der = papers().cas[0].der().to_vec();
    let draft = CaDraft { name: "maker".to_owned(), der, verified: Some(verified) };
    let precondition = match app.get_ca_certificate("maker").await {
        Ok(_) => Precondition::Any,
        Err(_) => Precondition::None,
    };
    app.put_ca_certificate(&draft, &precondition, &by()).await.unwrap();
}

/// The maker's CA revokes this leaf, or nobody any more.
async fn revoke(app: &App, number: u64, leaf: Option<&Credential>) {
    let mut list = Revocations::number(number);
    if let Some(leaf) = leaf {
        list = list.with(leaf);
    }
    app.import_crl(papers().cas[0].revocation_list(&list), &by()).await.unwrap();
}

#[tokio::test]
async fn a_disabled_device_that_is_enabled_again_is_admitted_by_its_next_question() {
    let stage = Stage::new().await;
    let app = &stage.app;
    let leaf = || Evidence::X509(papers().leaves[0].chain());
    let by_maker = || signing(Some(papers().cas[0].der()), None);
    for _ in 0..3 {
        enroll_group(app, "line-4", by_maker(), false).await;
        let mut last = None;
        for _ in 0..5 {
            let operation = ask(app, DEVICE, leaf()).await.unwrap();
            let told = told(app, request(DEVICE, leaf()), &operation).await;
            assert!(matches!(&told, Ok((RegistrationStatus::Disabled, ..))), "{told:?}");
            last = Some(operation);
        }
        enroll_group(app, "line-4", by_maker(), true).await;
        let operation = ask(app, DEVICE, leaf()).await.unwrap();
        assert_ne!(Some(&operation), last.as_ref(), "an answer from before");
        let told = told(app, request(DEVICE, leaf()), &operation).await;
        assert!(matches!(&told, Ok((RegistrationStatus::Assigned, ..))), "{told:?}");
    }
}
