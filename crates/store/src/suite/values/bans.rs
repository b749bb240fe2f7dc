//! Bans, and what registrations rest on.

use model::{
    Ban, BanKind, BanSubject, CertificateDer, Grounds, KnownProof, PathCertificate, ReceiptId,
};
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any},
    prop_oneof,
    sample::select,
};

use super::{callers, certificates, chains, parsed, registration_ids, texts, timestamps};

/// Bans of every kind.
pub fn bans() -> impl Strategy<Value = Ban> {
    let kind = select(vec![BanKind::Suspended, BanKind::Retired, BanKind::Revoked]);
    let receipt = "[0-9a-f-]{1,36}".prop_map(|text| parsed(ReceiptId::parse(&text)));
    let reason = option::of(texts());
    let times = (timestamps(), option::of(timestamps()));
    (subjects(), kind, reason, callers(), times, option::of(receipt)).prop_map(
        |(subject, kind, reason, by, (created, expires), receipt)| Ban {
            subject,
            kind,
            reason,
            by,
            created,
            expires,
            receipt,
            version: 0,
        },
    )
}

/// What registrations rest on.
pub fn grounds() -> impl Strategy<Value = Grounds> {
    let bytes = || vec(any::<u8>(), 0..40);
    let tpm = (bytes(), bytes(), chains()).prop_map(
        |(endorsement_key, storage_root_key, endorsement_certificates)| KnownProof::Tpm {
            endorsement_key,
            storage_root_key,
            endorsement_certificates,
        },
    );
    let proof = prop_oneof![
        // What is shown twice is kept twice.
        (chains(), any::<bool>()).prop_map(|(chain, twice)| {
            let again: Vec<CertificateDer> = chain.iter().filter(|_| twice).cloned().collect();
            KnownProof::Certificates([chain, again].concat())
        }),
        any::<bool>().prop_map(|is_primary| KnownProof::Key { is_primary }),
        tpm,
    ];
    (proof, vec(path_certificates(), 0..4)).prop_map(|(proof, path)| Grounds { proof, path })
}

fn path_certificates() -> impl Strategy<Value = PathCertificate> {
    let hash = any::<[u8; 32]>;
    let hashes = (hash(), hash(), hash(), hash(), hash());
    (hashes, any::<[u8; 20]>(), texts(), texts()).prop_map(
        |((sha256, tbs, subject_and_key, subject, issuer), sha1, serial, subject_name)| {
            PathCertificate {
                sha256,
                sha1,
                tbs,
                subject_and_key,
                subject,
                issuer,
                serial,
                subject_name,
            }
        },
    )
}

fn subjects() -> impl Strategy<Value = BanSubject> {
    let hash = any::<[u8; 32]>;
    let serial = (hash(), texts(), prop_oneof![texts(), Just("0A".to_owned())]);
    prop_oneof![
        registration_ids().prop_map(BanSubject::Registration),
        (hash(), option::of(hash()))
            .prop_map(|(sha256, tbs)| BanSubject::Certificate { sha256, tbs }),
        (any::<[u8; 20]>(), option::of(hash()))
            .prop_map(|(sha1, tbs)| BanSubject::CertificateSha1 { sha1, tbs }),
        certificates().prop_map(|certificate| BanSubject::Ca(Box::new(certificate))),
        serial.prop_map(|(issuer, issuer_name, serial)| BanSubject::Serial {
            issuer,
            issuer_name,
            serial,
        }),
        hash().prop_map(BanSubject::EndorsementKey),
    ]
}
