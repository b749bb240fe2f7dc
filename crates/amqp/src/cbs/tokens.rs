//! The tokens that were accepted on one connection.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use model::{DeviceId, HubName, SasToken};
use tokio::sync::Notify;

/// How many tokens of policies are kept; of more than these the oldest goes.
const MAX_POLICIES: usize = 16;

/// The latest token of each device, and those of policies.
#[derive(Debug, Default)]
pub(crate) struct Tokens {
    all: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    last: u64,
    devices: HashMap<DeviceId, Entry>,
    policies: Vec<PolicyToken>,
}

#[derive(Debug, Default)]
struct Entry {
    token: Option<Held>,
    slot: Arc<Slot>,
}

/// Where a device's session hears that there is a newer token.
#[derive(Debug)]
pub(crate) struct Listener<'a> {
    tokens: &'a Tokens,
    id: DeviceId,
    slot: Arc<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    renewed: Notify,
}

/// A token, and its place in the order of all of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    /// The hub it is for.
    pub(crate) hub: HubName,
    /// The token.
    pub(crate) token: SasToken,
    /// Grows with every token.
    pub(crate) number: u64,
}

#[derive(Debug)]
struct PolicyToken {
    held: Held,
    rights: PolicyRights,
}

/// What a policy's token opened when it was accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct PolicyRights {
    /// ServiceConnect
    pub(super) service: bool,
    /// DeviceConnect
    pub(super) device: bool,
}

/// The connection carries as many devices as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooMany;

impl Listener<'_> {
    /// Waits for a newer token. One that came since the last time is not missed.
    pub(crate) async fn renewed(&self) {
        self.slot.renewed.notified().await;
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        // A device that came without a token of its own leaves nothing behind.
        let mut all = self.tokens.lock();
        if all.devices.get(&self.id).is_some_and(|entry| entry.token.is_none()) {
            all.devices.remove(&self.id);
        }
    }
}

impl Tokens {
    /// Keeps a device's token, in the place of the one before. When there are as many as there may
    /// be, the oldest of a device that has no session goes.
    pub(super) fn put_device(
        &self,
        hub: HubName,
        id: DeviceId,
        token: SasToken,
        most: usize,
    ) -> Result<(), TooMany> {
        let mut all = self.lock();
        if !all.devices.contains_key(&id) {
            all.make_room(most)?;
        }
        let number = all.next();
        let entry = all.devices.entry(id).or_default();
        entry.token = Some(Held { hub, token, number });
        entry.slot.renewed.notify_one();
        Ok(())
    }

    /// Keeps a policy's token, in the place of the one before of that policy.
    pub(super) fn put_policy(&self, hub: HubName, token: SasToken, rights: PolicyRights) {
        let mut all = self.lock();
        let number = all.next();
        all.policies.retain(|of| of.held.hub != hub || of.held.token.key_name != token.key_name);
        if all.policies.len() >= MAX_POLICIES {
            all.policies.remove(0);
        }
        all.policies.push(PolicyToken { held: Held { hub, token, number }, rights });
        // Those that rest on a policy's token; the others look, and find what they had.
        for entry in all.devices.values().filter(|entry| entry.token.is_none()) {
            entry.slot.renewed.notify_one();
        }
    }

    pub(super) fn forget_device(&self, hub: &HubName, id: &DeviceId) {
        if let Some(entry) = self.lock().devices.get_mut(id) {
            entry.token.take_if(|held| held.hub == *hub);
        }
    }

    pub(super) fn forget_policies(&self, hub: &HubName) {
        self.lock().policies.retain(|of| of.held.hub != *hub);
    }

    /// Whether a token of this device was accepted here.
    pub(crate) fn knows(&self, hub: &HubName, id: &DeviceId) -> bool {
        let all = self.lock();
        let held = all.devices.get(id).and_then(|entry| entry.token.as_ref());
        held.is_some_and(|held| held.hub == *hub)
    }

    /// The token for a device: its own, or else that of a policy that may connect devices; of this
    /// hub, when one is given.
    pub(crate) fn device(&self, id: &DeviceId, hub: Option<&HubName>) -> Option<Held> {
        let all = self.lock();
        let is_meant = |held: &&Held| hub.is_none_or(|hub| held.hub == *hub);
        let own = all.devices.get(id).and_then(|entry| entry.token.as_ref());
        let policies = all.policies.iter().filter(|of| of.rights.device).map(|of| &of.held);
        own.filter(is_meant).or_else(|| policies.rev().find(is_meant)).cloned()
    }

    /// The latest token for the service side of a hub.
    pub(crate) fn service(&self, hub: &HubName) -> Option<SasToken> {
        let all = self.lock();
        let mut found = all.policies.iter().rev().filter(|of| of.rights.service);
        found.find(|of| of.held.hub == *hub).map(|of| of.held.token.clone())
    }

    /// The hub of the latest token for a service side.
    pub(crate) fn service_hub(&self) -> Option<HubName> {
        let all = self.lock();
        let mut found = all.policies.iter().rev().filter(|of| of.rights.service);
        found.next().map(|of| of.held.hub.clone())
    }

