//! What is decided about a device that is taken out, in a small world: the parts of each intent,
//! that doing it twice changes nothing, that no weaker intent weakens a ban, and who would still
//! get in.

mod devices;
mod groups;
mod hubs;
mod prospects;

use model::{
    BanKind, DeprovisionItem, DeviceSubject, EndedSessions, GroupQuery, ItemState, Part,
    PlannedDevice, ReceiptId, RegisterFacts, RegisterQuery, SymmetricKey, ban::registration_key,
};
use testkit::{Ca, fresh};

use super::*;
use crate::{
    attestation::Known,
    register::Decision,
    scenes::{World, chain, draft, keys, name, request, signing, token},
};

/// A device of the group `line-4`, whose key is derived.
const OF_GROUP: &str = "arm-1";
/// A device with an enrollment and a key of its own.
const OF_ITSELF: &str = "press-17";
/// A device with a certificate of the line, whose CA the works sign: both have a group.
const BY_CERTIFICATE: &str = "saw-1";
/// Nothing is known of it.
const NOBODY: &str = "nobody";
const EVERYBODY: [&str; 4] = [OF_GROUP, OF_ITSELF, BY_CERTIFICATE, NOBODY];
const GROUP_KEY: u8 = 7;
const OWN_KEY: u8 = 9;
const INTENTS: [Intent; 3] = [Intent::Suspend, Intent::Retire, Intent::Revoke];

/// The devices, and what was done to them so far.
struct Scene {
    world: World,
    saws: Ca,
    evidence: model::Evidence,
    items: Vec<DeprovisionItem>,
}

impl Scene {
    fn new() -> Self {
        let works = Ca::root("works");
        let saws = works.intermediate("saws");
        let evidence = chain(saws.leaf(BY_CERTIFICATE).chain());
        let mut world = World::default();
        let group_key = name::key(GROUP_KEY);
        world.enroll_group("line-4", draft(keys(&group_key, &group_key)));
        world.enroll_group("saws", draft(signing(Some(saws.der()), None)));
        world.enroll_group("works", draft(signing(Some(works.der()), None)));
        let own = name::key(OWN_KEY);
        world.enroll(OF_ITSELF, draft(keys(&own, &own)));
        let mut scene = Self { world, saws, evidence, items: Vec::new() };
        for id in [OF_GROUP, OF_ITSELF, BY_CERTIFICATE] {
            assert!(scene.registers(id), "{id}");
        }
        scene
    }

    fn key(id: &str) -> SymmetricKey {
        match id {
            OF_ITSELF => name::key(OWN_KEY),
            _ => testkit::sas::derive_device_key(&name::key(GROUP_KEY), id),
        }
    }

    /// It knocks with what it has: whether it is let in.
    fn registers(&mut self, id: &str) -> bool {
        let evidence = match id {
            BY_CERTIFICATE => self.evidence.clone(),
            _ => token(id, &Self::key(id)),
        };
        match self.world.register(request(id, evidence)) {
            Decision::Settle(settled) => {
                settled.record.status == model::RegistrationStatus::Assigned
            }
            Decision::Refuse(_) => false,
            Decision::Ask(_) => panic!("nobody is asked"),
        }
    }

    fn register_facts(&self, id: &str) -> RegisterFacts {
        let id = name::id(id);
        let grounds = self.world.grounds.get(id.key());
        let limits = &self.world.settings.attest.limits;
        let query = match grounds {
            Some(grounds) => Known::query(&id, grounds, limits).expect("readable"),
            None => RegisterQuery {
                registration_id: id,
                groups: GroupQuery::None,
                ban_keys: Vec::new(),
                ca_names: Vec::new(),
                serials: Vec::new(),
            },
        };
        self.world.facts(&query)
    }

    /// What is decided about a device now, for the receipt of this number.
    fn decided(&self, id: &str, intent: Intent, n: u64) -> Deed {
        self.decided_with(&self.register_facts(id), id, intent, n)
    }

