//! `induct attempt …`: what devices asked for, and what became of it.

use attest::tpm::EndorsementKey;
use clap::{ArgGroup, Args, Subcommand};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path},
    complaint::Complaint,
    target::ServiceTarget,
    tpm::key_file,
};

/// Look at what devices asked for, what they showed, and why they were admitted or refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct attempt list --top 20 -o table
  induct attempt list --device press-17 --refused -o table
  induct attempt list --thumbprint 5F0C... -o table
  induct attempt show 0f8fad5b-d9cb-469f-a165-70867728950e -o table

Registrations are kept, and connections that were refused; the last 100,000, unless the configuration
says otherwise. A device that is refused for the same reason again and again is one attempt with a
count.")]
pub struct Attempt {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: AttemptCommand,
}

/// What to look at.
#[derive(Debug, Subcommand)]
enum AttemptCommand {
    /// List attempts, the latest first.
    #[command(after_help = "Examples:
  induct attempt list --refused --top 50 -o table
  induct attempt list --device press-17
  induct attempt list --endorsement-key @ek.pub")]
    List(List),
    /// Say why an attempt was admitted or refused, as `induct explain --tracking-id` does.
    #[command(after_help = "Example:
  induct attempt show 0f8fad5b-d9cb-469f-a165-70867728950e -o table")]
    Show(Show),
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whose")
    .args(["device", "thumbprint", "endorsement_key", "tracking_id"])))]
struct List {
    /// Only those of this registration ID or device ID, in any letter case.
    #[arg(long, visible_aliases = ["registration-id", "rid"], short = 'd', value_name = "ID")]
    device: Option<String>,
    /// Only those with this certificate: SHA-1 or SHA-256 in hex.
    #[arg(long, value_name = "HEX")]
    thumbprint: Option<String>,
    /// Only those of this TPM, by its endorsement key: base64, @FILE, or its SHA-256 in hex.
    #[arg(long, visible_alias = "ek", value_name = "KEY")]
    endorsement_key: Option<String>,
    /// Only the one with this tracking ID.
    #[arg(long, visible_alias = "tid", value_name = "ID")]
    tracking_id: Option<String>,
    /// Only those that were not admitted.
    #[arg(long)]
    refused: bool,
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Show {
    /// The tracking ID, which the device was given with its answer.
    #[arg(value_name = "ID")]
    tracking_id: String,
}

impl Attempt {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await.map(Some))
    }
}

impl AttemptCommand {
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        match self {
            Self::List(list) => {
                let read = key_file::endorsement_key;
                let key = list.endorsement_key.as_deref().map(|key| {
                    key_file::given("--endorsement-key", key, read, EndorsementKey::bytes)
                });
                let key = key.transpose()?;
                let options = [
                    ("trackingId", list.tracking_id.as_deref()),
                    ("device", list.device.as_deref()),
                    ("thumbprint", list.thumbprint.as_deref()),
                    ("endorsementKey", key.as_deref()),
                    ("refused", list.refused.then_some("true")),
                ];
                let listed = api.list_with(&own_path(["attempts"]), &options, list.top).await?;
                Ok(Answer::new(listed, Sheet::Attempts))
            }
            Self::Show(Show { tracking_id }) => {
                let shown = api.get(&own_path(["attempts", &tracking_id])).await?;
                Ok(Answer::new(shown, Sheet::Explanation))
            }
        }
    }
}
