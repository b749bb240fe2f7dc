//! Whether a device may connect to a hub, and whether a connection still holds (H §4.1, §4.5).
//!
//! What a connection rests on is kept as a [`Credential`], without any secret: after a write to
//! the registry, to a policy or to a CA certificate the connection is held against it again.

use std::{collections::HashSet, fmt, net::IpAddr};

use attest::{
    chain::{self, KeyPurpose, VerifiedPath},
    sas,
};
use aws_lc_rs::digest;
use model::{
    AccessPolicy, AttestFailure, AuthMethod, AuthenticationKind, Ban, CaCertificate, ConnectFacts,
    ConnectQuery, ConnectRefusal, DeviceId, DeviceIdentity, DeviceStatus, EnrolledCertificate,
    HubName, IdentityMark, PathCertificate, PolicyScope, RegistrationId, Right, SasToken,
    SymmetricKey, SymmetricKeys, Timestamp,
};
use subtle::ConstantTimeEq;

use super::cause::{self, Footing};
use crate::{
    access::{self, Audience, Denied},
    attestation::{AttestSettings, Shown},
    ban::InForce,
    manage::network::{self, Api},
    revocation,
};

/// How many seconds after the end of its token a connection is dropped (H §4.5.2: at least one, at
/// most a few).
pub const EXPIRY_GRACE_SECS: i64 = 1;

/// A device that asks to connect.
#[derive(Debug, Clone, Copy)]
pub struct ConnectRequest<'a> {
    /// To which hub.
    pub hub: &'a HubName,
    /// As which device.
    pub device_id: &'a DeviceId,
    /// What it shows.
    pub shown: &'a Shown,
    /// From where.
    pub address: IpAddr,
}

impl ConnectRequest<'_> {
    /// What to read before [`admit`] can be asked.
    #[must_use]
    pub fn query(&self) -> ConnectQuery {
        ConnectQuery {
            hub: self.hub.clone(),
            device_id: self.device_id.clone(),
            policy: match self.shown {
                Shown::Sas(token) => policy_of(token).map(str::to_owned),
                Shown::X509(_) | Shown::Tpm(_) | Shown::TpmAnswer(_) | Shown::Nothing => None,
            },
            with_ca_certificates: matches!(self.shown, Shown::X509(_)),
            ban_keys: self.shown.ban_keys(),
            ca_names: self.shown.ca_names(),
            serials: self.shown.serials(),
        }
    }
}

/// A connection that may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admission {
    /// The identity it was admitted with.
    pub mark: IdentityMark,
    /// That of the device a module belongs to: when it goes or is disabled, so is the module
    /// (H §2.8). `None` for a device.
    pub parent: Option<IdentityMark>,
    /// What it rests on.
    pub credential: Credential,
    /// What it rests on besides: its device's enrollment, and nobody having banned it.
    pub footing: Box<Footing>,
    /// When it ends by itself: with its token (H §4.5.2), or with its certificate.
    pub expires: Timestamp,
}

/// What a connection rests on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// One of the device's keys.
    DeviceKey(KeyPrint),
    /// One of a policy's keys.
    PolicyKey {
        /// The policy.
        policy: Box<str>,
        /// The key.
        key: KeyPrint,
    },
    /// A thumbprint in the device's identity.
    Thumbprint {
        /// SHA-1 of the certificate shown.
        sha1: [u8; 20],
        /// SHA-256 of the certificate shown.
        sha256: [u8; 32],
    },
    /// A CA certificate of the service's store.
    CertificateAuthority {
        /// Its name.
        name: Box<str>,
        /// Its SHA-256 thumbprint.
        sha256: [u8; 32],
    },
}

impl Credential {
    /// How readers of events are told (H §5.5).
    #[must_use]
    pub const fn auth_method(&self) -> AuthMethod {
        match self {
            Self::DeviceKey(_) => AuthMethod::DeviceKey,
            Self::PolicyKey { .. } => AuthMethod::HubPolicy,
            Self::Thumbprint { .. } => AuthMethod::Thumbprint,
            Self::CertificateAuthority { .. } => AuthMethod::CertificateAuthority,
        }
    }
}

