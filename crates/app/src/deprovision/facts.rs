//! What is known of a device when it is deprovisioned.

use decide::{
    attestation::Known,
    deprovision::{self, DeviceFacts},
};
use model::{
    Ban, BanKind, DeprovisionItem, Device, DeviceSubject, Former, GroupQuery, HubAccess, HubName,
    HubSettings, IndividualEnrollment, Intent, ReceiptId, RegisterFacts, RegisterQuery,
    RegistrationId, RemoteRemoval, Version, ban::registration_key,
};
use store::StoreFault;

use crate::{App, MAX_ATTEMPTS};

/// What was read of a device.
pub(super) struct Read {
    subject: DeviceSubject,
    /// Of a registration: what is known when it registers.
    pub(super) register: Option<RegisterFacts>,
    devices: Vec<(HubName, Device)>,
    formers: Vec<Former>,
    hubs: HubSettings,
    hubs_version: Version,
    removals: Vec<RemoteRemoval>,
    suspended: Option<DeprovisionItem>,
    told: Option<DeprovisionItem>,
}

impl Read {
    pub(super) fn facts(&self) -> DeviceFacts<'_> {
        let register = self.register.as_ref();
        DeviceFacts {
            subject: &self.subject,
            individual: register.and_then(|facts| facts.individual.as_ref()),
            record: register.and_then(|facts| facts.record.as_ref()),
            grounds: register.and_then(|facts| facts.grounds.as_ref()),
            bans: register.map_or(&[], |facts| &facts.bans),
            devices: &self.devices,
            formers: &self.formers,
            hubs: &self.hubs.hubs,
            hubs_version: self.hubs_version,
            removals: &self.removals,
            suspended: self.suspended.as_ref(),
            told: self.told.as_ref(),
        }
    }

    /// The ban on its registration ID, if there is one.
    fn ban(&self) -> Option<&Ban> {
        let DeviceSubject::Registration(id) = &self.subject else { return None };
        let key = registration_key(id);
        self.register.as_ref()?.bans.iter().find(|ban| ban.subject.key() == key)
    }
}

impl App {
    /// Reads what is known of a device. `of` is the receipt that a reinstatement undoes, if the
    /// operator named one.
    pub(super) async fn read_device(
        &self,
        subject: &DeviceSubject,
        intent: Intent,
        of: Option<&ReceiptId>,
    ) -> Result<Read, StoreFault> {
        let mut read = match subject {
            DeviceSubject::Registration(id) => self.read_registration(subject, id).await?,
            DeviceSubject::Identity(id) => {
                let facts = self.store.service_facts().await?;
                let mut devices = Vec::new();
                for hub in facts.hubs.iter().filter(|hub| hub.access == HubAccess::BuiltIn) {
                    let found = self.store.find_device(&hub.name, id).await?;
                    devices.extend(found.map(|device| (hub.name.clone(), device)));
                }
                let allocation_policy = facts.settings.allocation_policy;
                Read {
                    subject: subject.clone(),
                    register: None,
                    devices,
                    formers: Vec::new(),
                    hubs: HubSettings { hubs: facts.hubs, allocation_policy },
                    hubs_version: facts.version,
                    removals: Vec::new(),
                    suspended: None,
                    told: None,
                }
            }
        };
        match intent {
            Intent::Reinstate => read.suspended = self.read_suspension(&read, of).await?,
            Intent::Suspend | Intent::Retire | Intent::Revoke => {
                read.told = self.read_told(&read).await?;
            }
        }
        for (hub, id) in deprovision::remote_targets(&read.facts()) {
            read.removals.extend(self.store.find_removal(&hub, &id).await?);
        }
        Ok(read)
    }

    async fn read_registration(
        &self,
        subject: &DeviceSubject,
        id: &RegistrationId,
    ) -> Result<Read, StoreFault> {
        let mut n_attempts = 0;
        loop {
            n_attempts += 1;
            let individual = self.store.individual_facts(id).await?.enrollment;
            let grounds = self.store.find_grounds(id).await?;
            let limits = &self.settings.register.attest.limits;
            let known = grounds.as_ref().and_then(|grounds| Known::query(id, grounds, limits).ok());
            let mut query = known.unwrap_or_else(|| RegisterQuery {
                registration_id: id.clone(),
                groups: GroupQuery::None,
                ban_keys: Vec::new(),
                ca_names: Vec::new(),
                serials: Vec::new(),
            });
            query.ban_keys.extend(deprovision::wanted_ban_keys(
                subject,
                individual.as_ref(),
                grounds.as_ref(),
            ));
            let facts = self.store.register_facts(query).await?;
            // Read after them: whatever becomes a former one since was written with the record.
            let formers = self.store.formers(id).await?;
            // What was asked for fits what was found; else it has changed in between. After so
            // many attempts the commit tells: a ban that was not read is there in no version.
            let fits = facts.grounds == grounds && is_same(&facts.individual, &individual);
            if !fits && n_attempts < MAX_ATTEMPTS {
                continue;
            }
            let is_device =
                |(_, device): &&(HubName, Device)| device.identity.device_id.module().is_none();
            let mut devices: Vec<_> = facts.devices.iter().filter(is_device).cloned().collect();
            for former in &formers {
                let is_it = |(hub, device): &(HubName, Device)| {
                    *hub == former.hub && device.identity.device_id == former.device_id
                };
                if !devices.iter().any(is_it) {
                    let device = former.device.iter().cloned();
                    devices.extend(device.map(|device| (former.hub.clone(), device)));
                }
            }
            return Ok(Read {
                subject: subject.clone(),
                devices,
                formers,
                hubs: (*facts.hubs).clone(),
                hubs_version: facts.hubs_version,
                removals: Vec::new(),
                suspended: None,
                told: None,
                register: Some(facts),
            });
        }
    }

    /// The item of the deprovisioning that banned a device, where there are remote hubs that it
    /// told.
    async fn read_told(&self, read: &Read) -> Result<Option<DeprovisionItem>, StoreFault> {
        if read.hubs.hubs.iter().all(|hub| hub.access == HubAccess::BuiltIn) {
            return Ok(None);
        }
        let Some(receipt) = read.ban().and_then(|ban| ban.receipt.as_ref()) else {
            return Ok(None);
        };
        self.store.find_receipt_item_of(receipt, &read.subject.key()).await
    }

    /// The item that suspended a device: of the receipt that is undone, or else of the one that
    /// its ban names.
    async fn read_suspension(
        &self,
        read: &Read,
        of: Option<&ReceiptId>,
    ) -> Result<Option<DeprovisionItem>, StoreFault> {
        let by_ban = || {
            let ban = read.ban().filter(|ban| ban.kind == BanKind::Suspended);
            ban.and_then(|ban| ban.receipt.as_ref())
        };
        match of.or_else(by_ban) {
            None => Ok(None),
            Some(receipt) => self.store.find_receipt_item_of(receipt, &read.subject.key()).await,
        }
    }
}

fn is_same(one: &Option<IndividualEnrollment>, other: &Option<IndividualEnrollment>) -> bool {
    let version = |enrollment: &IndividualEnrollment| enrollment.terms.version;
    one.as_ref().map(version) == other.as_ref().map(version)
}
