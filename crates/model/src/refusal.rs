//! Refusals: answers of the form “understood, and no”. Closed, stable, part of our contract.
//!
//! One table in `wire` turns each into status, code and sentence; `match` there has no `_`, so a
//! new refusal asks for its row.

use thiserror::Error;

use crate::ids::{BadId, DeviceId};

/// Why a device's request is refused at once. (A disabled enrollment or a missing hub is not
/// here: those settle the operation and are told when it is polled, D §5.1.)
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DeviceRefusal {
    /// The ID scope is not ours.
    #[error("the ID scope names no provisioning service here")]
    UnknownIdScope,
    /// No enrollment matches.
    #[error("no enrollment matches")]
    NotEnrolled,
    /// No enrollment matches this TPM: nothing of its name, another key or mechanism, no group of
    /// its issuer. It is told nothing else, so that nobody can ask which IDs are enrolled.
    #[error("no enrollment matches this TPM")]
    TpmNotEnrolled,
    /// The evidence does not satisfy the enrollment that decides.
    #[error("attestation failed: {0}")]
    NotAttested(AttestFailure),
    /// A ban keeps the device out, whatever its enrollment says. On the wire it looks as if nothing
    /// matched: whoever is banned need not know it, and a stranger must not learn who is.
    #[error("banned: {ban}")]
    Banned {
        /// The ban's key.
        ban: String,
        /// Whether a TPM asked, to which a 401 would be a challenge.
        is_tpm: bool,
    },
    /// There is no such operation, or it is another device's.
    #[error("there is no such operation")]
    UnknownOperation,
    /// The device never registered.
    #[error("there is no such registration")]
    NotRegistered,
    /// Someone else wrote the same record meanwhile, again and again.
    #[error("the registration was changed by someone else meanwhile")]
    Conflict,
    /// The service holds as many registration records as it may (D §6).
    #[error("the limit of {0} registration records is reached; delete orphaned ones")]
    TooManyRegistrations(u64),
    /// The address may not use this API.
    #[error("the address {0} may not use this API")]
    AddressRefused(String),
    /// Too many requests from one device or address.
    #[error("too many requests; wait {0} seconds")]
    Throttled(u32),
    /// The request is malformed.
    #[error("{0}")]
    BadRequest(String),
}

/// Why evidence does not satisfy a mechanism. What the device is told is less; see `wire`.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AttestFailure {
    /// Nothing was shown.
    #[error("the device showed neither certificate nor token")]
    NoEvidence,
    /// The enrollment wants another kind of evidence.
    #[error("the enrollment wants another kind of evidence")]
    WrongKind,
    /// The token's `sr` names another resource.
    #[error("the token is for another resource")]
    WrongResource,
    /// The token's time is over.
    #[error("the token has expired")]
    TokenExpired,
    /// No key fits the signature.
    #[error("the token's signature fits neither key")]
    BadSignature,
    /// The certificate has another common name than the registration ID, several, or none.
    #[error("the certificate's common name is not the registration ID: {0}")]
    CommonName(String),
    /// The leaf is neither the primary nor the secondary certificate.
    #[error("the certificate is neither the enrolled primary nor the secondary")]
    WrongThumbprint,
    /// A certificate is not valid yet.
    #[error("certificate {0} is not valid yet")]
    NotYetValid(String),
    /// A certificate has expired.
    #[error("certificate {0} has expired")]
    Expired(String),
    /// A certificate cannot be parsed.
    #[error("a certificate cannot be parsed: {0}")]
    BadCertificate(String),
    /// The chain is longer, or a certificate or key larger, than we look at.
    #[error("{0}")]
    TooLarge(String),
    /// The chain does not lead to the enrolled CA.
    #[error("the chain does not lead to an enrolled certificate: {0}")]
    BadChain(String),
    /// A TPM shows its keys where it cannot be challenged, or where its answer is wanted.
    #[error("a TPM proves itself by answering a challenge, over HTTPS or AMQP")]
    TpmNotChallenged,
    /// A TPM's key is not one that a challenge can be made for.
    #[error("{0}")]
    BadTpmKey(String),
    /// The endorsement key is not the enrolled one.
    #[error("the endorsement key is not the enrolled one")]
    WrongEndorsementKey,
    /// A certificate is on its issuer's revocation list.
    #[error("certificate {0} is revoked by its issuer")]
    Revoked(String),
    /// The revocation list of an issuer is out of date, and the group refuses devices then.
    #[error("the revocation list of {0} is out of date")]
    StaleCrl(String),
    /// The endorsement key's certificate is missing, or is not vouched for as the enrollment wants.
    #[error("the endorsement key's certificate: {0}")]
    NotEndorsed(String),
}