/// Tells keys apart without being one: the SHA-256 of a key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyPrint([u8; 32]);

impl KeyPrint {
    fn of(key: &SymmetricKey) -> Self {
        let mut print = [0; 32];
        // A SHA-256 has 32 bytes; the zip keeps a panic out of the question.
        for (to, from) in
            print.iter_mut().zip(digest::digest(&digest::SHA256, key.bytes()).as_ref())
        {
            *to = *from;
        }
        Self(print)
    }

    fn is_among(&self, keys: &SymmetricKeys) -> bool {
        let is = |key| bool::from(Self::of(key).0.ct_eq(&self.0));
        let (primary, secondary) = (is(&keys.primary), is(&keys.secondary));
        primary || secondary
    }
}

/// A print of a weak key could be guessed from.
impl fmt::Debug for KeyPrint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPrint(…)")
    }
}

/// Whether this device may connect, and what the connection then rests on.
///
/// Order: address, hub, device, credential, status, bans, enrollment; so that only one who holds the credential
/// learns, from the log's reader, that a device is disabled. A policy's token is looked at before
/// the device. On the wire all are the same
/// (H §4.2.3). Only an identity of type `sas` takes tokens of its own keys; a policy's token with
/// DeviceConnect opens any device of the hub but those with certificates (H §4.1.1). A module has
/// credentials of its own, and its device's switch (H §2.8).
///
/// # Errors
/// [`ConnectRefusal`].
pub fn admit(
    facts: &ConnectFacts,
    request: &ConnectRequest<'_>,
    settings: &AttestSettings,
    now: Timestamp,
) -> Result<Admission, ConnectRefusal> {
    network::admits(&facts.settings, request.address, Api::Device)
        .map_err(|_| ConnectRefusal::AddressRefused(request.address.to_canonical().to_string()))?;
    if !facts.hub_is_built_in {
        return Err(ConnectRefusal::UnknownHub(request.hub.to_string()));
    }
    let is_asked_for = |identity: &&DeviceIdentity| identity.device_id == *request.device_id;
    let identity = facts.identity.as_ref().filter(is_asked_for);
    let parent_id = request.device_id.parent();
    let parent =
        facts.parent.as_ref().filter(|parent| Some(&parent.device_id) == parent_id.as_ref());
    // A module without its device is none.
    let identity = identity.filter(|_| parent_id.is_none() || parent.is_some());
    let Some(identity) = identity else {
        // Who holds a policy's key may hear that there is no such device; who held one hears as
        // much as of any other.
        if let Shown::Sas(token) = request.shown
            && let Some(name) = policy_of(token)
        {
            by_policy(facts, token, name, request, settings.clock_skew_secs, now)?;
        }
        return Err(ConnectRefusal::UnknownDevice);
    };
    let (credential, expires) = match (identity.authentication.kind, request.shown) {
        (_, Shown::Nothing) => {
            return Err(ConnectRefusal::NotAttested(AttestFailure::NoEvidence));
        }
        (AuthenticationKind::Sas, Shown::Sas(token)) => {
            by_token(facts, identity, token, request, settings.clock_skew_secs, now)?
        }
        (AuthenticationKind::SelfSigned, Shown::X509(presented)) => {
            by_thumbprint(identity, presented, now)?
        }
        (AuthenticationKind::CertificateAuthority, Shown::X509(presented)) => {
            by_ca(facts, presented, request.device_id, now)?
        }
        (_, Shown::Tpm(_) | Shown::TpmAnswer(_))
        | (AuthenticationKind::Sas, Shown::X509(_))
        | (
            AuthenticationKind::SelfSigned | AuthenticationKind::CertificateAuthority,
            Shown::Sas(_),
        ) => return Err(wrong_kind(identity)),
    };
    parent.map_or(Ok(()), check_enabled)?;
    check_enabled(identity)?;
    let footing = Box::new(footing(facts, request, &credential, now)?);
    let parent = parent.map(DeviceIdentity::mark);
    Ok(Admission { mark: identity.mark(), parent, credential, footing, expires })
}

