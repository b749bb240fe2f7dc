//! `induct receipt …`: what deprovisionings came to.

use clap::{Args, Subcommand, ValueEnum};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path},
    complaint::Complaint,
    target::ServiceTarget,
};

/// Look at what became of deprovisioned devices, and at plans.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct receipt list -o table
  induct receipt show 0f8fad5b-d9cb-469f-a165-70867728950e
  induct receipt show 0f8fad5b-d9cb-469f-a165-70867728950e --devices -o table
  induct receipt show 0f8fad5b-d9cb-469f-a165-70867728950e --devices --state failed

Plans are among them until they are applied or a day is over. The last 10,000 receipts are kept.")]
pub struct Receipt {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: ReceiptCommand,
}

/// What to look at.
#[derive(Debug, Subcommand)]
enum ReceiptCommand {
    /// List plans and receipts, the latest first.
    List(List),
    /// Show a plan or a receipt, or its devices.
    #[command(after_help = "Examples:
  induct receipt show 0f8fad5b-d9cb-469f-a165-70867728950e
  induct receipt show 0f8fad5b-d9cb-469f-a165-70867728950e --devices --state failed -o table")]
    Show(Show),
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Show {
    /// The receipt's ID, which is the plan's.
    #[arg(value_name = "ID")]
    id: String,
    /// Show its devices instead: what was planned, what was done, when, and what failed.
    #[arg(long)]
    devices: bool,
    /// Only devices that stand so.
    #[arg(long, value_enum, value_name = "STATE", requires = "devices")]
    state: Option<State>,
    #[command(flatten)]
    top: Top,
}

/// Where a device stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Waits for its turn.
    Pending,
    /// Was in that state already.
    Unchanged,
    /// Done.
    Done,
    /// Failed, and nothing of it was changed.
    Failed,
}

impl State {
    const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Unchanged => "unchanged",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

impl Receipt {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await.map(Some))
    }
}

impl ReceiptCommand {
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        match self {
            Self::List(List { top }) => {
                let listed = api.list_with(&own_path(["deprovisionings"]), &[], top).await?;
                Ok(Answer::new(listed, Sheet::Deprovisionings))
            }
            Self::Show(Show { id, devices: false, .. }) => {
                let shown = api.get(&own_path(["deprovisionings", &id])).await?;
                Ok(Answer::new(shown, Sheet::Deprovisionings))
            }
            Self::Show(Show { id, devices: true, state, top }) => {
                let path = own_path(["deprovisionings", &id, "devices"]);
                let state = ("state", state.map(State::word));
                let listed = api.list_with(&path, &[state], top).await?;
                Ok(Answer::new(listed, Sheet::DeprovisionedDevices))
            }
        }
    }
}
