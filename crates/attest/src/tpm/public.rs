//! TPM2B_PUBLIC: the public half of a key, read strictly against the template it must be made from.

use aws_lc_rs::digest;

use super::{BadTpmKey, TpmKeyRole, blob::sized};

/// The largest TPM2B_PUBLIC looked at, in bytes: an endorsement key's, with its policy. A storage
/// root key has 284.
pub const MAX_KEY_BYTES: usize = 316;

const ALG_RSA: u16 = 0x0001;
const ALG_AES: u16 = 0x0006;
const ALG_SHA256: u16 = 0x000B;
const ALG_NULL: u16 = 0x0010;
const ALG_CFB: u16 = 0x0043;
const AES_BITS: u16 = 128;
const RSA_BITS: u16 = 2048;
/// The exponent that every such key has, whether it is spelled out or left to be 0.
const EXPONENT: u32 = 65_537;

/// The policy of the default endorsement keys: PolicySecret of the endorsement hierarchy.
const ENDORSEMENT_POLICY: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
    0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa,
];

/// The public half of an endorsement key, made from the TCG's default template for RSA-2048.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndorsementKey(Public);

impl EndorsementKey {
    /// Reads a TPM2B_PUBLIC.
    ///
    /// The template: RSA-2048 with exponent 65537 (which may be written 0), names by SHA-256,
    /// attributes `0x000300B2`, the policy of the endorsement hierarchy, AES-128-CFB, no scheme.
    ///
    /// # Errors
    /// [`BadTpmKey`] names the first member that deviates, what it is and what is wanted.
    ///
    /// Source: TCG EK Credential Profile, template L-1; D appendix A.2.
    pub fn parse(tpm2b_public: &[u8]) -> Result<Self, BadTpmKey> {
        Public::parse(&ENDORSEMENT, tpm2b_public).map(Self)
    }

    /// The key with this modulus, big-endian, as the template makes it; the exponent is written 0.
    ///
    /// # Errors
    /// [`BadTpmKey`]: the modulus is none of 2048 bits.
    pub fn of_modulus(modulus: &[u8]) -> Result<Self, BadTpmKey> {
        Public::of_modulus(&ENDORSEMENT, modulus).map(Self)
    }

    /// The key as it came: TPM2B_PUBLIC.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The modulus: 256 bytes, big-endian, the first one at least `0x80`.
    #[must_use]
    pub fn rsa_modulus(&self) -> &[u8] {
        self.0.modulus()
    }

    /// The registration ID that the vendor's clients give a TPM: SHA-256 of the key's
    /// TPM2B_PUBLIC in lower-case base32 (RFC 4648) without padding, 52 characters.
    ///
    /// Source: D §0.2.
    #[must_use]
    pub fn registration_id(&self) -> String {
        base32(digest::digest(&digest::SHA256, &self.0.bytes).as_ref())
    }
}

/// The public half of a storage root key, made from the template that the vendor's clients use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageRootKey(Public);

impl StorageRootKey {
    /// Reads a TPM2B_PUBLIC.
    ///
    /// The template: RSA-2048 with exponent 65537 (which may be written 0), names by SHA-256,
    /// attributes `0x00030472`, no policy, AES-128-CFB, no scheme.
    ///
    /// # Errors
    /// [`BadTpmKey`] names the first member that deviates, what it is and what is wanted.
    ///
    /// Source: TCG TPM v2.0 Provisioning Guidance, SRK template; D appendix A.2.
    pub fn parse(tpm2b_public: &[u8]) -> Result<Self, BadTpmKey> {
        Public::parse(&STORAGE_ROOT, tpm2b_public).map(Self)
    }

    /// The key with this modulus, as [`EndorsementKey::of_modulus`].
    ///
    /// # Errors
    /// [`BadTpmKey`]: the modulus is none of 2048 bits.
    pub fn of_modulus(modulus: &[u8]) -> Result<Self, BadTpmKey> {
        Public::of_modulus(&STORAGE_ROOT, modulus).map(Self)
    }

    /// The key as it came: TPM2B_PUBLIC.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0.bytes
    }

    /// The modulus: 256 bytes, big-endian, the first one at least `0x80`.
    pub(super) fn rsa_modulus(&self) -> &[u8] {
        self.0.modulus()
    }

    /// The TPMT_PUBLIC, which the key's name is the hash of.
    pub(super) fn area(&self) -> &[u8] {
        self.0.bytes.get(2..).unwrap_or_default()
    }
}

/// What distinguishes the two templates.
struct Template {
    role: TpmKeyRole,
    attributes: u32,
    policy: &'static [u8],
}

const ENDORSEMENT: Template = Template {
    role: TpmKeyRole::Endorsement,
    attributes: 0x0003_00B2,
    policy: &ENDORSEMENT_POLICY,
};

const STORAGE_ROOT: Template =
    Template { role: TpmKeyRole::StorageRoot, attributes: 0x0003_0472, policy: &[] };

/// A key that its template was found in. The modulus is its last 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Public {
    bytes: Vec<u8>,
}

const MODULUS_BYTES: usize = RSA_BITS as usize / 8;

