//! Setting and lifting bans.

use attest::certificate::{self, MAX_CERTIFICATE_BYTES};
use aws_lc_rs::digest;
use model::{
    Ban, BanKind, BanSubject, Caller, CertificateDer, EnrolledCertificate, OperatorRefusal,
    PathCertificate, ReceiptId, SelectedCertificate, Timestamp,
    ban::{IssuerDraft, MAX_REASON_CHARS, SubjectDraft, Thumbprint, hex_digits},
};

/// The most bytes of an endorsement key, TPM2B_PUBLIC; an RSA-2048 key has 316.
const MAX_ENDORSEMENT_KEY_BYTES: usize = 4096;
/// The most hex digits of a serial number: 20 octets (RFC 5280 §4.1.2.2) and some room.
const MAX_SERIAL_DIGITS: usize = 64;

/// Whom a draft means. `known` is the certificate that has the thumbprint asked for, where one is
/// enrolled here or was shown by a device that registered.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] names the member and what was expected.
pub fn subject(
    draft: &SubjectDraft,
    known: Option<&EnrolledCertificate>,
) -> Result<BanSubject, OperatorRefusal> {
    let bad = |text: String| OperatorRefusal::BadRequest(text);
    Ok(match draft {
        SubjectDraft::Registration(id) => BanSubject::Registration(id.clone()),
        SubjectDraft::Certificate(der) => by_certificate(der)?.ban_subject(),
        SubjectDraft::Thumbprint(thumbprint) => by_thumbprint(*thumbprint, known).ban_subject(),
        SubjectDraft::Serial { issuer, serial } => {
            let digits = hex_digits(serial, MAX_SERIAL_DIGITS).ok_or_else(|| {
                bad(format!(
                    "serialNumber: expected 1 to {MAX_SERIAL_DIGITS} hex digits, as `openssl x509 \
                     -serial` prints them"
                ))
            })?;
            let serial = match digits.trim_start_matches('0') {
                "" => "0",
                trimmed => trimmed,
            };
            let issuer = match issuer {
                IssuerDraft::Certificate(der) => describe("issuer", der)?,
                IssuerDraft::Thumbprint(_) => known.cloned().ok_or_else(|| {
                    bad("issuer: no certificate of that thumbprint is enrolled here; send the \
                         issuer's certificate"
                        .to_owned())
                })?,
            };
            BanSubject::Serial {
                issuer: issuer.keys.subject,
                issuer_name: issuer.info.subject_name,
                serial: serial.to_owned(),
            }
        }
        SubjectDraft::EndorsementKey(key) => {
            if key.is_empty() || key.len() > MAX_ENDORSEMENT_KEY_BYTES {
                let most = MAX_ENDORSEMENT_KEY_BYTES;
                return Err(bad(format!("endorsementKey: expected 1 to {most} bytes")));
            }
            BanSubject::EndorsementKey(sha256(key))
        }
    })
}

/// What a certificate means, DER, that an operator has as a file: a CA's the CA, another one itself.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] for what is no certificate that can be read.
pub fn by_certificate(der: &[u8]) -> Result<SelectedCertificate, OperatorRefusal> {
    let certificate = describe("certificate", der)?;
    Ok(if is_ca(&certificate) {
        SelectedCertificate::Ca(Box::new(certificate))
    } else {
        let sha256 = certificate::thumbprint_sha256(&certificate.der);
        SelectedCertificate::Sha256 { sha256, tbs: tbs(&certificate) }
    })
}

/// What a thumbprint means. `known` is the certificate that has it, as for [`subject`].
#[must_use]
pub fn by_thumbprint(
    thumbprint: Thumbprint,
    known: Option<&EnrolledCertificate>,
) -> SelectedCertificate {
    match (known, thumbprint) {
        (Some(certificate), _) if is_ca(certificate) => {
            SelectedCertificate::Ca(Box::new(certificate.clone()))
        }
        (known, Thumbprint::Sha256(sha256)) => {
            SelectedCertificate::Sha256 { sha256, tbs: known.and_then(tbs) }
        }
        (known, Thumbprint::Sha1(sha1)) => {
            SelectedCertificate::Sha1 { sha1, tbs: known.and_then(tbs) }
        }
    }
}

