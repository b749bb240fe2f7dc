use std::sync::LazyLock;

use proptest::prelude::*;
use testkit::SoftTpm;

use super::*;

mod endorsement;

const KEY: [u8; 32] = [7; 32];
const DATA: &[u8] = b"0ne00ABCDEF/registrations/press-17";

/// The TPM of the fixtures, which no test changes.
static TPM: LazyLock<SoftTpm> = LazyLock::new(SoftTpm::from_fixture);

/// A file of `fixtures/tpm/swtpm`.
fn fixture(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/tpm/swtpm");
    std::fs::read(format!("{folder}/{name}")).expect("fixture")
}

fn endorsement_key(tpm: &SoftTpm) -> EndorsementKey {
    EndorsementKey::parse(&tpm.endorsement_key()).expect("a key from the template")
}

fn storage_root_key(tpm: &SoftTpm) -> StorageRootKey {
    StorageRootKey::parse(&tpm.storage_root_key()).expect("a key from the template")
}

fn random(seed: u8) -> WrapRandom {
    WrapRandom {
        inner: [seed; 16],
        identity_seed: [seed.wrapping_add(1); 32],
        duplication_seed: [seed.wrapping_add(2); 32],
        obfuscation: [seed.wrapping_add(3); 32],
    }
}

fn blob_for(tpm: &SoftTpm, data: &[u8]) -> Vec<u8> {
    wrap(&endorsement_key(tpm), &storage_root_key(tpm), &KEY, data, &random(1)).expect("a blob")
}

#[test]
fn keys_of_a_real_tpm_are_read() {
    let bytes = fixture("endorsement-key.tpm2b");
    let ek = EndorsementKey::parse(&bytes).expect("an endorsement key");
    assert_eq!(ek.bytes(), bytes);
    assert_eq!(ek.rsa_modulus(), &bytes[60..]);
    let bytes = fixture("storage-root-key.tpm2b");
    assert_eq!(StorageRootKey::parse(&bytes).expect("a storage root key").bytes(), bytes);
}

#[test]
fn a_key_is_made_of_its_modulus_as_the_tpm_makes_it() {
    let bytes = fixture("endorsement-key.tpm2b");
    let made = EndorsementKey::of_modulus(&bytes[60..]).expect("an endorsement key");
    assert_eq!(made.bytes(), bytes);
    let bytes = fixture("storage-root-key.tpm2b");
    let made = StorageRootKey::of_modulus(&bytes[28..]).expect("a storage root key");
    assert_eq!(made.bytes(), bytes);
    for wrong in [&[][..], &bytes[29..], &[0xFF; 70_000], &[0; 256]] {
        assert!(EndorsementKey::of_modulus(wrong).is_err(), "{} bytes", wrong.len());
    }
}

#[test]
fn a_registration_id_is_the_base32_of_the_keys_hash() {
    // As `openssl dgst -sha256 -binary | base32` says.
    let ek = EndorsementKey::parse(&fixture("endorsement-key.tpm2b")).expect("a key");
    assert_eq!(ek.registration_id(), "7jehvq5s3cdb7qbkayd53qdmjapkez5y6swkpeyddsi35toiwzjq");
    assert_eq!(endorsement_key(&TPM).registration_id(), TPM.registration_id());
}

/// What is written over a key at which place, and the start of the refusal.
type Deviation = (usize, &'static [u8], &'static str);

