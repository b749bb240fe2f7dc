//! `induct ip-rule …`: from which addresses the service can be used (O §3.6).

use clap::{Args, Subcommand};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path, with_options},
    complaint::Complaint,
    enrollment::Etag,
    input::list,
    target::ServiceTarget,
};

/// Manage IP rules: from which addresses the service can be used.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct ip-rule list -o table
  induct ip-rule set --rules @rules.json
  induct ip-rule set --rules '[{\"filterName\": \"plant\", \"action\": \"Accept\",
      \"ipMask\": \"10.4.0.0/16\", \"target\": \"deviceApi\"},
      {\"filterName\": \"nobody else\", \"action\": \"Reject\", \"ipMask\": \"0.0.0.0/0\",
      \"target\": \"deviceApi\"}]'
  induct ip-rule set --rules '[]'                     Let everybody in.

The first rule that an address matches counts; who matches none comes in. A list of those who may
come in therefore ends with a Reject of 0.0.0.0/0 and, where the server listens on IPv6, one of
::/0. The target is all, serviceApi (operators and hub registries) or deviceApi.")]
pub struct IpRule {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: RuleCommand,
}

/// What to do with IP rules.
#[derive(Debug, Subcommand)]
enum RuleCommand {
    /// List the rules in their order.
    List,
    /// Replace all rules.
    #[command(after_help = "Examples:
  induct ip-rule set --rules @rules.json
  induct ip-rule set --rules '[]'")]
    Set(Set),
}

#[derive(Debug, Args)]
struct Set {
    /// All rules in their order: a JSON list, a path, or @path.
    #[arg(short, long, value_name = "JSON")]
    rules: String,
    /// Also when they keep you out from now on.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    etag: Etag,
}

impl IpRule {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await)
    }
}

impl RuleCommand {
    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let path = own_path(["ip-rules"]);
        let rules = match self {
            Self::List => api.get(&path).await?,
            Self::Set(set) => {
                let rules = list("--rules", &set.rules)?;
                let path = with_options(&path, &[("force", set.force.then_some("true"))]);
                api.put(&path, Some(&set.etag.etag), &rules).await?
            }
        };
        Ok(Some(Answer::new(rules, Sheet::Plain)))
    }
}
