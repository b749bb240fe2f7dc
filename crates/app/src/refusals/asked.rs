//! What a refusal is remembered by.

use std::{
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    net::IpAddr,
};

use model::{CertificateDer, DeviceId, Evidence, HubName, RegistrationId};

use super::{Introduction, Visit};
use crate::limits::subscriber;

/// Who asks, what is shown, from where, by which door.
#[derive(Debug)]
pub(crate) struct Asked {
    /// What it is remembered by: a keyed hash, so that nobody can choose whose place it takes.
    pub(super) key: u128,
    /// Where the facts about a device are remembered that shows tokens: whoever asks, they are the
    /// same.
    pub(super) facts_key: Option<u128>,
    /// Under which name, for the mark and for the count of who is refused most.
    pub(crate) registration_id: RegistrationId,
    pub(super) address: IpAddr,
    /// Whether an answer may be kept at all.
    pub(super) may_be_kept: bool,
}

/// Two secret keys: with one of 64 bits two in a great many devices would share a place.
#[derive(Debug, Default)]
pub(super) struct Keys(RandomState, RandomState);

/// Both hashes at once.
struct Pair(DefaultHasher, DefaultHasher);

impl Hasher for Pair {
    fn finish(&self) -> u64 {
        self.0.finish()
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
        self.1.write(bytes);
    }
}

impl Keys {
    fn hash(&self, what: impl FnOnce(&mut Pair)) -> u128 {
        let mut pair = Pair(self.0.build_hasher(), self.1.build_hasher());
        what(&mut pair);
        u128::from(pair.0.finish()) << 64 | u128::from(pair.1.finish())
    }

    /// A device that asks to be registered in this ID scope.
    pub(super) fn of_registration(
        &self,
        visit: &Visit<'_>,
        scope: &str,
        said: Introduction<'_>,
    ) -> Asked {
        let Introduction { registration_id, evidence, api_version } = said;
        let key = self.hash(|hasher| {
            0_u8.hash(hasher);
            registration_id.key().hash(hasher);
            scope.to_ascii_lowercase().hash(hasher);
            api_version.hash(hasher);
            visit.door.hash(hasher);
            subscriber(visit.address).hash(hasher);
            hash_evidence(hasher, evidence);
        });
        let shows_token = matches!(evidence, Evidence::Sas(_));
        let facts_key = shows_token.then(|| {
            self.hash(|hasher| {
                2_u8.hash(hasher);
                registration_id.key().hash(hasher);
            })
        });
        Asked {
            key,
            facts_key,
            registration_id: registration_id.clone(),
            address: visit.address,
            // The key says of them only that they are there.
            may_be_kept: !matches!(evidence, Evidence::Sas(_) | Evidence::TpmAnswer { .. }),
        }
    }

    /// A device that asks to connect to a hub: remembered to be counted, never to be answered.
    pub(super) fn of_connection(
        &self,
        visit: &Visit<'_>,
        hub: &HubName,
        device_id: &DeviceId,
        registration_id: RegistrationId,
    ) -> Asked {
        let key = self.hash(|hasher| {
            1_u8.hash(hasher);
            hub.as_str().hash(hasher);
            device_id.as_str().hash(hasher);
            visit.door.hash(hasher);
            subscriber(visit.address).hash(hasher);
        });
        let address = visit.address;
        Asked { key, facts_key: None, registration_id, address, may_be_kept: false }
    }

    /// A fingerprint of an outcome, to tell whether it is given again.
    pub(super) fn print(&self, name: &str, reason: &str) -> u64 {
        self.0.hash_one((name, reason))
    }
}

/// What a device shows every time it asks: its chain or its keys whole. A token is signed anew every
/// time, so of it only that it is one.
fn hash_evidence(hasher: &mut Pair, evidence: &Evidence) {
    match evidence {
        Evidence::X509(chain) => {
            1_u8.hash(hasher);
            hash_chain(hasher, chain);
        }
        Evidence::Sas(_) => 2_u8.hash(hasher),
        Evidence::Tpm(keys) => {
            3_u8.hash(hasher);
            (&keys.endorsement_key, &keys.storage_root_key).hash(hasher);
            hash_chain(hasher, &keys.endorsement_certificates);
        }
        Evidence::TpmAnswer { challenge, .. } => {
            4_u8.hash(hasher);
            (&challenge.endorsement_key, &challenge.storage_root_key).hash(hasher);
        }
        Evidence::Nothing => 0_u8.hash(hasher),
    }
}

fn hash_chain(hasher: &mut Pair, chain: &[CertificateDer]) {
    chain.len().hash(hasher);
    for certificate in chain {
        certificate.0.hash(hasher);
    }
}