#[test]
fn an_endorsement_key_that_is_not_from_the_template_is_refused_for_what_it_is() {
    let good = TPM.endorsement_key();
    let deviations: &[Deviation] = &[
        (0, &[0x01, 0x39], "has bytes after the end of its structure, 1 of them"),
        (0, &[0x01, 0x3B], "is cut off: its structure goes on after its 316 bytes"),
        (0, &[0xFF, 0xFF], "is cut off: its structure goes on after its 316 bytes"),
        (0, &[0x00, 0x00], "has bytes after the end of its structure, 314 of them"),
        (2, &[0x00, 0x23], "is an ECC key; only RSA-2048 keys made from the TCG's default"),
        (2, &[0x00, 0x08], "is a keyed hash (TPM_ALG_KEYEDHASH); only RSA-2048 keys"),
        (2, &[0x12, 0x34], "is of the unknown type 0x1234; only RSA-2048 keys"),
        (4, &[0x00, 0x0C], "'s name algorithm is 0x000C, wanted is 0x000B (SHA-256)"),
        (6, &[0, 3, 4, 0x72], "'s attributes are 0x00030472, the template wants 0x000300B2"),
        (6, &[0, 7, 0, 0xB2], "'s attributes are 0x000700B2, the template wants 0x000300B2"),
        (12, &[0x82], "'s authorization policy is not that of the template, 837197674484"),
        (43, &[0xAB], "'s authorization policy is not that of the template, 837197674484"),
        (10, &[0, 0], "'s authorization policy is not that of the template, 837197674484"),
        (44, &[0x00, 0x13], "'s symmetric algorithm is 0x0013, 0x0080, 0x0043"),
        (44, &[0x00, 0x10], "'s symmetric algorithm is 0x0010, 0x0000, 0x0000"),
        (46, &[0x01, 0x00], "'s symmetric algorithm is 0x0006, 0x0100, 0x0043"),
        (48, &[0x00, 0x42], "'s symmetric algorithm is 0x0006, 0x0080, 0x0042"),
        (50, &[0x00, 0x14], "'s scheme is 0x0014, wanted is 0x0010 (none)"),
        (52, &[0x0C, 0x00], "is an RSA key of 3072 bits, wanted are 2048"),
        (54, &[0, 0, 0, 3], "'s exponent is 3, wanted is 65537, or 0 which stands for it"),
        (58, &[0x00, 0xFF], "'s modulus has 255 bytes, wanted are 256"),
        (58, &[0x00, 0x00], "'s modulus has 0 bytes, wanted are 256"),
        (58, &[0x01, 0x01], "is cut off: its structure goes on after its 316 bytes"),
        (60, &[0x00], "'s modulus begins with zero bits: it has fewer than 2048"),
        (60, &[0x7F], "'s modulus begins with zero bits: it has fewer than 2048"),
        (315, &[0x02], "'s modulus is even, so this is no RSA key"),
    ];
    for (at, bytes, expected) in deviations {
        let mut key = good.clone();
        key[*at..at + bytes.len()].copy_from_slice(bytes);
        let refusal = EndorsementKey::parse(&key).expect_err(expected).to_string();
        let (subject, rest) = refusal.split_at("the endorsement key".len());
        assert_eq!(subject, "the endorsement key");
        assert!(rest.trim_start().starts_with(expected), "{refusal}, wanted: {expected}");
    }
}

#[test]
fn a_storage_root_key_has_a_template_of_its_own() {
    let refused = |bytes: &[u8]| StorageRootKey::parse(bytes).expect_err("refused").to_string();
    assert_eq!(
        refused(&TPM.endorsement_key()),
        "the storage root key's attributes are 0x000300B2, the template wants 0x00030472"
    );
    assert_eq!(
        EndorsementKey::parse(&TPM.storage_root_key()).expect_err("refused").to_string(),
        "the endorsement key's attributes are 0x00030472, the template wants 0x000300B2"
    );
    // With the policy of the other template.
    let mut with_policy = TPM.endorsement_key();
    with_policy[6..10].copy_from_slice(&[0, 3, 4, 0x72]);
    assert_eq!(
        refused(&with_policy),
        "the storage root key's authorization policy is not that of the template, which has none"
    );
    assert_eq!(
        refused(&fixture("endorsement-key-ecc.tpm2b")),
        "the storage root key is an ECC key; only RSA-2048 keys made from the TCG's default \
         template are supported"
    );
}

#[test]
fn a_key_that_ends_early_or_late_is_refused() {
    for good in [TPM.endorsement_key(), TPM.storage_root_key()] {
        for size in 0..good.len() {
            assert!(EndorsementKey::parse(&good[..size]).is_err(), "{size} bytes");
            assert!(StorageRootKey::parse(&good[..size]).is_err(), "{size} bytes");
        }
    }
    let role = TpmKeyRole::StorageRoot;
    let mut longer = TPM.storage_root_key();
    longer.push(0);
    assert_eq!(StorageRootKey::parse(&longer), Err(BadTpmKey::TrailingBytes { role, n_bytes: 1 }));
    // Inside the structure as well.
    longer[1] += 1;
    assert_eq!(StorageRootKey::parse(&longer), Err(BadTpmKey::TrailingBytes { role, n_bytes: 1 }));
    let role = TpmKeyRole::Endorsement;
    assert_eq!(EndorsementKey::parse(&[0; 317]), Err(BadTpmKey::TooLong { role, size_bytes: 317 }));
}