/// Why an operator's request to the provisioning service is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OperatorRefusal {
    /// No token, or one that cannot be read.
    #[error("{0}")]
    Unauthenticated(String),
    /// The token's policy lacks the right.
    #[error("the policy `{policy}` lacks the right {right}")]
    Forbidden {
        /// The policy of the token.
        policy: String,
        /// What it lacks.
        right: &'static str,
    },
    /// An id that does not parse.
    #[error("{what} {id:?} is not legal: {source}")]
    BadId {
        /// Which id.
        what: &'static str,
        /// As given, cut to a bounded length.
        id: String,
        /// Why.
        source: BadId,
    },
    /// The request is malformed or breaks a rule; the text names member and rule.
    #[error("{0}")]
    BadRequest(String),
    /// `iotHubs` without `allocationPolicy` (its own number, O §1.12).
    #[error("Enrollment allocationPolicy must be specified when iotHubs are specified.")]
    HubsWithoutPolicy,
    /// There is no such individual enrollment.
    #[error("Enrollment not found.")]
    EnrollmentNotFound,
    /// There is no such group.
    #[error("EnrollmentGroup not found.")]
    GroupNotFound,
    /// There is no such registration record.
    #[error("Registration not found.")]
    RecordNotFound,
    /// There is such an individual enrollment already.
    #[error("Enrollment already exists.")]
    EnrollmentExists,
    /// There is such a group already.
    #[error("EnrollmentGroup already exists.")]
    GroupExists,
    /// There is no such linked hub.
    #[error("no hub `{0}` is linked")]
    HubNotLinked(String),
    /// Such a hub is linked already.
    #[error("the hub `{0}` is linked already")]
    HubLinked(String),
    /// The configuration file declares it.
    #[error("the hub `{0}` is declared in induct.toml; change it there and start again")]
    HubDeclared(String),
    /// There is no such CA certificate.
    #[error("no certificate is called `{0}`")]
    CaCertificateNotFound(String),
    /// There is such a CA certificate already.
    #[error("Certificate '{0}' already exists. Send If-Match with its etag or * to replace it.")]
    CaCertificateExists(String),
    /// The certificate sent does not prove possession.
    #[error("possession of the key is not proven: {0}")]
    NotProven(String),
    /// There is no such ban.
    #[error("There is no ban {0}.")]
    BanNotFound(String),
    /// There is no such revocation list.
    #[error("There is no revocation list of {0}.")]
    CrlNotFound(String),
    /// There is no such plan or receipt of a deprovisioning.
    #[error("There is no receipt {0}.")]
    ReceiptNotFound(String),
    /// There is no attempt of that tracking ID, or it is no longer kept.
    #[error("No attempt {0} is kept.")]
    AttemptNotFound(String),
    /// There is no such policy.
    #[error("Access policy {0} doesn't exist.")]
    PolicyNotFound(String),
    /// There is such a policy already.
    #[error("Access policy {0} already exists.")]
    PolicyExists(String),
    /// Nobody could manage the service any more.
    #[error("at least one policy must keep ServiceConfig and EnrollmentWrite; `{0}` is the last")]
    LastOwner(String),
    /// The rules would keep their author out.
    #[error("these rules would keep you out ({0}); send force=true if that is what you want")]
    WouldLockOut(String),
    /// The address may not use this API.
    #[error("the address {0} may not use this API; an IP rule or the loopback switch keeps it out")]
    AddressRefused(String),
    /// Too many requests from one device or address.
    #[error("too many requests; wait {0} seconds")]
    Throttled(u32),
    /// The etag is not the current one.
    #[error("Precondition failed: ETag is invalid.")]
    StaleEtag,
    /// Someone else wrote the same thing meanwhile, again and again.
    #[error("someone else changed it at the same time; read it and try again")]
    Conflict,
    /// A limit of D §6 is reached.
    #[error("the limit of {limit} {what} is reached")]
    QuotaExceeded {
        /// What is counted.
        what: &'static str,
        /// How many there may be.
        limit: u64,
    },
}

