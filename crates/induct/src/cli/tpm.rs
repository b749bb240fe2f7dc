//! `induct tpm …`: what a TPM is called and shows, and what Induct adds to attestation by TPM.

pub(super) mod endorsement;
mod group;
pub(super) mod key_file;
mod show;
mod tools;

use clap::{Args, Subcommand};

use super::{Context, Failure, simulate_change::foresee, target::ServiceTarget};

/// Enroll TPMs: print what one of them shows, demand certificates of their vendors, and manage
/// groups of TPMs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct tpm show
      On the device: its endorsement key, its registration ID, and the command that enrolls it.
  induct tpm show --ek ek.pub --srk srk.pub
      From files that tpm2-tools wrote.
  induct tpm endorsement set --eid TPM --ek-root vendor-root.pem
      The enrolled TPM must show a certificate of that vendor.
  induct tpm group create --gid works-tpms --cp vendor-root.pem
      Every TPM of that vendor may register, under the ID that `induct tpm show` prints.

Groups of TPMs and demanded certificates are extensions of Induct: the vendor's service has
neither, and its API shows neither.")]
pub struct Tpm {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: TpmCommand,
}

/// What to do with TPMs.
#[derive(Debug, Subcommand)]
enum TpmCommand {
    /// Print what a TPM is enrolled by, and the command that enrolls it. No server is asked.
    Show(show::Show),
    /// Manage groups of TPMs by the issuers of their certificates. An extension of Induct.
    Group(group::Group),
    /// Demand a certificate of an enrolled TPM's endorsement key. An extension of Induct.
    Endorsement(endorsement::Endorsement),
}

impl Tpm {
    /// Does it: over the management API, or for `show` with the TPM itself.
    ///
    /// # Errors
    /// What the options lack, what the TPM's tools said, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        match command {
            TpmCommand::Show(show) => {
                let answer = show.run(context)?;
                target.offline(context, answer)
            }
            TpmCommand::Group(group) => {
                let foreseen = group.foreseen();
                target.run_warned(
                    context,
                    async |api| foresee::warnings(api, foreseen).await,
                    async |api| group.ask(api).await,
                )
            }
            TpmCommand::Endorsement(endorsement) => {
                target.run(context, async |api| endorsement.ask(api).await)
            }
        }
    }
}
