//! Devices by a certificate that an operator has as a file.

use decide::manage::bans;
use model::{BanSubject, OperatorRefusal, SelectedCertificate, ban::SubjectDraft};

/// What selecting devices by this certificate means, DER: a CA's means the CA, by name and key, as
/// a ban on it would.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] for what is no certificate that can be read.
pub fn selected_certificate(der: Vec<u8>) -> Result<SelectedCertificate, OperatorRefusal> {
    let subject = bans::subject(&SubjectDraft::Certificate(der), None)?;
    selected(subject)
}

/// Selecting the devices that a ban on a certificate would be about.
pub(super) fn selected(subject: BanSubject) -> Result<SelectedCertificate, OperatorRefusal> {
    match subject {
        BanSubject::Certificate { sha256, tbs } => Ok(SelectedCertificate::Sha256 { sha256, tbs }),
        BanSubject::CertificateSha1 { sha1, tbs } => Ok(SelectedCertificate::Sha1 { sha1, tbs }),
        BanSubject::Ca(ca) => Ok(SelectedCertificate::Ca(ca)),
        // A ban by a certificate is none of these.
        BanSubject::Registration(_) | BanSubject::Serial { .. } | BanSubject::EndorsementKey(_) => {
            Err(OperatorRefusal::BadRequest("certificate: selects no device".to_owned()))
        }
    }
}
