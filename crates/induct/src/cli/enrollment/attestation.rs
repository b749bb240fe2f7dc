//! The attestation of a document: made from options, changed by options, and what an update may
//! not mix (O §4.2).

use std::path::PathBuf;

use attest::tpm::{EndorsementKey, StorageRootKey};
use clap::Args;
use model::Json;

use super::fields::one_of;
use crate::cli::{
    complaint::Complaint,
    document::members,
    input::{CertificatePaths, switch},
    tpm::key_file,
};

/// What is left when everything is removed.
pub(crate) const ONE_CERTIFICATE: &str = "Please provide at least one certificate";
const PATH_OR_NAME: &str = "Please provide either certificate path or certficate name";

/// Certificates and keys: the options of both kinds of enrollment.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Credentials {
    /// The primary certificate: a .pem or .cer file, without its private key.
    #[arg(long = "certificate-path", visible_alias = "cp", value_name = "FILE")]
    pub(crate) certificate_path: Option<PathBuf>,
    /// The secondary certificate: a .pem or .cer file, without its private key.
    #[arg(long = "secondary-certificate-path", visible_alias = "scp", value_name = "FILE")]
    pub(crate) secondary_certificate_path: Option<PathBuf>,
    /// The primary symmetric key, base64; the service makes one when it is left out.
    #[arg(long = "primary-key", visible_alias = "pk", value_name = "KEY")]
    pub(crate) primary_key: Option<String>,
    /// The secondary symmetric key, base64; the service makes one when it is left out.
    #[arg(long = "secondary-key", visible_alias = "sk", value_name = "KEY")]
    pub(crate) secondary_key: Option<String>,
}

/// `--remove-certificate` and its twin: options of `update`.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Removals {
    /// Remove the primary certificate.
    #[arg(long = "remove-certificate", visible_alias = "rc", value_name = "BOOL",
          value_parser = switch, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) remove_certificate: Option<bool>,
    /// Remove the secondary certificate.
    #[arg(long = "remove-secondary-certificate", visible_alias = "rsc", value_name = "BOOL",
          value_parser = switch, num_args = 0..=1, default_missing_value = "true")]
    pub(crate) remove_secondary_certificate: Option<bool>,
}

/// The public keys of a TPM: options of individual enrollments.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TpmKeys {
    /// The TPM's endorsement key: base64 as `induct tpm show` prints it, or a file with it.
    #[arg(long = "endorsement-key", visible_alias = "ek", value_name = "KEY")]
    pub(crate) endorsement_key: Option<String>,
    /// The TPM's storage root key, for devices that do not tell it themselves: base64 or a file.
    #[arg(long = "storage-root-key", visible_alias = "srk", value_name = "KEY")]
    pub(crate) storage_root_key: Option<String>,
}

impl TpmKeys {
    const fn is_empty(&self) -> bool {
        self.endorsement_key.is_none() && self.storage_root_key.is_none()
    }

    /// Writes those that were given.
    fn write(&self, tpm: &mut Json) -> Result<(), Complaint> {
        if let Some(given) = &self.endorsement_key {
            let read = key_file::endorsement_key;
            let key = key_file::given("--ek", given, read, EndorsementKey::bytes)?;
            tpm.set("endorsementKey", Json::from(key.as_str()));
        }
        if let Some(given) = &self.storage_root_key {
            let read = key_file::storage_root_key;
            let key = key_file::given("--srk", given, read, StorageRootKey::bytes)?;
            tpm.set("storageRootKey", Json::from(key.as_str()));
        }
        Ok(())
    }
}

/// Names of CA certificates in the service's store: options of groups.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AuthorityNames {
    /// The name of a CA certificate in the service's own store.
    #[arg(long = "ca-name", visible_aliases = ["cn", "root-ca-name"], value_name = "NAME")]
    pub(crate) ca_name: Option<String>,
    /// The name of a second CA certificate in the service's own store.
    #[arg(long = "secondary-ca-name", visible_aliases = ["scn", "secondary-root-ca-name"],
          value_name = "NAME")]
    pub(crate) secondary_ca_name: Option<String>,
}

impl Credentials {
    const fn paths(&self) -> CertificatePaths<'_> {
        CertificatePaths {
            primary: self.certificate_path.as_ref(),
            secondary: self.secondary_certificate_path.as_ref(),
        }
    }

    const fn has_keys(&self) -> bool {
        self.primary_key.is_some() || self.secondary_key.is_some()
    }
}

impl Removals {
    fn primary(&self) -> bool {
        self.remove_certificate == Some(true)
    }