#[test]
fn an_exponent_may_be_spelled_out() {
    let mut bytes = TPM.endorsement_key();
    bytes[54..58].copy_from_slice(&[0, 1, 0, 1]);
    let ek = EndorsementKey::parse(&bytes).expect("the same key");
    assert_eq!(ek.rsa_modulus(), endorsement_key(&TPM).rsa_modulus());
    assert!(!same_key(ek.bytes(), &TPM.endorsement_key()));
}

#[test]
fn keys_are_the_same_when_all_their_bytes_are() {
    let key = TPM.endorsement_key();
    assert!(same_key(&key, &key.clone()));
    assert!(!same_key(&key, &key[..315]));
    assert!(!same_key(&key, &[]));
    for at in [0, 60, 315] {
        let mut other = key.clone();
        other[at] ^= 1;
        assert!(!same_key(&key, &other), "byte {at}");
    }
}

#[test]
fn a_blob_has_the_sizes_of_a_genuine_one() {
    let blob = blob_for(&TPM, &[b'x'; 154]);
    assert_eq!(blob.len(), 920);
    let parts = split(&blob).expect("six parts");
    assert_eq!(parts.map(<[u8]>::len), [54, 258, 144, 258, 50, 156]);
    assert_eq!(parts.concat(), blob);
    assert_eq!(parts[0][..4], [0, 52, 0, 32]);
    assert_eq!(
        parts[4][..18],
        *b"\x00\x30\x00\x08\x00\x0b\x00\x04\x04\x40\x00\x00\x00\x05\x00\x0b\x00\x20"
    );
}

#[test]
fn the_tpm_takes_the_key_out_and_signs_with_it() {
    let mut tpm = TPM.clone();
    for data in [DATA, b"x", &[0xFF; MAX_DATA_BYTES]] {
        assert_eq!(tpm.activate(&blob_for(&tpm, data)), Ok(()));
        assert_eq!((tpm.key(), tpm.data()), (Some(KEY), Some(data)));
    }
    let message = b"0ne00ABCDEF%2Fregistrations%2Fpress-17\n1893456000";
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &KEY);
    assert_eq!(aws_lc_rs::hmac::verify(&key, message, &tpm.sign(message)), Ok(()));
    // A second blob takes the place of the first (D appendix A.4).
    let (ek, srk) = (endorsement_key(&tpm), storage_root_key(&tpm));
    let second = wrap(&ek, &srk, &[8; 32], DATA, &random(40)).expect("a blob");
    assert_eq!(tpm.activate(&second), Ok(()));
    assert_eq!(tpm.key(), Some([8; 32]));
}

#[test]
fn only_the_tpm_that_has_both_keys_takes_the_key_out() {
    let other = SoftTpm::new();
    let blob = |ek: &SoftTpm, srk: &SoftTpm| {
        wrap(&endorsement_key(ek), &storage_root_key(srk), &KEY, DATA, &random(1)).expect("a blob")
    };
    let refused = |blob: Vec<u8>| TPM.clone().activate(&blob).expect_err("refused");
    assert!(refused(blob(&other, &other)).contains("a seed is not for this TPM (IDENTITY"));
    assert!(refused(blob(&other, &TPM)).contains("a seed is not for this TPM (IDENTITY"));
    // The credential is bound to the other key's name, so it does not even come to the second seed.
    assert_eq!(refused(blob(&TPM, &other)), "the outer integrity of the credential does not fit");
}

#[test]
fn one_changed_bit_of_a_blob_is_noticed_everywhere_but_in_its_data() {
    let good = blob_for(&TPM, DATA);
    for at in (0..766).step_by(11) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let mut tpm = TPM.clone();
        assert!(tpm.activate(&bad).is_err(), "byte {at}");
        assert_eq!(tpm.key(), None, "byte {at}");
    }
    let mut other_data = good;
    other_data[766] ^= 1;
    let mut tpm = TPM.clone();
    assert_eq!(tpm.activate(&other_data), Ok(()));
    assert_ne!(tpm.data(), Some(DATA));
}

