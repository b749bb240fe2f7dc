//! Attestation: a mechanism, evidence and a moment in; a proof or a failure out.
//!
//! What lives here is what makes evidence hold: certificates taken apart ([`certificate`]),
//! chains walked and validated ([`chain`]), revocation lists verified ([`crl`]), possession of a CA's key proven ([`possession`]),
//! signatures of tokens checked ([`sas`]), keys wrapped for TPMs ([`tpm`]). What deliberately does not: which enrollment decides
//! (that is `decide`), the text of tokens (that is `wire`), clocks, files, the network, async.
//! Every input may come from an attacker, so every function is bounded and none panics.

pub mod certificate;
pub mod chain;
pub mod crl;
pub mod possession;
pub mod sas;
pub mod tpm;

/// Which of the two slots of an enrollment matched. Both always count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The first slot.
    Primary,
    /// The second slot.
    Secondary,
}

impl Slot {
    /// The slot's name: `primary` or `secondary`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Secondary => "secondary",
        }
    }
}
