//! When what a chain proves can change with time.

use model::Timestamp;

use super::Presented;

impl Presented {
    /// The moments at which the validity of one of the certificates begins, or is over.
    #[must_use]
    pub fn validity_limits(&self) -> Vec<Timestamp> {
        let limits = |certificate: &super::Certificate| {
            let (from, to) = certificate.traits.validity();
            validity_limits(from, to)
        };
        self.all().flat_map(limits).collect()
    }
}

/// The moments at which a validity begins and is over: it counts to the second, both ends included.
#[must_use]
pub fn validity_limits(not_before: Timestamp, not_after: Timestamp) -> [Timestamp; 2] {
    let over = not_after.unix_secs().saturating_add(1);
    [Timestamp::from_unix_secs(not_before.unix_secs()), Timestamp::from_unix_secs(over)]
}
