//! After a revocation no later sequence of enrollment operations admits the device, on any door,
//! as long as its bans are not lifted.

use model::{
    AttestationDraft, ConnectRefusal, EnrollmentRef, Evidence, Intent, Precondition,
    ProvisioningStatus, RegistrationStatus, Sent, Slots,
};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any},
    prop_oneof, proptest,
};
use testkit::{Ca, Credential};

use crate::{
    fleet::{
        Fleet, GROUP_KEY, OWN_KEY, by_ca, by_key, derived, draft, group_id, ids, registration,
    },
    instance::{by, hub_name},
    stage::{key, keyed},
};

/// The device, in a spelling of its own.
const DEVICE: &str = "press-17";

/// What an operator does to enrollments, records and the registry; and to devices, that they are
/// someone else.
#[derive(Debug, Clone)]
enum Operation {
    PutIndividual {
        by: Mechanism,
        is_enabled: bool,
    },
    DeleteIndividual,
    PutGroup {
        at: usize,
        by: Mechanism,
        is_enabled: bool,
    },
    DeleteGroup(usize),
    PutCa {
        at: usize,
        is_root: bool,
    },
    DeleteCa(usize),
    DeleteRecord,
    PutIdentity,
    DeleteIdentity,
    /// Another device does the same as this one does after every operation.
    Other,
}

#[derive(Debug, Clone, Copy)]
enum Mechanism {
    OwnKey,
    GroupKey,
    Leaf,
    Issuer,
    Root,
    Reference(usize),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let mechanism = || {
        prop_oneof![
            Just(Mechanism::OwnKey),
            Just(Mechanism::GroupKey),
            Just(Mechanism::Leaf),
            Just(Mechanism::Issuer),
            Just(Mechanism::Root),
            (0..2_usize).prop_map(Mechanism::Reference),
        ]
    };
    let operation = prop_oneof![
        4 => (mechanism(), any::<bool>())
            .prop_map(|(by, is_enabled)| Operation::PutIndividual { by, is_enabled }),
        1 => Just(Operation::DeleteIndividual),
        4 => (0..3_usize, mechanism(), any::<bool>())
            .prop_map(|(at, by, is_enabled)| Operation::PutGroup { at, by, is_enabled }),
        1 => (0..3_usize).prop_map(Operation::DeleteGroup),
        2 => (0..2_usize, any::<bool>()).prop_map(|(at, is_root)| Operation::PutCa { at, is_root }),
        1 => (0..2_usize).prop_map(Operation::DeleteCa),
        1 => Just(Operation::DeleteRecord),
        1 => Just(Operation::PutIdentity),
        1 => Just(Operation::DeleteIdentity),
        1 => Just(Operation::Other),
    ];
    proptest::collection::vec(operation, 1..10)
}

struct Papers {
    root: Ca,
    issuer: Ca,
    leaf: Credential,
}

struct Scene {
    fleet: Fleet,
    papers: Papers,
    /// Which groups hold which mechanism; their shape cannot be changed.
    n_admitted: usize,
}

fn group(at: usize) -> String {
    format!("group-{at}")
}

impl Scene {
    /// The device was admitted by its certificate or by its key, and is revoked.
    async fn revoked(by_certificate: bool) -> Self {
        let fleet = Fleet::new().await;
        let root = Ca::root("root");
        let issuer = root.intermediate("issuer");
        let papers = Papers { leaf: issuer.leaf(DEVICE), root, issuer };
        if by_certificate {
            fleet.act(&ids(&[DEVICE]), Intent::Retire).await;
            let ban = format!("registration:{DEVICE}");
            let wet = induct_app::bans::Wet::Done;
            fleet.app.lift_ban(&ban, wet, &by()).await.unwrap();
            fleet.enroll_group("group-0", by_ca(&papers.issuer)).await;
            let shown = fleet.show(DEVICE, Evidence::X509(papers.leaf.chain())).await;
            assert_eq!(shown, Ok(RegistrationStatus::Assigned));
        }
        let plan = fleet.plan(&ids(&[DEVICE]), Intent::Revoke).await;
        let expected = if by_certificate { 2 } else { 1 };
        assert_eq!(plan.head.totals.n_bans, expected, "its name, and its certificate");
        fleet.apply(&plan.head.id).await;
        Self { fleet, papers, n_admitted: 0 }
    }

