//! Devices by a certificate that an operator has as a file.

use decide::manage::bans;
use model::{OperatorRefusal, SelectedCertificate};

/// What selecting devices by this certificate means, DER: a CA's means the CA, by name and key, as
/// a ban on it would.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] for what is no certificate that can be read.
pub fn selected_certificate(der: &[u8]) -> Result<SelectedCertificate, OperatorRefusal> {
    bans::by_certificate(der)
}
