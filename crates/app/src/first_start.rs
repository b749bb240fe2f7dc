//! What the first start makes: an ID scope, an owner policy for the service and one for each hub.

use model::{
    AccessPolicy, Change, ChangeSet, HubName, IdScope, PolicyScope, Right, Rights, SymmetricKey,
    SymmetricKeys,
};
use store::{CommitError, Store, StoreFault};

use crate::ports::{Entropy, fresh};

/// The name of the service's owner policy (O §4.2).
pub const SERVICE_OWNER: &str = "provisioningserviceowner";
/// The name of a hub's owner policy (H §2.2).
pub const HUB_OWNER: &str = "iothubowner";
/// The name under which the ID scope is kept.
pub const ID_SCOPE_SETTING: &str = "id_scope";

/// What a start found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The instance's ID scope.
    pub id_scope: IdScope,
    /// Whether the ID scope was made just now.
    pub made_id_scope: bool,
    /// The policies made just now, by scope and name.
    pub made_policies: Vec<(PolicyScope, String)>,
}

/// Makes what is missing, with random keys, and leaves alone what is there. There is no default
/// password anywhere.
///
/// # Errors
/// A fault of the store.
pub async fn prepare(
    store: &dyn Store,
    entropy: &dyn Entropy,
    hubs: &[HubName],
) -> Result<Started, StoreFault> {
    let found = store.instance_setting(ID_SCOPE_SETTING).await?;
    let made_id_scope = found.is_none();
    if made_id_scope {
        let mut random = [0; 4];
        entropy.fill(&mut random);
        let value = IdScope::from_random(random).as_str().to_owned();
        let change = Change::PutInstanceSetting { name: ID_SCOPE_SETTING.to_owned(), value };
        commit(store, ChangeSet::new().with(change)).await?;
    }
    let kept = store.instance_setting(ID_SCOPE_SETTING).await?.unwrap_or_default();
    let id_scope = IdScope::parse(&kept)
        .map_err(|why| StoreFault::new("read the ID scope of the instance", why))?;
    let mut made_policies = Vec::new();
    for policy in owner_policies(hubs, entropy) {
        if store.find_policy(&policy.scope, &policy.name).await?.is_none() {
            made_policies.push((policy.scope.clone(), policy.name.clone()));
            let change = Change::PutPolicy(Box::new(policy));
            commit(store, ChangeSet::new().with(change)).await?;
        }
    }
    Ok(Started { id_scope, made_id_scope, made_policies })
}

fn owner_policies<'a>(
    hubs: &'a [HubName],
    entropy: &'a dyn Entropy,
) -> impl Iterator<Item = AccessPolicy> + 'a {
    let policy = |scope, name: &str, rights: &[Right]| {
        let fresh = fresh(entropy);
        AccessPolicy {
            scope,
            name: name.to_owned(),
            keys: SymmetricKeys {
                primary: SymmetricKey::generated(&fresh.primary_key),
                secondary: SymmetricKey::generated(&fresh.secondary_key),
            },
            rights: Rights::of(rights),
        }
    };
    let service = [Right::ServiceConfig, Right::DeviceConnect, Right::EnrollmentWrite];
    let service = policy(PolicyScope::Service, SERVICE_OWNER, &service);
    // The five default policies of a hub and their rights: H §2.2.
    let hub_policies: [(&str, &[Right]); 5] = [
        (HUB_OWNER, &[Right::RegistryWrite, Right::ServiceConnect, Right::DeviceConnect]),
        ("service", &[Right::ServiceConnect]),
        ("device", &[Right::DeviceConnect]),
        ("registryRead", &[Right::RegistryRead]),
        ("registryReadWrite", &[Right::RegistryWrite]),
    ];
    let of_hubs = hubs.iter().flat_map(move |hub| {
        hub_policies.map(|(name, rights)| policy(PolicyScope::Hub(hub.clone()), name, rights))
    });
    std::iter::once(service).chain(of_hubs)
}

async fn commit(store: &dyn Store, changes: ChangeSet) -> Result<(), StoreFault> {
    store.commit(changes).await.map_err(|error| match error {
        CommitError::Fault(fault) => fault,
        CommitError::Conflict => {
            StoreFault::new("prepared a new instance", "another process wrote at the same time")
        }
    })
}
