//! A certificate authority for tests: roots, intermediates, device certificates, and the knobs to
//! make each of them wrong in one way.

use std::sync::Arc;

use model::{CertificateDer, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CrlDistributionPoint,
    CrlIssuingDistributionPoint, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, PublicKeyData,
    RevocationReason, RevokedCertParams, RsaKeySize, SerialNumber,
};
use time::OffsetDateTime;

use crate::NOW;

/// A certificate authority: a certificate, its key, and the certificates above it.
#[derive(Clone)]
pub struct Ca(Credential);

impl Ca {
    /// A root with a P-256 key.
    #[must_use]
    pub fn root(common_name: &str) -> Self {
        Self::create(Profile::ca(common_name))
    }

    /// A root after this profile.
    #[must_use]
    pub fn create(profile: Profile) -> Self {
        Self(Credential::self_signed(profile))
    }

    /// An intermediate below this one, with a P-256 key.
    #[must_use]
    pub fn intermediate(&self, common_name: &str) -> Self {
        self.issue_ca(Profile::ca(common_name))
    }

    /// An intermediate below this one, after this profile.
    #[must_use]
    pub fn issue_ca(&self, profile: Profile) -> Self {
        Self(self.issue(profile))
    }

    /// A device certificate from this CA, with a P-256 key.
    #[must_use]
    pub fn leaf(&self, common_name: &str) -> Credential {
        self.issue(Profile::leaf(common_name))
    }

    /// Any certificate from this CA, after this profile, with a new key.
    #[must_use]
    pub fn issue(&self, profile: Profile) -> Credential {
        let key = Arc::new(profile.key.generate());
        self.certify(profile.params, key)
    }

    /// A certificate from this CA for a key that only its public half is known of, after this
    /// profile. The profile's own kind of key does not matter.
    #[must_use]
    pub fn certify_public(&self, profile: &Profile, key: &impl PublicKeyData) -> CertificateDer {
        let issuer = Issuer::from_params(&self.0.params, &*self.0.key);
        let certificate = profile.params.signed_by(key, &issuer);
        CertificateDer(certificate.expect("the parameters are encodable").der().to_vec())
    }

    /// Another certificate for this CA's name and key, self-signed, after the profile's other
    /// members: what a CA that was re-issued looks like.
    #[must_use]
    pub fn reissued(&self, profile: Profile) -> Self {
        let mut params = profile.params;
        params.distinguished_name = self.0.params.distinguished_name.clone();
        Self(Credential::sign_itself(params, Arc::clone(&self.0.key)))
    }

    /// Another certificate for this CA's name and key, from another CA: a cross-signed one.
    #[must_use]
    pub fn cross_signed_by(&self, other: &Self) -> Self {
        let mut params = self.0.params.clone();
        params.serial_number = None;
        Self(other.certify(params, Arc::clone(&self.0.key)))
    }

    /// A revocation list of this CA, DER.
    #[must_use]
    pub fn revocation_list(&self, revocations: &Revocations) -> Vec<u8> {
        let issuer = Issuer::from_params(&self.0.params, &*self.0.key);
        let revoked = revocations.serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(serial),
            revocation_time: offset(revocations.this_update),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let point =
            revocations.distribution_point.as_ref().map(|uri| CrlIssuingDistributionPoint {
                distribution_point: CrlDistributionPoint { uris: vec![uri.clone()] },
                scope: None,
            });
        let params = CertificateRevocationListParams {
            this_update: offset(revocations.this_update),
            next_update: offset(revocations.next_update),
            crl_number: SerialNumber::from(revocations.number),
            issuing_distribution_point: point,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).expect("the parameters are encodable").der().to_vec()
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.0.der()
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// The private key, PKCS#8 in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.0.key_pem()
    }

    /// The CA's own certificate and key, to present it as if it were a device's.
    #[must_use]
    pub fn as_credential(&self) -> &Credential {
        &self.0
    }

    fn certify(&self, params: CertificateParams, key: Arc<KeyPair>) -> Credential {
        let issuer = Issuer::from_params(&self.0.params, &*self.0.key);
        let certificate = params.signed_by(&*key, &issuer).expect("the parameters are encodable");
        let mut issuers = vec![self.0.der.clone()];
        issuers.extend(self.0.issuers.iter().cloned());
        Credential { der: certificate.der().to_vec(), params, key, issuers }
    }
}