    fn secondary(&self) -> bool {
        self.remove_secondary_certificate == Some(true)
    }

    fn any(&self) -> bool {
        self.primary() || self.secondary()
    }

    /// Removes what is to be removed from two slots.
    pub(crate) fn write(&self, slots: &mut Json) {
        if self.primary() {
            slots.remove("primary");
        }
        if self.secondary() {
            slots.remove("secondary");
        }
    }
}

impl AuthorityNames {
    const fn is_empty(&self) -> bool {
        self.ca_name.is_none() && self.secondary_ca_name.is_none()
    }
}

/// The attestation of a new individual enrollment.
///
/// # Errors
/// In the words of the vendor's CLI.
pub(crate) fn new_individual(
    attestation_type: &str,
    credentials: &Credentials,
    tpm: &TpmKeys,
) -> Result<Json, Complaint> {
    match one_of(&["symmetricKey", "tpm", "x509"], attestation_type) {
        Some("tpm") => {
            if tpm.endorsement_key.is_none() {
                return Err(Complaint::new("Endorsement key [--endorsement-key] is required")
                    .with_remedy("`induct tpm show` prints it, on the device or from files."));
            }
            let mut keys = Json::empty_object();
            tpm.write(&mut keys)?;
            Ok(mechanism("tpm", keys))
        }
        Some("x509") => {
            let paths = credentials.paths();
            if paths.is_empty() {
                return Err(Complaint::new("Please provide at least one certificate path"));
            }
            Ok(mechanism("x509", members([("clientCertificates", slots(paths)?)])))
        }
        Some(_) => Ok(symmetric(credentials)),
        None => Err(Complaint::misuse("Invalid attestation type.")
            .with_remedy(format!("`{attestation_type}` is not one of symmetricKey, tpm, x509."))),
    }
}

/// The attestation of a new group, inferred from the options.
///
/// # Errors
/// In the words of the vendor's CLI.
pub(crate) fn new_group(
    credentials: &Credentials,
    names: &AuthorityNames,
) -> Result<Json, Complaint> {
    let paths = credentials.paths();
    match (paths.is_empty(), names.is_empty()) {
        (true, true) => Ok(symmetric(credentials)),
        (false, false) => Err(Complaint::new(PATH_OR_NAME)),
        (false, true) => Ok(mechanism("x509", members([("signingCertificates", slots(paths)?)]))),
        (true, false) => {
            let mut references = Json::empty_object();
            write_names(&mut references, names);
            Ok(mechanism("x509", members([("caReferences", references)])))
        }
    }
}

/// What an update asks of an attestation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Update<'a> {
    /// New certificates and keys.
    pub(crate) credentials: &'a Credentials,
    /// Certificates to remove.
    pub(crate) removals: &'a Removals,
    /// New keys of a TPM.
    pub(crate) tpm: &'a TpmKeys,
    /// CA certificates of the service's own store.
    pub(crate) names: &'a AuthorityNames,
}