fn describe(member: &str, der: &[u8]) -> Result<EnrolledCertificate, OperatorRefusal> {
    let bad = |text: String| OperatorRefusal::BadRequest(format!("{member}: {text}"));
    if der.len() > MAX_CERTIFICATE_BYTES {
        return Err(bad(format!("has more than {MAX_CERTIFICATE_BYTES} bytes")));
    }
    certificate::describe(der).map_err(|why| bad(why.to_string()))
}

fn tbs(certificate: &EnrolledCertificate) -> Option<[u8; 32]> {
    certificate::tbs_sha256(&certificate.der)
}

/// A certificate that a device showed, taken apart.
#[must_use]
pub fn described(shown: &CertificateDer) -> Option<EnrolledCertificate> {
    certificate::describe(&shown.0).ok()
}

fn is_ca(certificate: &EnrolledCertificate) -> bool {
    certificate::is_ca(&certificate.der).unwrap_or(false)
}

/// The bans by a thumbprint alone, of a certificate that nobody knew, whose certificate is shown now:
/// as they stand when they know what its issuer signed.
#[must_use]
pub fn learned(bans: &[Ban], shown: &[PathCertificate]) -> Vec<Ban> {
    let learned = |ban: &Ban| {
        let is_shown = |one: &&PathCertificate| match &ban.subject {
            BanSubject::Certificate { sha256, tbs: None } => one.sha256 == *sha256,
            BanSubject::CertificateSha1 { sha1, tbs: None } => one.sha1 == *sha1,
            _ => false,
        };
        let known = shown.iter().find(is_shown)?;
        let mut ban = ban.clone();
        match &mut ban.subject {
            BanSubject::Certificate { tbs, .. } | BanSubject::CertificateSha1 { tbs, .. } => {
                *tbs = Some(known.tbs);
            }
            _ => return None,
        }
        Some(ban)
    };
    bans.iter().filter_map(learned).collect()
}

/// SHA-256 of an endorsement key, which bans know it by.
#[must_use]
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    // A SHA-256 has 32 bytes; the zip keeps a panic out of the question.
    hash.iter_mut()
        .zip(digest::digest(&digest::SHA256, bytes).as_ref())
        .for_each(|(to, from)| *to = *from);
    hash
}

/// Who sets a ban, and for what.
#[derive(Debug, Clone, Copy)]
pub struct SetBy<'a> {
    /// Who.
    pub by: &'a Caller,
    /// How it ends.
    pub kind: BanKind,
    /// The deprovisioning it belongs to.
    pub receipt: Option<&'a ReceiptId>,
    /// When.
    pub now: Timestamp,
}

/// The ban to write; `None` when the one that is there says the same already. One that is there is
/// never weakened: whoever is revoked stays so when they are suspended or retired as well, with
/// the reason and the end that were given for that. Nor is it shortened: of two ends the later one
/// holds, so that setting a ban lets nobody in, now or later; lifting it does. A deprovisioning that
/// set it stays named for as long as it ends the way that one said.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] for a reason that is too long or an end that is past.
pub fn put(
    existing: Option<&Ban>,
    subject: BanSubject,
    reason: Option<String>,
    expires: Option<Timestamp>,
    set: SetBy<'_>,
) -> Result<Option<Ban>, OperatorRefusal> {
    let reason = reason.filter(|reason| !reason.trim().is_empty());
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
        let text = format!("reason: has more than {MAX_REASON_CHARS} characters");
        return Err(OperatorRefusal::BadRequest(text));
    }
    if expires.is_some_and(|expires| expires <= set.now) {
        return Err(OperatorRefusal::BadRequest("expires: is not in the future".to_owned()));
    }
    // One that is over is as good as none.
    let existing = existing.filter(|ban| ban.is_in_force(set.now));
    let expires = match existing {
        // A ban without an end is the longest.
        Some(existing) => expires.zip(existing.expires).map(|(new, old)| new.max(old)),
        None => expires,
    };
    let of_same_kind = existing.filter(|ban| ban.kind == set.kind);
    let receipt = set.receipt.or_else(|| of_same_kind?.receipt.as_ref());
    let reason = reason.or_else(|| of_same_kind?.reason.clone());
    if let Some(existing) = existing {
        let is_weaker = strength(set.kind) < strength(existing.kind);
        let is_same =
            set.kind == existing.kind && reason == existing.reason && expires == existing.expires;
        if is_weaker || is_same {
            return Ok(None);
        }
    }
    Ok(Some(Ban {
        subject,
        kind: set.kind,
        reason,
        by: set.by.clone(),
        created: existing.map_or(set.now, |ban| ban.created),
        expires,
        receipt: receipt.cloned(),
        version: 0,
    }))
}

