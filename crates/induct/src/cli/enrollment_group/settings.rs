//! `induct enrollment-group settings …`: what is set on a group beside what the vendor's tool
//! knows.

use clap::{Args, Subcommand, ValueEnum};
use model::Json;

use super::GroupId;
use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, own_path, with_options},
    complaint::Complaint,
    enrollment::Etag,
};

/// What is set on a group beside what the vendor's tool knows, groups of TPMs included.
#[derive(Debug, Subcommand)]
pub(super) enum Settings {
    /// Show them.
    #[command(after_help = "Example:
  induct enrollment-group settings show --gid line-4")]
    Show(Show),
    /// Change them; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct enrollment-group settings set --gid line-4 --disenroll-ends-sessions true
  induct enrollment-group settings set --gid line-4 --stale-crl refuse
  induct enrollment-group settings set --gid line-4 --disenroll-ends-sessions service

They stay when the group is changed otherwise, by the vendor's API too.")]
    Set(Set),
}

#[derive(Debug, Args)]
pub(super) struct Show {
    #[command(flatten)]
    id: GroupId,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    #[command(flatten)]
    id: GroupId,
    /// Whether disabling or deleting the group ends the sessions of its devices; `service` leaves
    /// it to the service's setting.
    #[arg(long, value_enum, value_name = "WHETHER")]
    disenroll_ends_sessions: Option<Ends>,
    /// What becomes of devices when the revocation list of an issuer is out of date; `service`
    /// admits them.
    #[arg(long, value_enum, value_name = "WHAT")]
    stale_crl: Option<Stale>,
    /// Show what the settings would become, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ends {
    True,
    False,
    Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stale {
    Admit,
    Refuse,
    Service,
}

fn path(id: &GroupId) -> String {
    own_path(["enrollmentGroups", &id.group_id, "settings"])
}

impl Settings {
    pub(super) async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let settings = match self {
            Self::Show(show) => api.get(&path(&show.id)).await?,
            Self::Set(set) => set.ask(api).await?,
        };
        Ok(Answer::new(settings, Sheet::Plain))
    }
}

impl Set {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        if self.disenroll_ends_sessions.is_none() && self.stale_crl.is_none() {
            return Err(Complaint::misuse("There is nothing to change.")
                .with_remedy("Name --disenroll-ends-sessions or --stale-crl."));
        }
        let mut document = api.get(&path(&self.id)).await?;
        // What is not named must be what it was a moment ago.
        let read = document.get("etag").and_then(Json::as_str).map(str::to_owned);
        let etag = read.filter(|_| self.etag.etag == "*").unwrap_or(self.etag.etag);
        if let Some(ends) = self.disenroll_ends_sessions {
            let value = match ends {
                Ends::True => Json::from(true),
                Ends::False => Json::from(false),
                Ends::Service => Json::Null,
            };
            document.set("disenrollEndsSessions", value);
        }
        if let Some(stale) = self.stale_crl {
            let value = match stale {
                Stale::Admit => Json::from("admit"),
                Stale::Refuse => Json::from("refuse"),
                Stale::Service => Json::Null,
            };
            document.set("staleCrl", value);
        }
        let dry_run = self.dry_run.then_some("true");
        let path = with_options(&path(&self.id), &[("dryRun", dry_run)]);
        api.put(&path, Some(&etag), &document).await
    }
}