/// What the connection rests on besides identity and credential, if that holds: no ban in force is
/// about it, and the enrollment its device was provisioned by stands, where its end ends sessions.
fn footing(
    facts: &ConnectFacts,
    request: &ConnectRequest<'_>,
    credential: &Credential,
    now: Timestamp,
) -> Result<Footing, ConnectRefusal> {
    let origin = facts.origin.as_ref();
    // Hubs' names for devices allow more than registration IDs do.
    let device = RegistrationId::parse(request.device_id.device()).ok();
    let (path, besides) = path_of(facts, request.shown, now)?;
    let mut footing = Footing::new(origin, device.as_ref(), &path, &besides);
    if let Credential::CertificateAuthority { .. } = credential {
        footing = footing.by_ca();
    }
    stands(&footing, facts, now)?;
    for ban in &facts.bans {
        footing.note_retired(ban, now);
    }
    Ok(footing)
}

/// Whether a connection on this footing may be, by what is known of its origin: no ban in force is
/// about it, and the enrollment its device was provisioned by stands, where its end ends sessions.
///
/// # Errors
/// [`ConnectRefusal::Banned`], [`ConnectRefusal::Disenrolled`].
pub fn stands(
    footing: &Footing,
    facts: &ConnectFacts,
    now: Timestamp,
) -> Result<(), ConnectRefusal> {
    let origin = facts.origin.as_ref();
    let keeps_out = |ban: &&Ban| footing.keeps_out(ban, origin, &facts.known_cas, now);
    if let Some(ban) = facts.bans.iter().find(keeps_out) {
        return Err(ConnectRefusal::Banned(ban.subject.key()));
    }
    let Some(origin) = origin else { return Ok(()) };
    let by_default = facts.settings.disenroll_ends_sessions;
    cause::origin_stands(origin, by_default)?;
    let grounds = origin.grounds.as_ref();
    let grounds = grounds.filter(|_| origin.ends_sessions.unwrap_or(by_default));
    if let Some(revoked) = grounds.and_then(|known| revocation::of_grounds(known, &facts.crls)) {
        let why = format!("{revoked}, which it was provisioned by, is revoked by its issuer");
        return Err(ConnectRefusal::Disenrolled(why));
    }
    Ok(())
}

/// A connection that goes on while its device was registered anew: the same footing with the origin
/// it has by these facts.
///
/// # Errors
/// As [`stands`].
pub fn with_origin(
    footing: &Footing,
    facts: &ConnectFacts,
    now: Timestamp,
) -> Result<Footing, ConnectRefusal> {
    let mut footing = footing.with_origin(facts.origin.as_ref());
    stands(&footing, facts, now)?;
    for ban in &facts.bans {
        footing.note_retired(ban, now);
    }
    Ok(footing)
}

/// The certificate shown and those above it by their signatures, through the ones shown, our own ones
/// and those of banned CAs; then the others that were shown. Nobody connects below a banned CA by
/// leaving its certificate out.
fn path_of(
    facts: &ConnectFacts,
    shown: &Shown,
    now: Timestamp,
) -> Result<(Vec<PathCertificate>, Vec<PathCertificate>), ConnectRefusal> {
    let Shown::X509(presented) = shown else { return Ok((Vec::new(), Vec::new())) };
    let stored = facts.ca_certificates.iter().map(|ca| &ca.certificate);
    let stored: Vec<_> = stored.chain(&facts.known_cas).collect();
    let bans = InForce::new(&facts.bans, now);
    let banned: Vec<_> = bans.cas().collect();
    let path = VerifiedPath::of_leaf(presented)
        .ascend(presented, &stored, &banned)
        .map_err(ConnectRefusal::NotAttested)?;
    let mut besides = presented.path_certificates();
    besides.retain(|certificate| !path.contains(certificate));
    Ok((path, besides))
}

