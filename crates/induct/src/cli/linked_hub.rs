//! `induct linked-hub …`: the hubs that devices can be assigned to (O §3.4, §4.1).

use clap::{ArgGroup, Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path, with_options},
    complaint::Complaint,
    enrollment::Etag,
    input::switch,
    target::ServiceTarget,
};

/// Manage linked hubs: where devices can be assigned.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct linked-hub list -o table
  induct linked-hub create --hub-name hub-2.example.com           One that is built in.
  induct linked-hub create --connection-string \"HostName=…\"      One elsewhere.
  induct linked-hub probe --linked-hub plant.example.com          Does our key still fit?
  induct linked-hub update --linked-hub hub-2.example.com --allocation-weight 10

Hubs from `[[hubs]]` in the configuration are changed there.")]
pub struct LinkedHub {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(subcommand)]
    command: HubCommand,
}

/// What to do with linked hubs.
#[derive(Debug, Subcommand)]
enum HubCommand {
    /// List linked hubs; keys are masked.
    List,
    /// Show a linked hub; its key is masked.
    #[command(after_help = "Example:
  induct linked-hub show --linked-hub plant.example.com")]
    Show(Name),
    /// Link a hub: a new built-in one, or one elsewhere by its connection string.
    #[command(after_help = "Examples:
  induct linked-hub create --hub-name hub-2.example.com
  induct linked-hub create --allocation-weight 5 --connection-string \\
      \"HostName=plant.example.com;SharedAccessKeyName=iothubowner;SharedAccessKey=…\"

A connection string needs the rights RegistryWrite and ServiceConnect. It stands in your shell's
history; `--connection-string @FILE` reads it from a file.")]
    Create(Create),
    /// Change a linked hub; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct linked-hub update --linked-hub plant.example.com --apply-allocation-policy false
  induct linked-hub update --linked-hub plant.example.com --connection-string @new-key.txt")]
    Update(Change),
    /// Unlink a hub. Registrations of enrollments that still name it fail from now on.
    #[command(after_help = "Example:
  induct linked-hub delete --linked-hub plant.example.com

The registry of a built-in hub stays in the store and is there again when the hub is linked again.
Devices that it holds make this ask for --force.")]
    Delete(Delete),
    /// Ask a remote hub whether our credentials still have the rights that provisioning needs.
    #[command(after_help = "Example:
  induct linked-hub probe --linked-hub plant.example.com

Ends with 1 when devices assigned there would not get through.")]
    Probe(Name),
}

/// `--linked-hub`
#[derive(Debug, Args)]
struct Name {
    /// The hub's host name.
    #[arg(long = "linked-hub", visible_alias = "lh", value_name = "HOST",
          value_parser = NonEmptyStringValueParser::new())]
    linked_hub: String,
}

/// How a hub takes part in allocation.
#[derive(Debug, Args)]
struct Allocation {
    /// Whether enrollments that name no hubs may choose it [default: true].
    #[arg(long, visible_alias = "aap", value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true")]
    apply_allocation_policy: Option<bool>,
    /// Its share of hashed allocation, 0 to 1000 [default: 1].
    #[arg(long, visible_alias = "weight", value_name = "N",
          value_parser = clap::value_parser!(u32).range(0..=1000))]
    allocation_weight: Option<u32>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["hub_name", "connection_string"]))]
struct Create {
    /// The host name of a new built-in hub.
    #[arg(long, visible_alias = "hn", value_name = "HOST",
          value_parser = NonEmptyStringValueParser::new())]
    hub_name: Option<String>,
    /// The connection string of a hub elsewhere, or @FILE.
    #[arg(long, visible_alias = "cs", value_name = "TEXT",
          value_parser = NonEmptyStringValueParser::new())]
    connection_string: Option<String>,
    #[command(flatten)]
    allocation: Allocation,
    /// Accepted as in the vendor's tutorials and not needed: there are no resource groups here.
    #[arg(long, visible_alias = "hrg", value_name = "NAME", hide = true)]
    hub_resource_group: Option<String>,
}

#[derive(Debug, Args)]
struct Change {
    #[command(flatten)]
    name: Name,
    /// The new connection string, or @FILE; a key of **** means the one that is stored.
    #[arg(long, visible_alias = "cs", value_name = "TEXT",
          value_parser = NonEmptyStringValueParser::new())]
    connection_string: Option<String>,
    #[command(flatten)]
    allocation: Allocation,
    #[command(flatten)]
    etag: Etag,
}

#[derive(Debug, Args)]
struct Delete {
    #[command(flatten)]
    name: Name,
    /// Also when devices are in its registry.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    etag: Etag,
}

/// The path of linked hubs.
const HUBS: &str = "linked-hubs";

impl LinkedHub {
    /// Does it, over the operator API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| command.ask(api).await)
    }
}

impl HubCommand {
    async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let json = match self {
            Self::List => api.get(&own_path([HUBS])).await?,
            Self::Show(name) => api.get(&own_path([HUBS, &name.linked_hub])).await?,
            Self::Create(create) => create.ask(api).await?,
            Self::Update(change) => change.ask(api).await?,
            Self::Delete(delete) => {
                delete.ask(api).await?;
                return Ok(None);
            }
            Self::Probe(name) => return probe(api, &name.linked_hub).await.map(Some),
        };
        Ok(Some(Answer::new(json, Sheet::LinkedHubs)))
    }
}

