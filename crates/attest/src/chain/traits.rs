//! What path validation asks of one certificate beside what the library checks.

use std::collections::HashSet;

use model::{AttestFailure, CaKeys, Timestamp};
use x509_parser::{
    asn1_rs::{Oid, oid},
    extensions::{BasicConstraints, ExtendedKeyUsage, KeyUsage, ParsedExtension, X509Extension},
};

use crate::{certificate::Parsed, chain::KeyPurpose};

/// The extensions that the library or we process. Any other that is marked critical must not be
/// ignored (RFC 5280 §4.2), and then makes its certificate unusable.
const PROCESSED: [&str; 6] = [
    "2.5.29.15", // key usage
    "2.5.29.17", // subject alternative name
    "2.5.29.19", // basic constraints
    "2.5.29.30", // name constraints
    "2.5.29.31", // CRL distribution points
    "2.5.29.37", // extended key usage
];

/// `tcg-kp-EKCertificate`, the extended key usage of endorsement keys.
const OID_ENDORSEMENT_KEY: Oid<'static> = oid!(2.23.133.8.1);

/// What a certificate says of itself.
#[derive(Debug, Clone)]
pub(crate) struct Traits {
    pub(crate) keys: CaKeys,
    /// As [`Parsed::tbs_sha256`] has it.
    pub(crate) tbs: [u8; 32],
    /// As text, cut to a bounded length and without control characters: for messages.
    pub(crate) subject: String,
    /// As [`Parsed::serial`] has it.
    pub(crate) serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
    nameless: bool,
    basic_constraints: Option<BasicConstraints>,
    key_usage: Option<KeyUsage>,
    purposes: Option<Purposes>,
    /// Why no path may contain it, if so.
    flaw: Option<String>,
}

/// The extended key usages that matter here.
#[derive(Debug, Clone, Copy)]
struct Purposes {
    client_auth: bool,
    server_auth: bool,
    /// That of endorsement keys, or any.
    endorsement_key: bool,
}

impl From<&ExtendedKeyUsage<'_>> for Purposes {
    fn from(usage: &ExtendedKeyUsage<'_>) -> Self {
        Self {
            client_auth: usage.client_auth,
            server_auth: usage.server_auth,
            endorsement_key: usage.any || usage.other.contains(&OID_ENDORSEMENT_KEY),
        }
    }
}

impl Traits {
    pub(crate) fn of(parsed: &Parsed<'_>) -> Self {
        let nameless = parsed.x509.subject().iter_rdn().next().is_none();
        let subject = if nameless { "a certificate".to_owned() } else { parsed.subject() };
        let mut traits = Self {
            keys: parsed.keys(),
            tbs: parsed.tbs_sha256(),
            subject: subject.chars().take(128).map(printable).collect(),
            serial: parsed.serial(),
            not_before: parsed.not_before(),
            not_after: parsed.not_after(),
            nameless,
            basic_constraints: None,
            key_usage: None,
            purposes: None,
            flaw: None,
        };
        let mut seen = HashSet::new();
        for extension in parsed.x509.extensions() {
            if !seen.insert(extension.oid.clone()) {
                traits.flaw = Some(format!("it has extension {} twice", extension.oid));
            }
            traits.take_in(extension);
        }
        traits
    }

    fn take_in(&mut self, extension: &X509Extension<'_>) {
        let oid = extension.oid.to_id_string();
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(value) => {
                self.basic_constraints = Some(value.clone());
            }
            ParsedExtension::KeyUsage(value) => self.key_usage = Some(*value),
            ParsedExtension::ExtendedKeyUsage(value) => self.purposes = Some(value.into()),
            ParsedExtension::ParseError { .. } => {
                self.flaw = Some(format!("its extension {oid} cannot be parsed"));
            }
            _ => {}
        }
        if extension.critical && !PROCESSED.contains(&oid.as_str()) {
            self.flaw = Some(format!("its critical extension {oid} is not known"));
        }
    }

    /// When the validity begins and when it ends.
    pub(crate) const fn validity(&self) -> (Timestamp, Timestamp) {
        (self.not_before, self.not_after)
    }

    /// When the validity ends.
    pub(crate) const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Checks that the moment is within the validity, to the second and both ends included.
    pub(crate) fn check_validity(&self, now: Timestamp) -> Result<(), AttestFailure> {
        if now.unix_secs() < self.not_before.unix_secs() {
            return Err(AttestFailure::NotYetValid(self.subject.clone()));
        }
        if now.unix_secs() > self.not_after.unix_secs() {
            return Err(AttestFailure::Expired(self.subject.clone()));
        }
        Ok(())
    }

    /// Why this certificate may not be one for this purpose, if so: a flaw, the CA flag, or a key
    /// usage without what its key is used for. In TLS that is signatures, which is what a device
    /// proves its key with (OpenSSL's `sslclient` purpose).
    pub(crate) fn obstacle_as_leaf(&self, purpose: KeyPurpose) -> Option<String> {
        match self.key_usage {
            _ if self.flaw.is_some() => self.flaw.clone(),
            _ if self.says_ca() => Some(format!("a CA certificate cannot be {}", purpose.holder())),
            Some(usage) => obstacle_in_use(usage, purpose),
            None => None,
        }
    }

    /// Why this certificate may not sign others, if so (RFC 5280 §4.1.2.6, §4.2.1.3, §4.2.1.9).
    pub(crate) fn obstacle_as_ca(&self) -> Option<String> {
        match self.key_usage {
            _ if self.flaw.is_some() => self.flaw.clone(),
            _ if !self.says_ca() => Some("it is not a CA certificate".to_owned()),
            Some(usage) if !usage.key_cert_sign() => {
                Some("its key usage does not allow it to sign certificates".to_owned())
            }
            _ if self.nameless => Some("it has no subject".to_owned()),
            _ => None,
        }
    }

    fn says_ca(&self) -> bool {
        self.basic_constraints.as_ref().is_some_and(|basic| basic.ca)
    }

    /// Whether the extended key usages, if there are any, include this purpose.
    pub(crate) fn serves(&self, purpose: KeyPurpose) -> bool {
        match (self.purposes, purpose) {
            (None, _) => true,
            (Some(purposes), KeyPurpose::ClientAuth) => purposes.client_auth,
            (Some(purposes), KeyPurpose::ServerAuth) => purposes.server_auth,
            (Some(purposes), KeyPurpose::EndorsementKey) => purposes.endorsement_key,
        }
    }

    /// How many CAs may stand below this one, if that is limited.
    pub(crate) fn path_length(&self) -> Option<usize> {
        let limit = self.basic_constraints.as_ref()?.path_len_constraint?;
        usize::try_from(limit).ok()
    }
}

/// A character of a foreign name as it may stand in a log: what would begin a new line there, or
/// change how the rest of one is shown, is replaced.
pub(crate) fn printable(c: char) -> char {
    let steers =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if c.is_control() || steers { char::REPLACEMENT_CHARACTER } else { c }
}

fn obstacle_in_use(usage: KeyUsage, purpose: KeyPurpose) -> Option<String> {
    let (allowed, use_of_key) = match purpose {
        KeyPurpose::ClientAuth | KeyPurpose::ServerAuth => {
            (usage.digital_signature() || usage.key_agreement(), "digital signatures")
        }
        KeyPurpose::EndorsementKey => (usage.key_encipherment(), "key encipherment"),
    };
    (!allowed).then(|| format!("its key usage does not allow {use_of_key}"))
}
