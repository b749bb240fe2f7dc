//! `induct tpm endorsement …`: the certificate that an individual enrollment demands of its TPM.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::{CertificateDer, Json};

use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, own_path},
    complaint::Complaint,
    document::members,
    enrollment::Etag,
    input::certificate,
};

/// Demand a certificate of an enrolled TPM's endorsement key: an extension of Induct.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct tpm endorsement set --eid TPM --ek-root vendor-root.pem
      The device shows the certificate when it registers, over HTTPS, in
      tpm.endorsementCertificates. The vendor's own clients do not.
  induct tpm endorsement set --eid TPM --ek-root vendor-root.pem --ek-certificate ek.crt issuer.crt
      The enrollment holds the certificate, so every client will do.
  induct tpm endorsement show --eid TPM
  induct tpm endorsement delete --eid TPM

What is demanded stays when the enrollment is changed otherwise, also by the vendor's tools.")]
pub(super) struct Endorsement {
    #[command(subcommand)]
    command: EndorsementCommand,
}

/// What to do with what is demanded.
#[derive(Debug, Subcommand)]
enum EndorsementCommand {
    /// Show what an enrollment demands.
    #[command(after_help = "Example:
  induct tpm endorsement show --eid TPM")]
    Show(Id),
    /// Demand a certificate, in place of what was demanded before.
    #[command(after_help = "Examples:
  induct tpm endorsement set --eid TPM --ek-root vendor-root.pem
  induct tpm endorsement set --eid TPM --ek-root root.pem next-root.pem --ek-certificate ek.crt")]
    Set(Set),
    /// Demand no certificate any more.
    #[command(after_help = "Example:
  induct tpm endorsement delete --eid TPM")]
    Delete(Delete),
}

/// `--enrollment-id`
#[derive(Debug, Args)]
struct Id {
    /// The registration ID of the enrollment.
    #[arg(long = "enrollment-id", visible_alias = "eid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    enrollment_id: String,
}

#[derive(Debug, Args)]
struct Set {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    files: EndorsementFiles,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    id: Id,
    #[command(flatten)]
    etag: Etag,
}

/// What to demand.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EndorsementFiles {
    /// The file of a TPM vendor's certificate, a root or one below it, that the endorsement key's
    /// certificate must lead to; or of two, either of which will do. An extension of Induct.
    #[arg(long = "ek-root", value_name = "FILE", num_args = 1..=2)]
    ek_root: Vec<PathBuf>,
    /// The files of the endorsement key's certificate and of those between it and the root, the
    /// key's own first; without them the device must show them. An extension of Induct.
    #[arg(long = "ek-certificate", value_name = "FILE", num_args = 1.., requires = "ek_root")]
    ek_certificate: Vec<PathBuf>,
}

impl Endorsement {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let json = match self.command {
            EndorsementCommand::Show(id) => api.get(&path(&id.enrollment_id)).await?,
            EndorsementCommand::Set(set) => {
                let document = set.files.document()?.ok_or_else(|| {
                    Complaint::misuse("Please name a TPM vendor's certificate [--ek-root].")
                })?;
                api.put(&path(&set.id.enrollment_id), Some(&set.etag.etag), &document).await?
            }
            EndorsementCommand::Delete(delete) => {
                let path = path(&delete.id.enrollment_id);
                api.delete(&path, Some(&delete.etag.etag)).await?;
                return Ok(None);
            }
        };
        Ok(Some(Answer::new(json, Sheet::Facts)))
    }
}

impl EndorsementFiles {
    /// The document to demand this with; nothing if nothing is demanded.
    ///
    /// # Errors
    /// A file cannot be read, or holds a private key.
    pub(crate) fn document(&self) -> Result<Option<Json>, Complaint> {
        if self.ek_root.is_empty() {
            return Ok(None);
        }
        let mut roots = Json::empty_object();
        for (slot, path) in ["primary", "secondary"].into_iter().zip(&self.ek_root) {
            roots.set(slot, members([("certificate", certificate("--ek-root", path)?)]));
        }
        let certificates = self.ek_certificate.iter();
        let certificates = certificates.map(|path| certificate("--ek-certificate", path));
        let certificates = certificates.collect::<Result<_, _>>()?;
        Ok(Some(members([("roots", roots), ("certificates", Json::Array(certificates))])))
    }
}

/// The certificates of these files.
///
/// # Errors
/// A file cannot be read, or holds something else than one certificate.
pub(super) fn certificate_files(paths: &[PathBuf]) -> Result<Vec<CertificateDer>, Complaint> {
    let option = "--ek-certificate";
    let read = |path: &PathBuf| {
        let text = certificate(option, path)?;
        wire::pem::certificate(text.as_str().unwrap_or_default())
            .map(CertificateDer)
            .map_err(|bad| Complaint::new(format!("{option}: {}: {bad}.", path.display())))
    };
    paths.iter().map(read).collect()
}

/// Where the demand of an enrollment is.
#[must_use]
pub(crate) fn path(enrollment_id: &str) -> String {
    own_path(["enrollments", enrollment_id, "endorsement"])
}