impl Allocation {
    fn write(&self, document: &mut Json) {
        if let Some(apply) = self.apply_allocation_policy {
            document.set("applyAllocationPolicy", Json::from(apply));
        }
        if let Some(weight) = self.allocation_weight {
            document.set("allocationWeight", Json::from(u64::from(weight)));
        }
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let mut document = Json::empty_object();
        let name = match (&self.hub_name, &self.connection_string) {
            (Some(name), _) => {
                document.set("builtIn", Json::from(true));
                name.clone()
            }
            (None, given) => {
                let text = connection_string(given.as_deref().unwrap_or_default())?;
                let name = host_name(&text)?;
                document.set("connectionString", Json::from(text.as_str()));
                name
            }
        };
        self.allocation.write(&mut document);
        let hub = api.put(&own_path([HUBS, &name]), None, &document).await?;
        if self.hub_name.is_some() {
            api.note(format!(
                "Clients reach {name} at the addresses of this server; its name must lead there. \
                 A certificate of Induct's own CA has the name within a second."
            ));
        }
        Ok(hub)
    }
}

impl Change {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let mut document = Json::empty_object();
        if let Some(given) = &self.connection_string {
            let text = connection_string(given)?;
            document.set("connectionString", Json::from(text.as_str()));
        }
        self.allocation.write(&mut document);
        if document.is_empty_object() {
            return Err(Complaint::misuse("There is nothing to change.").with_remedy(
                "Name --connection-string, --apply-allocation-policy or --allocation-weight.",
            ));
        }
        api.put(&own_path([HUBS, &self.name.linked_hub]), Some(&self.etag.etag), &document).await
    }
}

impl Delete {
    /// Says what the hub leaves behind.
    async fn ask(self, api: &Api) -> Result<(), Complaint> {
        let path = own_path([HUBS, &self.name.linked_hub]);
        let path = with_options(&path, &[("force", self.force.then_some("true"))]);
        let Some(told) = api.delete_and_hear(&path, &self.etag.etag).await? else { return Ok(()) };
        let count = |name: &str| match told.get(name) {
            Some(Json::Number(digits)) if digits.as_ref() != "0" => Some(digits.to_string()),
            _ => None,
        };
        if let Some(n) = count("devices") {
            api.note(format!(
                "WARNING: Its registry holds {n} devices. It is kept, and nobody reaches it."
            ));
        }
        for (member, what) in
            [("individualEnrollments", "individual enrollments"), ("enrollmentGroups", "groups")]
        {
            if let Some(n) = count(member) {
                api.note(format!(
                    "WARNING: {n} {what} still name it; their devices are refused where they name \
                     no other."
                ));
            }
        }
        Ok(())
    }
}

async fn probe(api: &Api, name: &str) -> Result<Answer, Complaint> {
    let health = api.post(&own_path([HUBS, name, "probe"]), None).await?;
    let text = |member: &str| health.get(member).and_then(Json::as_str).map(str::to_owned);
    let said = text("message").unwrap_or_default();
    match text("status").as_deref() {
        Some("unauthorized") => {
            Err(Complaint::new(format!("{name} refuses our credentials: {said}")).with_remedy(
                "`induct linked-hub update --connection-string …` gives it others, with the \
                 rights RegistryWrite and ServiceConnect.",
            ))
        }
        Some("unreachable") => Err(Complaint::new(format!("{name} cannot be reached: {said}"))
            .with_remedy("Devices that are assigned to it wait, and are retried.")),
        _ => Ok(Answer::new(health, Sheet::Plain)),
    }
}

/// The text, or what `@FILE` holds: what stands in a command line stands in the shell's history.
fn connection_string(given: &str) -> Result<String, Complaint> {
    match given.strip_prefix('@') {
        None => Ok(given.to_owned()),
        Some(path) => super::input::text("--connection-string", path.as_ref()),
    }
}

/// The host of a connection string, without port.
fn host_name(text: &str) -> Result<String, Complaint> {
    let parts = text.split(';').filter_map(|part| part.split_once('='));
    let host = parts
        .into_iter()
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case("HostName").then_some(value));
    match host.map(|host| host.split(':').next().unwrap_or(host).trim()) {
        Some(host) if !host.is_empty() => Ok(host.to_owned()),
        _ => Err(Complaint::new("--connection-string has no HostName.")
            .with_remedy("It looks like HostName=…;SharedAccessKeyName=…;SharedAccessKey=… .")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_names_its_hub_without_port() {
        let check = |text: &str, expected: Result<&str, ()>| {
            assert_eq!(host_name(text).map_err(|_| ()), expected.map(str::to_owned), "{text}");
        };
        check("HostName=a.example.com;SharedAccessKey=x=", Ok("a.example.com"));
        check("SharedAccessKey=x; hostname=a.b:8443", Ok("a.b"));
        check("HostName=;x=y", Err(()));
        check("a.example.com", Err(()));
    }
}
