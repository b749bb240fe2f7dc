//! `induct enrollment-group …`: enrollment groups (O §4.2, §4.3).

mod settings;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::{Json, SymmetricKey};

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, Top, own_path, path},
    complaint::Complaint,
    enrollment::{
        Etag, ShowKeys,
        attestation::{self, AuthorityNames, Credentials, Removals, TpmKeys, Update},
        attestation_type, everything,
        fields::SharedFields,
        is_symmetric, read_for_update, show_one,
    },
    registration::{GroupRegistration, WithRecords},
    simulate_change::foresee::{self, Foreseen},
    target::ServiceTarget,
};

/// Manage enrollment groups: what you promise about a family of devices.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct enrollment-group create --gid line-4 --cp intermediate.pem
  induct enrollment-group create --gid line-5                      Symmetric keys, made for you.
  induct enrollment-group compute-device-key --gid line-5 --rid press-17
  induct enrollment-group update --gid line-4 --ps disabled        Refuse the whole line.
  induct enrollment-group registration list --gid line-4 -o table

Deleting a group leaves its registration records behind, unless it is told --with-records; what was
left behind is found with `induct registration orphans`.")]
pub struct EnrollmentGroup {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: GroupCommand,
}

/// What to do with enrollment groups.
#[derive(Debug, Subcommand)]
enum GroupCommand {
    /// Enroll a family of devices.
    #[command(after_help = "Examples:
  induct enrollment-group create --gid line-4 --cp intermediate.pem --scp intermediate-next.pem
  induct enrollment-group create --gid line-5 --pk BASE64KEY --sk BASE64KEY
  induct enrollment-group create --gid line-6 --cp ca.pem --ap hashed \\
      --ih hub-1.localhost hub-2.localhost --props '{\"interval\": 60}'

Devices attest by certificate when a certificate is named, else by keys derived from the group's.")]
    Create(Box<Create>),
    /// Change a group; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct enrollment-group update --gid line-4 --ps disabled
  induct enrollment-group update --gid line-4 --scp intermediate-next.pem
  induct enrollment-group update --gid line-4 --rc                 Drop the old primary.")]
    Update(Box<Change>),
    /// List enrollment groups.
    #[command(after_help = "Examples:
  induct enrollment-group list
  induct enrollment-group list --top 20 -o table")]
    List(List),
    /// Show a group.
    #[command(after_help = "Examples:
  induct enrollment-group show --gid line-4
  induct enrollment-group show --gid line-5 --show-keys")]
    Show(Show),
    /// Delete a group. Its registration records stay, and count, unless they are to go too.
    #[command(after_help = "Examples:
  induct enrollment-group delete --gid line-4
  induct enrollment-group delete --gid line-4 --with-records --dry-run
  induct enrollment-group delete --gid line-4 --with-records

The devices' identities stay on their hubs either way.")]
    Delete(Delete),
    /// What is set on a group beside what the vendor's tool knows: an extension of Induct.
    #[command(subcommand)]
    Settings(settings::Settings),
    /// Compute a device's key from a group's: what the device registers with.
    #[command(after_help = "Examples:
  induct enrollment-group compute-device-key --gid line-5 --rid press-17
  induct enrollment-group compute-device-key --key BASE64KEY --rid press-17
      With the group's key at hand no server is asked.")]
    ComputeDeviceKey(ComputeDeviceKey),
    /// Registration records of a group's devices.
    #[command(subcommand)]
    Registration(GroupRegistration),
}

/// `--group-id`
#[derive(Debug, Args)]
pub(super) struct GroupId {
    /// The group's name.
    #[arg(long = "group-id", visible_aliases = ["gid", "enrollment-id", "eid"], value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    pub(super) group_id: String,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    names: AuthorityNames,
    #[command(flatten)]
    shared: SharedFields,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    credentials: Credentials,
    #[command(flatten)]
    names: AuthorityNames,
    #[command(flatten)]
    removals: Removals,
    #[command(flatten)]
    shared: SharedFields,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    top: Top,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    keys: ShowKeys,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    id: GroupId,
    #[command(flatten)]
    with: WithRecords,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct ComputeDeviceKey {
    /// The registration ID the device registers under, spelled as the device spells it.
    #[arg(long = "registration-id", visible_alias = "rid", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    registration_id: String,
    /// The group's key, base64; no server is asked then.
    #[arg(long = "key", visible_alias = "symmetric-key", value_name = "KEY")]
    key: Option<String>,
    /// The group's name; its primary key is fetched from the server.
    #[arg(long = "group-id", visible_aliases = ["gid", "enrollment-id", "eid"], value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    group_id: Option<String>,
}

/// The path of enrollment groups.
const GROUPS: &str = "enrollmentGroups";

impl EnrollmentGroup {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        match command {
            GroupCommand::ComputeDeviceKey(ComputeDeviceKey {
                registration_id,
                key: Some(key),
                group_id: _,
            }) => target.offline(context, derive(&key, &registration_id)?),
            command => {
                let foreseen = command.foreseen();
                target.run_warned(
                    context,
                    async |api| foresee::warnings(api, foreseen).await,
                    async |api| command.ask(api).await,
                )
            }
        }
    }
}

