//! What a start makes: on the first one an ID scope and an owner policy; on every one the linked
//! hubs that the configuration file declares.

pub use decide::manage::hubs::{DeclaredHub, HUB_OWNER};

use decide::manage::{
    audit_view,
    hubs::{self, Reconciled, generated_policy},
};
use model::{
    AllocationPolicy, Change, ChangeSet, Etag, Expect, HubName, IdScope, LinkedHub, PolicyScope,
    Right, ServiceSettings, Timestamp,
};
use store::{CommitError, Store, StoreFault};

use crate::{
    audit::{self, Deed, by_itself},
    linked_hubs::{target, with_default_policies},
    ports::{Clock, Entropy, fresh},
};

/// The name of the service's owner policy (O §4.2).
pub const SERVICE_OWNER: &str = "provisioningserviceowner";
/// The name under which the ID scope is kept.
pub const ID_SCOPE_SETTING: &str = "id_scope";

/// How often a start reads again when another process writes at the same time.
const MAX_ATTEMPTS: usize = 16;

/// What the configuration file says about what is kept in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// The built-in hubs; they are changed in the file and nowhere else.
    pub hubs: Vec<DeclaredHub>,
    /// The service's allocation policy to begin with. Once the store has settings, they count.
    pub allocation_policy: AllocationPolicy,
}

/// What a start found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The instance's ID scope.
    pub id_scope: IdScope,
    /// Whether the ID scope was made just now.
    pub made_id_scope: bool,
    /// The policies made just now, by scope and name.
    pub made_policies: Vec<(PolicyScope, String)>,
    /// The hubs that were linked just now because the file declares them.
    pub linked: Vec<HubName>,
    /// The hubs that were changed just now to what the file says.
    pub updated: Vec<HubName>,
    /// The hubs that were unlinked just now because the file declares them no more. Their
    /// registries stay in the store.
    pub unlinked: Vec<HubName>,
}

/// Makes what is missing, with random keys, and leaves alone what is there. There is no default
/// password anywhere.
///
/// # Errors
/// A fault of the store.
pub async fn prepare(
    store: &dyn Store,
    entropy: &dyn Entropy,
    clock: &dyn Clock,
    declared: &Declared,
) -> Result<Started, StoreFault> {
    let now = clock.now();
    let found = store.instance_setting(ID_SCOPE_SETTING).await?;
    let made_id_scope = found.is_none();
    if made_id_scope {
        let mut random = [0; 4];
        entropy.fill(&mut random);
        let value = IdScope::from_random(random).as_str().to_owned();
        let deed = Deed { action: "first-start", target: "service".to_owned(), ..Deed::default() };
        let changes = ChangeSet::new()
            .with(Change::PutInstanceSetting { name: ID_SCOPE_SETTING.to_owned(), value })
            .with(audit::line(&by_itself(), now, deed));
        commit(store, changes).await?;
    }
    let kept = store.instance_setting(ID_SCOPE_SETTING).await?.unwrap_or_default();
    let id_scope = IdScope::parse(&kept)
        .map_err(|why| StoreFault::new("read the ID scope of the instance", why))?;
    let mut started = Started {
        id_scope,
        made_id_scope,
        made_policies: Vec::new(),
        linked: Vec::new(),
        updated: Vec::new(),
        unlinked: Vec::new(),
    };
    make_service_owner(store, entropy, now, &mut started).await?;
    reconcile(store, entropy, now, declared, &mut started).await?;
    Ok(started)
}

/// Only a service without any policy gets an owner: an operator who deleted this one in favour of
/// another does not want it back.
async fn make_service_owner(
    store: &dyn Store,
    entropy: &dyn Entropy,
    now: Timestamp,
    started: &mut Started,
) -> Result<(), StoreFault> {
    let scope = PolicyScope::Service;
    if !store.list_policies(&scope).await?.is_empty() {
        return Ok(());
    }
    let rights = [Right::ServiceConfig, Right::DeviceConnect, Right::EnrollmentWrite];
    let policy = generated_policy(scope.clone(), SERVICE_OWNER, &rights, now, &fresh(entropy));
    let deed = Deed {
        action: "policy.create",
        target: format!("policies/{SERVICE_OWNER}"),
        after: Some(audit_view::policy(&policy)),
        etag: Some(policy.etag.as_str().to_owned()),
        ..Deed::default()
    };
    let changes = ChangeSet::new()
        .expecting(Expect::Policy(scope.clone(), SERVICE_OWNER.to_owned(), 0))
        .with(Change::PutPolicy(Box::new(policy)))
        .with(audit::line(&by_itself(), now, deed));
    commit(store, changes).await?;
    started.made_policies.push((scope, SERVICE_OWNER.to_owned()));
    Ok(())
}

