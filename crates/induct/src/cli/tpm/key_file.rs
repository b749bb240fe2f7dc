//! A TPM's public key from a file: TPM2B_PUBLIC, or PEM, which the template is put around.

use std::path::Path;

use attest::tpm::{BadTpmKey, EndorsementKey, StorageRootKey};
use base64::{Engine, engine::general_purpose::STANDARD};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use crate::cli::{complaint::Complaint, input};

/// What every SubjectPublicKeyInfo of an RSA key of 2048 bits begins with, before its modulus.
const HEAD: [u8; 33] = [
    0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01,
    0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01,
    0x00,
];

/// What it ends with: the exponent 65537. DER writes a value in one way only.
const TAIL: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// An endorsement key's file.
///
/// # Errors
/// The file cannot be read, or holds no key made from the TCG's default template for RSA-2048.
pub(crate) fn endorsement_key(option: &str, path: &Path) -> Result<EndorsementKey, Complaint> {
    read(option, path, EndorsementKey::parse, EndorsementKey::of_modulus)
}

/// A storage root key's file.
///
/// # Errors
/// As [`endorsement_key`].
pub(crate) fn storage_root_key(option: &str, path: &Path) -> Result<StorageRootKey, Complaint> {
    read(option, path, StorageRootKey::parse, StorageRootKey::of_modulus)
}

/// A key as an enrollment wants it, given in base64 or as a file: `@FILE`, or the path of one.
///
/// # Errors
/// As [`endorsement_key`]; whether base64 holds a key is for the service to see.
pub(crate) fn given<K>(
    option: &str,
    given: &str,
    read: impl FnOnce(&str, &Path) -> Result<K, Complaint>,
    bytes: impl FnOnce(&K) -> &[u8],
) -> Result<String, Complaint> {
    let path = match given.strip_prefix('@') {
        Some(path) => path,
        None if Path::new(given).is_file() => given,
        None => return Ok(given.to_owned()),
    };
    Ok(STANDARD.encode(bytes(&read(option, Path::new(path))?)))
}

fn read<K>(
    option: &str,
    path: &Path,
    parse: impl FnOnce(&[u8]) -> Result<K, BadTpmKey>,
    of_modulus: impl FnOnce(&[u8]) -> Result<K, BadTpmKey>,
) -> Result<K, Complaint> {
    let bytes = input::public_file(option, path)?;
    let name = path.display();
    let bad = |why: BadTpmKey| {
        Complaint::new(format!("{option}: {name}: {why}.")).with_remedy(
            "Write the file with `tpm2_readpublic -f tss` or `tpm2_createek -G rsa -f tss -u`, or \
             in PEM with `-f pem`.",
        )
    };
    if !bytes.starts_with(b"-----BEGIN ") {
        return parse(&bytes).map_err(bad);
    }
    let key = SubjectPublicKeyInfoDer::from_pem_slice(&bytes).ok();
    let modulus = key.as_ref().and_then(|key| key.strip_prefix(&HEAD)?.strip_suffix(&TAIL));
    let modulus = modulus.ok_or_else(|| {
        let message = format!("{option}: {name} holds no public RSA key of 2048 bits in PEM.");
        Complaint::new(message).with_remedy(
            "Only RSA-2048 keys made from the TCG's default template are supported. `-f pem` of \
             tpm2-tools writes such a file; its block is called PUBLIC KEY.",
        )
    })?;
    of_modulus(modulus).map_err(bad)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use testkit::{SoftTpm, certificates::pem};

    use super::*;

    fn file(content: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("key");
        fs::write(&path, content).expect("written");
        (folder, path)
    }

    fn check_refused(content: &[u8], part: &str) {
        let (_folder, path) = file(content);
        let complaint = endorsement_key("--ek", &path).expect_err(part);
        assert!(complaint.message.contains(part), "{complaint}");
        assert!(complaint.message.starts_with("--ek: "), "{complaint}");
    }

    #[test]
    fn both_forms_that_tpm2_tools_write_give_the_same_key() {
        let tpm = SoftTpm::from_fixture();
        let (ek, srk) = (tpm.endorsement_key(), tpm.storage_root_key());
        let public = |key: &[u8]| pem("PUBLIC KEY", &[&HEAD[..], key, &TAIL].concat());
        for content in [ek.clone(), public(&ek[60..]).into_bytes()] {
            let (_folder, path) = file(&content);
            let key = endorsement_key("--ek", &path).expect("a key");
            assert_eq!(key.bytes(), ek);
        }
        for content in [srk.clone(), public(&srk[28..]).into_bytes()] {
            let (_folder, path) = file(&content);
            assert_eq!(storage_root_key("--srk", &path).expect("a key").bytes(), srk);
        }
    }

    #[test]
    fn other_files_are_refused_with_what_they_are() {
        let tpm = SoftTpm::from_fixture();
        check_refused(&tpm.storage_root_key(), "attributes are 0x00030472");
        check_refused(b"", "is cut off");
        check_refused(b"-----BEGIN CERTIFICATE-----\n", "holds no public RSA key of 2048 bits");
        check_refused(b"-----BEGIN PRIVATE KEY-----\nMIGH\n", "holds a private key");
        let short = pem("PUBLIC KEY", &[&HEAD[..], &[0xFF; 128], &TAIL].concat());
        check_refused(short.as_bytes(), "modulus has 128 bytes");
        let (_folder, path) = file(b"");
        let missing = endorsement_key("--ek", &path.join("no")).expect_err("missing");
        assert!(missing.message.starts_with("--ek: cannot read"), "{missing}");
    }

    #[test]
    fn a_key_is_given_as_it_is_or_as_a_file() {
        let tpm = SoftTpm::from_fixture();
        let (_folder, path) = file(&tpm.endorsement_key());
        let path = path.to_str().expect("UTF-8");
        let text = STANDARD.encode(tpm.endorsement_key());
        for form in [text.clone(), path.to_owned(), format!("@{path}")] {
            let key = given("--ek", &form, endorsement_key, EndorsementKey::bytes);
            assert_eq!(key, Ok(text.clone()), "{form}");
        }
    }
}
