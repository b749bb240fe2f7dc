//! After a revocation no later sequence of enrollment operations admits the device, on any door,
//! as long as its bans are not lifted.

use std::sync::OnceLock;

use decide::scenes::{by_tpm, client, draft, issuers, signing};
use induct_app::enrollments::{BulkGroup, BulkIndividual, BulkMode, GroupShape};
use model::{
    AttestationDraft, CertificateDer, EnrollmentRef, Evidence, GroupDraft, IndividualDraft, Intent,
    Precondition, ProvisioningStatus, RegistrationStatus, Sent, Slots, SymmetricKey,
};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any},
    prop_oneof, proptest,
};
use testkit::{Ca, Credential, SoftTpm};

use crate::{
    fleet::{Fleet, GROUP_KEY, OWN_KEY, by_ca, by_key, derived, group_id, ids, registration},
    instance::{by, hub_name},
    stage::{key, keyed},
};

/// The device, unless it is a TPM that a group admitted: that has the name of its key.
const DEVICE: &str = "press-17";
/// Another name that its TPM may be enrolled under.
const TWIN: &str = "twin-1";
/// The modes and etags of bulk calls that write whatever is there.
const BULK: [(BulkMode, Option<&str>); 2] =
    [(BulkMode::Create, None), (BulkMode::UpdateIfMatchEtag, Some("*"))];

/// What the device was admitted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Key,
    Certificate,
    Tpm,
    TpmOfGroup,
}

/// What an operator does to enrollments, records and the registry; and to devices, that they are
/// someone else.
#[derive(Debug, Clone)]
enum Operation {
    PutIndividual {
        by: Mechanism,
        is_enabled: bool,
        is_bulk: bool,
    },
    DeleteIndividual {
        is_bulk: bool,
    },
    /// The device's TPM under another name.
    PutTwin {
        is_bulk: bool,
    },
    PutGroup {
        at: usize,
        by: Mechanism,
        is_enabled: bool,
        is_bulk: bool,
    },
    DeleteGroup {
        at: usize,
        is_bulk: bool,
    },
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
    Tpm,
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
            Just(Mechanism::Tpm),
        ]
    };
    let operation = prop_oneof![
        4 => (mechanism(), any::<bool>(), any::<bool>()).prop_map(|(by, is_enabled, is_bulk)| {
            Operation::PutIndividual { by, is_enabled, is_bulk }
        }),
        1 => any::<bool>().prop_map(|is_bulk| Operation::DeleteIndividual { is_bulk }),
        1 => any::<bool>().prop_map(|is_bulk| Operation::PutTwin { is_bulk }),
        4 => (0..3_usize, mechanism(), any::<bool>(), any::<bool>()).prop_map(
            |(at, by, is_enabled, is_bulk)| Operation::PutGroup { at, by, is_enabled, is_bulk }
        ),
        1 => (0..3_usize, any::<bool>())
            .prop_map(|(at, is_bulk)| Operation::DeleteGroup { at, is_bulk }),
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
    tpm: SoftTpm,
    /// The certificates that the TPM shows.
    endorsed: Vec<CertificateDer>,
}

struct Scene {
    fleet: Fleet,
    papers: Papers,
    way: Way,
    /// The device, in a spelling of its own.
    device: String,
    /// The key that a hub gave to the TPM.
    hub_key: Option<SymmetricKey>,
    /// How often another device was admitted.
    n_admitted: usize,
}

/// Another one, made once, because that takes long.
fn other_tpm() -> SoftTpm {
    static OTHER: OnceLock<SoftTpm> = OnceLock::new();
    OTHER.get_or_init(SoftTpm::new).clone()
}

fn group(at: usize) -> String {
    format!("group-{at}")
}

impl Scene {
    /// The device was admitted in this way, and is revoked.
    async fn revoked(way: Way) -> Self {
        let fleet = Fleet::new().await;
        let root = Ca::root("root");
        let issuer = root.intermediate("issuer");
        let tpm = SoftTpm::from_fixture();
        let device = match way {
            Way::TpmOfGroup => tpm.registration_id(),
            Way::Key | Way::Certificate | Way::Tpm => DEVICE.to_owned(),
        };
        let (leaf, endorsed) = (issuer.leaf(&device), tpm.endorsement_chain(&issuer));
        let papers = Papers { root, issuer, leaf, tpm, endorsed };
        let mut scene = Self { fleet, papers, way, device, hub_key: None, n_admitted: 0 };
        scene.admit().await;
        let plan = scene.fleet.plan(&ids(&[&scene.device]), Intent::Revoke).await;
        assert_eq!(plan.head.totals.n_bans, scene.n_bans(), "its name, and what it has");
        scene.fleet.apply(&plan.head.id).await;
        scene
    }

