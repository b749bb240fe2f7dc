//! `induct deprovision` and `induct reinstate`: devices are taken out as one act, and let in again.

mod carry;
mod which;
mod words;

use clap::{Args, ValueEnum};
use model::Json;

use self::{
    carry::{How, Start, carry_out},
    which::Which,
};
use super::{Context, Failure, api::Api, complaint::Complaint, target::ServiceTarget};

/// Take devices out: out of their enrollments, off all hubs, off the line, as one act.
#[derive(Debug, Args)]
#[command(after_help = "Intents:
  suspend   Off until you reinstate it: banned, enrollment and identities disabled, record kept.
  retire    Removed: enrollment, record and identities deleted, and no group lets it in. You may
            enroll it anew, by an individual enrollment.
  revoke    As retired, and never again until you lift the bans: on its registration ID, its
            certificate, its endorsement key; of a group also on the group's CA.

Examples:
  induct deprovision --rid press-17 --intent suspend --reason \"maintenance\"
  induct deprovision --file stolen.txt --intent revoke --reason \"stolen on 3 May\"
  induct deprovision --group line-4 --intent retire --dry-run
  induct deprovision --certificate line-4-ca.pem --intent revoke
  induct deprovision --where orphaned,older-than=90d --intent retire --yes
  induct deprovision --hub hub-1 --intent suspend \\
      --twin-query \"SELECT * FROM devices WHERE tags.site = 'north'\"
  induct deprovision --plan 0f8fad5b-d9cb-469f-a165-70867728950e --yes

Conditions of several kinds must all hold. First you see the plan: what is touched on which hub,
which sessions end, and who would still get in by which entry. Nothing happens before you say yes,
at the terminal or by --yes; a plan can be applied for a day. A group alone, or a certificate alone,
is meant as a whole: the group is disabled or deleted, on revoke the CA is banned.

What is begun is finished, also when this command is interrupted or the server starts anew in
between. Doing it twice changes nothing; of a group that is suspended as a whole already it leaves
another receipt. The receipt says what became of each device, and how soon its last session was
closed: `induct receipt show ID --devices`.

Exit codes: 0 done, 1 something failed, 2 used wrongly or not confirmed, 3 nothing selected.")]
pub struct Deprovision {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(flatten)]
    which: Which,
    /// What is to become of the devices.
    #[arg(long, value_enum, value_name = "INTENT", required_unless_present = "plan")]
    intent: Option<Intent>,
    /// Why, for whoever looks at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Apply a plan that was shown before, by its ID.
    #[arg(long, value_name = "ID", conflicts_with_all = ["intent", "reason"])]
    plan: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

/// Let suspended devices in again: exactly what their suspension did is undone.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct reinstate --receipt 0f8fad5b-d9cb-469f-a165-70867728950e
  induct reinstate --rid press-17 --rid press-18 --yes
  induct reinstate --group line-4

By a receipt, all that it suspended is undone, its group included; otherwise each device by the
receipt that its ban names. What somebody else wrote since stays as it is, and the receipt says so.

Exit codes: 0 done, 1 something failed, 2 used wrongly or not confirmed, 3 nothing selected.")]
pub struct Reinstate {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    #[command(flatten)]
    consent: Consent,
}

/// What is to become of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Intent {
    /// Off until reinstated.
    Suspend,
    /// Removed; may be enrolled anew.
    Retire,
    /// Removed, and never again until the bans are lifted.
    Revoke,
}

#[derive(Debug, Clone, Copy, Args)]
struct Consent {
    /// Do it without asking.
    #[arg(long, short = 'y', conflicts_with = "dry_run")]
    yes: bool,
    /// Only make the plan.
    #[arg(long)]
    dry_run: bool,
}

impl Consent {
    const fn how(self) -> How {
        match (self.dry_run, self.yes) {
            (true, _) => How::PlanOnly,
            (false, true) => How::AtOnce,
            (false, false) => How::IfConfirmed,
        }
    }
}

impl Intent {
    const fn word(self) -> &'static str {
        match self {
            Self::Suspend => "suspend",
            Self::Retire => "retire",
            Self::Revoke => "revoke",
        }
    }
}

impl Deprovision {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, what the service answered, or that something failed.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, which, intent, reason, plan, consent } = self;
        if plan.is_some() && !which.is_empty() {
            let text = "--plan names a plan, which has its devices already; select none beside it.";
            return Err(Failure::Usage(text.to_owned()));
        }
        target.follow(context, async |api, context| {
            let start = match (plan, intent) {
                (Some(id), _) => Start::Known(id),
                (None, intent) => {
                    let word = intent.map_or("", Intent::word);
                    Start::New(draft(api, which, word, reason).await?)
                }
            };
            carry_out(api, context, start, consent.how()).await
        })
    }
}

impl Reinstate {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, what the service answered, or that something failed.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, which, reason, consent } = self;
        target.follow(context, async |api, context| {
            let start = Start::New(draft(api, which, "reinstate", reason).await?);
            carry_out(api, context, start, consent.how()).await
        })
    }
}

/// What the service is asked for.
async fn draft(
    api: &Api,
    which: Which,
    intent: &str,
    reason: Option<String>,
) -> Result<Json, Complaint> {
    let mut draft = Json::empty_object();
    draft.set("select", which.document(api).await?);
    draft.set("intent", Json::from(intent));
    if let Some(reason) = reason {
        draft.set("reason", Json::String(reason));
    }
    Ok(draft)
}