    fn attestation(&self, mechanism: Mechanism, is_group: bool) -> AttestationDraft {
        let certificate = |der: &[u8]| {
            let der = model::CertificateDraft::Der(der.to_vec());
            Some(Slots { primary: Some(der), secondary: None })
        };
        let x509 = |client, signing, ca_references| AttestationDraft::X509 {
            client,
            signing,
            ca_references,
        };
        let reference =
            |at: usize| Some(Slots { primary: Some(format!("ca-{at}")), secondary: None });
        let Papers { root, issuer, leaf } = &self.papers;
        match (mechanism, is_group) {
            (Mechanism::OwnKey, _) => by_key(OWN_KEY),
            (Mechanism::GroupKey, _) => by_key(GROUP_KEY),
            // Groups take CAs only, individual enrollments leaves.
            (Mechanism::Leaf | Mechanism::Issuer | Mechanism::Root, false) => {
                x509(certificate(leaf.der()), None, None)
            }
            (Mechanism::Reference(at), false) => x509(None, None, reference(at)),
            (Mechanism::Leaf | Mechanism::Issuer, true) => {
                x509(None, certificate(issuer.der()), None)
            }
            (Mechanism::Root, true) => x509(None, certificate(root.der()), None),
            (Mechanism::Reference(at), true) => x509(None, None, reference(at)),
        }
    }

    /// Whatever is refused of it is as good.
    async fn operate(&mut self, operation: &Operation) {
        let app = self.fleet.app.clone();
        let status = |is_enabled: bool| {
            Sent::Value(match is_enabled {
                true => ProvisioningStatus::Enabled,
                false => ProvisioningStatus::Disabled,
            })
        };
        let (hub, device) = (hub_name("hub-1"), crate::stage::id(DEVICE));
        match operation {
            Operation::PutIndividual { by: mechanism, is_enabled } => {
                let mut put = Fleet::individual(DEVICE, self.attestation(*mechanism, false));
                put.draft.provisioning_status = status(*is_enabled);
                for precondition in [Precondition::None, Precondition::Any] {
                    let _ = app.put_individual(put.clone(), &precondition, &by()).await;
                }
            }
            Operation::DeleteIndividual => {
                let id = registration(DEVICE);
                let _ = app.delete_individual(&id, &Precondition::None, &by()).await;
            }
            Operation::PutGroup { at, by: mechanism, is_enabled } => {
                let mut put = draft(self.attestation(*mechanism, true));
                put.provisioning_status = status(*is_enabled);
                let put = model::GroupDraft { group_id: group_id(&group(*at)), draft: put };
                for precondition in [Precondition::None, Precondition::Any] {
                    let _ = app.put_group(put.clone(), &precondition, &by()).await;
                }
            }
            Operation::DeleteGroup(at) => {
                let id = group_id(&group(*at));
                let _ = app.delete_group(&id, &Precondition::None, &by()).await;
            }
            Operation::PutCa { at, is_root } => {
                let ca = if *is_root { &self.papers.root } else { &self.papers.issuer };
                let (name, der) = (format!("ca-{at}"), ca.der().to_vec());
                let verified = Some(true);
                let ca = induct_app::ca_certificates::CaDraft { name, der, verified };
                for precondition in [Precondition::None, Precondition::Any] {
                    let _ = app.put_ca_certificate(&ca, &precondition, &by()).await;
                }
            }
            Operation::DeleteCa(at) => {
                let name = format!("ca-{at}");
                let _ = app.delete_ca_certificate(&name, &Precondition::None, &by()).await;
            }
            Operation::DeleteRecord => {
                let id = registration(DEVICE);
                let _ = app.delete_record(&id, &Precondition::None, &by()).await;
            }
            Operation::PutIdentity => {
                let mut draft = keyed(DEVICE, 1);
                if let Some(authentication) = &mut draft.authentication {
                    let of_group = Some(derived(DEVICE, GROUP_KEY));
                    authentication.primary_key = of_group.clone();
                    authentication.secondary_key = of_group;
                }
                for precondition in [Precondition::None, Precondition::Any] {
                    let _ = app.put_identity(&hub, &draft, &precondition, &by()).await;
                }
            }
            Operation::DeleteIdentity => {
                let _ = app.delete_device(&hub, &device, &Precondition::Any, &by()).await;
            }
            Operation::Other => {
                let id = "another";
                let leaf = self.papers.issuer.leaf(id);
                let all = [
                    self.fleet.show(id, Evidence::X509(leaf.chain())).await,
                    self.fleet.register(id, derived(id, GROUP_KEY)).await,
                ];
                let is_in = |one: &Result<_, _>| *one == Ok(RegistrationStatus::Assigned);
                self.n_admitted += all.iter().filter(|one| is_in(one)).count();
            }
        }
    }