/// Makes the linked hubs those the file declares, beside those made by API.
async fn reconcile(
    store: &dyn Store,
    entropy: &dyn Entropy,
    now: Timestamp,
    declared: &Declared,
    started: &mut Started,
) -> Result<(), StoreFault> {
    for _ in 0..MAX_ATTEMPTS {
        let facts = store.service_facts().await?;
        let reconciled = hubs::reconcile(&facts.hubs, &declared.hubs, now, || {
            Etag::from_random(fresh(entropy).etag)
        });
        // Version 0: neither settings nor hubs were ever written.
        let begins = facts.version == 0;
        if reconciled.is_empty() && !begins {
            return Ok(());
        }
        let mut changes = ChangeSet::new().expecting(Expect::Hubs(facts.version));
        if begins {
            let settings = ServiceSettings {
                allocation_policy: declared.allocation_policy,
                etag: Etag::from_random(fresh(entropy).etag),
                last_updated: now,
                ..facts.settings
            };
            changes = changes.with(Change::PutServiceSettings(Box::new(settings)));
        }
        let Reconciled { link, update, unlink } = reconciled;
        let written = link.iter().chain(update.iter().map(|(_, hub)| hub));
        let mut made_policies = Vec::new();
        for hub in written {
            let n_before = changes.changes.len();
            changes = changes.with(Change::PutLinkedHub(Box::new(hub.clone())));
            changes = with_default_policies(store, entropy, changes, hub).await?;
            for change in changes.changes.iter().skip(n_before) {
                if let Change::PutPolicy(policy) = change {
                    made_policies.push((policy.scope.clone(), policy.name.clone()));
                }
            }
        }
        for hub in &link {
            changes = changes.with(line("linked-hub.create", None, Some(hub), now));
        }
        for (old, hub) in &update {
            changes = changes.with(line("linked-hub.update", Some(old), Some(hub), now));
        }
        for hub in &unlink {
            changes = changes.with(Change::DeleteLinkedHub(hub.name.clone())).with(line(
                "linked-hub.delete",
                Some(hub),
                None,
                now,
            ));
        }
        match store.commit(changes).await {
            Err(CommitError::Conflict) => continue,
            Err(CommitError::Fault(fault)) => return Err(fault),
            Ok(()) => {}
        }
        let name = |hub: LinkedHub| hub.name;
        started.made_policies.extend(made_policies);
        started.linked = link.into_iter().map(name).collect();
        started.updated = update.into_iter().map(|(_, hub)| hub.name).collect();
        started.unlinked = unlink.into_iter().map(name).collect();
        return Ok(());
    }
    Err(another_process())
}

fn line(
    action: &'static str,
    old: Option<&LinkedHub>,
    new: Option<&LinkedHub>,
    now: Timestamp,
) -> Change {
    let deed = Deed {
        action,
        target: old.or(new).map(|hub| target(&hub.name)).unwrap_or_default(),
        before: old.map(audit_view::hub),
        after: new.map(audit_view::hub),
        etag: new.map(|hub| hub.etag.as_str().to_owned()),
    };
    audit::line(&by_itself(), now, deed)
}

async fn commit(store: &dyn Store, changes: ChangeSet) -> Result<(), StoreFault> {
    store.commit(changes).await.map_err(|error| match error {
        CommitError::Fault(fault) => fault,
        CommitError::Conflict => another_process(),
    })
}

fn another_process() -> StoreFault {
    StoreFault::new("prepared a new instance", "another process wrote at the same time")
}