const fn strength(kind: BanKind) -> u8 {
    match kind {
        BanKind::Retired => 0,
        BanKind::Suspended => 1,
        BanKind::Revoked => 2,
    }
}

#[cfg(test)]
mod tests {
    use model::RegistrationId;

    use super::*;

    fn set(kind: BanKind, by: &Caller) -> SetBy<'_> {
        SetBy { by, kind, receipt: None, now: testkit::NOW }
    }

    fn caller() -> Caller {
        Caller { policy: "owner".to_owned(), address: None }
    }

    fn subject_of(id: &str) -> BanSubject {
        BanSubject::Registration(RegistrationId::parse(id).expect("an ID"))
    }

    #[test]
    fn the_same_ban_twice_changes_nothing_and_a_weaker_one_neither() {
        let by = caller();
        let put_again = |first: BanKind, second: BanKind, reason: &str| {
            let why = || Some("lost".to_owned());
            let first = put(None, subject_of("d"), why(), None, set(first, &by));
            let first = first.expect("legal").expect("new");
            let reason = Some(reason.to_owned());
            put(Some(&first), subject_of("d"), reason, None, set(second, &by)).expect("legal")
        };
        assert_eq!(put_again(BanKind::Revoked, BanKind::Revoked, "lost"), None);
        assert_eq!(put_again(BanKind::Revoked, BanKind::Suspended, "other"), None);
        assert_eq!(put_again(BanKind::Suspended, BanKind::Retired, "other"), None);
        let changed = put_again(BanKind::Revoked, BanKind::Revoked, "stolen").expect("new words");
        assert_eq!(changed.reason.as_deref(), Some("stolen"));
        let stronger = put_again(BanKind::Retired, BanKind::Revoked, "stolen").expect("stronger");
        assert_eq!(stronger.kind, BanKind::Revoked);
    }

    #[test]
    fn a_ban_that_is_over_is_as_good_as_none() {
        let by = caller();
        let ends = Some(testkit::NOW.plus_secs(10));
        let first = put(None, subject_of("d"), None, ends, set(BanKind::Revoked, &by));
        let first = first.expect("legal").expect("new");
        let later = SetBy { now: testkit::NOW.plus_secs(10), ..set(BanKind::Suspended, &by) };
        let second = put(Some(&first), subject_of("d"), None, None, later).expect("legal");
        assert_eq!(second.map(|ban| ban.kind), Some(BanKind::Suspended));
    }

    #[test]
    fn setting_a_ban_again_never_shortens_it_nor_forgets_who_set_it() {
        let by = caller();
        let receipt = ReceiptId::from_random([1; 16]);
        let check = |kind, old: Option<i64>, new: Option<i64>, expected: Option<i64>| {
            let at = |secs| testkit::NOW.plus_secs(secs);
            let by_receipt = SetBy { receipt: Some(&receipt), ..set(kind, &by) };
            let reason = Some("stolen".to_owned());
            let first = put(None, subject_of("d"), reason, old.map(at), by_receipt);
            let first = first.expect("legal").expect("new");
            let by_hand = set(BanKind::Revoked, &by);
            let second = put(Some(&first), subject_of("d"), None, new.map(at), by_hand);
            let ban = second.expect("legal").unwrap_or_else(|| first.clone());
            assert_eq!(ban.expires, expected.map(at), "{kind:?} {old:?} {new:?}");
            let is_same_kind = kind == BanKind::Revoked;
            assert_eq!(ban.receipt, is_same_kind.then(|| receipt.clone()));
            assert_eq!(ban.reason, first.reason.filter(|_| is_same_kind));
        };
        for kind in [BanKind::Revoked, BanKind::Suspended, BanKind::Retired] {
            check(kind, None, Some(10), None);
            check(kind, None, None, None);
            check(kind, Some(10), Some(5), Some(10));
            check(kind, Some(10), Some(20), Some(20));
            check(kind, Some(10), None, None);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused() {
        let by = caller();
        let check = |reason: Option<String>, expires: Option<Timestamp>, expected: &str| {
            let outcome = put(None, subject_of("d"), reason, expires, set(BanKind::Revoked, &by));
            assert_eq!(outcome, Err(OperatorRefusal::BadRequest(expected.to_owned())));
        };
        check(Some("x".repeat(513)), None, "reason: has more than 512 characters");
        check(None, Some(testkit::NOW), "expires: is not in the future");
    }

    #[test]
    fn serial_numbers_lose_their_leading_zeros() {
        let ca = testkit_ca();
        let check = |serial: &str, expected: &str| {
            let issuer = IssuerDraft::Certificate(ca.der.clone());
            let draft = SubjectDraft::Serial { issuer, serial: serial.to_owned() };
            match subject(&draft, None) {
                Ok(BanSubject::Serial { serial: found, .. }) => assert_eq!(found, expected),
                other => panic!("{serial}: {other:?}"),
            }
        };
        check("00:0a:Ff", "AFF");
        check("0", "0");
    }

    #[test]
    fn whoever_cannot_be_meant_is_refused() {
        let ca = testkit_ca();
        let check = |draft: SubjectDraft, expected: &str| {
            let refusal = OperatorRefusal::BadRequest(expected.to_owned());
            assert_eq!(subject(&draft, None), Err(refusal), "{draft:?}");
        };
        let serial = |issuer: IssuerDraft, serial: &str| SubjectDraft::Serial {
            issuer,
            serial: serial.to_owned(),
        };
        let issuer = || IssuerDraft::Certificate(ca.der.clone());
        let no_serial =
            "serialNumber: expected 1 to 64 hex digits, as `openssl x509 -serial` prints them";
        for text in ["", "0x1", "press-17", &"1".repeat(65)] {
            check(serial(issuer(), text), no_serial);
        }
        let thumbprint = Thumbprint::Sha256(certificate::thumbprint_sha256(&ca.der));
        check(
            serial(IssuerDraft::Thumbprint(thumbprint), "1"),
            "issuer: no certificate of that thumbprint is enrolled here; send the issuer's \
             certificate",
        );
        let key = "endorsementKey: expected 1 to 4096 bytes";
        check(SubjectDraft::EndorsementKey(Vec::new()), key);
        check(SubjectDraft::EndorsementKey(vec![1; 4097]), key);
        let large = "certificate: has more than 16384 bytes";
        check(SubjectDraft::Certificate(vec![1; MAX_CERTIFICATE_BYTES + 1]), large);
    }

    #[test]
    fn a_ca_is_banned_as_a_ca_by_its_certificate_and_by_a_known_thumbprint() {
        let ca = testkit_ca();
        let key = BanSubject::Ca(Box::new(ca.clone())).key();
        let by_file = subject(&SubjectDraft::Certificate(ca.der.clone()), None).expect("a CA");
        assert_eq!(by_file.key(), key);
        let thumbprint = Thumbprint::Sha256(certificate::thumbprint_sha256(&ca.der));
        let known = subject(&SubjectDraft::Thumbprint(thumbprint), Some(&ca)).expect("known");
        assert_eq!(known.key(), key);
        let unknown = subject(&SubjectDraft::Thumbprint(thumbprint), None).expect("any");
        assert!(matches!(unknown, BanSubject::Certificate { tbs: None, .. }));
    }

    fn testkit_ca() -> EnrolledCertificate {
        let ca = testkit::Ca::root("works");
        certificate::describe(ca.der()).expect("a certificate")
    }
}