/// Why a device may not connect to a hub, or no longer. The device is told no more than that it is
/// not authorized (H §4.2.3); this is for the log and the operator.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectRefusal {
    /// No built-in hub has that name.
    #[error("no hub is called `{0}` here")]
    UnknownHub(String),
    /// There is no such device.
    #[error("the hub has no device of that ID")]
    UnknownDevice,
    /// The device is disabled.
    #[error("the device is disabled{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Disabled(Option<String>),
    /// A ban keeps the device from every hub; with the ban's key.
    #[error("banned: {0}")]
    Banned(String),
    /// What the device was provisioned by is disabled or gone, and that ends its sessions here
    /// (`disenroll_ends_sessions`).
    #[error("disenrolled: {0}")]
    Disenrolled(String),
    /// The device showed another kind of evidence than its identity wants.
    #[error("the identity wants another kind of evidence: {0}")]
    WrongKind(&'static str),
    /// The evidence does not hold.
    #[error(transparent)]
    NotAttested(AttestFailure),
    /// The token's policy does not exist, has another key, or lacks DeviceConnect.
    #[error("the token's policy does not let devices connect")]
    PolicyRefused,
    /// The address may not connect.
    #[error("the address {0} may not connect; an IP rule keeps it out")]
    AddressRefused(String),
    /// Too many connections from one address.
    #[error("too many connections; wait {0} seconds")]
    Throttled(u32),
    /// Someone else wrote the same identity meanwhile, again and again.
    #[error("the identity changed again and again while the device connected")]
    Conflict,
    /// The device asked again, on another connection, before this one was let in.
    #[error("the device asked again on another connection meanwhile")]
    Overtaken,
}