#[test]
fn equal_random_bytes_give_equal_blobs_but_for_the_encrypted_seeds() {
    let (one, two) = (blob_for(&TPM, DATA), blob_for(&TPM, DATA));
    let (one, two) = (split(&one).expect("a blob"), split(&two).expect("a blob"));
    let equal: Vec<bool> = one.iter().zip(two).map(|(a, b)| *a == b).collect();
    assert_eq!(equal, [true, false, true, false, true, true]);
    let (ek, srk) = (endorsement_key(&TPM), storage_root_key(&TPM));
    let other = wrap(&ek, &srk, &KEY, DATA, &random(9)).expect("a blob");
    let other = split(&other).expect("a blob");
    assert!(one.iter().zip(other).all(|(a, b)| *a != b));
}

#[test]
fn data_that_would_not_fit_two_challenges_is_refused() {
    let (ek, srk) = (endorsement_key(&TPM), storage_root_key(&TPM));
    let size = |n: usize| wrap(&ek, &srk, &KEY, &vec![b'x'; n], &random(1)).map(|blob| blob.len());
    assert_eq!(size(0), Err(BadTpmKey::Data { size_bytes: 0 }));
    assert_eq!(size(1), Ok(767));
    assert_eq!(size(206), Ok(972));
    assert_eq!((size(207), MAX_BLOB_BYTES), (Err(BadTpmKey::Data { size_bytes: 207 }), 972));
}

#[test]
fn only_six_parts_of_the_right_sizes_are_a_blob() {
    let blob = blob_for(&TPM, DATA);
    assert!((0..blob.len()).all(|size| split(&blob[..size]).is_none()));
    let longer = [&blob[..], &[0]].concat();
    assert_eq!(split(&longer), None);
    let mut without_data = blob[..766].to_vec();
    without_data[765] = 0;
    assert_eq!(split(&without_data), None);
    for at in [1, 55, 313, 457, 715] {
        let mut other_size = blob.clone();
        other_size[at] ^= 1;
        assert_eq!(split(&other_size), None, "length at {at}");
    }
}

#[test]
fn random_bytes_are_not_printed() {
    assert_eq!(format!("{:?}", random(0x5A)), "WrapRandom(secret)");
}

proptest! {
    #[test]
    fn no_bytes_bring_a_parser_down(bytes in prop::collection::vec(any::<u8>(), 0..1200)) {
        let _ = EndorsementKey::parse(&bytes);
        let _ = StorageRootKey::parse(&bytes);
        if let Some(parts) = split(&bytes) {
            prop_assert_eq!(parts.concat(), bytes);
        }
    }

    /// A changed byte is refused in the template, and another key in the modulus.
    #[test]
    fn a_changed_key_is_refused_or_another_key(at in 0_usize..316, bits in 1_u8..=255) {
        let mut bytes = TPM.endorsement_key();
        bytes[at] ^= bits;
        let is_rsa = at >= 60 && bytes[60] & 0x80 != 0 && bytes[315] & 1 != 0;
        match EndorsementKey::parse(&bytes) {
            Ok(key) => {
                prop_assert!(is_rsa, "byte {}", at);
                prop_assert_eq!(key.bytes(), &bytes);
                prop_assert_ne!(key.registration_id(), TPM.registration_id());
            }
            Err(bad) => prop_assert!(!is_rsa, "byte {}: {}", at, bad),
        }
    }

    #[test]
    fn any_key_and_data_come_through(
        key in any::<[u8; 32]>(),
        data in prop::collection::vec(any::<u8>(), 1..=MAX_DATA_BYTES),
        seed in any::<u8>(),
    ) {
        let mut tpm = TPM.clone();
        let blob = wrap(&endorsement_key(&tpm), &storage_root_key(&tpm), &key, &data, &random(seed))
            .expect("a blob");
        prop_assert!(blob.len() <= MAX_BLOB_BYTES);
        prop_assert_eq!(tpm.activate(&blob), Ok(()));
        prop_assert_eq!((tpm.key(), tpm.data()), (Some(key), Some(&data[..])));
    }
}