impl GroupCommand {
    /// The change that is worth a warning, if it is one.
    fn foreseen(&self) -> Option<Foreseen> {
        match self {
            Self::Delete(delete) => Some(Foreseen::DeleteGroup(delete.id.group_id.clone())),
            Self::Update(change) if change.shared.disables() => {
                Some(Foreseen::DisableGroup(change.id.group_id.clone()))
            }
            _ => None,
        }
    }

    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let one = |json| Some(Answer::new(json, Sheet::Groups));
        Ok(match self {
            Self::Create(create) => one(create.ask(api).await?),
            Self::Update(change) => one(change.ask(api).await?),
            Self::List(list) => {
                one(api.list(&path([GROUPS, "query"]), Some(&everything()), list.top).await?)
            }
            Self::Show(show) => {
                let path = path([GROUPS, &show.id.group_id]);
                one(show_one(api, &path, show.keys.show_keys).await?)
            }
            Self::Delete(delete) => delete.ask(api).await?,
            Self::Settings(settings) => Some(settings.ask(api).await?),
            Self::ComputeDeviceKey(compute) => Some(compute.ask(api).await?),
            Self::Registration(registration) => registration.ask(api).await?,
        })
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let id = &self.id.group_id;
        let mut document = Json::empty_object();
        document.set("enrollmentGroupId", Json::from(id.as_str()));
        document.set("attestation", attestation::new_group(&self.credentials, &self.names)?);
        self.shared.write_new(&mut document)?;
        api.put(&path([GROUPS, id]), None, &document).await
    }
}

impl Change {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = path([GROUPS, &self.id.group_id]);
        let update = Update {
            credentials: &self.credentials,
            removals: &self.removals,
            tpm: &TpmKeys::default(),
            names: &self.names,
        };
        let mut document = read_for_update(api, &path, &update, "signingCertificates").await?;
        self.shared.write_changes(&mut document)?;
        api.put(&path, Some(&self.etag.etag), &document).await
    }
}

impl Delete {
    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let (id, etag) = (&self.id.group_id, &self.etag.etag);
        if self.with.is_plain() {
            api.delete(&path([GROUPS, id]), Some(etag)).await?;
            return Ok(None);
        }
        self.with.delete(api, &own_path([GROUPS, id]), id, etag).await.map(Some)
    }
}

impl ComputeDeviceKey {
    /// Fetches the group's primary key and derives from it.
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let Some(group_id) = &self.group_id else {
            return Err(Complaint::misuse(
                "Please provide the enrollment group [--group-id] or its key [--key].",
            ));
        };
        let path = path([GROUPS, group_id]);
        let group = api.get(&path).await?;
        let kind = attestation_type(&group);
        if !is_symmetric(kind) {
            return Err(Complaint::new(format!(
                "Requested enrollment group has an attestation type of '{kind}'. Currently, \
                 compute-device-key is only supported for enrollment groups with symmetric key \
                 attestation type."
            )));
        }
        let attestation = api.post(&format!("{path}/attestationmechanism"), None).await?;
        let key = attestation
            .get("symmetricKey")
            .and_then(|keys| keys.get("primaryKey"))
            .and_then(Json::as_str)
            .ok_or_else(|| Complaint::new("The service did not show the group's primary key."))?;
        derive(key, &self.registration_id)
    }
}

/// A device's key: base64(HMAC-SHA256(group key, registration ID)) (D §0.6).
fn derive(group_key: &str, registration_id: &str) -> Result<Answer, Complaint> {
    let key = SymmetricKey::parse(group_key).map_err(|bad| {
        Complaint::new(format!("The group's key is not one: {bad}"))
            .with_remedy("`induct enrollment-group show --gid ID --show-keys` prints it.")
    })?;
    let derived = attest::sas::derive(&key, registration_id);
    Ok(Answer::new(Json::from(derived.reveal()), Sheet::Plain))
}
