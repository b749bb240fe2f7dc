//! The endorsement key's certificate: a TPM vendor's word that the key is in a TPM of theirs.

use std::collections::HashSet;

use model::{AttestFailure, EnrolledCertificate, Timestamp};
use x509_parser::{
    asn1_rs::{Oid, oid},
    oid_registry::OID_PKCS1_RSAENCRYPTION,
};

use super::{EndorsementKey, same_key};
use crate::{
    certificate::Parsed,
    chain::{self, KeyPurpose, Presented, VerifiedPath},
};

/// `id-RSAES-OAEP` (RFC 4055 §4.1).
const OID_RSAES_OAEP: Oid<'static> = oid!(1.2.840.113549.1.1.7);

/// Whether the leaf of this chain certifies this key: its public key is RSA with the same modulus
/// and exponent 65537.
///
/// Some vendors write the algorithm `RSAES-OAEP` there instead of `rsaEncryption`; both count.
#[must_use]
pub fn certificate_key_matches(presented: &Presented, ek: &EndorsementKey) -> bool {
    let Ok(leaf) = Parsed::of(presented.leaf_der()) else {
        return false;
    };
    let spki = leaf.x509.public_key();
    let algorithm = &spki.algorithm.algorithm;
    let is_rsa = *algorithm == OID_PKCS1_RSAENCRYPTION || *algorithm == OID_RSAES_OAEP;
    let key = &spki.subject_public_key;
    is_rsa && key.unused_bits == 0 && same_key(&key.data, &rsa_public_key(ek.rsa_modulus()))
}

/// Checks that the leaf of this chain is the endorsement key's certificate and that the chain
/// leads to one of `roots`, which may be roots or intermediates of TPM vendors.
///
/// Such certificates look unlike a device's, and pass as they are: an empty subject, a critical
/// alternative name with the TPM's model in it, key encipherment as the only key usage, and no
/// end to their validity. An extended key usage that is there must be that of endorsement keys
/// (2.23.133.8.1) or any. All else is checked as [`chain::validate`] does.
///
/// # Errors
/// [`AttestFailure::NotEndorsed`] says what is wrong; [`AttestFailure::TooLarge`] when to say so
/// would take more work than is done for one chain.
///
/// Source: TCG EK Credential Profile for TPM Family 2.0, §3.2. **An extension of Induct.**
pub fn check_endorsement(
    presented: &Presented,
    ek: &EndorsementKey,
    roots: &[&EnrolledCertificate],
    now: Timestamp,
) -> Result<(), AttestFailure> {
    endorsement_path(presented, ek, roots, now).map(|_| ())
}

/// [`check_endorsement`] that gives the path it has verified, the endorsement key's certificate
/// first.
///
/// # Errors
/// As [`check_endorsement`].
pub fn endorsement_path(
    presented: &Presented,
    ek: &EndorsementKey,
    roots: &[&EnrolledCertificate],
    now: Timestamp,
) -> Result<VerifiedPath, AttestFailure> {
    let refuse = |why: &str| Err(AttestFailure::NotEndorsed(why.to_owned()));
    if !certificate_key_matches(presented, ek) {
        return refuse("it is for another key than the TPM's endorsement key");
    }
    match presented.check_leaf_validity(now) {
        Err(AttestFailure::Expired(_)) => return refuse("it has expired"),
        Err(AttestFailure::NotYetValid(_)) => return refuse("it is not valid yet"),
        _ => {}
    }
    // Which roots the chain's names lead to; the others would only take time.
    let on_the_way: HashSet<[u8; 32]> =
        chain::walk(presented, roots)?.into_iter().map(|link| link.keys.subject_and_key).collect();
    let mut failure = None;
    for root in roots.iter().filter(|root| on_the_way.contains(&root.keys.subject_and_key)) {
        let purpose = KeyPurpose::EndorsementKey;
        match chain::validate_path(purpose, presented, &[], root, &HashSet::new(), now) {
            Ok(path) => return Ok(path),
            Err(other) => failure = failure.or(Some(other)),
        }
    }
    match failure {
        None => refuse("it does not lead to an enrolled certificate of a TPM vendor"),
        Some(AttestFailure::BadChain(why)) => refuse(&format!("its chain does not hold: {why}")),
        Some(AttestFailure::TooLarge(why)) => Err(AttestFailure::TooLarge(why)),
        Some(other) => refuse(&other.to_string()),
    }
}

/// The DER of an RSAPublicKey with this modulus, of 256 bytes and with its first bit set, and
/// exponent 65537. DER writes a value in one way only, so equal keys are equal bytes.
fn rsa_public_key(modulus: &[u8]) -> Vec<u8> {
    const HEAD: [u8; 9] = [0x30, 0x82, 0x01, 0x0A, 0x02, 0x82, 0x01, 0x01, 0x00];
    const EXPONENT: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];
    [&HEAD[..], modulus, &EXPONENT].concat()
}