    async fn admit(&mut self) {
        let (fleet, papers) = (&self.fleet, &mut self.papers);
        // The fleet's press has a key.
        if matches!(self.way, Way::Certificate | Way::Tpm) {
            fleet.act(&ids(&[DEVICE]), Intent::Retire).await;
            let ban = format!("registration:{DEVICE}");
            let wet = induct_app::bans::Wet::Done;
            fleet.app.lift_ban(&ban, wet, &by()).await.unwrap();
        }
        match self.way {
            Way::Key => {}
            Way::Certificate => {
                fleet.enroll_group("group-0", by_ca(&papers.issuer)).await;
                let shown = fleet.show(&self.device, Evidence::X509(papers.leaf.chain())).await;
                assert_eq!(shown, Ok(RegistrationStatus::Assigned));
            }
            Way::Tpm | Way::TpmOfGroup => {
                if self.way == Way::Tpm {
                    fleet.enroll(&self.device, by_tpm(&papers.tpm)).await;
                } else {
                    let of_tpms = issuers(Some(papers.issuer.der()), None);
                    fleet.enroll_group("group-0", of_tpms).await;
                }
                let Papers { tpm, endorsed, .. } = papers;
                let shown = fleet.register_tpm(&self.device, tpm, endorsed).await;
                assert_eq!(shown, Ok(RegistrationStatus::Assigned));
                let record = fleet.app.get_record(&registration(&self.device)).await.unwrap();
                tpm.activate(&record.wrapped_hub_key.unwrap()).unwrap();
                let key = SymmetricKey::derived(&tpm.key().unwrap());
                assert!(fleet.connect("hub-1", &self.device, &key).await.is_ok());
                self.hub_key = Some(key);
            }
        }
    }

    /// How many bans its revocation sets.
    const fn n_bans(&self) -> u64 {
        match self.way {
            Way::Key => 1,
            Way::Certificate | Way::Tpm | Way::TpmOfGroup => 2,
        }
    }

    fn attestation(&self, mechanism: Mechanism, is_group: bool) -> AttestationDraft {
        let reference = |at: usize| AttestationDraft::X509 {
            client: None,
            signing: None,
            ca_references: Some(Slots { primary: Some(format!("ca-{at}")), secondary: None }),
        };
        let Papers { root, issuer, leaf, tpm, .. } = &self.papers;
        match (mechanism, is_group) {
            (Mechanism::OwnKey, _) => by_key(OWN_KEY),
            (Mechanism::GroupKey, _) => by_key(GROUP_KEY),
            // Groups take CAs only, individual enrollments leaves.
            (Mechanism::Leaf | Mechanism::Issuer | Mechanism::Root, false) => {
                client(Some(leaf.der()), None)
            }
            (Mechanism::Leaf | Mechanism::Issuer, true) => signing(Some(issuer.der()), None),
            (Mechanism::Root, true) => signing(Some(root.der()), None),
            (Mechanism::Reference(at), _) => reference(at),
            (Mechanism::Tpm, false) => by_tpm(tpm),
            (Mechanism::Tpm, true) => issuers(Some(root.der()), None),
        }
    }

    /// Writes it whatever is there.
    async fn put_individual(&self, put: IndividualDraft, is_bulk: bool) {
        let app = &self.fleet.app;
        if is_bulk {
            for (mode, etag) in BULK {
                let mut put = put.clone();
                put.draft.etag = etag.map(str::to_owned);
                let items = vec![BulkIndividual::Write(Box::new(put))];
                app.bulk_individuals(mode, items, &by()).await.unwrap();
            }
        } else {
            for precondition in [Precondition::None, Precondition::Any] {
                let _ = app.put_individual(put.clone(), &precondition, &by()).await;
            }
        }
    }