/// Whether a connection still holds with the identity as it stands now. The answer is the mark to
/// go on with.
///
/// # Errors
/// [`ConnectRefusal`] says why it is over.
pub fn still_holds(
    admission: &Admission,
    identity: Option<&DeviceIdentity>,
) -> Result<IdentityMark, ConnectRefusal> {
    let identity = identity.ok_or(ConnectRefusal::UnknownDevice)?;
    // A device made anew under the same ID is another one (H §2.4).
    if *admission.mark.generation_id != *identity.generation_id {
        return Err(ConnectRefusal::UnknownDevice);
    }
    check_enabled(identity)?;
    let authentication = &identity.authentication;
    let holds = match (authentication.kind, &admission.credential) {
        (AuthenticationKind::Sas, Credential::DeviceKey(key)) => authentication
            .keys
            .as_ref()
            .is_some_and(|keys| key.is_among(keys))
            .then_some(())
            .ok_or(AttestFailure::BadSignature),
        (AuthenticationKind::Sas, Credential::PolicyKey { .. })
        | (AuthenticationKind::CertificateAuthority, Credential::CertificateAuthority { .. }) => {
            Ok(())
        }
        (AuthenticationKind::SelfSigned, Credential::Thumbprint { sha1, sha256 }) => {
            has_thumbprint(identity, sha1, sha256)
        }
        _ => return Err(wrong_kind(identity)),
    };
    holds.map_err(ConnectRefusal::NotAttested)?;
    Ok(identity.mark())
}

/// Whether a module's connection still holds with its device as that stands now; how the device
/// itself logs in is of no matter. The answer is the device's mark to go on with.
///
/// # Errors
/// [`ConnectRefusal`] says why it is over.
pub fn still_holds_below(
    parent: &IdentityMark,
    identity: Option<&DeviceIdentity>,
) -> Result<IdentityMark, ConnectRefusal> {
    let identity = identity.ok_or(ConnectRefusal::UnknownDevice)?;
    if *parent.generation_id != *identity.generation_id {
        return Err(ConnectRefusal::UnknownDevice);
    }
    check_enabled(identity)?;
    Ok(identity.mark())
}

/// Whether a connection still holds with a policy as it stands now; of no matter to those that
/// rest on something else.
#[must_use]
pub fn holds_with_policy(
    credential: &Credential,
    name: &str,
    policy: Option<&AccessPolicy>,
) -> bool {
    match credential {
        Credential::PolicyKey { policy: rests_on, key } if **rests_on == *name => policy
            .is_some_and(|policy| {
                policy.rights.allow(Right::DeviceConnect) && key.is_among(&policy.keys)
            }),
        _ => true,
    }
}

/// Whether a connection still holds with a CA certificate as it stands now; of no matter to those
/// that rest on something else.
#[must_use]
pub fn holds_with_ca(credential: &Credential, name: &str, ca: Option<&CaCertificate>) -> bool {
    match credential {
        Credential::CertificateAuthority { name: rests_on, sha256 } if **rests_on == *name => ca
            .is_some_and(|ca| {
                ca.verified
                    && attest::certificate::thumbprint_sha256(&ca.certificate.der) == *sha256
            }),
        _ => true,
    }
}

fn wrong_kind(identity: &DeviceIdentity) -> ConnectRefusal {
    ConnectRefusal::WrongKind(match identity.authentication.kind {
        AuthenticationKind::Sas => "a token",
        AuthenticationKind::SelfSigned | AuthenticationKind::CertificateAuthority => {
            "a certificate"
        }
    })
}

fn check_enabled(identity: &DeviceIdentity) -> Result<(), ConnectRefusal> {
    match identity.status {
        DeviceStatus::Enabled => Ok(()),
        DeviceStatus::Disabled => Err(ConnectRefusal::Disabled(identity.status_reason.clone())),
    }
}

