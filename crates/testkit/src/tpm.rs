//! A TPM in software: two keys, and what a device does with an activation blob (D appendix A.4).
//!
//! It takes blobs apart by itself, the way a TPM does, and shares no code with what makes them: a
//! blob that it accepts, with all that is authenticated in it, is one that a TPM accepts.

use std::fmt;

use aws_lc_rs::{
    cipher::{AES_128, DecryptingKey, DecryptionContext, UnboundCipherKey},
    digest,
    encoding::AsDer,
    hmac,
    iv::FixedLength,
    rsa::{KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{CertificateDer, Timestamp};
use rcgen::{
    CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    PKCS_RSA_SHA256, PublicKeyData, SignatureAlgorithm,
};

use crate::{Ca, Profile, sas};

/// A TPM with an endorsement key, a storage root key, and the key it was last given.
#[derive(Clone)]
pub struct SoftTpm {
    endorsement: PrivateDecryptingKey,
    storage_root: PrivateDecryptingKey,
    identity: Option<Identity>,
}

/// What a blob left in the TPM.
#[derive(Clone)]
struct Identity {
    key: [u8; 32],
    data: Vec<u8>,
}

/// Prints no key.
impl fmt::Debug for SoftTpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SoftTpm({})", self.registration_id())
    }
}

impl Default for SoftTpm {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftTpm {
    /// A TPM with new keys. Making them takes a noticeable moment.
    #[must_use]
    pub fn new() -> Self {
        let key = || PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a new RSA key");
        Self { endorsement: key(), storage_root: key(), identity: None }
    }

    /// Always the same TPM, with the keys in `fixtures/tpm`.
    #[must_use]
    pub fn from_fixture() -> Self {
        let key = |pkcs8| PrivateDecryptingKey::from_pkcs8(pkcs8).expect("a key in fixtures/tpm");
        Self {
            endorsement: key(include_bytes!("../../../fixtures/tpm/endorsement-key.der")),
            storage_root: key(include_bytes!("../../../fixtures/tpm/storage-root-key.der")),
            identity: None,
        }
    }

    /// The public half of the endorsement key, TPM2B_PUBLIC.
    #[must_use]
    pub fn endorsement_key(&self) -> Vec<u8> {
        public(0x0003_00B2, &ENDORSEMENT_POLICY, &modulus(&self.endorsement))
    }

    /// The public half of the storage root key, TPM2B_PUBLIC.
    #[must_use]
    pub fn storage_root_key(&self) -> Vec<u8> {
        public(0x0003_0472, &[], &modulus(&self.storage_root))
    }

    /// The registration ID that clients give this TPM: SHA-256 of the endorsement key in
    /// lower-case base32.
    #[must_use]
    pub fn registration_id(&self) -> String {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let bits: Vec<u8> = sha256(&[&self.endorsement_key()])
            .iter()
            .flat_map(|byte| (0..8).rev().map(move |i| byte >> i & 1))
            .collect();
        bits.chunks(5)
            .map(|five| {
                let index = (0..5).fold(0, |n, i| n << 1 | five.get(i).copied().unwrap_or(0));
                char::from(ALPHABET[usize::from(index)])
            })
            .collect()
    }

