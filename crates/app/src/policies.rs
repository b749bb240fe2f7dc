//! An operator manages shared access policies, of the service and of its hubs (O §3.3).

pub use decide::manage::policies::{KeySlot, PolicyDraft};

use decide::manage::{audit_view, policies};
use model::{
    AccessPolicy, Caller, Change, ChangeSet, Expect, HubAccess, OperatorRefusal, PolicyScope,
    Precondition, SymmetricKey,
};

use crate::{
    App, Attempt, MAX_ATTEMPTS, No, attempted,
    audit::{self, Deed, put_action},
};

impl App {
    /// All policies of a scope, by name, keys included: show those only where they were asked
    /// for.
    ///
    /// # Errors
    /// [`OperatorRefusal::HubNotLinked`], or a fault.
    pub async fn list_policies(
        &self,
        scope: &PolicyScope,
    ) -> Result<Vec<AccessPolicy>, No<OperatorRefusal>> {
        self.check_scope_exists(scope).await?;
        Ok(self.store.list_policies(scope).await?)
    }

    /// A policy, keys included.
    ///
    /// # Errors
    /// [`OperatorRefusal::HubNotLinked`], [`OperatorRefusal::PolicyNotFound`], or a fault.
    pub async fn get_policy(
        &self,
        scope: &PolicyScope,
        name: &str,
    ) -> Result<AccessPolicy, No<OperatorRefusal>> {
        self.check_scope_exists(scope).await?;
        let found = self.store.find_policy(scope, name).await?;
        found.ok_or_else(|| No::Refused(OperatorRefusal::PolicyNotFound(name.to_owned())))
    }

    /// Creates a policy, or with a precondition replaces it. Keys that are not given are generated
    /// or kept.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn put_policy(
        &self,
        scope: &PolicyScope,
        draft: &PolicyDraft,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<AccessPolicy, No<OperatorRefusal>> {
        self.check_scope_exists(scope).await?;
        for _ in 0..MAX_ATTEMPTS {
            let all = self.store.list_policies(scope).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let written = policies::put(&all, scope, draft, precondition, now, &fresh)
                .map_err(No::Refused)?;
            let existed = all.iter().any(|policy| policy.name == written.name);
            let action = put_action(existed, "policy.create", "policy.update");
            if let Attempt::Done = self.write_policy(&all, action, &written, by).await? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Replaces one key of a policy by the one given, or else by a generated one.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn rotate_policy_key(
        &self,
        scope: &PolicyScope,
        name: &str,
        slot: KeySlot,
        given: Option<&SymmetricKey>,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<AccessPolicy, No<OperatorRefusal>> {
        self.check_scope_exists(scope).await?;
        let action = match slot {
            KeySlot::Primary => "policy.rotate-primary",
            KeySlot::Secondary => "policy.rotate-secondary",
        };
        for _ in 0..MAX_ATTEMPTS {
            let all = self.store.list_policies(scope).await?;
            let (now, fresh) = (self.clock.now(), self.fresh());
            let given = given.cloned();
            let written = policies::rotate(&all, name, slot, given, precondition, now, &fresh)
                .map_err(No::Refused)?;
            if let Attempt::Done = self.write_policy(&all, action, &written, by).await? {
                return Ok(written);
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    /// Deletes a policy. At least one policy of the service keeps the rights to manage it.
    ///
    /// # Errors
    /// [`OperatorRefusal`], or a fault.
    pub async fn delete_policy(
        &self,
        scope: &PolicyScope,
        name: &str,
        precondition: &Precondition,
        by: &Caller,
    ) -> Result<(), No<OperatorRefusal>> {
        self.check_scope_exists(scope).await?;
        for _ in 0..MAX_ATTEMPTS {
            let all = self.store.list_policies(scope).await?;
            let policy = policies::delete(&all, scope, name, precondition).map_err(No::Refused)?;
            let deed = Deed {
                action: "policy.delete",
                target: target(scope, name),
                before: Some(audit_view::policy(policy)),
                ..Deed::default()
            };
            let changes = expecting(&all, scope, name, policy.version)
                .with(Change::DeletePolicy(scope.clone(), name.to_owned()))
                .with(audit::line(by, self.clock.now(), deed));
            if let Attempt::Done = attempted(self.commit(changes).await)? {
                return Ok(());
            }
        }
        Err(No::Refused(OperatorRefusal::Conflict))
    }

    async fn write_policy(
        &self,
        all: &[AccessPolicy],
        action: &'static str,
        written: &AccessPolicy,
        by: &Caller,
    ) -> Result<Attempt, No<OperatorRefusal>> {
        let existing = all.iter().find(|policy| policy.name == written.name);
        let after = audit_view::policy(written);
        let changed = existing.is_some_and(|old| old.keys != written.keys);
        let deed = Deed {
            action,
            target: target(&written.scope, &written.name),
            before: existing.map(audit_view::policy),
            after: Some(if changed { audit_view::note_new_keys(after) } else { after }),
            etag: Some(written.etag.as_str().to_owned()),
        };
        let changes = expecting(all, &written.scope, &written.name, written.version)
            .with(Change::PutPolicy(Box::new(written.clone())))
            .with(audit::line(by, written.last_updated, deed));
        attempted(self.commit(changes).await)
    }

    /// Only built-in hubs have policies here.
    async fn check_scope_exists(&self, scope: &PolicyScope) -> Result<(), No<OperatorRefusal>> {
        let PolicyScope::Hub(name) = scope else { return Ok(()) };
        let hubs = self.store.service_facts().await?.hubs;
        match hubs.iter().find(|hub| hub.name == *name).map(|hub| &hub.access) {
            Some(HubAccess::BuiltIn) => Ok(()),
            Some(HubAccess::Remote(_)) => Err(No::Refused(OperatorRefusal::BadRequest(format!(
                "the hub `{name}` is a remote one; its policies are managed where it is"
            )))),
            None => Err(No::Refused(OperatorRefusal::HubNotLinked(name.to_string()))),
        }
    }
}

/// Expects the policy's version; and that of another owner, which keeps two operators from
/// taking the last two owners away at the same time.
fn expecting(all: &[AccessPolicy], scope: &PolicyScope, name: &str, version: u64) -> ChangeSet {
    let changes =
        ChangeSet::new().expecting(Expect::Policy(scope.clone(), name.to_owned(), version));
    match policies::other_owner(all, name) {
        Some(other) if *scope == PolicyScope::Service => {
            changes.expecting(Expect::Policy(scope.clone(), other.name.clone(), other.version))
        }
        Some(_) | None => changes,
    }
}

fn target(scope: &PolicyScope, name: &str) -> String {
    match scope {
        PolicyScope::Service => format!("policies/{name}"),
        PolicyScope::Hub(hub) => format!("hubs/{hub}/policies/{name}"),
    }
}
