//! `induct policy …`: shared access policies of the provisioning service (O §3.3, §4.1).

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path, with_options},
    complaint::Complaint,
    document::members,
    enrollment::{Etag, ShowKeys},
    target::ServiceTarget,
};

/// Manage shared access policies: who may manage the service, and what they may do.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct policy list -o table
  induct policy create --pn ci --rights EnrollmentRead RegistrationStatusRead
  induct policy show --pn ci --show-keys
  induct policy update --pn ci --secondary-key \"\"       Rotate a key; tools use the other one.
  induct policy list --hub hub-1.localhost              Those of a built-in hub.

The rights are ServiceConfig, EnrollmentRead, EnrollmentWrite, RegistrationStatusRead,
RegistrationStatusWrite and DeviceConnect. EnrollmentWrite contains EnrollmentRead and both of
RegistrationStatus. At least one policy with ServiceConfig and EnrollmentWrite always remains.")]
pub struct Policy {
    #[command(flatten)]
    target: ServiceTarget,
    /// The policies of this built-in hub instead, by host name.
    #[arg(long, global = true, value_name = "HOST")]
    hub: Option<String>,
    #[command(subcommand)]
    command: PolicyCommand,
}

/// What to do with policies.
#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// List policies, without their keys.
    List,
    /// Show a policy.
    #[command(after_help = "Examples:
  induct policy show --pn provisioningserviceowner
  induct policy show --pn ci --show-keys")]
    Show(Show),
    /// Make a policy, with random keys unless you bring your own.
    #[command(after_help = "Example:
  induct policy create --pn ci --rights EnrollmentRead RegistrationStatusRead")]
    Create(Create),
    /// Change a policy; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct policy update --pn ci --rights EnrollmentWrite
  induct policy update --pn ci --primary-key \"\"         A new random key.
  induct policy update --pn ci --primary-key BASE64KEY")]
    Update(Change),
    /// Delete a policy: its keys open nothing from now on.
    #[command(after_help = "Example:
  induct policy delete --pn ci")]
    Delete(Delete),
}

/// `--policy-name`
#[derive(Debug, Args)]
struct Name {
    /// The policy's name; upper and lower case differ.
    #[arg(long = "policy-name", visible_aliases = ["pn", "access-policy-name"], value_name = "NAME",
          value_parser = NonEmptyStringValueParser::new())]
    policy_name: String,
}

#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    keys: ShowKeys,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    name: Name,
    /// What it allows, separated by spaces.
    #[arg(short, long, value_name = "RIGHT", num_args = 1.., required = true)]
    rights: Vec<String>,
    /// The primary key, base64 [default: a random one].
    #[arg(long, value_name = "KEY")]
    primary_key: Option<String>,
    /// The secondary key, base64 [default: a random one].
    #[arg(long, value_name = "KEY")]
    secondary_key: Option<String>,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    name: Name,
    /// What it allows from now on, separated by spaces.
    #[arg(short, long, value_name = "RIGHT", num_args = 1..)]
    rights: Option<Vec<String>>,
    /// The primary key, base64; \"\" for a new random one.
    #[arg(long, value_name = "KEY")]
    primary_key: Option<String>,
    /// The secondary key, base64; \"\" for a new random one.
    #[arg(long, value_name = "KEY")]
    secondary_key: Option<String>,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    name: Name,
    #[command(flatten)]
    etag: Etag,
}

/// Whose policies.
#[derive(Debug, Clone, Copy)]
struct Policies<'a> {
    hub: Option<&'a str>,
}

impl Policies<'_> {
    fn path<'s>(self, rest: impl IntoIterator<Item = &'s str>) -> String {
        let path = own_path(["policies"].into_iter().chain(rest));
        with_options(&path, &[("hub", self.hub)])
    }
}

impl Policy {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, hub, command } = self;
        let policies = Policies { hub: hub.as_deref() };
        target.run(context, async |api| command.ask(api, policies).await)
    }
}

impl PolicyCommand {
    async fn ask(self, api: &Api, policies: Policies<'_>) -> Result<Option<Answer>, Complaint> {
        let json = match self {
            Self::List => api.get(&policies.path([])).await?,
            Self::Show(show) => show.ask(api, policies).await?,
            Self::Create(create) => create.ask(api, policies).await?,
            Self::Update(change) => change.ask(api, policies).await?,
            Self::Delete(delete) => {
                let path = policies.path([delete.name.policy_name.as_str()]);
                api.delete(&path, Some(&delete.etag.etag)).await?;
                return Ok(None);
            }
        };
        Ok(Some(Answer::new(json, Sheet::Policies)))
    }
}

impl Show {
    async fn ask(self, api: &Api, policies: Policies<'_>) -> Result<Json, Complaint> {
        let name = self.name.policy_name.as_str();
        match self.keys.show_keys {
            true => api.post(&policies.path([name, "listkeys"]), None).await,
            false => api.get(&policies.path([name])).await,
        }
    }
}

impl Create {
    async fn ask(self, api: &Api, policies: Policies<'_>) -> Result<Json, Complaint> {
        let mut document = members([("rights", Json::from(self.rights.join(", ").as_str()))]);
        let keys = [("primaryKey", &self.primary_key), ("secondaryKey", &self.secondary_key)];
        for (member, key) in keys {
            if let Some(key) = key.as_deref().filter(|key| !key.is_empty()) {
                document.set(member, Json::from(key));
            }
        }
        api.put(&policies.path([self.name.policy_name.as_str()]), None, &document).await
    }
}

impl Change {
    /// Rights are replaced first, then the keys, each in a step of its own: a policy whose update
    /// stops half-way has old keys, and its holders can still come in.
    async fn ask(self, api: &Api, policies: Policies<'_>) -> Result<Json, Complaint> {
        let name = self.name.policy_name.as_str();
        let path = policies.path([name]);
        let mut etag = self.etag.etag;
        let mut answer = None;
        if let Some(rights) = self.rights {
            let document = members([("rights", Json::from(rights.join(", ").as_str()))]);
            let written = api.put(&path, Some(&etag), &document).await?;
            answer = Some(put_down(&mut etag, written));
        }
        for (which, key) in [("primary", self.primary_key), ("secondary", self.secondary_key)] {
            let Some(key) = key else { continue };
            let mut document = members([("key", Json::from(which))]);
            if !key.is_empty() {
                document.set("value", Json::from(key.as_str()));
            }
            let path = policies.path([name, "rotate"]);
            let rotated = api.post_to(&path, &etag, Some(&document)).await?;
            answer = Some(put_down(&mut etag, rotated));
        }
        answer.ok_or_else(|| {
            Complaint::misuse("There is nothing to change.")
                .with_remedy("Name --rights, --primary-key or --secondary-key.")
        })
    }
}

/// Each step makes a new etag, which the next one needs; `*` stays what it is. Keys are not shown
/// where nobody asked for them.
fn put_down(etag: &mut String, mut policy: Json) -> Json {
    if etag != "*"
        && let Some(new) = policy.get("etag").and_then(Json::as_str)
    {
        *etag = new.to_owned();
    }
    policy.remove("primaryKey");
    policy.remove("secondaryKey");
    policy
}
