//! `induct tpm show`: what a TPM is enrolled by.

use std::path::PathBuf;

use attest::{
    certificate,
    chain::{Limits, Presented},
    tpm::{BadTpmKey, EndorsementKey, StorageRootKey, certificate_key_matches},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use model::{CertificateDer, Json};

use super::{
    endorsement, key_file,
    tools::{Missing, Tools},
};
use crate::cli::{
    Context, Failure,
    answer::{Answer, Sheet},
    complaint::Complaint,
    document::members,
};

/// Where the TPM is on Linux, behind the kernel's resource manager.
const DEVICE: &str = "device:/dev/tpmrm0";

/// Print what a TPM is enrolled by, and the command that enrolls it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct tpm show
      The TPM of this machine, through tpm2-tools.
  induct tpm show --persist
      The same; and its keys are put where clients expect them, if they are not there yet.
  induct tpm show --tcti swtpm:host=127.0.0.1,port=2321
      A TPM in software.
  induct tpm show --ek ek.pub --srk srk.pub
      From files, on any machine. On the device: tpm2_createek -c ek.ctx -G rsa -f tss -u ek.pub

So a TPM is enrolled by two commands: this one, and the one that it prints as `enroll`.

The keys printed are public; whoever knows them can do nothing with them. The certificate is read
from the TPM (NV 0x01c00002) when it holds one; to keep it as a file: tpm2_nvread 0x01c00002 -o ek.crt")]
pub(super) struct Show {
    /// The file of the endorsement key: TPM2B_PUBLIC, or PEM.
    #[arg(long = "endorsement-key", visible_alias = "ek", value_name = "FILE")]
    endorsement_key: Option<PathBuf>,
    /// The file of the storage root key: TPM2B_PUBLIC, or PEM.
    #[arg(
        long = "storage-root-key",
        visible_alias = "srk",
        value_name = "FILE",
        requires = "endorsement_key"
    )]
    storage_root_key: Option<PathBuf>,
    /// The files of the endorsement key's certificate and of those above it, the key's own first.
    #[arg(long = "ek-certificate", value_name = "FILE", num_args = 1..)]
    ek_certificate: Vec<PathBuf>,
    /// How tpm2-tools reach the TPM [default: $TPM2TOOLS_TCTI, or device:/dev/tpmrm0].
    #[arg(long, value_name = "TCTI", conflicts_with = "endorsement_key")]
    tcti: Option<String>,
    /// Keep the keys in the TPM where clients expect them, 0x81010001 and 0x81000001, if there are
    /// none.
    #[arg(long, conflicts_with = "endorsement_key")]
    persist: bool,
}

/// A TPM's public face.
struct Face {
    endorsement_key: EndorsementKey,
    storage_root_key: Option<StorageRootKey>,
    certificates: Vec<CertificateDer>,
}

impl Show {
    /// Reads the TPM or its files.
    ///
    /// # Errors
    /// A file or a tool is missing, or the keys are not of the supported kind.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<Answer, Failure> {
        let mut face = match &self.endorsement_key {
            Some(path) => Face {
                endorsement_key: key_file::endorsement_key("--ek", path)?,
                storage_root_key: self
                    .storage_root_key
                    .as_ref()
                    .map(|path| key_file::storage_root_key("--srk", path))
                    .transpose()?,
                certificates: Vec::new(),
            },
            None => self.ask_tpm(context)?,
        };
        if !self.ek_certificate.is_empty() {
            face.certificates = endorsement::certificate_files(&self.ek_certificate)?;
            face.check_certificate()?;
        } else if let Err(why) = face.check_certificate() {
            context.note(&format!("WARNING: {}", why.message));
            face.certificates.clear();
        }
        Ok(Answer::new(face.describe()?, Sheet::Facts))
    }

    fn ask_tpm(&self, context: &Context<'_>) -> Result<Face, Failure> {
        let variable = || context.environment.variables.get("TPM2TOOLS_TCTI").cloned();
        let tcti = self.tcti.clone().or_else(variable).unwrap_or_else(|| DEVICE.to_owned());
        let missing = if self.persist { Missing::Kept } else { Missing::Made };
        let tools = Tools::new(tcti)?;
        context.block_on(async {
            let bad = |why: BadTpmKey| {
                Complaint::new(format!("The TPM's keys are not of the supported kind: {why}."))
            };
            let endorsement_key = tools.endorsement_key(missing).await?;
            let endorsement_key = EndorsementKey::parse(&endorsement_key).map_err(bad)?;
            let storage_root_key = tools.storage_root_key(missing).await?;
            let storage_root_key = StorageRootKey::parse(&storage_root_key).map_err(bad)?;
            let certificate = tools.certificate().await?;
            Ok(Face {
                endorsement_key,
                storage_root_key: Some(storage_root_key),
                certificates: certificate.map(CertificateDer).into_iter().collect(),
            })
        })
    }
}

impl Face {
    /// Whether the certificates, if there are any, are of the endorsement key.
    fn check_certificate(&self) -> Result<(), Complaint> {
        if self.certificates.is_empty() {
            return Ok(());
        }
        let presented = Presented::parse(&self.certificates, &Limits::default())
            .map_err(|why| Complaint::new(format!("The endorsement certificate: {why}.")))?;
        if certificate_key_matches(&presented, &self.endorsement_key) {
            return Ok(());
        }
        Err(Complaint::new("The first certificate is for another key than this endorsement key."))
    }

    fn describe(&self) -> Result<Json, Complaint> {
        let id = self.endorsement_key.registration_id();
        let key = STANDARD.encode(self.endorsement_key.bytes());
        let root = self.storage_root_key.as_ref().map(|key| STANDARD.encode(key.bytes()));
        let mut enroll = format!("induct enrollment create --eid {id} --at tpm --ek {key}");
        let mut shown = members([
            ("registrationId", Json::from(id.as_str())),
            ("endorsementKey", Json::from(key.as_str())),
        ]);
        if let Some(root) = root {
            enroll.push_str(&format!(" --srk {root}"));
            shown.set("storageRootKey", Json::from(root.as_str()));
        }
        if let Some(own) = self.certificates.first() {
            let described = certificate::describe(&own.0)
                .map_err(|why| Complaint::new(format!("The endorsement certificate: {why}.")))?;
            let text = |der: &CertificateDer| Json::from(STANDARD.encode(&der.0).as_str());
            let certificates = self.certificates.iter().map(text).collect();
            shown.set("endorsementIssuer", Json::from(described.info.issuer_name.as_str()));
            shown.set("endorsementCertificates", Json::Array(certificates));
        }
        shown.set("enroll", Json::from(enroll.as_str()));
        Ok(shown)
    }
}