    /// Writes it whatever is there, but a group of the other shape.
    async fn put_group(&self, put: GroupDraft, is_bulk: bool) {
        let app = &self.fleet.app;
        if is_bulk {
            for (mode, etag) in BULK {
                let mut put = put.clone();
                put.draft.etag = etag.map(str::to_owned);
                let items = vec![BulkGroup::Write(Box::new(put))];
                app.bulk_groups(mode, items, &by()).await.unwrap();
            }
        } else {
            for precondition in [Precondition::None, Precondition::Any] {
                let _ = app.put_group(put.clone(), &precondition, &by()).await;
            }
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
        let hub = hub_name("hub-1");
        let (id, device) = (registration(&self.device), crate::stage::id(&self.device));
        match operation {
            Operation::PutIndividual { by: mechanism, is_enabled, is_bulk } => {
                let attestation = self.attestation(*mechanism, false);
                let mut put = Fleet::individual(&self.device, attestation);
                put.draft.provisioning_status = status(*is_enabled);
                self.put_individual(put, *is_bulk).await;
            }
            Operation::DeleteIndividual { is_bulk: false } => {
                let _ = app.delete_individual(&id, &Precondition::None, &by()).await;
            }
            Operation::DeleteIndividual { is_bulk: true } => {
                let items = vec![BulkIndividual::Delete(id)];
                app.bulk_individuals(BulkMode::Delete, items, &by()).await.unwrap();
            }
            Operation::PutTwin { is_bulk } => {
                let put = Fleet::individual(TWIN, self.attestation(Mechanism::Tpm, false));
                self.put_individual(put, *is_bulk).await;
            }
            Operation::PutGroup { at, by: mechanism, is_enabled, is_bulk } => {
                let mut put = draft(self.attestation(*mechanism, true));
                put.provisioning_status = status(*is_enabled);
                let put = GroupDraft { group_id: group_id(&group(*at)), draft: put };
                self.put_group(put, *is_bulk).await;
            }
            Operation::DeleteGroup { at, is_bulk: false } => {
                let id = group_id(&group(*at));
                for shape in [GroupShape::Vendor, GroupShape::Tpm] {
                    let _ = app.delete_group_of(shape, &id, &Precondition::None, &by()).await;
                }
            }
            Operation::DeleteGroup { at, is_bulk: true } => {
                let items = vec![BulkGroup::Delete(group_id(&group(*at)))];
                app.bulk_groups(BulkMode::Delete, items, &by()).await.unwrap();
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
                let _ = app.delete_record(&id, &Precondition::None, &by()).await;
            }
            Operation::PutIdentity => {
                let mut draft = keyed(&self.device, 1);
                if let Some(authentication) = &mut draft.authentication {
                    let of_group = derived(&self.device, GROUP_KEY);
                    let its = Some(self.hub_key.clone().unwrap_or(of_group));
                    authentication.primary_key = its.clone();
                    authentication.secondary_key = its;
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
                let mut tpm = other_tpm();
                let (of_tpm, endorsed) =
                    (tpm.registration_id(), tpm.endorsement_chain(&self.papers.issuer));
                let all = [
                    self.fleet.show(id, Evidence::X509(leaf.chain())).await,
                    self.fleet.register(id, derived(id, GROUP_KEY)).await,
                    self.fleet.register_tpm(&of_tpm, &mut tpm, &endorsed).await,
                ];
                let is_in = |one: &Result<_, _>| *one == Ok(RegistrationStatus::Assigned);
                self.n_admitted += all.iter().filter(|one| is_in(one)).count();
            }
        }
    }

    /// It registers by its TPM.
    async fn register_tpm(&self, id: &str) -> Result<RegistrationStatus, String> {
        let mut tpm = self.papers.tpm.clone();
        self.fleet.register_tpm(id, &mut tpm, &self.papers.endorsed).await
    }

    /// It registers by a certificate that its CA has issued just now.
    async fn register_renewed(&self, id: &str) -> Result<RegistrationStatus, String> {
        let renewed = self.papers.issuer.leaf(&self.device);
        self.fleet.show(id, Evidence::X509(renewed.chain())).await
    }

    /// The device tries everything it has, in every spelling.
    async fn check_out(&self, after: &[Operation]) {
        let device = &self.device;
        for id in [device.clone(), device.to_ascii_uppercase()] {
            let id = id.as_str();
            let chain = self.papers.leaf.chain();
            let with_root = self.papers.leaf.chain_with_root();
            let shown = [
                self.fleet.show(id, Evidence::X509(chain)).await,
                self.fleet.show(id, Evidence::X509(with_root)).await,
                self.register_renewed(id).await,
                self.fleet.register(id, key(OWN_KEY)).await,
                self.fleet.register(id, key(GROUP_KEY)).await,
                self.fleet.register(id, derived(id, GROUP_KEY)).await,
                self.fleet.register(id, derived(device, OWN_KEY)).await,
                self.register_tpm(id).await,
            ];
            for (n, one) in shown.iter().enumerate() {
                assert!(one.is_err(), "{id} by way {n}: {one:?} after {after:?}");
            }
        }
        // What it is known by keeps it out under every name.
        if matches!(self.way, Way::Tpm | Way::TpmOfGroup) {
            for id in [TWIN, &self.papers.tpm.registration_id()] {
                let shown = self.register_tpm(id).await;
                assert!(shown.is_err(), "its TPM as {id}: {shown:?} after {after:?}");
            }
        }
        let of_hub = self.hub_key.clone();
        for key in [key(OWN_KEY), key(1), derived(device, GROUP_KEY)].into_iter().chain(of_hub) {
            let connected = self.fleet.connect("hub-1", device, &key).await;
            assert!(connected.is_err(), "it connects after {after:?}");
        }
        let record = self.fleet.app.get_record(&registration(device)).await;
        assert!(record.is_err(), "a record came back: {record:?} after {after:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_revoked_device_is_never_admitted_again(
        way in prop_oneof![
            Just(Way::Key),
            Just(Way::Certificate),
            Just(Way::Tpm),
            Just(Way::TpmOfGroup),
        ],
        operations in operations(),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut scene = Scene::revoked(way).await;
            for n in 0..operations.len() {
                scene.operate(&operations[n]).await;
                scene.check_out(&operations[..=n]).await;
            }
        });
    }
}

/// What keeps it out is the bans: with the same operations another device gets in, and so does
/// this one once they are lifted, by each of the ways that were tried before.
#[tokio::test]
async fn the_same_operations_admit_whoever_is_not_banned() {
    for (way, mechanism, is_bulk) in [
        (Way::Certificate, Mechanism::Issuer, false),
        (Way::Certificate, Mechanism::Root, true),
        (Way::Certificate, Mechanism::Reference(0), false),
        (Way::Key, Mechanism::GroupKey, true),
        (Way::Tpm, Mechanism::Tpm, true),
        (Way::TpmOfGroup, Mechanism::Tpm, false),
    ] {
        let how = format!("{way:?} {mechanism:?} {is_bulk}");
        let mut scene = Scene::revoked(way).await;
        let mut operations = vec![
            Operation::PutCa { at: 0, is_root: false },
            Operation::PutGroup { at: 0, by: mechanism, is_enabled: true, is_bulk },
            Operation::PutTwin { is_bulk },
            Operation::PutIdentity,
            Operation::Other,
        ];
        if way == Way::Tpm {
            let its = Operation::PutIndividual { by: mechanism, is_enabled: true, is_bulk };
            operations.push(its);
        }
        for operation in &operations {
            scene.operate(operation).await;
        }
        assert!(scene.n_admitted > 0, "{how}");
        scene.check_out(&operations).await;
        let bans = scene.fleet.app.list_bans(None, 100).await.unwrap().items;
        assert_eq!(bans.len() as u64, scene.n_bans(), "{bans:?}");
        for ban in bans {
            let wet = induct_app::bans::Wet::Done;
            scene.fleet.app.lift_ban(&ban.subject.key(), wet, &by()).await.unwrap();
        }
        let device = &scene.device;
        let of_group = derived(device, GROUP_KEY);
        let hub_key = scene.hub_key.clone().unwrap_or(of_group.clone());
        assert!(scene.fleet.connect("hub-1", device, &hub_key).await.is_ok(), "{how}");
        let shown = match way {
            Way::Key => vec![scene.fleet.register(device, of_group).await],
            Way::Certificate => vec![
                scene.fleet.show(device, Evidence::X509(scene.papers.leaf.chain())).await,
                scene.register_renewed(device).await,
            ],
            Way::Tpm | Way::TpmOfGroup => {
                vec![scene.register_tpm(device).await, scene.register_tpm(TWIN).await]
            }
        };
        for one in shown {
            assert_eq!(one, Ok(RegistrationStatus::Assigned), "{how}");
        }
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