/// What a revocation list will say. Starts out right: number 1, made the day before [`NOW`], good
/// for a week, and nobody revoked.
#[derive(Debug, Clone)]
pub struct Revocations {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When its time is over.
    pub next_update: Timestamp,
    /// The URI of its issuing distribution point, if it has one.
    pub distribution_point: Option<String>,
    /// Whom it revokes: serial numbers, big-endian.
    pub serials: Vec<Vec<u8>>,
}

impl Default for Revocations {
    fn default() -> Self {
        Self {
            number: 1,
            this_update: NOW.plus_secs(-86_400),
            next_update: NOW.plus_secs(6 * 86_400),
            distribution_point: None,
            serials: Vec::new(),
        }
    }
}

impl Revocations {
    /// A list of this number.
    #[must_use]
    pub fn number(number: u64) -> Self {
        Self { number, ..Self::default() }
    }

    /// That revokes this certificate too.
    #[must_use]
    pub fn with(mut self, certificate: &Credential) -> Self {
        let serial = certificate.serial();
        self.serials.push(serial);
        self
    }
}

/// A certificate, its key, and the certificates above it.
#[derive(Clone)]
pub struct Credential {
    der: Vec<u8>,
    params: CertificateParams,
    key: Arc<KeyPair>,
    issuers: Vec<Vec<u8>>,
}

impl Credential {
    /// A certificate that signs itself, after this profile.
    #[must_use]
    pub fn self_signed(profile: Profile) -> Self {
        let key = Arc::new(profile.key.generate());
        Self::sign_itself(profile.params, key)
    }

    fn sign_itself(params: CertificateParams, key: Arc<KeyPair>) -> Self {
        let certificate = params.self_signed(&*key).expect("the parameters are encodable");
        Self { der: certificate.der().to_vec(), params, key, issuers: Vec::new() }
    }

    /// The certificate, DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The certificate, PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        pem("CERTIFICATE", &self.der)
    }

    /// The private key, PKCS#8 in PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        pem("PRIVATE KEY", self.key.serialized_der())
    }

    /// The private key, PKCS#8.
    #[must_use]
    pub fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
    }

    /// The serial number, big-endian, as it stands in the certificate.
    #[must_use]
    pub fn serial(&self) -> Vec<u8> {
        serial(&self.der).expect("a certificate").to_vec()
    }

    /// The certificate alone, as a device presents it.
    #[must_use]
    pub fn alone(&self) -> Vec<CertificateDer> {
        vec![CertificateDer(self.der.clone())]
    }

    /// The certificate and all above it but the root, as devices present it.
    #[must_use]
    pub fn chain(&self) -> Vec<CertificateDer> {
        let mut chain = self.chain_with_root();
        if chain.len() > 1 {
            chain.pop();
        }
        chain
    }

    /// The certificate and all above it, the root included.
    #[must_use]
    pub fn chain_with_root(&self) -> Vec<CertificateDer> {
        let all = std::iter::once(&self.der).chain(&self.issuers);
        all.map(|der| CertificateDer(der.clone())).collect()
    }

    /// The same as [`chain`](Self::chain), as one PEM text.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        self.chain().iter().map(|der| pem("CERTIFICATE", &der.0)).collect()
    }
}

/// What a certificate will say. Starts out right; every method changes one thing.
#[derive(Debug, Clone)]
pub struct Profile {
    params: CertificateParams,
    key: KeyKind,
}

