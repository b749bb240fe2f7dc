//! `induct ban …`: who is kept out, whatever an enrollment says.

use std::path::PathBuf;

use attest::tpm::EndorsementKey;
use clap::{ArgGroup, Args, Subcommand};
use model::{Json, ban::Thumbprint};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path, with_options},
    complaint::Complaint,
    input,
    target::ServiceTarget,
    tpm::key_file,
};

/// Keep devices out, whatever their enrollments say, until you lift the ban.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct ban add --registration-id press-17 --reason \"stolen on 3 May\"
  induct ban add --certificate leaf.pem             One certificate.
  induct ban add --certificate line-4-ca.pem        A CA, and with it all it issued.
  induct ban add --thumbprint 5F0C...                By SHA-1 or SHA-256; a known CA's bans the CA.
  induct ban add --serial-number 0A:1B --issuer line-4-ca.pem --expires 2030-01-01T00:00:00Z
  induct ban list -o table
  induct ban lift registration:press-17

A ban outranks every enrollment: deleting or changing enrollments does not undo it. When the
command returns, nobody whom the ban is about is admitted any more, and their sessions on built-in
hubs have ended. `induct deprovision` sets bans too, and removes the device everywhere. Adding a ban
needs the right EnrollmentWrite, lifting one ServiceConfig.")]
pub struct Ban {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: BanCommand,
}

/// What to do with bans.
#[derive(Debug, Subcommand)]
enum BanCommand {
    /// Keep somebody out. Again with other words, it changes the words; it never ends sooner by that.
    Add(Add),
    /// List bans, those that are over included.
    List(List),
    /// Show a ban.
    #[command(after_help = "Example:
  induct ban show registration:press-17")]
    Show(Name),
    /// Lift a ban: whom it was about is admitted again by whatever admits them.
    #[command(after_help = "Example:
  induct ban lift registration:press-17")]
    Lift(Lift),
}

#[derive(Debug, Args)]
struct Add {
    #[command(flatten)]
    whom: Whom,
    #[command(flatten)]
    dry: DryRun,
}

/// Whom a ban is to keep out, and for how long.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("subject").required(true)
    .args(["registration_id", "certificate", "thumbprint", "serial_number", "endorsement_key"])))]
pub(super) struct Whom {
    /// A device, by its registration ID.
    #[arg(long, visible_alias = "rid", value_name = "ID")]
    registration_id: Option<String>,
    /// A certificate: a .pem or .cer file. A CA's bans the CA, whichever of its certificates comes.
    #[arg(long, visible_alias = "cp", value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// A certificate by its thumbprint: SHA-1 or SHA-256 in hex.
    #[arg(long, value_name = "HEX")]
    thumbprint: Option<String>,
    /// A certificate by its serial number in hex, with --issuer.
    #[arg(long, value_name = "HEX", requires = "issuer")]
    serial_number: Option<String>,
    /// The issuer of --serial-number: its certificate's file, or the thumbprint of an enrolled one.
    #[arg(long, value_name = "FILE|HEX", requires = "serial_number",
          conflicts_with_all = ["registration_id", "certificate", "thumbprint", "endorsement_key"])]
    issuer: Option<String>,
    /// A TPM by its endorsement key: base64, or @FILE as tpm2-tools writes it.
    #[arg(long, visible_alias = "ek", value_name = "KEY")]
    endorsement_key: Option<String>,
    /// Why, for whoever looks at it later.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// When the ban is over by itself [default: never].
    #[arg(long, value_name = "TIME", value_parser = input::moment)]
    expires: Option<String>,
}

/// `--dry-run`
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct DryRun {
    /// Say what would come of it, and change nothing.
    #[arg(long)]
    pub(super) dry_run: bool,
}

impl DryRun {
    /// As the API's query has it.
    pub(super) fn option(self) -> (&'static str, Option<&'static str>) {
        ("dryRun", self.dry_run.then_some("true"))
    }
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Name {
    /// The ban's name, as `induct ban list` shows it.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Debug, Args)]
struct Lift {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    dry: DryRun,
}

impl Ban {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await)
    }
}

impl BanCommand {
    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let json = match self {
            Self::Add(add) => {
                let path = with_options(&own_path(["bans"]), &[add.dry.option()]);
                api.post(&path, Some(&add.whom.document()?)).await?
            }
            Self::List(list) => api.list_with(&own_path(["bans"]), &[], list.top).await?,
            Self::Show(name) => api.get(&own_path(["bans", &name.name])).await?,
            Self::Lift(lift) => {
                let path = own_path(["bans", &lift.name.name]);
                api.clear(&with_options(&path, &[lift.dry.option()])).await?
            }
        };
        Ok(Some(Answer::new(json, Sheet::Bans)))
    }
}

impl Whom {
    /// The ban as the server takes it.
    ///
    /// # Errors
    /// A file cannot be read, or is something else.
    pub(super) fn document(&self) -> Result<Json, Complaint> {
        let mut document = Json::empty_object();
        let mut set = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                document.set(name, Json::from(text));
            }
        };
        set("registrationId", self.registration_id.as_deref());
        set("thumbprint", self.thumbprint.as_deref());
        set("serialNumber", self.serial_number.as_deref());
        set("reason", self.reason.as_deref());
        set("expires", self.expires.as_deref());
        if let Some(path) = &self.certificate {
            document.set("certificate", input::certificate("--certificate", path)?);
        }
        if let Some(issuer) = &self.issuer {
            let issuer = match Thumbprint::parse(issuer) {
                Some(_) => Json::from(issuer.as_str()),
                None => input::certificate("--issuer", issuer.as_ref())?,
            };
            document.set("issuer", issuer);
        }
        if let Some(key) = &self.endorsement_key {
            document.set("endorsementKey", Json::from(endorsement_key(key)?.as_str()));
        }
        Ok(document)
    }
}

fn endorsement_key(given: &str) -> Result<String, Complaint> {
    let read = key_file::endorsement_key;
    key_file::given("--endorsement-key", given, read, EndorsementKey::bytes)
}
