//! A fleet: devices of a group, one with an enrollment of its own, identities made by hand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use decide::scenes::{draft, keys, signing, tpm_keys, tpm_token};
use induct_app::{
    App, No,
    deprovision::DeprovisionSettings,
    ports::{Bell, Stopwatch},
};
use model::{
    ApiVersion, AttestationDraft, Caller, CertificateDer, Change, ChangeSet, ConnectRefusal,
    DeprovisionItem, DeviceId, Draft, EnrollmentGroupId, Etag, Evidence, GroupDraft, HubAccess,
    IndividualDraft, Intent, LinkedHub, OperatorRefusal, Precondition, ProvisioningStatus, Receipt,
    ReceiptId, RecordFilter, RegisterRequest, RegistrationId, RegistrationStatus, Selection, Sent,
    SymmetricKey,
};
use store::Store;
use testkit::{Ca, ClientStyle, DeviceToken, NOW, SoftTpm};

use crate::{
    instance::{SCOPE, by, hub_name},
    stage::{Connected, Stage, key, keyed, token_for},
};

/// The group's.
pub(crate) const GROUP_KEY: u8 = 7;
/// The key of `press-17`'s own enrollment.
pub(crate) const OWN_KEY: u8 = 9;
/// Devices of the group.
pub(crate) const OF_GROUP: [&str; 3] = ["arm-1", "arm-2", "arm-3"];

/// The runtime's stopwatch: a test that pauses the runtime's time holds it.
struct RuntimeStopwatch(tokio::time::Instant);