fn by_token(
    facts: &ConnectFacts,
    identity: &DeviceIdentity,
    token: &SasToken,
    request: &ConnectRequest<'_>,
    skew_secs: i64,
    now: Timestamp,
) -> Result<(Credential, Timestamp), ConnectRefusal> {
    let credential = match policy_of(token) {
        Some(name) => by_policy(facts, token, name, request, skew_secs, now)?,
        None => {
            // A device's own key signs for the device, never for the hub as a whole.
            let failed = ConnectRefusal::NotAttested;
            let (hosts, path) = audience_of(request);
            if !access::covers_exactly(&token.resource, &Audience { hosts: &hosts, path: &path }) {
                return Err(failed(AttestFailure::WrongResource));
            }
            sas::check_expiry(token, now, skew_secs).map_err(failed)?;
            let keys = identity.authentication.keys.as_ref();
            let keys = keys.ok_or(failed(AttestFailure::BadSignature))?;
            Credential::DeviceKey(signing_key(token, keys)?)
        }
    };
    let ends = token.expiry_unix_secs;
    let expires = match ends > now.unix_secs() {
        true => ends.saturating_add(EXPIRY_GRACE_SECS),
        // The device's clock is behind; it may stay as long as it may still come.
        false => ends.saturating_add(skew_secs),
    };
    Ok((credential, Timestamp::from_unix_secs(expires)))
}

/// The policy whose key a token says it is signed with.
fn policy_of(token: &SasToken) -> Option<&str> {
    token.key_name.as_deref().filter(|name| !name.is_empty())
}

/// The host and the path that a token has to be for.
fn audience_of(request: &ConnectRequest<'_>) -> ([String; 1], Vec<String>) {
    let mut path = vec!["devices".to_owned(), request.device_id.device().to_owned()];
    if let Some(module) = request.device_id.module() {
        path.extend(["modules".to_owned(), module.to_owned()]);
    }
    ([request.hub.as_str().to_owned()], path)
}

fn by_policy(
    facts: &ConnectFacts,
    token: &SasToken,
    name: &str,
    request: &ConnectRequest<'_>,
    skew_secs: i64,
    now: Timestamp,
) -> Result<Credential, ConnectRefusal> {
    let is_asked_for = |policy: &&AccessPolicy| {
        let of_hub = matches!(&policy.scope, PolicyScope::Hub(hub) if hub == request.hub);
        of_hub && policy.name == name
    };
    let policy = facts.policy.as_ref().filter(is_asked_for);
    let (hosts, path) = audience_of(request);
    let audience = Audience { hosts: &hosts, path: &path };
    access::check(token, policy, &audience, Right::DeviceConnect, now, skew_secs).map_err(
        |denied| match denied {
            Denied::WrongResource { .. } => {
                ConnectRefusal::NotAttested(AttestFailure::WrongResource)
            }
            Denied::Expired => ConnectRefusal::NotAttested(AttestFailure::TokenExpired),
            Denied::BadToken | Denied::Lacks { .. } => ConnectRefusal::PolicyRefused,
        },
    )?;
    let keys = &policy.ok_or(ConnectRefusal::PolicyRefused)?.keys;
    Ok(Credential::PolicyKey { policy: name.into(), key: signing_key(token, keys)? })
}

fn signing_key(token: &SasToken, keys: &SymmetricKeys) -> Result<KeyPrint, ConnectRefusal> {
    let slot = sas::verify_signature(token, keys).map_err(ConnectRefusal::NotAttested)?;
    Ok(KeyPrint::of(match slot {
        attest::Slot::Primary => &keys.primary,
        attest::Slot::Secondary => &keys.secondary,
    }))
}

