//! `induct simulate-change …`: what a change would mean for the devices that are known; and the
//! warnings before changes that mean something else than they seem to.

pub(super) mod foresee;
mod words;

use std::time::Duration;

use clap::{Args, Subcommand};
use model::{Json, SimulationLimits};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path},
    ban::Whom,
    certificate::Upload,
    complaint::Complaint,
    document::members,
    input,
    target::ServiceTarget,
};

/// How much longer than the server may take an answer is waited for.
const GRACE: Duration = Duration::from_secs(30);

/// Say what a change would mean for the devices that are known, and change nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct simulate-change enrollment-group delete line-4 -o table
  induct simulate-change enrollment disable press-17
  induct simulate-change enrollment-group put line-4.json
  induct simulate-change certificate put plant-ca --path renewed.pem --verified
  induct simulate-change certificate delete plant-ca
  induct simulate-change ban add --certificate line-4-ca.pem
  induct simulate-change ban lift registration:press-17

Each known device, which is one with a registration record, is asked about as if it registered
before the change and after it, with what it proved itself with last time. What comes of it:

  loses    It is admitted now, and no longer then.
  gains    It is not admitted now, and is then.
  moves    It comes back through another entry. So does a device whose enrollment or group is
           deleted where another group admits it too; disabling keeps it out.
  unknown  Nobody can tell: `notKept`, it registered before Induct kept what devices show;
           `noKey`, its key is kept nowhere any more; `unreadable`, what it showed is beyond the
           limits that hold now.

Nothing is written, and no line comes into the audit log.")]
pub struct SimulateChange {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(flatten)]
    extent: Extent,
    #[command(subcommand)]
    command: ChangeCommand,
}

/// How far to go.
#[derive(Debug, Clone, Copy, Args)]
struct Extent {
    /// How many devices to look at, at most 1000000; those that rest on what changes come first.
    #[arg(long, global = true, value_name = "N", default_value_t = 100_000,
          value_parser = clap::value_parser!(u64).range(1..=SimulationLimits::MOST_DEVICES))]
    max_devices: u64,
    /// How many seconds to look at devices, at most 60.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=60))]
    max_seconds: u64,
    /// How many devices to name, at most 1000.
    #[arg(long, global = true, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u64).range(0..=1000))]
    show: u64,
}

/// The change.
#[derive(Debug, Subcommand)]
enum ChangeCommand {
    /// Of an individual enrollment.
    #[command(
        subcommand,
        after_help = "Examples:
  induct simulate-change enrollment delete press-17
  induct simulate-change enrollment put press-17.json"
    )]
    Enrollment(EntryChange),
    /// Of an enrollment group, of TPMs or not.
    #[command(
        subcommand,
        after_help = "Examples:
  induct simulate-change enrollment-group disable line-4
  induct simulate-change enrollment-group delete line-4 -o table
  induct enrollment-group show --gid line-4 > line-4.json
      Edit it, then:
  induct simulate-change enrollment-group put line-4.json"
    )]
    EnrollmentGroup(EntryChange),
    /// Of a CA certificate.
    #[command(
        subcommand,
        after_help = "Examples:
  induct simulate-change certificate put plant-ca --path renewed.pem --verified
  induct simulate-change certificate delete plant-ca"
    )]
    Certificate(CertificateChange),
    /// Of a ban.
    #[command(
        subcommand,
        after_help = "Examples:
  induct simulate-change ban add --rid press-17
  induct simulate-change ban lift registration:press-17"
    )]
    Ban(BanChange),
}

/// What becomes of an enrollment or a group.
#[derive(Debug, Subcommand)]
enum EntryChange {
    /// It is disabled.
    Disable(Id),
    /// It is enabled.
    Enable(Id),
    /// It is deleted.
    Delete(Id),
    /// It is written as this document has it, whether it is there or not.
    Put(Document),
}

/// What becomes of a CA certificate.
#[derive(Debug, Subcommand)]
enum CertificateChange {
    /// It is deleted.
    Delete(Name),
    /// This certificate takes its place, or comes anew.
    Put(PutCertificate),
}