    fn decided_with(&self, read: &RegisterFacts, id: &str, intent: Intent, n: u64) -> Deed {
        let subject = DeviceSubject::Registration(name::id(id));
        let removals: Vec<_> = self.world.removals.values().cloned().collect();
        let facts = self.device_facts(&subject, read, &removals);
        let (receipt, by) = (receipt(n), by());
        let act = Act { intent, reason: Some("stolen"), by: &by, receipt: &receipt };
        device(&facts, &act, 1, self.world.now, &fresh(1_000 + n))
    }

    fn device_facts<'a>(
        &'a self,
        subject: &'a DeviceSubject,
        read: &'a RegisterFacts,
        removals: &'a [RemoteRemoval],
    ) -> DeviceFacts<'a> {
        let ban = self.world.bans.get(&subject.key());
        let told = ban.and_then(|ban| ban.receipt.as_ref()).and_then(|receipt| {
            self.items.iter().find(|item| item.receipt == *receipt && item.subject == *subject)
        });
        let is_suspended = ban.is_some_and(|ban| ban.kind == BanKind::Suspended);
        let suspended = told.filter(|_| is_suspended);
        DeviceFacts {
            subject,
            individual: read.individual.as_ref(),
            record: read.record.as_ref(),
            grounds: read.grounds.as_ref(),
            bans: &read.bans,
            devices: &read.devices,
            formers: &[],
            hubs: &self.world.hubs.hubs,
            hubs_version: 0,
            removals,
            suspended,
            told,
        }
    }

    /// Does it, as the use case does: what was done.
    fn act(&mut self, id: &str, intent: Intent) -> Deed {
        let n = self.items.len() as u64;
        let deed = self.decided(id, intent, n);
        self.world.commit(deed.changes.clone()).expect("nothing has changed");
        self.items.push(DeprovisionItem {
            receipt: receipt(n),
            number: 1,
            subject: DeviceSubject::Registration(name::id(id)),
            is_late: false,
            plan: PlannedDevice::default(),
            state: ItemState::Done,
            at: Some(self.world.now),
            parts: deed.parts.clone(),
            sessions: EndedSessions::default(),
            remote: deed.remote.clone(),
            trouble: None,
            version: 0,
        });
        deed
    }

    /// How the ban on its registration ID ends, if there is one.
    fn ban(&self, id: &str) -> Option<BanKind> {
        self.world.bans.get(&registration_key(&name::id(id))).map(|ban| ban.kind)
    }

    /// Its identity's status on the first hub that has it.
    fn identity(&self, id: &str) -> Option<DeviceStatus> {
        let id = DeviceId::from(&name::id(id));
        let mut found = self.world.devices.iter().filter(|((_, known), _)| *known == id);
        found.next().map(|(_, device)| device.identity.status)
    }
}

fn receipt(n: u64) -> ReceiptId {
    ReceiptId::from_random(testkit::entropy::bytes(n, "receipt"))
}

fn by() -> Caller {
    Caller { policy: "ana".to_owned(), address: None }
}

/// The names of what was done.
fn names(parts: &[Part]) -> Vec<&'static str> {
    let name = |part: &Part| match part {
        Part::EnrollmentDisabled { .. } => "enrollment disabled",
        Part::EnrollmentEnabled => "enrollment enabled",
        Part::EnrollmentDeleted => "enrollment deleted",
        Part::RecordDeleted => "record deleted",
        Part::IdentityDisabled { .. } => "identity disabled",
        Part::IdentityEnabled { .. } => "identity enabled",
        Part::IdentityDeleted { .. } => "identity deleted",
        Part::BanSet { .. } => "ban set",
        Part::BanLifted { .. } => "ban lifted",
        Part::LeftAlone { .. } => "left alone",
    };
    parts.iter().map(name).collect()
}