impl Profile {
    /// A CA: unlimited path length, may sign certificates, valid from 2020 to 2100.
    #[must_use]
    pub fn ca(common_name: &str) -> Self {
        let mut params = blank(common_name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self { params, key: KeyKind::P256 }
    }

    /// A device: client authentication, valid from 2020 to 2100.
    #[must_use]
    pub fn leaf(common_name: &str) -> Self {
        let mut params = blank(common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Self { params, key: KeyKind::P256 }
    }

    /// With this kind of key.
    #[must_use]
    pub fn key(mut self, key: KeyKind) -> Self {
        self.key = key;
        self
    }

    /// With these common names: none, one or two. Without any the subject is an organisation.
    #[must_use]
    pub fn common_names(self, names: &[&str]) -> Self {
        self.adjust(|params| {
            params.distinguished_name = DistinguishedName::new();
            // The library keeps one value per type; a second common name goes in by its number.
            let types = [DnType::CommonName, DnType::CustomDnType(vec![2, 5, 4, 3])];
            assert!(names.len() <= types.len(), "at most two common names");
            for (kind, name) in types.into_iter().zip(names) {
                params.distinguished_name.push(kind, *name);
            }
            if names.is_empty() {
                params.distinguished_name.push(DnType::OrganizationName, "No Name");
            }
        })
    }

    /// Valid from and until these moments.
    #[must_use]
    pub fn valid(self, not_before: Timestamp, not_after: Timestamp) -> Self {
        self.adjust(|params| {
            params.not_before = offset(not_before);
            params.not_after = offset(not_after);
        })
    }

    /// Expired the day before [`NOW`].
    #[must_use]
    pub fn expired(self) -> Self {
        self.valid(NOW.plus_secs(-400 * 86_400), NOW.plus_secs(-86_400))
    }

    /// Not valid before the year 2090, so that it holds for tests on a real clock as well.
    #[must_use]
    pub fn not_yet_valid(self) -> Self {
        self.valid(Timestamp::from_unix_secs(3_786_912_000), Timestamp::from_unix_secs(END))
    }

    /// With at most so many CAs below it.
    #[must_use]
    pub fn path_length(self, n: u8) -> Self {
        self.adjust(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(n)))
    }

    /// With these extended key usages; an empty list leaves the extension out.
    #[must_use]
    pub fn extended_key_usages(self, usages: &[ExtendedKeyUsagePurpose]) -> Self {
        self.adjust(|params| params.extended_key_usages = usages.to_vec())
    }

    /// With these key usages; an empty list leaves the extension out.
    #[must_use]
    pub fn key_usages(self, usages: &[KeyUsagePurpose]) -> Self {
        self.adjust(|params| params.key_usages = usages.to_vec())
    }

    /// With anything else that the library can say.
    #[must_use]
    pub fn adjust(mut self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        change(&mut self.params);
        self
    }
}

/// The kind of a certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// RSA with 2048 bits. Making one takes a noticeable moment.
    Rsa2048,
}

impl KeyKind {
    fn generate(self) -> KeyPair {
        match self {
            Self::P256 => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
            Self::Rsa2048 => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048),
        }
        .expect("keys of this kind can be made")
    }
}

/// The contents of the serial number in a certificate's DER.
fn serial(der: &[u8]) -> Option<&[u8]> {
    let (_, certificate) = element(der)?;
    let (_, signed) = element(certificate)?;
    // The version comes first, in a tag of its own; a certificate of version 1 has none.
    let (tag, first) = element(signed)?;
    if tag == 2 {
        return Some(first);
    }
    let header = signed.len() - header_end(signed)?.len();
    let (tag, serial) = element(signed.get(header + first.len()..)?)?;
    (tag == 2).then_some(serial)
}

/// Tag and contents of the first DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8])> {
    let rest = header_end(der)?;
    let length = match der.get(1)? {
        short @ 0..0x80 => usize::from(*short),
        long => {
            let size = der.get(2..2 + usize::from(long & 0x7F))?;
            size.iter().fold(0, |length, byte| length << 8 | usize::from(*byte))
        }
    };
    Some((*der.first()?, rest.get(..length)?))
}

/// What follows the header of the first DER element.
fn header_end(der: &[u8]) -> Option<&[u8]> {
    match der.get(1)? {
        0..0x80 => der.get(2..),
        long => der.get(2 + usize::from(long & 0x7F)..),
    }
}

/// 2020-01-01T00:00:00Z.
const START: i64 = 1_577_836_800;
/// 2099-12-31T00:00:00Z.
const END: i64 = 4_102_358_400;

fn blank(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = offset(Timestamp::from_unix_secs(START));
    params.not_after = offset(Timestamp::from_unix_secs(END));
    params
}

fn offset(moment: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(moment.unix_secs()).expect("a year that certificates have")
}

/// A PEM block of these bytes.
#[must_use]
pub fn pem(label: &str, der: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    let text = STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = tail;
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_ends_below_the_root_unless_the_root_is_asked_for() {
        let root = Ca::root("root");
        let leaf = root.intermediate("line-4").leaf("press-17");
        assert_eq!(leaf.chain().len(), 2);
        assert_eq!(leaf.chain_with_root().len(), 3);
        assert_eq!(leaf.chain_with_root()[2].0, root.der());
        assert_eq!(Credential::self_signed(Profile::leaf("press-17")).chain().len(), 1);
    }

    #[test]
    fn pem_lines_have_at_most_64_characters() {
        let text = Ca::root("root").pem();
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
        assert!(text.ends_with("-----END CERTIFICATE-----\n"));
        assert!(text.lines().all(|line| line.len() <= 64));
    }
}
