//! Proof of possession: a certificate with a name we chose, signed with the key in question.

use model::{AttestFailure, EnrolledCertificate, Timestamp};
use webpki::ALL_VERIFICATION_ALGS;

use crate::certificate::Parsed;

/// Whether this certificate proves that whoever sent it can sign with the CA's key: its only
/// common name is `code`, its issuer is the CA, the CA's key signed it, and it is valid now.
///
/// It proves a key and nothing else, so key usages and the X.509 version do not matter: the
/// vendor's own instructions make such certificates without any extension.
///
/// # Errors
/// [`AttestFailure`] says what is wrong.
///
/// Source: O §3.5.
pub fn verify_possession(
    proof: &[u8],
    ca: &EnrolledCertificate,
    code: &str,
    now: Timestamp,
) -> Result<(), AttestFailure> {
    let proof = Parsed::of(proof)?;
    let names = proof.common_names()?;
    if names.as_slice() != [code] {
        let text = format!("it must be the verification code {code}, and nothing else");
        return Err(AttestFailure::CommonName(text));
    }
    if proof.keys().issuer != ca.keys.subject {
        return Err(AttestFailure::BadChain(format!(
            "its issuer is `{}`, not `{}`",
            proof.issuer(),
            ca.info.subject_name
        )));
    }
    if now < proof.not_before() {
        return Err(AttestFailure::NotYetValid(proof.subject()));
    }
    if now > proof.not_after() {
        return Err(AttestFailure::Expired(proof.subject()));
    }
    let ca = Parsed::of(&ca.der)?;
    let key = &ca.x509.public_key().subject_public_key.data;
    let (message, signature) = (proof.x509.tbs_certificate.as_ref(), &proof.x509.signature_value);
    // Which algorithm fits is for the signature to show: each of them needs the CA's private key.
    let signed = ALL_VERIFICATION_ALGS
        .iter()
        .any(|algorithm| algorithm.verify_signature(key, message, &signature.data).is_ok());
    match signed {
        true => Ok(()),
        false => Err(AttestFailure::BadChain("the CA's key did not sign it".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use testkit::{Ca, KeyKind, NOW, Profile};

    use super::*;
    use crate::certificate::describe;

    const CODE: &str = "0123456789ABCDEF0123456789ABCDEF0123456789ABCDEF";

    #[test]
    fn only_the_key_of_the_ca_proves_its_possession() {
        let check = |ca: &Ca, proof: &[u8], expected: Result<(), AttestFailure>| {
            let ca = describe(ca.der()).expect("a certificate");
            let outcome = verify_possession(proof, &ca, CODE, NOW);
            match expected {
                Ok(()) => assert_eq!(outcome, Ok(())),
                Err(kind) => {
                    let failure = outcome.expect_err("refused");
                    assert_eq!(
                        std::mem::discriminant(&failure),
                        std::mem::discriminant(&kind),
                        "{failure}"
                    );
                }
            }
        };
        let bad_chain = || Err(AttestFailure::BadChain(String::new()));
        let ca = Ca::root("Works CA");
        let other = Ca::root("Other CA");
        let of_the_same_name = Ca::root("Works CA");
        let rsa = Ca::create(Profile::ca("Works RSA").key(KeyKind::Rsa2048));
        check(&ca, ca.leaf(CODE).der(), Ok(()));
        check(&rsa, rsa.leaf(CODE).der(), Ok(()));
        let bare = Profile::leaf(CODE).key_usages(&[]).extended_key_usages(&[]);
        check(&ca, ca.issue(bare).der(), Ok(()));
        check(&ca, other.leaf(CODE).der(), bad_chain());
        check(&ca, of_the_same_name.leaf(CODE).der(), bad_chain());
        let wrong_name = || Err(AttestFailure::CommonName(String::new()));
        check(&ca, ca.leaf("another code").der(), wrong_name());
        check(&ca, ca.der(), wrong_name());
        let expired = ca.issue(Profile::leaf(CODE).expired());
        check(&ca, expired.der(), Err(AttestFailure::Expired(String::new())));
        let early = ca.issue(Profile::leaf(CODE).not_yet_valid());
        check(&ca, early.der(), Err(AttestFailure::NotYetValid(String::new())));
        check(&ca, b"no certificate", Err(AttestFailure::BadCertificate(String::new())));
    }

    #[test]
    fn one_changed_bit_of_the_proof_is_no_proof() {
        let ca = Ca::root("Works CA");
        let enrolled = describe(ca.der()).expect("a certificate");
        let good = ca.leaf(CODE).der().to_vec();
        assert_eq!(verify_possession(&good, &enrolled, CODE, NOW), Ok(()));
        for at in [good.len() - 1, good.len() / 2] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(verify_possession(&bad, &enrolled, CODE, NOW).is_err(), "byte {at}");
        }
    }
}