    /// Takes the key out of an activation blob and keeps it in place of the one before:
    /// ActivateCredential, Import, Load (D appendix A.4).
    ///
    /// # Errors
    /// What a TPM would object to: a blob for another TPM, and any byte of it that was changed.
    pub fn activate(&mut self, blob: &[u8]) -> Result<(), String> {
        let mut reader = Reader(blob);
        let mut part = || reader.sized();
        let (credential, credential_seed, duplicate, duplicate_seed, public, data) =
            (part()?, part()?, part()?, part()?, part()?, part()?);
        reader.end("the blob")?;

        let srk_name = name(&self.storage_root_key()[2..]);
        let seed = open_seed(&self.endorsement, credential_seed, b"IDENTITY\0")?;
        let credential = open("the credential", &seed, &srk_name, credential)?;
        let mut reader = Reader(&credential);
        let inner: [u8; 16] =
            reader.sized()?.try_into().map_err(|_| "the inner wrap key has not 16 bytes")?;
        reader.end("the credential")?;

        let unique = read_public(public)?;
        let key_name = name(public);
        let seed = open_seed(&self.storage_root, duplicate_seed, b"DUPLICATE\0")?;
        let inner_wrapped = open("the duplicate", &seed, &key_name, duplicate)?;
        let unwrapped = cfb(&inner, &inner_wrapped);
        let mut reader = Reader(&unwrapped);
        let integrity = reader.sized()?;
        let sensitive = reader.0;
        if integrity != sha256(&[sensitive, &key_name]) {
            return Err("the inner integrity does not fit".to_owned());
        }
        let key = read_sensitive(sensitive, unique)?;

        self.identity = Some(Identity { key, data: cfb(&inner, data) });
        Ok(())
    }

    /// The key of the last blob, if there was one. A TPM would not tell.
    #[must_use]
    pub fn key(&self) -> Option<[u8; 32]> {
        self.identity.as_ref().map(|identity| identity.key)
    }

    /// What came along with the key of the last blob, decrypted.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.identity.as_ref().map(|identity| identity.data.as_slice())
    }

    /// Signs with the key of the last blob: HMAC-SHA-256.
    ///
    /// # Panics
    /// Before the first blob was taken.
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> [u8; 32] {
        hmac_sha256(&self.key().expect("the TPM was given a key"), &[bytes])
    }

    /// A token signed with the key of the last blob, as it travels, from `SharedAccessSignature`
    /// on. `resource_raw` is `sr` exactly as it is to stand there (see
    /// [`ClientStyle::resource`](sas::ClientStyle::resource)); without a `key_name` there is no
    /// `skn`, with an empty one it is empty.
    ///
    /// # Panics
    /// Before the first blob was taken.
    #[must_use]
    pub fn sas_token(
        &self,
        resource_raw: &str,
        expiry_unix_secs: i64,
        key_name: Option<&str>,
    ) -> String {
        let se = expiry_unix_secs.to_string();
        let key = self.key().expect("the TPM was given a key");
        let signature = STANDARD.encode(sas::sign(&key, resource_raw, &se));
        let sig = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let skn = key_name.map(|name| format!("&skn={name}")).unwrap_or_default();
        format!("SharedAccessSignature sr={resource_raw}&sig={sig}&se={se}{skn}")
    }

    /// A certificate for the endorsement key from this CA, as TPM vendors write them: see
    /// [`endorsement_profile`].
    #[must_use]
    pub fn endorsement_certificate(&self, ca: &Ca) -> CertificateDer {
        self.endorsement_certificate_after(ca, &endorsement_profile())
    }

    /// A certificate for the endorsement key from this CA, after this profile.
    #[must_use]
    pub fn endorsement_certificate_after(&self, ca: &Ca, profile: &Profile) -> CertificateDer {
        ca.certify_public(profile, &RsaPublic::of(&self.endorsement))
    }

    /// The endorsement key's certificate from this CA and the certificates above it but the root,
    /// as a device shows them.
    #[must_use]
    pub fn endorsement_chain(&self, ca: &Ca) -> Vec<CertificateDer> {
        let mut chain = vec![self.endorsement_certificate(ca)];
        let mut above = ca.as_credential().chain_with_root();
        above.pop();
        chain.extend(above);
        chain
    }
}

/// An endorsement key's certificate as TPM vendors write them: no subject, a critical alternative
/// name with manufacturer, model and version of the TPM, key encipherment, the extended key usage
/// of endorsement keys, valid until the end of the year 9999.
#[must_use]
pub fn endorsement_profile() -> Profile {
    let from = Timestamp::from_unix_secs(1_577_836_800);
    let no_end = Timestamp::from_unix_secs(253_402_300_799);
    Profile::leaf("none").valid(from, no_end).adjust(|params| {
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::Other(vec![2, 23, 133, 8, 1])];
        let mut name = CustomExtension::from_oid_content(&[2, 5, 29, 17], tpm_name());
        name.set_criticality(true);
        params.custom_extensions.push(name);
    })
}

