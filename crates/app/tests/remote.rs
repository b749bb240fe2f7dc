//! A device goes to a remote hub, over the embedded store.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "app/instance.rs"]
#[expect(dead_code, reason = "shared with the other tests of the use cases")]
mod instance;

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use decide::{
    pending::{LEASE_SECS, RemoteDevice, RemoteFailure, RemoteHub, RemoteTwin},
    scenes,
};
use induct_app::{
    App,
    ports::{Bell, RemoteHubs},
    remote::{HubHealth, RemoteSettings},
};
use instance::{SCOPE, by, hub_name, instance};
use model::{
    AllocationPolicy, ApiVersion, Change, ChangeSet, DeviceId, Draft, Etag, Evidence, HubAccess,
    IdentityDraft, IndividualDraft, LinkedHub, Precondition, RegisterRequest, RegistrationId,
    RegistrationStatus, RemoteAccess, SymmetricKey, TwinDraft,
};
use testkit::{ClientStyle, DeviceToken, NOW};

/// A remote hub that takes everything, or nothing.
#[derive(Default)]
struct FarHub {
    identities: Mutex<Vec<IdentityDraft>>,
    is_stale: bool,
}

impl FarHub {
    fn check(&self) -> Result<(), RemoteFailure> {
        match self.is_stale {
            true => Err(RemoteFailure::Unauthorized("stale".to_owned())),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl RemoteHubs for FarHub {
    async fn find_device(
        &self,
        _hub: &RemoteHub,
        id: &DeviceId,
    ) -> Result<Option<RemoteDevice>, RemoteFailure> {
        self.check()?;
        let identities = self.identities.lock().unwrap();
        let found = identities.iter().find(|identity| identity.device_id == *id).cloned();
        Ok(found.map(|identity| RemoteDevice { identity, etag: None }))
    }

    async fn find_twin(
        &self,
        _hub: &RemoteHub,
        _id: &DeviceId,
    ) -> Result<Option<RemoteTwin>, RemoteFailure> {
        Ok(None)
    }

    async fn put_device(
        &self,
        _hub: &RemoteHub,
        identity: &IdentityDraft,
        _precondition: &Precondition,
    ) -> Result<(), RemoteFailure> {
        self.identities.lock().unwrap().push(identity.clone());
        Ok(())
    }

    async fn put_twin(
        &self,
        _hub: &RemoteHub,
        _id: &DeviceId,
        _twin: &TwinDraft,
    ) -> Result<(), RemoteFailure> {
        Ok(())
    }

    async fn delete_device(&self, _hub: &RemoteHub, _id: &DeviceId) -> Result<(), RemoteFailure> {
        Err(RemoteFailure::NotFound)
    }

    async fn probe(&self, _hub: &RemoteHub) -> Result<(), RemoteFailure> {
        self.check()
    }
}

#[derive(Default)]
struct CountingBell(AtomicUsize);

impl Bell for CountingBell {
    fn ring(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn key() -> SymmetricKey {
    SymmetricKey::from_bytes(&[7; 32]).unwrap()
}

/// Registers `press-17`, which is enrolled for the remote hub `far-1`, and works it off: where it
/// stands before and after, and how the hub is doing.
async fn provision(far: Arc<FarHub>) -> (RegistrationStatus, RegistrationStatus, HubHealth) {
    let instance = instance().await;
    let bell = Arc::new(CountingBell::default());
    let ports = (Arc::clone(&far), Arc::clone(&bell));
    let app: App = instance.app.with_remote_hubs(ports.0, ports.1, RemoteSettings::default());
    let linked = LinkedHub {
        name: hub_name("far-1"),
        access: HubAccess::Remote(RemoteAccess { port: None, policy: "o".to_owned(), key: key() }),
        weight: 1,
        apply_allocation_policy: true,
        declared: false,
        etag: Etag::from_random([0; 16]),
        created: NOW,
        last_updated: NOW,
        version: 0,
    };
    let link = ChangeSet::new().with(Change::PutLinkedHub(Box::new(linked)));
    instance.store.commit(link).await.unwrap();
    let registration_id = RegistrationId::parse("press-17").unwrap();
    let draft = IndividualDraft {
        registration_id: registration_id.clone(),
        device_id: None,
        optional_device_information: None,
        draft: Draft {
            allocation_policy: Some(AllocationPolicy::Static),
            iot_hubs: Some(vec!["far-1.example.test".to_owned()]),
            ..scenes::draft(scenes::keys(&key(), &key()))
        },
    };
    app.put_individual(draft, &Precondition::None, &by()).await.unwrap();
    let token = DeviceToken {
        style: ClientStyle::Python,
        id_scope: SCOPE,
        registration_id: "press-17",
        key: &key(),
        expiry_unix_secs: NOW.unix_secs() + 3600,
    };
    let request = RegisterRequest {
        registration_id: registration_id.clone(),
        evidence: Evidence::Sas(token.parsed()),
        payload: None,
        api_version: ApiVersion::V2021_06_01,
    };
    let registered = app.register(SCOPE, request).await.unwrap();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1, "the worker is woken");
    let next = app.work_off().await.unwrap();
    // What a failed attempt may have made is deleted once its claim has ended.
    assert_eq!(next, far.is_stale.then(|| NOW.plus_secs(LEASE_SECS)));
    let record = instance.store.find_record(&registration_id).await.unwrap().unwrap();
    let health = app.probe_hub(&hub_name("far-1")).await.unwrap();
    (registered.record.status, record.status, health)
}

#[tokio::test]
async fn a_healthy_remote_hub_has_the_device_after_one_pass() {
    let far = Arc::new(FarHub::default());
    let expected =
        (RegistrationStatus::Assigning, RegistrationStatus::Assigned, HubHealth::Healthy);
    assert_eq!(provision(Arc::clone(&far)).await, expected);
    assert_eq!(far.identities.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn stale_credentials_fail_the_registration_and_show_in_the_probe() {
    let far = Arc::new(FarHub { is_stale: true, ..FarHub::default() });
    let (_, settled, health) = provision(Arc::clone(&far)).await;
    assert_eq!(settled, RegistrationStatus::Failed);
    assert_eq!(health, HubHealth::Unauthorized("stale".to_owned()));
}