/// Chain and common name are irrelevant; the leaf must be within its validity (H §4.1.2).
fn by_thumbprint(
    identity: &DeviceIdentity,
    presented: &chain::Presented,
    now: Timestamp,
) -> Result<(Credential, Timestamp), ConnectRefusal> {
    let (sha1, sha256) = (presented.leaf_sha1(), presented.leaf_sha256());
    has_thumbprint(identity, &sha1, &sha256)
        .and_then(|()| presented.check_leaf_validity(now))
        .map_err(ConnectRefusal::NotAttested)?;
    Ok((Credential::Thumbprint { sha1, sha256 }, end_of(presented.leaf_not_after())))
}

/// The first moment after a validity: its last second belongs to it.
const fn end_of(not_after: Timestamp) -> Timestamp {
    Timestamp::from_unix_secs(not_after.unix_secs().saturating_add(1))
}

fn has_thumbprint(
    identity: &DeviceIdentity,
    sha1: &[u8; 20],
    sha256: &[u8; 32],
) -> Result<(), AttestFailure> {
    let authentication = &identity.authentication;
    let is = |text: &String| is_hex_of(text, sha256) || is_hex_of(text, sha1);
    let mut enrolled =
        authentication.primary_thumbprint.iter().chain(&authentication.secondary_thumbprint);
    if enrolled.any(is) { Ok(()) } else { Err(AttestFailure::WrongThumbprint) }
}

/// Thumbprints are public: nothing is to be learned from the time this takes.
fn is_hex_of(text: &str, bytes: &[u8]) -> bool {
    let digit = |d: u8| char::from_digit(u32::from(d), 16).unwrap_or_default();
    let digits = bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    text.len() == 2 * bytes.len() && text.chars().map(|c| c.to_ascii_lowercase()).eq(digits)
}

/// The leaf's common name is the device ID, for a module `device/module`, exactly, and a verified
/// path leads to a CA certificate of the service's store whose possession was proven (H §4.1.3).
fn by_ca(
    facts: &ConnectFacts,
    presented: &chain::Presented,
    device_id: &DeviceId,
    now: Timestamp,
) -> Result<(Credential, Timestamp), ConnectRefusal> {
    let failed = ConnectRefusal::NotAttested;
    let name = presented.leaf_common_name().map_err(failed)?;
    if name != device_id.as_str() {
        let text = format!("it is {:?}", name.chars().take(128).collect::<String>());
        return Err(failed(AttestFailure::CommonName(text)));
    }
    let verified: Vec<&CaCertificate> =
        facts.ca_certificates.iter().filter(|ca| ca.verified).collect();
    let stored: Vec<&EnrolledCertificate> = verified.iter().map(|ca| &ca.certificate).collect();
    let path = chain::walk(presented, &stored).map_err(failed)?;
    let mut failure = AttestFailure::BadChain("no CA certificate of ours signed it".to_owned());
    for link in &path {
        let anchors = verified
            .iter()
            .filter(|ca| ca.certificate.keys.subject_and_key == link.keys.subject_and_key);
        for ca in anchors {
            // No CA belongs to anyone else here: there are no groups on a hub.
            let others = HashSet::new();
            let purpose = KeyPurpose::ClientAuth;
            let anchor = &ca.certificate;
            let path = chain::validate_path(purpose, presented, &stored, anchor, &others, now);
            match path {
                Ok(path) => {
                    // What its issuer has revoked proves nothing. A hub has no setting for lists
                    // that are out of date, and lets that pass.
                    let watched: Vec<_> = revocation::cas(&facts.crls).collect();
                    let path = path.ascend(presented, &stored, &watched).map_err(failed)?;
                    revocation::check(&path, &facts.crls, None, now, &mut Vec::new())
                        .map_err(failed)?;
                    let sha256 = attest::certificate::thumbprint_sha256(&ca.certificate.der);
                    let credential =
                        Credential::CertificateAuthority { name: ca.name.as_str().into(), sha256 };
                    let until = presented.leaf_not_after().min(ca.certificate.info.not_after);
                    return Ok((credential, end_of(until)));
                }
                Err(why) => failure = why,
            }
        }
    }
    Err(failed(failure))
}

#[cfg(test)]
mod tests;