/// A subjectAltName with one directoryName: TPM manufacturer, model and version, one RDN each.
fn tpm_name() -> Vec<u8> {
    let attribute = |last: u8, value: &str| {
        let oid = der(0x06, &[0x67, 0x81, 0x05, 0x02, last]); // 2.23.133.2.x
        der(0x31, &der(0x30, &[oid, der(0x0C, value.as_bytes())].concat()))
    };
    let names =
        [attribute(1, "id:53494D00"), attribute(2, "Soft TPM"), attribute(3, "id:00010000")];
    der(0x30, &der(0xA4, &der(0x30, &names.concat())))
}

/// A DER value of fewer than 128 bytes.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128, "a short value");
    [&[tag, content.len() as u8][..], content].concat()
}

/// An RSA key that a certificate is made for.
struct RsaPublic(Vec<u8>);

impl RsaPublic {
    fn of(key: &PrivateDecryptingKey) -> Self {
        Self(public_key_der(key)[SPKI_HEAD..].to_vec())
    }
}

impl PublicKeyData for RsaPublic {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

/// Where in a SubjectPublicKeyInfo of an RSA-2048 key the RSAPublicKey begins.
const SPKI_HEAD: usize = 24;

/// The SubjectPublicKeyInfo. DER writes it in one way, so with 2048 bits and exponent 65537 it has
/// 294 bytes, and the modulus stands before the last five.
fn public_key_der(key: &PrivateDecryptingKey) -> Vec<u8> {
    let spki = key.public_key().as_der().expect("the public half of a key");
    let spki = spki.as_ref();
    assert_eq!((spki.len(), &spki[289..]), (294, &[0x02, 0x03, 0x01, 0x00, 0x01][..]));
    spki.to_vec()
}

fn modulus(key: &PrivateDecryptingKey) -> Vec<u8> {
    public_key_der(key)[33..289].to_vec()
}

/// The policy of the default endorsement keys.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// A TPM2B_PUBLIC after the default templates: RSA, SHA-256, these attributes and this policy,
/// AES-128-CFB, no scheme, 2048 bits, exponent 0, this modulus (D appendix A.2).
fn public(attributes: u32, policy: &[u8], modulus: &[u8]) -> Vec<u8> {
    const MIDDLE: [u8; 14] =
        [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00];
    let head = [0x00, 0x01, 0x00, 0x0B];
    let parts: [&[u8]; 5] =
        [&head, &attributes.to_be_bytes(), &sized(policy), &MIDDLE, &sized(modulus)];
    sized(&parts.concat())
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a short structure");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// The public area of the key in a blob: gives its `unique` member.
fn read_public(public: &[u8]) -> Result<&[u8], String> {
    // Keyed hash, SHA-256, sign | noDA | userWithAuth, no policy, HMAC with SHA-256.
    let head: [u8; 14] = [0, 8, 0, 0x0B, 0, 4, 4, 0x40, 0, 0, 0, 5, 0, 0x0B];
    let rest = public.strip_prefix(&head).ok_or("the key is not one for HMAC-SHA-256")?;
    let mut reader = Reader(rest);
    let unique = reader.sized()?;
    reader.end("the key's public area")?;
    Ok(unique)
}

/// A TPM2B_SENSITIVE of a keyed hash: gives the key, if the public area is its own.
fn read_sensitive(bytes: &[u8], unique: &[u8]) -> Result<[u8; 32], String> {
    let mut outer = Reader(bytes);
    let sensitive = outer.sized()?;
    outer.end("the sensitive area")?;
    let sensitive = sensitive.strip_prefix(&[0, 8]).ok_or("it is no keyed hash")?;
    let mut reader = Reader(sensitive);
    let (auth, seed, key) = (reader.sized()?, reader.sized()?, reader.sized()?);
    reader.end("the sensitive area")?;
    if !auth.is_empty() {
        return Err("the key has an authorization value, which no client knows".to_owned());
    }
    if unique != sha256(&[seed, key]) {
        return Err("public and sensitive area do not belong together".to_owned());
    }
    key.try_into().map_err(|_| "the key has not 32 bytes".to_owned())
}

/// An encrypted seed of 32 bytes.
fn open_seed(key: &PrivateDecryptingKey, secret: &[u8], label: &[u8]) -> Result<[u8; 32], String> {
    let key = OaepPrivateDecryptingKey::new(key.clone()).expect("an RSA key");
    let mut room = vec![0; key.min_output_size()];
    let seed = key
        .decrypt(&OAEP_SHA256_MGF1SHA256, secret, &mut room, Some(label))
        .map_err(|_| format!("a seed is not for this TPM ({})", String::from_utf8_lossy(label)))?;
    (&*seed).try_into().map_err(|_| "a seed has not 32 bytes".to_owned())
}

/// The outer protection of credentials and duplicates: an HMAC over what is encrypted and a name.
fn open(what: &str, seed: &[u8; 32], name: &[u8], protected: &[u8]) -> Result<Vec<u8>, String> {
    let mut reader = Reader(protected);
    let mac = reader.sized()?;
    let encrypted = reader.0;
    if mac != hmac_sha256(&kdfa(seed, b"INTEGRITY\0", &[], 256), &[encrypted, name]) {
        return Err(format!("the outer integrity of {what} does not fit"));
    }
    let key = kdfa(seed, b"STORAGE\0", name, 128);
    let key = key[..16].try_into().expect("16 of 32 bytes");
    Ok(cfb(&key, encrypted))
}

fn kdfa(key: &[u8; 32], label: &[u8], context: &[u8], bits: u32) -> [u8; 32] {
    hmac_sha256(key, &[&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()])
}

fn name(public_area: &[u8]) -> Vec<u8> {
    [&[0x00, 0x0B][..], &sha256(&[public_area])].concat()
}

/// AES-128-CFB with an initial vector of zeros, decrypted.
fn cfb(key: &[u8; 16], text: &[u8]) -> Vec<u8> {
    let key = UnboundCipherKey::new(&AES_128, key).expect("16 bytes");
    let key = DecryptingKey::cfb128(key).expect("a mode of AES");
    let mut text = text.to_vec();
    let iv = DecryptionContext::Iv128(FixedLength::from([0; 16]));
    key.decrypt(&mut text, iv).expect("any length does");
    text
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let hash = digest::digest(&digest::SHA256, &parts.concat());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat());
    tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Structures after their length in two bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn sized(&mut self) -> Result<&'a [u8], String> {
        let cut = "a structure is cut off";
        let (length, rest) = self.0.split_first_chunk().ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (bytes, rest) = rest.split_at_checked(length).ok_or(cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn end(&self, what: &str) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("bytes follow the end of {what}")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_keys_have_the_sizes_and_beginnings_of_real_ones() {
        let tpm = SoftTpm::from_fixture();
        assert_eq!(tpm.endorsement_key().len(), 316);
        assert!(STANDARD.encode(tpm.endorsement_key()).starts_with("AToAAQALAAMAsgAgg3GXZ0SE"));
        assert_eq!(tpm.storage_root_key().len(), 284);
        assert!(STANDARD.encode(tpm.storage_root_key()).starts_with("ARoAAQALAAMEcgAA"));
        assert_eq!(tpm.registration_id().len(), 52);
    }

    #[test]
    fn it_is_given_no_key_by_bytes_that_are_no_blob() {
        let mut tpm = SoftTpm::from_fixture();
        for bytes in [&[][..], &[0], &[0; 12], &[0xFF; 920]] {
            assert!(tpm.activate(bytes).is_err(), "{bytes:?}");
        }
        assert_eq!(tpm.key(), None);
    }

    #[test]
    fn new_tpms_differ() {
        assert_ne!(SoftTpm::new().registration_id(), SoftTpm::from_fixture().registration_id());
    }
}