/// What becomes of a ban.
#[derive(Debug, Subcommand)]
enum BanChange {
    /// It is set.
    Add(Box<Whom>),
    /// It is lifted.
    Lift(Name),
}

#[derive(Debug, Args)]
struct Id {
    /// The registration ID, or the group's name.
    #[arg(value_name = "ID")]
    id: String,
}

#[derive(Debug, Args)]
struct Document {
    /// The whole document, as `show` prints it: a file, or JSON. Symmetric keys that it leaves out
    /// stay as they are.
    #[arg(value_name = "FILE")]
    file: String,
}

#[derive(Debug, Args)]
struct PutCertificate {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    upload: Upload,
}

#[derive(Debug, Args)]
struct Name {
    /// Its name, as the list shows it.
    #[arg(value_name = "NAME")]
    name: String,
}

impl SimulateChange {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, extent, command } = self;
        let is_table = context.is_table();
        target.run(context, async |api| {
            let told = ask(api, command.document()?, extent).await?;
            for note in words::remarks(&told) {
                api.note(note);
            }
            Ok(Some(match is_table {
                true => Answer::new(words::rows(&told), Sheet::Simulation),
                false => Answer::new(told, Sheet::Simulation),
            }))
        })
    }
}

async fn ask(api: &Api, mut change: Json, extent: Extent) -> Result<Json, Complaint> {
    change.set("maxDevices", Json::from(extent.max_devices));
    change.set("maxSecs", Json::from(extent.max_seconds));
    change.set("maxNamed", Json::from(extent.show));
    let limit = Duration::from_secs(extent.max_seconds) + GRACE;
    api.post_within(limit, &own_path(["simulate"]), &change).await
}

impl ChangeCommand {
    fn document(self) -> Result<Json, Complaint> {
        Ok(match self {
            Self::Enrollment(entry) => entry.document(|_| "enrollment")?,
            Self::EnrollmentGroup(entry) => entry.document(|group| match is_of_tpms(group) {
                true => "tpmEnrollmentGroup",
                false => "enrollmentGroup",
            })?,
            Self::Certificate(CertificateChange::Delete(name)) => {
                change("delete", "certificate", Json::from(name.name.as_str()))
            }
            Self::Certificate(CertificateChange::Put(PutCertificate { name, upload })) => {
                let mut document = upload.read()?;
                document.set("name", Json::from(name.name.as_str()));
                change("put", "certificate", document)
            }
            Self::Ban(BanChange::Add(whom)) => change("put", "ban", whom.document()?),
            Self::Ban(BanChange::Lift(name)) => {
                change("lift", "ban", Json::from(name.name.as_str()))
            }
        })
    }
}

impl EntryChange {
    /// As the server takes it, which calls what is named or put so.
    fn document(self, of: fn(&Json) -> &'static str) -> Result<Json, Complaint> {
        let (verb, what) = match self {
            Self::Disable(id) => ("disable", id.named()),
            Self::Enable(id) => ("enable", id.named()),
            Self::Delete(id) => ("delete", id.named()),
            Self::Put(put) => ("put", put.read()?),
        };
        let of = of(&what);
        Ok(change(verb, of, what))
    }
}

impl Id {
    fn named(&self) -> Json {
        Json::from(self.id.as_str())
    }
}

impl Document {
    fn read(&self) -> Result<Json, Complaint> {
        let empty = || Complaint::misuse("FILE is empty; name a file, or write JSON.");
        input::object("FILE", &self.file)?.ok_or_else(empty)
    }
}

/// Whether a group is one of TPMs, which the server calls otherwise.
fn is_of_tpms(group: &Json) -> bool {
    let kind = group.get("attestation").and_then(|attestation| attestation.get("type"));
    kind.and_then(Json::as_str) == Some("tpm")
}

/// A change as the server takes it.
fn change(verb: &str, of: &str, what: Json) -> Json {
    members([("change", Json::from(verb)), (of, what)])
}
