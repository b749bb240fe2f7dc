//! What revocation lists mean for a device that rests on certificates.
//!
//! A list speaks for the CA of its name and its key. Which certificates a device rests on, up to
//! the highest that we know, is known before; a list that is of none of their issuers says nothing.
//! **An extension of Induct**: the vendor's service looks at no revocation list.

use model::{
    AttestFailure, CrlFacts, EnrolledCertificate, Grounds, PathCertificate, StaleCrl, Step,
    Timestamp,
};

/// Refuses a device that rests on a certificate which its issuer revoked; and, where `stale` says
/// so, one whose issuers' lists are out of date, and so may lack its revocation.
///
/// The path has the verified certificates and all above them that we know, the CAs of the lists
/// included ([`cas`]), so that an issuer which is not on it did not sign any of it. It may end at
/// a device's own certificate, of whose CA nothing is known but the list.
///
/// # Errors
/// [`AttestFailure::Revoked`], [`AttestFailure::StaleCrl`].
pub fn check(
    path: &[PathCertificate],
    lists: &[CrlFacts],
    stale: Option<StaleCrl>,
    now: Timestamp,
    steps: &mut Vec<Step>,
) -> Result<(), AttestFailure> {
    if lists.is_empty() {
        return Ok(());
    }
    if let Some(revoked) = find(path, lists, IssuerUnknown::IsAnother) {
        return Err(AttestFailure::Revoked(named(revoked)));
    }
    for list in lists.iter().filter(|list| list.is_stale(now)) {
        if !path.iter().any(|one| is_of_issuer(list, one, path, IssuerUnknown::IsAnother)) {
            continue;
        }
        let ca = list.ca.info.subject_name.clone();
        if stale.is_some_and(StaleCrl::refuses) {
            return Err(AttestFailure::StaleCrl(ca));
        }
        steps.push(Step::CrlOutOfDate { ca });
    }
    Ok(())
}

/// The CAs that the lists are of: to be looked through, beside those that are enrolled, for who is
/// above a certificate.
pub fn cas(lists: &[CrlFacts]) -> impl Iterator<Item = &EnrolledCertificate> {
    lists.iter().map(|list| &list.ca)
}

/// The certificate that an admission rests on and that its issuer has revoked since, if there is
/// one; in words.
///
/// Of the highest one the issuer was not known then. If it is the name of a list's CA now, the list
/// counts: the certificate itself is not kept, to see whose signature it bears.
#[must_use]
pub fn of_grounds(grounds: &Grounds, lists: &[CrlFacts]) -> Option<String> {
    find(&grounds.path, lists, IssuerUnknown::IsWhoHasTheName).map(named)
}

/// Who issued a certificate whose issuer is not on the path.
#[derive(Clone, Copy)]
enum IssuerUnknown {
    /// No CA that we know.
    IsAnother,
    /// The CA that bears the name.
    IsWhoHasTheName,
}

fn find<'p>(
    path: &'p [PathCertificate],
    lists: &[CrlFacts],
    unknown: IssuerUnknown,
) -> Option<&'p PathCertificate> {
    path.iter().find(|one| {
        lists.iter().any(|list| list.revokes(one) && is_of_issuer(list, one, path, unknown))
    })
}

/// Whether the list is that of the CA that issued the certificate.
///
/// Two CAs of one name and different keys on one path are one CA that changed its key: serial
/// numbers are unique by name (RFC 5280 §4.1.2.2), so the lists of both count.
fn is_of_issuer(
    list: &CrlFacts,
    one: &PathCertificate,
    path: &[PathCertificate],
    unknown: IssuerUnknown,
) -> bool {
    if !list.is_of_issuer_name(one) {
        return false;
    }
    let mut namesakes = path.iter().filter(|other| other.subject == one.issuer).peekable();
    match (namesakes.peek(), unknown) {
        (None, IssuerUnknown::IsAnother) => false,
        (None, IssuerUnknown::IsWhoHasTheName) => true,
        (Some(_), _) => {
            namesakes.any(|other| other.subject_and_key == list.ca.keys.subject_and_key)
        }
    }
}

fn named(certificate: &PathCertificate) -> String {
    format!("{} (serial number {})", certificate.subject_name, certificate.serial)
}

#[cfg(test)]
mod tests;