    /// The device tries everything it has, in every spelling.
    async fn check_out(&self, after: &[Operation]) {
        let spellings = [DEVICE, "PRESS-17"];
        for id in spellings {
            let chain = self.papers.leaf.chain();
            let with_root = self.papers.leaf.chain_with_root();
            let shown = [
                self.fleet.show(id, Evidence::X509(chain)).await,
                self.fleet.show(id, Evidence::X509(with_root)).await,
                self.fleet.register(id, key(OWN_KEY)).await,
                self.fleet.register(id, key(GROUP_KEY)).await,
                self.fleet.register(id, derived(id, GROUP_KEY)).await,
                self.fleet.register(id, derived(DEVICE, OWN_KEY)).await,
            ];
            for (n, one) in shown.iter().enumerate() {
                assert!(one.is_err(), "{id} by way {n}: {one:?} after {after:?}");
            }
        }
        for key in [key(OWN_KEY), key(1), derived(DEVICE, GROUP_KEY)] {
            match self.fleet.connect("hub-1", DEVICE, &key).await {
                Err(ConnectRefusal::Banned(_) | ConnectRefusal::UnknownDevice) => {}
                Err(_) => {}
                Ok(_) => panic!("it connects after {after:?}"),
            }
        }
        let record = self.fleet.app.get_record(&registration(DEVICE)).await;
        assert!(record.is_err(), "a record came back: {record:?} after {after:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_revoked_device_is_never_admitted_again(
        by_certificate in any::<bool>(),
        operations in operations(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut scene = Scene::revoked(by_certificate).await;
            for n in 0..operations.len() {
                scene.operate(&operations[n]).await;
                scene.check_out(&operations[..=n]).await;
            }
        });
    }
}

/// What keeps it out is the bans: with the same operations another device gets in, and so does
/// this one once they are lifted.
#[tokio::test]
async fn the_same_operations_admit_whoever_is_not_banned() {
    for (by_certificate, mechanism) in [
        (true, Mechanism::Issuer),
        (true, Mechanism::Root),
        (true, Mechanism::Reference(0)),
        (false, Mechanism::GroupKey),
    ] {
        let mut scene = Scene::revoked(by_certificate).await;
        let operations = [
            Operation::PutCa { at: 0, is_root: false },
            Operation::PutGroup { at: 0, by: mechanism, is_enabled: true },
            Operation::Other,
        ];
        for operation in &operations {
            scene.operate(operation).await;
        }
        assert!(scene.n_admitted > 0, "{mechanism:?}");
        scene.check_out(&operations).await;
        let bans = scene.fleet.app.list_bans(None, 100).await.unwrap().items;
        assert_eq!(bans.len(), if by_certificate { 2 } else { 1 }, "{bans:?}");
        for ban in bans {
            let wet = induct_app::bans::Wet::Done;
            scene.fleet.app.lift_ban(&ban.subject.key(), wet, &by()).await.unwrap();
        }
        let shown = match by_certificate {
            true => scene.fleet.show(DEVICE, Evidence::X509(scene.papers.leaf.chain())).await,
            false => scene.fleet.register(DEVICE, derived(DEVICE, GROUP_KEY)).await,
        };
        assert_eq!(shown, Ok(RegistrationStatus::Assigned), "{mechanism:?}");
    }
}

#[tokio::test]
async fn a_deprovisioned_device_of_either_kind_is_told_by_its_plan_from_where_it_would_come_back() {
    let fleet = Fleet::new().await;
    for (device, expected) in [("arm-1", Some("line-4")), (DEVICE, None)] {
        let plan = fleet.plan(&ids(&[device]), Intent::Retire).await;
        let items = fleet.items(&plan.head.id).await;
        let found = match &items[0].plan.admitted_without_bans {
            model::StillAdmitted::By(EnrollmentRef::Group(group)) => Some(group.as_str()),
            model::StillAdmitted::No => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, expected, "{device}");
    }
}
