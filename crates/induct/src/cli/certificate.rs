//! `induct certificate …`: CA certificates that groups refer to by name (O §3.5, §4.1).

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path},
    complaint::Complaint,
    document::members,
    enrollment::Etag,
    input::{certificate, switch},
    simulate_change::foresee::{self, Foreseen},
    target::LongServiceTarget,
};

/// Manage CA certificates: the authorities that groups refer to by name.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct certificate create -n plant-ca -p plant-ca.pem
  induct certificate generate-verification-code -n plant-ca
      Sign a certificate with that code as its CN by the CA's key, then:
  induct certificate verify -n plant-ca -p proof.pem
  induct certificate create -n plant-ca -p plant-ca.pem --verified     Without a proof.
  induct enrollment-group create --gid line-4 --ca-name plant-ca

Only a verified certificate lets devices in.")]
pub struct Certificate {
    #[command(flatten)]
    target: LongServiceTarget,
    #[command(subcommand)]
    command: CertificateCommand,
}

/// What to do with CA certificates.
#[derive(Debug, Subcommand)]
enum CertificateCommand {
    /// List CA certificates.
    List,
    /// Show a CA certificate, when it ends and which groups refer to it.
    #[command(after_help = "Example:
  induct certificate show -n plant-ca")]
    Show(Name),
    /// Upload a CA certificate.
    #[command(after_help = "Examples:
  induct certificate create -n plant-ca -p plant-ca.pem
  induct certificate create -n plant-ca -p plant-ca.cer --verified")]
    Create(Create),
    /// Replace a CA certificate. Another certificate has to be verified again.
    #[command(after_help = "Example:
  induct certificate update -n plant-ca -p renewed.pem --verified")]
    Update(Change),
    /// Delete a CA certificate. Groups that refer to it let no device in any more.
    #[command(after_help = "Example:
  induct certificate delete -n plant-ca")]
    Delete(Existing),
    /// Make the code that a proof of possession has as its CN. An earlier code no longer counts.
    #[command(after_help = "Example:
  induct certificate generate-verification-code -n plant-ca")]
    GenerateVerificationCode(Existing),
    /// Show that you hold the CA's key: with a certificate signed by it, whose CN is the code.
    #[command(after_help = "Example:
  induct certificate verify -n plant-ca -p proof.pem")]
    Verify(Verify),
}

/// `--name`
#[derive(Debug, Args)]
struct Name {
    /// The certificate's name.
    #[arg(short = 'n', long = "name", visible_alias = "certificate-name", value_name = "NAME",
          value_parser = NonEmptyStringValueParser::new())]
    name: String,
}

/// What to upload.
#[derive(Debug, Args)]
pub(super) struct Upload {
    /// The certificate's file, PEM or DER.
    #[arg(short, long, value_name = "FILE")]
    path: PathBuf,
    /// It counts as verified at once, without a proof.
    #[arg(long, value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true")]
    verified: Option<bool>,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    upload: Upload,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    upload: Upload,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Existing {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Verify {
    #[command(flatten)]
    name: Name,
    /// The proof's file, PEM or DER.
    #[arg(short, long, value_name = "FILE")]
    path: PathBuf,
    #[command(flatten)]
    etag: Etag,
}

/// The path of CA certificates.
const CERTIFICATES: &str = "certificates";

impl Certificate {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        let foreseen = match &command {
            CertificateCommand::Delete(existing) => {
                Some(Foreseen::DeleteCertificate(existing.name.name.clone()))
            }
            _ => None,
        };
        target.run_warned(
            context,
            async |api| foresee::warnings(api, foreseen).await,
            async |api| command.ask(api).await,
        )
    }
}

impl CertificateCommand {
    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let json = match self {
            Self::List => api.get(&own_path([CERTIFICATES])).await?,
            Self::Show(name) => api.get(&name.path()).await?,
            Self::Create(create) => {
                api.put(&create.name.path(), None, &create.upload.read()?).await?
            }
            Self::Update(change) => {
                let document = change.upload.read()?;
                api.put(&change.name.path(), Some(&change.etag.etag), &document).await?
            }
            Self::Delete(delete) => {
                delete.ask(api).await?;
                return Ok(None);
            }
            Self::GenerateVerificationCode(existing) => {
                let path = format!("{}/generateVerificationCode", existing.name.path());
                api.post_to(&path, &existing.etag.etag, None).await?
            }
            Self::Verify(verify) => {
                let document = members([("certificate", certificate("--path", &verify.path)?)]);
                let path = format!("{}/verify", verify.name.path());
                api.post_to(&path, &verify.etag.etag, Some(&document)).await?
            }
        };
        Ok(Some(Answer::new(json, Sheet::Certificates)))
    }
}

impl Name {
    fn path(&self) -> String {
        own_path([CERTIFICATES, &self.name])
    }
}

impl Upload {
    /// The certificate as the service takes it.
    ///
    /// # Errors
    /// The file cannot be read, or holds a private key.
    pub(super) fn read(&self) -> Result<Json, Complaint> {
        let mut document = members([("certificate", certificate("--path", &self.path)?)]);
        if let Some(verified) = self.verified {
            document.set("isVerified", Json::from(verified));
        }
        Ok(document)
    }
}

impl Existing {
    /// Deletes, and says which groups let no device in any more.
    async fn ask(self, api: &Api) -> Result<(), Complaint> {
        let told = api.delete_and_hear(&self.name.path(), &self.etag.etag).await?;
        let Some(Json::Array(groups)) = told.as_ref().and_then(|told| told.get("usedBy")) else {
            return Ok(());
        };
        let groups: Vec<&str> = groups.iter().filter_map(Json::as_str).collect();
        if !groups.is_empty() {
            api.note(format!(
                "WARNING: These groups refer to it, and let no device in by it any more: {}.",
                groups.join(", ")
            ));
        }
        Ok(())
    }
}