#[async_trait]
impl Stopwatch for RuntimeStopwatch {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    async fn pause(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The fleet, on `hub-1`; `hub-2` is there as well and is never chosen.
pub(crate) struct Fleet {
    pub(crate) stage: Stage,
    pub(crate) app: App,
    pub(crate) bell: Arc<CountingBell>,
}

#[derive(Default)]
pub(crate) struct CountingBell(AtomicUsize);

impl Bell for CountingBell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl CountingBell {
    pub(crate) fn n(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn registration(id: &str) -> RegistrationId {
    RegistrationId::parse(id).unwrap()
}

pub(crate) fn group_id(id: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(id).unwrap()
}

pub(crate) fn settings() -> DeprovisionSettings {
    DeprovisionSettings {
        devices_per_second: 0,
        max_at_once: 4,
        close_wait: Duration::from_secs(10),
    }
}

pub(crate) fn ids(ids: &[&str]) -> Selection {
    let ids = ids.iter().map(|id| registration(id)).collect();
    Selection { registration_ids: Some(ids), ..Selection::default() }
}

pub(crate) fn of_group(id: &str) -> Selection {
    Selection { group: Some(group_id(id)), ..Selection::default() }
}

pub(crate) fn of_receipt(id: &ReceiptId) -> Selection {
    Selection { receipt: Some(id.clone()), ..Selection::default() }
}

pub(crate) fn by_key(seed: u8) -> AttestationDraft {
    keys(&key(seed), &key(seed))
}

pub(crate) fn by_ca(ca: &Ca) -> AttestationDraft {
    signing(Some(ca.der()), None)
}

fn request(id: &str, evidence: Evidence) -> RegisterRequest {
    RegisterRequest {
        registration_id: registration(id),
        evidence,
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    }
}

pub(crate) fn derived(id: &str, seed: u8) -> SymmetricKey {
    testkit::sas::derive_device_key(&key(seed), id)
}

impl Fleet {
    pub(crate) async fn new() -> Self {
        let stage = Stage::new().await;
        let second = LinkedHub {
            name: hub_name("hub-2"),
            access: HubAccess::BuiltIn,
            weight: 0,
            apply_allocation_policy: false,
            declared: false,
            etag: Etag::from_random([0; 16]),
            created: NOW,
            last_updated: NOW,
            version: 0,
        };
        let link = ChangeSet::new().with(Change::PutLinkedHub(Box::new(second)));
        stage.store.commit(link).await.unwrap();
        let bell = Arc::<CountingBell>::default();
        let fleet = Self { app: Self::app(&stage, &bell), stage, bell };
        fleet.enroll_group("line-4", by_key(GROUP_KEY)).await;
        for id in OF_GROUP {
            fleet.register(id, derived(id, GROUP_KEY)).await.unwrap();
        }
        fleet.enroll("press-17", by_key(OWN_KEY)).await;
        fleet.register("press-17", key(OWN_KEY)).await.unwrap();
        fleet.make("hub-2", "by-hand").await;
        fleet.make("hub-2", "odd#1").await;
        fleet
    }

    /// The use cases of a process over the fleet's store. Sessions are those of the process.
    fn app(stage: &Stage, bell: &Arc<CountingBell>) -> App {
        let bell: Arc<dyn Bell> = Arc::<CountingBell>::clone(bell);
        let stopwatch = Arc::new(RuntimeStopwatch(tokio::time::Instant::now()));
        stage.app.clone().with_deprovisioning(settings(), bell, stopwatch)
    }

    /// The same process after its work was interrupted: nobody works on anything.
    pub(crate) fn resumed(&self) -> App {
        Self::app(&self.stage, &self.bell)
    }

    pub(crate) async fn enroll_group(&self, id: &str, attestation: AttestationDraft) {
        let group = GroupDraft { group_id: group_id(id), draft: draft(attestation) };
        self.app.put_group(group, &Precondition::None, &by()).await.unwrap();
    }

    pub(crate) fn individual(id: &str, attestation: AttestationDraft) -> IndividualDraft {
        IndividualDraft {
            registration_id: registration(id),
            device_id: None,
            optional_device_information: None,
            draft: draft(attestation),
        }
    }

    pub(crate) async fn enroll(&self, id: &str, attestation: AttestationDraft) {
        let draft = Self::individual(id, attestation);
        self.app.put_individual(draft, &Precondition::None, &by()).await.unwrap();
    }

    /// An identity made by hand, with key 1.
    pub(crate) async fn make(&self, hub: &str, device: &str) {
        let draft = keyed(device, 1);
        self.app.put_identity(&hub_name(hub), &draft, &Precondition::None, &by()).await.unwrap();
    }

    /// Registers by a key: the status of the record, or why not.
    pub(crate) async fn register(
        &self,
        id: &str,
        key: SymmetricKey,
    ) -> Result<RegistrationStatus, String> {
        let token = DeviceToken {
            style: ClientStyle::Python,
            id_scope: SCOPE,
            registration_id: id,
            key: &key,
            expiry_unix_secs: NOW.unix_secs() + 3600,
        };
        self.show(id, Evidence::Sas(token.parsed())).await
    }

    pub(crate) async fn show(
        &self,
        id: &str,
        evidence: Evidence,
    ) -> Result<RegistrationStatus, String> {
        match self.app.register(SCOPE, request(id, evidence)).await {
            Ok(registered) => Ok(registered.record.status),
            Err(No::Refused(refusal)) => Err(refusal.to_string()),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    /// Registers by a TPM and the certificates it shows: it is challenged, and answers.
    pub(crate) async fn register_tpm(
        &self,
        id: &str,
        tpm: &mut SoftTpm,
        shown: &[CertificateDer],
    ) -> Result<RegistrationStatus, String> {
        let keys = Evidence::Tpm(tpm_keys(tpm, shown.to_vec()));
        let blob = match self.app.challenge_tpm(SCOPE, request(id, keys)).await {
            Ok(blob) => blob,
            Err(No::Refused(refusal)) => return Err(refusal.to_string()),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        };
        tpm.activate(&blob).unwrap();
        self.show(id, Evidence::Sas(tpm_token(tpm, id))).await
    }

    /// Connects by a key.
    pub(crate) async fn connect(
        &self,
        hub: &str,
        device: &str,
        key: &SymmetricKey,
    ) -> Result<Connected, ConnectRefusal> {
        let connecting = induct_app::device::Connecting {
            hub: hub_name(hub),
            device_id: DeviceId::parse_stored(device).unwrap(),
            evidence: token_for(hub, device, key, None),
            address: [192, 0, 2, 1].into(),
            earlier: induct_app::device::Earlier::Restored,
        };
        match self.app.connect_device(connecting).await {
            Ok(connected) => Ok(connected),
            Err(No::Refused(refusal)) => Err(refusal),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    pub(crate) async fn plan(&self, selection: &Selection, intent: Intent) -> Receipt {
        self.try_plan(selection, intent).await.unwrap()
    }

    pub(crate) async fn try_plan(
        &self,
        selection: &Selection,
        intent: Intent,
    ) -> Result<Receipt, OperatorRefusal> {
        let reason = Some("stolen".to_owned());
        match self.app.plan_deprovision(selection, intent, reason, &by()).await {
            Ok(plan) => Ok(plan),
            Err(No::Refused(refusal)) => Err(refusal),
            Err(No::Fault(fault)) => panic!("{fault:?}"),
        }
    }

    pub(crate) async fn apply(&self, id: &ReceiptId) -> Receipt {
        self.app.deprovision(id, &other()).await.unwrap()
    }

    /// Plans and applies.
    pub(crate) async fn act(&self, selection: &Selection, intent: Intent) -> Receipt {
        let plan = self.plan(selection, intent).await;
        self.apply(&plan.head.id).await
    }

    pub(crate) async fn items(&self, id: &ReceiptId) -> Vec<DeprovisionItem> {
        self.app.list_deprovision_items(id, None, 0, 1_000).await.unwrap()
    }

    /// Whom a plan or receipt is about, in its order.
    pub(crate) async fn devices(&self, id: &ReceiptId) -> Vec<String> {
        let items = self.items(id).await;
        let name = |item: &DeprovisionItem| {
            item.subject.key().split_once(':').map(|(_, name)| name.to_owned()).unwrap()
        };
        items.iter().map(name).collect()
    }

    /// All that is ours of the fleet, by device, group and ban: what is enabled is told from what
    /// is not; versions, etags and moments are left out.
    pub(crate) async fn picture(&self) -> BTreeMap<String, String> {
        let store = &self.stage.store;
        let mut picture = BTreeMap::new();
        for one in store.list_individuals(None, 1_000).await.unwrap().items {
            let name = format!("enrollments/{}", one.registration_id);
            picture.insert(name, switch(one.terms.is_enabled()));
        }
        for one in store.list_groups(None, 1_000).await.unwrap().items {
            picture.insert(format!("groups/{}", one.group_id), switch(one.terms.is_enabled()));
        }
        for one in store.list_records(&RecordFilter::All, None, 1_000).await.unwrap().items {
            picture.insert(format!("records/{}", one.registration_id), format!("{:?}", one.status));
        }
        for one in store.list_bans(None, 1_000).await.unwrap().items {
            picture.insert(format!("bans/{}", one.subject.key()), format!("{:?}", one.kind));
        }
        for hub in ["hub-1", "hub-2"] {
            for one in store.list_devices(&hub_name(hub), None, 1_000).await.unwrap().items {
                let name = format!("{hub}/{}", one.identity.device_id);
                picture.insert(name, format!("{:?}", one.identity.status));
            }
        }
        picture
    }

    /// Those parts of the picture that are about a device.
    pub(crate) fn of_device(picture: &BTreeMap<String, String>, id: &str) -> Vec<(String, String)> {
        let is_its = |name: &str| {
            name.ends_with(&format!("/{id}")) || name.ends_with(&format!("registration:{id}"))
        };
        picture
            .iter()
            .filter(|(name, _)| is_its(name))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect()
    }

    pub(crate) async fn set_group_enabled(&self, id: &str, is_enabled: bool) {
        let status =
            if is_enabled { ProvisioningStatus::Enabled } else { ProvisioningStatus::Disabled };
        let draft = Draft { provisioning_status: Sent::Value(status), ..draft(by_key(GROUP_KEY)) };
        let group = GroupDraft { group_id: group_id(id), draft };
        self.app.put_group(group, &Precondition::Any, &by()).await.unwrap();
    }
}

fn switch(is_enabled: bool) -> String {
    if is_enabled { "enabled" } else { "disabled" }.to_owned()
}

/// Another operator: whoever applies what the first one planned.
pub(crate) fn other() -> Caller {
    Caller { policy: "ben".to_owned(), address: None }
}
