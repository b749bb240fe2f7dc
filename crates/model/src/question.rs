//! What an operator wants explained: what would become of a device that shows this.

use crate::{ApiVersion, CertificateDer, DeviceId, HubName, RegistrationId, SymmetricKey, TpmKeys};

/// A device, and what it would ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// To be registered.
    Register {
        /// Under which name; without one, the common name of its certificate.
        registration_id: Option<RegistrationId>,
        /// What it shows; nothing, where it is to be what it showed when it was last admitted.
        shows: Option<Shows>,
        /// The version it speaks: without a reprovision policy, old ones keep their hub.
        api_version: ApiVersion,
    },
    /// To connect to a hub.
    Connect {
        /// The hub.
        hub: HubName,
        /// As which device or module.
        device_id: DeviceId,
        /// What it shows; nothing, where it is to be what its identity wants.
        shows: Option<Shows>,
    },
}

/// What a device would show. A key is a secret, and prints as a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// A chain, leaf first. Nobody has proven to hold the leaf's key.
    Certificates(Vec<CertificateDer>),
    /// A token that is signed with this key.
    Key(SymmetricKey),
    /// The keys of a TPM, which is taken to be able to answer a challenge.
    Tpm(TpmKeys),
}