impl Public {
    fn modulus(&self) -> &[u8] {
        let start = self.bytes.len().saturating_sub(MODULUS_BYTES);
        self.bytes.get(start..).unwrap_or_default()
    }

    fn of_modulus(template: &Template, modulus: &[u8]) -> Result<Self, BadTpmKey> {
        // Before it is written behind a length of two bytes.
        check_modulus(template.role, modulus)?;
        let mut area = Vec::with_capacity(MAX_KEY_BYTES);
        for member in [ALG_RSA, ALG_SHA256] {
            area.extend(member.to_be_bytes());
        }
        area.extend(template.attributes.to_be_bytes());
        area.extend(sized(&[template.policy]));
        for member in [ALG_AES, AES_BITS, ALG_CFB, ALG_NULL, RSA_BITS] {
            area.extend(member.to_be_bytes());
        }
        area.extend(0_u32.to_be_bytes());
        area.extend(sized(&[modulus]));
        Self::parse(template, &sized(&[&area]))
    }

    fn parse(template: &Template, bytes: &[u8]) -> Result<Self, BadTpmKey> {
        let role = template.role;
        if bytes.len() > MAX_KEY_BYTES {
            return Err(BadTpmKey::TooLong { role, size_bytes: bytes.len() });
        }
        let cut = BadTpmKey::Cut { role, size_bytes: bytes.len() };
        let mut outer = Reader { rest: bytes };
        let mut area = Reader { rest: outer.sized().ok_or(cut)? };
        outer.end(role)?;

        match area.u16().ok_or(cut)? {
            ALG_RSA => {}
            found => return Err(BadTpmKey::Type { role, found }),
        }
        match area.u16().ok_or(cut)? {
            ALG_SHA256 => {}
            found => return Err(BadTpmKey::NameAlgorithm { role, found }),
        }
        let found = area.u32().ok_or(cut)?;
        if found != template.attributes {
            return Err(BadTpmKey::Attributes { role, found, wanted: template.attributes });
        }
        if area.sized().ok_or(cut)? != template.policy {
            return Err(BadTpmKey::Policy { role });
        }
        check_symmetric(role, &mut area, cut)?;
        match area.u16().ok_or(cut)? {
            ALG_NULL => {}
            found => return Err(BadTpmKey::Scheme { role, found }),
        }
        match area.u16().ok_or(cut)? {
            RSA_BITS => {}
            found => return Err(BadTpmKey::KeyBits { role, found }),
        }
        match area.u32().ok_or(cut)? {
            0 | EXPONENT => {}
            found => return Err(BadTpmKey::Exponent { role, found }),
        }
        check_modulus(role, area.sized().ok_or(cut)?)?;
        area.end(role)?;
        Ok(Self { bytes: bytes.to_vec() })
    }
}

fn check_symmetric(
    role: TpmKeyRole,
    area: &mut Reader<'_>,
    cut: BadTpmKey,
) -> Result<(), BadTpmKey> {
    let algorithm = area.u16().ok_or(cut)?;
    // Without a cipher neither key bits nor mode are written.
    let (key_bits, mode) = match algorithm {
        ALG_NULL => (0, 0),
        _ => (area.u16().ok_or(cut)?, area.u16().ok_or(cut)?),
    };
    match (algorithm, key_bits, mode) {
        (ALG_AES, AES_BITS, ALG_CFB) => Ok(()),
        _ => Err(BadTpmKey::Symmetric { role, algorithm, key_bits, mode }),
    }
}

fn check_modulus(role: TpmKeyRole, modulus: &[u8]) -> Result<(), BadTpmKey> {
    if modulus.len() != MODULUS_BYTES {
        return Err(BadTpmKey::ModulusLength { role, size_bytes: modulus.len() });
    }
    if modulus.first().is_none_or(|first| first & 0x80 == 0) {
        return Err(BadTpmKey::SmallModulus { role });
    }
    if modulus.last().is_none_or(|last| last & 1 == 0) {
        return Err(BadTpmKey::EvenModulus { role });
    }
    Ok(())
}

/// Big-endian members, one after the other.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn u16(&mut self) -> Option<u16> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u16::from_be_bytes(*bytes))
    }

    fn u32(&mut self) -> Option<u32> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*bytes))
    }

    /// The bytes of a TPM2B, after its length.
    pub(super) fn sized(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        let (bytes, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    fn end(&self, role: TpmKeyRole) -> Result<(), BadTpmKey> {
        match self.rest.len() {
            0 => Ok(()),
            n_bytes => Err(BadTpmKey::TrailingBytes { role, n_bytes }),
        }
    }
}

/// RFC 4648 base32, lower case, without padding.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let bits = (0..5).fold(0_u64, |bits, i| {
            bits << 8 | u64::from(group.get(i).copied().unwrap_or_default())
        });
        let n_characters = (group.len() * 8).div_ceil(5);
        for i in 0..n_characters {
            // Five bits at a time, so the index is below 32.
            let index = (bits >> (35 - 5 * i) & 31) as usize;
            text.push(char::from(ALPHABET.get(index).copied().unwrap_or_default()));
        }
    }
    text
}