/// Why a request to a hub's registry is refused (H §2.3).
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HubRefusal {
    /// No token, a bad one, or one that lacks the right: 401002 in every case (H §2.2).
    #[error("Unauthorized")]
    Unauthorized(String),
    /// No such hub.
    #[error("no hub is called `{0}` here")]
    HubNotFound(String),
    /// A rule on the request's content is broken (400004).
    #[error("{0}")]
    ArgumentInvalid(String),
    /// The content cannot be read (400006).
    #[error("{0}")]
    Format(String),
    /// There is no such device.
    #[error("{0}")]
    DeviceNotFound(String),
    /// There is no such module.
    #[error("{0}")]
    ModuleNotFound(String),
    /// There is such a device already.
    #[error("A device with ID '{0}' is already registered.")]
    DeviceExists(String),
    /// There is such a module already (409301).
    #[error("Device {device} already contains Module {module}.")]
    ModuleExists {
        /// The device.
        device: String,
        /// The module.
        module: String,
    },
    /// The device has as many modules as it may (413003).
    #[error("device '{device}' has {limit} modules, no more are taken")]
    TooManyModules {
        /// The device.
        device: String,
        /// How many it may have.
        limit: u32,
    },
    /// The identity's etag is not the one given.
    #[error(
        "Precondition failed: Device version did not match, existingVersion:{existing} newVersion:{given}"
    )]
    IdentityEtag {
        /// The etag it has.
        existing: String,
        /// The etag given.
        given: String,
    },
    /// A delete without a precondition.
    #[error("Precondition failed: Etag missing. Send If-Match with the device's etag or *")]
    EtagMissing,
    /// The twin's etag is not the one given.
    #[error("ETag mismatch for device ID '{0}'")]
    TwinEtag(String),
    /// Someone else wrote the same thing meanwhile, again and again (412001).
    #[error("Precondition failed: someone else changed device '{0}' at the same time")]
    Conflict(String),
    /// More than 100 devices in bulk (413002).
    #[error("at most 100 devices in one call, these are {0}")]
    TooManyDevices(usize),
    /// A device twice in one bulk call (400011).
    #[error("device '{0}' is there more than once")]
    DeviceDefinedMultipleTimes(String),
    /// The address may not use this API (401, as for the provisioning service, O §3.6).
    #[error("the address {0} may not use this API")]
    AddressRefused(String),
    /// Too many requests (429001).
    #[error("too many requests; wait {0} seconds")]
    Throttled(u32),
    /// The device holds no connection that takes what was to be sent (404103).
    #[error("the device '{0}' is not connected")]
    DeviceNotOnline(String),
    /// The device did not answer a method in time (504101).
    #[error("the device '{0}' did not answer in time")]
    MethodTimeout(String),
    /// The device's queue holds as many messages as it may (403004).
    #[error("{limit} messages wait for the device '{device}', no more are taken")]
    QueueFull {
        /// The device.
        device: String,
        /// How many may wait.
        limit: u32,
    },
    /// A message beyond its limit (413001).
    #[error("{0}")]
    MessageTooLarge(String),
    /// A part of a real hub that is not built here.
    #[error("{0}")]
    NotImplemented(String),
}

impl HubRefusal {
    /// There is no such device, or no such module.
    #[must_use]
    pub fn not_found(id: &DeviceId) -> Self {
        match id.module() {
            None => Self::DeviceNotFound(id.to_string()),
            Some(_) => Self::ModuleNotFound(id.to_string()),
        }
    }

    /// There is such a device already, or such a module.
    #[must_use]
    pub fn exists(id: &DeviceId) -> Self {
        let device = id.device().to_owned();
        match id.module() {
            None => Self::DeviceExists(device),
            Some(module) => Self::ModuleExists { device, module: module.to_owned() },
        }
    }

    /// The refusal's name on the wire: what clients tell errors apart by (H §2.3).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "IotHubUnauthorizedAccess",
            Self::HubNotFound(_) => "IotHubNotFound",
            Self::ArgumentInvalid(_) => "ArgumentInvalid",
            Self::Format(_) => "IotHubFormatError",
            Self::DeviceNotFound(_) => "DeviceNotFound",
            Self::ModuleNotFound(_) => "ModuleNotFound",
            Self::DeviceExists(_) => "DeviceAlreadyExists",
            Self::ModuleExists { .. } => "ModuleAlreadyExistsOnDevice",
            Self::TooManyModules { .. } => "TooManyModulesOnDevice",
            Self::IdentityEtag { .. }
            | Self::EtagMissing
            | Self::TwinEtag(_)
            | Self::Conflict(_) => "PreconditionFailed",
            Self::TooManyDevices(_) => "TooManyDevices",
            Self::DeviceDefinedMultipleTimes(_) => "DeviceDefinedMultipleTimes",
            Self::AddressRefused(_) => "IotHubUnauthorizedAccess",
            Self::Throttled(_) => "ThrottlingException",
            Self::DeviceNotOnline(_) => "DeviceNotOnline",
            Self::MethodTimeout(_) => "GatewayTimeout",
            Self::QueueFull { .. } => "DeviceMaximumQueueDepthExceeded",
            Self::MessageTooLarge(_) => "MessageTooLarge",
            Self::NotImplemented(_) => "InvalidOperation",
        }
    }
}