impl Update<'_> {
    /// Checks that the options fit the attestation the enrollment has, and each other.
    ///
    /// # Errors
    /// In the words of the vendor's CLI.
    pub(crate) fn check(&self, attestation_type: &str) -> Result<(), Complaint> {
        let enrolled = match attestation_type {
            "symmetricKey" => "symmetric key",
            other => other,
        };
        let cannot = |what: &str| {
            Err(Complaint::new(format!(
                "Cannot {what} while enrollment is using {enrolled} attestation mechanism"
            ))
            .with_remedy("To change how devices attest, delete the enrollment and create it anew."))
        };
        let is = |mechanism: &str| attestation_type.eq_ignore_ascii_case(mechanism);
        let certificates = !self.credentials.paths().is_empty() || !self.names.is_empty();
        if certificates && !is("x509") {
            return cannot("update certificate");
        }
        if self.removals.any() && !is("x509") {
            return cannot("remove certificate");
        }
        if self.tpm.endorsement_key.is_some() && !is("tpm") {
            return cannot("update endorsement key");
        }
        if self.tpm.storage_root_key.is_some() && !is("tpm") {
            return cannot("update storage root key");
        }
        if self.credentials.has_keys() && !is("symmetricKey") {
            return cannot("update primary or secondary key");
        }
        Ok(())
    }

    /// Writes the options into the attestation. Certificates that stay keep their `info` as it
    /// was read: that is how the service knows to keep them (O §1.7).
    ///
    /// # Errors
    /// In the words of the vendor's CLI.
    pub(crate) fn write(
        &self,
        attestation: &mut Json,
        certificates: &str,
    ) -> Result<(), Complaint> {
        if !self.tpm.is_empty() {
            let mut keys = kept(attestation, "tpm");
            self.tpm.write(&mut keys)?;
            attestation.set("tpm", keys);
        }
        for (name, key) in [
            ("primaryKey", &self.credentials.primary_key),
            ("secondaryKey", &self.credentials.secondary_key),
        ] {
            if let Some(key) = key {
                write_in(attestation, "symmetricKey", |keys| {
                    keys.set(name, Json::from(key.as_str()))
                });
            }
        }
        let paths = self.credentials.paths();
        if !paths.is_empty() && !self.names.is_empty() {
            return Err(Complaint::new(PATH_OR_NAME));
        }
        let x509 = attestation.get("x509").cloned().unwrap_or_else(Json::empty_object);
        self.check_removals(&x509)?;
        if !self.names.is_empty() {
            let mut references = kept(&x509, "caReferences");
            self.removals.write(&mut references);
            write_names(&mut references, self.names);
            attestation.set("x509", members([("caReferences", references)]));
        } else if !paths.is_empty() {
            let mut certificate_slots = kept(&x509, certificates);
            self.removals.write(&mut certificate_slots);
            for (slot, certificate) in paths.read()? {
                if let Some(certificate) = certificate {
                    certificate_slots.set(slot, certificate);
                }
            }
            attestation.set("x509", members([(certificates, certificate_slots)]));
        } else if self.removals.any() {
            let member =
                if has_slots(&x509, "caReferences") { "caReferences" } else { certificates };
            let mut slots = kept(&x509, member);
            self.removals.write(&mut slots);
            attestation.set("x509", members([(member, slots)]));
        }
        Ok(())
    }

    /// At least one certificate must be left.
    fn check_removals(&self, x509: &Json) -> Result<(), Complaint> {
        let brings_primary =
            self.credentials.certificate_path.is_some() || self.names.ca_name.is_some();
        let brings_secondary = self.credentials.secondary_certificate_path.is_some()
            || self.names.secondary_ca_name.is_some();
        if !self.removals.any() || brings_primary || brings_secondary {
            return Ok(());
        }
        if self.removals.primary() && self.removals.secondary() {
            return Err(Complaint::new(ONE_CERTIFICATE));
        }
        let has = |slot: &str| {
            ["clientCertificates", "signingCertificates", "caReferences"].iter().any(|member| {
                x509.get(member)
                    .and_then(|slots| slots.get(slot))
                    .is_some_and(|slot| *slot != Json::Null)
            })
        };
        let only = |which: &str| {
            Err(Complaint::new(format!(
                "{ONE_CERTIFICATE} while removing the only {which} certificate"
            )))
        };
        if self.removals.primary() && !has("secondary") {
            return only("primary");
        }
        if self.removals.secondary() && !has("primary") {
            return only("secondary");
        }
        Ok(())
    }
}

fn symmetric(credentials: &Credentials) -> Json {
    let mut keys = Json::empty_object();
    for (name, key) in
        [("primaryKey", &credentials.primary_key), ("secondaryKey", &credentials.secondary_key)]
    {
        if let Some(key) = key {
            keys.set(name, Json::from(key.as_str()));
        }
    }
    mechanism("symmetricKey", keys)
}

fn mechanism(name: &str, content: Json) -> Json {
    members([("type", Json::from(name)), (name, content)])
}

fn slots(paths: CertificatePaths<'_>) -> Result<Json, Complaint> {
    let mut slots = Json::empty_object();
    for (slot, certificate) in paths.read()? {
        if let Some(certificate) = certificate {
            slots.set(slot, certificate);
        }
    }
    Ok(slots)
}

fn write_names(references: &mut Json, names: &AuthorityNames) {
    for (slot, name) in [("primary", &names.ca_name), ("secondary", &names.secondary_ca_name)] {
        if let Some(name) = name {
            references.set(slot, Json::from(name.as_str()));
        }
    }
}

fn has_slots(x509: &Json, member: &str) -> bool {
    matches!(x509.get(member), Some(Json::Object(slots)) if !slots.is_empty())
}

fn kept(x509: &Json, member: &str) -> Json {
    match x509.get(member) {
        Some(slots @ Json::Object(_)) => slots.clone(),
        _ => Json::empty_object(),
    }
}

fn write_in(json: &mut Json, member: &str, write: impl FnOnce(&mut Json)) {
    let mut inner = kept(json, member);
    write(&mut inner);
    json.set(member, inner);
}

#[cfg(test)]
mod tests;