    /// Where this device's session, of which there is one at a time, hears of newer tokens.
    pub(crate) fn listen(&self, id: &DeviceId) -> Listener<'_> {
        let slot = Arc::clone(&self.lock().devices.entry(id.clone()).or_default().slot);
        Listener { tokens: self, id: id.clone(), slot }
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        // Whoever panicked with the lock left whole entries behind.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl All {
    const fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Makes room for another device.
    fn make_room(&mut self, most: usize) -> Result<(), TooMany> {
        if self.devices.len() < most {
            return Ok(());
        }
        let idle = self.devices.iter().filter(|(_, entry)| !entry.is_in_use());
        let oldest = idle.min_by_key(|(_, entry)| entry.token.as_ref().map(|held| held.number));
        let oldest = oldest.map(|(id, _)| id.clone()).ok_or(TooMany)?;
        self.devices.remove(&oldest);
        Ok(())
    }
}

impl Entry {
    /// Whether a session listens.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(name: &str) -> HubName {
        HubName::parse(&format!("{name}.example.test")).expect("legal")
    }

    fn id(text: &str) -> DeviceId {
        DeviceId::parse(text).expect("legal")
    }

    fn token(resource: &str, policy: Option<&str>) -> SasToken {
        SasToken {
            resource_raw: resource.to_owned(),
            resource: resource.to_owned(),
            expiry_raw: "1".to_owned(),
            expiry_unix_secs: 1,
            signature: Vec::new(),
            key_name: policy.map(str::to_owned),
        }
    }

    const BOTH: PolicyRights = PolicyRights { service: true, device: true };

    fn found(tokens: &Tokens, device: &str) -> Option<String> {
        tokens.device(&id(device), None).map(|held| held.token.resource)
    }

    #[test]
    fn a_devices_own_token_counts_before_a_policys() {
        let tokens = Tokens::default();
        tokens.put_device(hub("a"), id("d"), token("own", None), 10).expect("room");
        tokens.put_policy(hub("a"), token("policy", Some("p")), BOTH);
        assert_eq!(found(&tokens, "d").as_deref(), Some("own"));
        assert_eq!(found(&tokens, "e").as_deref(), Some("policy"));
        assert!(tokens.device(&id("d"), Some(&hub("b"))).is_none(), "it is for another hub");
        tokens.forget_device(&hub("a"), &id("d"));
        assert_eq!(found(&tokens, "d").as_deref(), Some("policy"));
        assert!(!tokens.knows(&hub("a"), &id("d")));
        tokens.forget_policies(&hub("a"));
        assert_eq!(found(&tokens, "d"), None);
    }

    #[test]
    fn a_token_for_one_hub_says_nothing_of_a_device_of_that_name_on_another() {
        let tokens = Tokens::default();
        tokens.put_device(hub("a"), id("d"), token("own", None), 10).expect("room");
        assert!(tokens.knows(&hub("a"), &id("d")));
        assert!(!tokens.knows(&hub("b"), &id("d")));
        assert!(!tokens.knows(&hub("a"), &id("e")));
        tokens.forget_device(&hub("b"), &id("d"));
        assert!(tokens.knows(&hub("a"), &id("d")), "it was another one's");
    }

    #[test]
    fn a_policys_token_opens_what_its_rights_say() {
        let tokens = Tokens::default();
        let service = PolicyRights { service: true, device: false };
        let device = PolicyRights { service: false, device: true };
        tokens.put_policy(hub("a"), token("service", Some("s")), service);
        tokens.put_policy(hub("a"), token("device", Some("d")), device);
        let of_service = |name| tokens.service(&hub(name)).map(|token| token.resource);
        assert_eq!(of_service("a").as_deref(), Some("service"));
        assert_eq!(of_service("b"), None);
        assert_eq!(found(&tokens, "x").as_deref(), Some("device"));
        tokens.put_policy(hub("a"), token("newer", Some("s")), service);
        assert_eq!(of_service("a").as_deref(), Some("newer"));
    }

    #[test]
    fn the_oldest_token_of_a_device_without_a_session_makes_room() {
        let tokens = Tokens::default();
        let put = |name| tokens.put_device(hub("a"), id(name), token(name, None), 2);
        put("d1").expect("room");
        put("d2").expect("room");
        let used = tokens.listen(&id("d1"));
        put("d3").expect("d2 goes");
        assert_eq!((found(&tokens, "d1").as_deref(), found(&tokens, "d2")), (Some("d1"), None));
        let other = tokens.listen(&id("d3"));
        assert_eq!(put("d4"), Err(TooMany));
        put("d1").expect("a newer one needs no room");
        drop((used, other));
        put("d4").expect("room");
    }

    #[test]
    fn a_session_that_is_over_leaves_its_token_and_nothing_else() {
        let tokens = Tokens::default();
        tokens.put_device(hub("a"), id("d1"), token("d1", None), 2).expect("room");
        let listening = ["d1", "d2", "d3"].map(|name| tokens.listen(&id(name)));
        assert_eq!(tokens.lock().devices.len(), 3);
        drop(listening);
        assert_eq!(tokens.lock().devices.len(), 1);
        assert!(tokens.knows(&hub("a"), &id("d1")));
    }

    #[test]
    fn tokens_of_policies_are_bounded() {
        let tokens = Tokens::default();
        for n in 0..40 {
            let name = format!("p{n}");
            tokens.put_policy(hub("a"), token(&name, Some(&name)), BOTH);
        }
        assert_eq!(tokens.lock().policies.len(), MAX_POLICIES);
        assert_eq!(found(&tokens, "x").as_deref(), Some("p39"));
    }
}
