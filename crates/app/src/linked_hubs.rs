//! An operator links, changes and unlinks hubs (O §3.4).

pub use decide::manage::hubs::{AccessDraft, HubDraft};

use decide::manage::{
    audit_view,
    hubs::{self, DEFAULT_POLICIES, generated_policy},
};
use model::{
    Caller, Change, ChangeSet, Expect, HubAccess, HubName, LinkedHub, OperatorRefusal, PolicyScope,
    Precondition,
};
use store::{Store, StoreFault};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed, put_action},
    ports::{Entropy, fresh},
};

/// How many enrollments are read at a time.
const CHUNK: usize = 500;
/// How many enrollments are looked at for those that name an unlinked hub.
const MAX_LOOKED_AT: usize = 20_000;

/// A hub that was unlinked, and who misses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlinked {
    /// The hub as it was.
    pub hub: LinkedHub,
    /// How many devices its registry holds; it stays in the store, and is there again when the
    /// hub is linked again. Of a remote hub nothing is known here, so 0.
    pub n_devices: u64,
    /// How many individual enrollments still name it: their registrations fail from now on unless
    /// they name others too.
    pub n_individuals: u64,
    /// How many groups still name it.
    pub n_groups: u64,
    /// Whether all enrollments were looked at. There are too many to wait for otherwise, and the
    /// two figures are what was found among the first.
    pub looked_at_all: bool,
}

impl App {
    /// The linked hubs, by name.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn list_hubs(&self) -> Result<Vec<LinkedHub>, No<OperatorRefusal>> {
        Ok(self.store.service_facts().await?.hubs)
    }

    /// A linked hub.
    ///
    /// # Errors
    /// [`OperatorRefusal::HubNotLinked`], or a fault.
    pub async fn get_hub(&self, name: &HubName) -> Result<LinkedHub, No<OperatorRefusal>> {
        let hubs = self.store.service_facts().await?.hubs;
        let found = hubs.into_iter().find(|hub| hub.name == *name);
        found.ok_or_else(|| No::Refused(OperatorRefusal::HubNotLinked(name.to_string())))
    }

    /// Links a hub, or with a precondition changes it. A built-in hub begins with its five default
    /// policies; those that are there from an earlier time stay.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_hub(
        &self,
        draft: &HubDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<LinkedHub, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.service_facts().await?;
            let now = self.clock.now();
            let hub = hubs::put(
                &facts.hubs,
                draft,
                precondition,
                self.settings.quotas.linked_hubs,
                &self.settings.service_hosts,
                now,
                &self.fresh(),
            )
            .map_err(No::Refused)?;
            let existing = facts.hubs.iter().find(|old| old.name == hub.name);
            let key = |hub: &LinkedHub| match &hub.access {
                HubAccess::BuiltIn => None,
                HubAccess::Remote(remote) => Some(remote.key.clone()),
            };
            let after = audit_view::hub(&hub);
            let changed = existing.is_some_and(|old| key(old) != key(&hub));
            let deed = Deed {
                action: put_action(existing.is_some(), "linked-hub.create", "linked-hub.update"),
                target: target(&hub.name),
                before: existing.map(audit_view::hub),
                after: Some(if changed { audit_view::note_new_keys(after) } else { after }),
                etag: Some(hub.etag.as_str().to_owned()),
            };
            let mut changes = ChangeSet::new()
                .expecting(Expect::Hubs(facts.version))
                .with(Change::PutLinkedHub(Box::new(hub.clone())));
            if hub.access == HubAccess::BuiltIn {
                changes =
                    with_default_policies(&*self.store, &*self.entropy, changes, &hub).await?;
            }
            let changes = changes.with(audit::line(by, now, deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(hub);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Unlinks a hub and says who misses it. A built-in hub with devices is unlinked with `force`
    /// only. Its registry and its policies stay in the store.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_hub(
        &self,
        name: &HubName,
        precondition: &Precondition,
        force: bool,
        by: &Caller,
    ) -> Result<Unlinked, No<OperatorRefusal>> {
        for _ in 0..MAX_ATTEMPTS {
            let facts = self.store.service_facts().await?;
            let n_devices = match facts.hubs.iter().find(|hub| hub.name == *name) {
                Some(LinkedHub { access: HubAccess::BuiltIn, .. }) => {
                    self.store.device_counts(name).await?.total
                }
                Some(LinkedHub { access: HubAccess::Remote(_), .. }) | None => 0,
            };
            let hub = hubs::delete(&facts.hubs, name, precondition, n_devices, force)
                .map_err(No::Refused)?;
            let deed = Deed {
                action: "linked-hub.delete",
                target: target(name),
                before: Some(audit_view::hub(hub)),
                ..Deed::default()
            };
            let changes = ChangeSet::new()
                .expecting(Expect::Hubs(facts.version))
                .with(Change::DeleteLinkedHub(name.clone()))
                .with(audit::line(by, self.clock.now(), deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(self.who_misses(hub.clone(), n_devices).await?);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    async fn who_misses(&self, hub: LinkedHub, n_devices: u64) -> Result<Unlinked, StoreFault> {
        let names = |terms: &model::Terms| {
            let listed = terms.iot_hubs.iter().flatten().chain(&terms.iot_hub_host_name);
            listed.into_iter().any(|name| name.eq_ignore_ascii_case(hub.name.as_str()))
        };
        let (mut n_individuals, mut n_groups, mut n_looked_at) = (0, 0, 0);
        let mut after = None;
        let looked_at_all = loop {
            let page = self.store.list_individuals(after.as_deref(), CHUNK).await?;
            n_looked_at += page.items.len();
            n_individuals += page.items.iter().filter(|item| names(&item.terms)).count() as u64;
            after = page.next;
            if after.is_none() || n_looked_at >= MAX_LOOKED_AT {
                break after.is_none();
            }
        };
        // Of groups there are few (D §6).
        let mut after = None;
        loop {
            let page = self.store.list_groups(after.as_deref(), CHUNK).await?;
            n_groups += page.items.iter().filter(|item| names(&item.terms)).count() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(Unlinked { hub, n_devices, n_individuals, n_groups, looked_at_all })
    }
}

/// What the audit log calls a linked hub.
pub(crate) fn target(name: &HubName) -> String {
    format!("linkedHubs/{name}")
}

/// Adds those of a built-in hub's default policies (H §2.2) that are not there.
pub(crate) async fn with_default_policies(
    store: &dyn Store,
    entropy: &dyn Entropy,
    mut changes: ChangeSet,
    hub: &LinkedHub,
) -> Result<ChangeSet, StoreFault> {
    let scope = PolicyScope::Hub(hub.name.clone());
    let there = store.list_policies(&scope).await?;
    for (name, rights) in DEFAULT_POLICIES {
        if there.iter().all(|policy| policy.name != name) {
            let fresh = fresh(entropy);
            let policy = generated_policy(scope.clone(), name, rights, hub.last_updated, &fresh);
            changes = changes
                .expecting(Expect::Policy(scope.clone(), name.to_owned(), 0))
                .with(Change::PutPolicy(Box::new(policy)));
        }
    }
    Ok(changes)
}
