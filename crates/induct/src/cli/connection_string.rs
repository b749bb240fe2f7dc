//! `induct connection-string show`

use app::first_start::{HUB_OWNER, SERVICE_OWNER};
use clap::{Args, Subcommand, ValueEnum};
use model::{AccessPolicy, HubName, PolicyScope};
use serde_json::{Value, json};
use wire::connection_string::ConnectionString as Text;

use super::{Context, Failure, Output, Place};
use crate::{
    client::authority,
    config::Config,
    data_folder::{DataFolder, ListeningHub},
    login::{open_read_only, pick_hub},
    wiring::built_in_hubs,
};

/// Print connection strings of the provisioning service or of a hub.
#[derive(Debug, Subcommand)]
pub enum ConnectionString {
    /// Print the connection string of a shared access policy, key included.
    Show(Show),
}

/// Print the connection string of a shared access policy, key included.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct connection-string show                          For the provisioning service.
  induct connection-string show --hub hub-1              For a hub.
  induct connection-string show --pn service --hub hub-1 --kt secondary
  induct connection-string show --all -o table           Every policy of the service.

It reads the data folder on this machine, whether or not a server runs. The answer holds a key:
whoever has it can do what its policy allows.")]
pub struct Show {
    /// The hub, by name or host name; without it, the provisioning service.
    #[arg(long, visible_alias = "hub-name", alias = "hn", value_name = "NAME")]
    hub: Option<String>,
    /// The policy [default: provisioningserviceowner, or iothubowner of a hub].
    #[arg(long, visible_alias = "pn", value_name = "POLICY")]
    policy_name: Option<String>,
    /// Which of the policy's two keys.
    #[arg(long, visible_alias = "kt", value_enum, default_value_t, value_name = "KEY")]
    key_type: KeyType,
    /// Print those of all policies.
    #[arg(long, visible_alias = "all", conflicts_with = "policy_name")]
    show_all: bool,
    /// Accepted as in the vendor's tutorials; the data folder says which service is meant.
    #[arg(short = 'n', long, value_name = "NAME", hide = true)]
    dps_name: Option<String>,
    /// Accepted as in the vendor's tutorials; there are no resource groups here.
    #[arg(short = 'g', long, value_name = "NAME", hide = true)]
    resource_group: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// Which of a policy's two keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum KeyType {
    /// The first.
    #[default]
    Primary,
    /// The second.
    Secondary,
}

impl ConnectionString {
    /// Prints.
    ///
    /// # Errors
    /// There is no such hub or policy, or no data yet.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self::Show(show) = self;
        let config = context.load_config(&show.place)?;
        let for_people = context.global.output == Some(Output::Table);
        let names = Names::find(&config, &DataFolder::new(&config.data_folder))?;
        let answer = context.block_on(show.find(&config, &names, for_people))?;
        if names.port != 443 {
            context.note(&format!(
                "Port {} is for this command line and your own clients. The vendor's SDKs call \
                 port 443 and nothing else; see “With the vendor's SDKs” in the README.",
                names.port
            ));
        }
        Ok(context.printer().print(&answer)?)
    }
}

impl Show {
    async fn find(
        &self,
        config: &Config,
        names: &Names,
        for_people: bool,
    ) -> Result<Value, Failure> {
        let port = names.port;
        let store = open_read_only(config)?;
        let (host, scope, default_policy) = match &self.hub {
            None => {
                let host = names.service_hosts.first().cloned().unwrap_or_default();
                (host, PolicyScope::Service, SERVICE_OWNER)
            }
            Some(wanted) => {
                let hubs = match &names.hubs {
                    Some(hubs) => hubs.clone(),
                    None => built_in_hubs(config, &store.service_facts().await?.hubs),
                };
                let names = hubs.iter().map(|hub| (hub.name.as_str(), hub.host.as_str()));
                let host = pick_hub(names, Some(wanted))?;
                let scope = PolicyScope::Hub(HubName::parse(&host)?);
                (host, scope, HUB_OWNER)
            }
        };
        let host_name = authority(&host, port);
        let policies = store.list_policies(&scope).await?;
        if self.show_all {
            let all: Vec<String> =
                policies.into_iter().map(|policy| self.text(&host_name, policy)).collect();
            // A list inside of an object, as the vendor's tool prints it, makes no table.
            return Ok(if for_people {
                all.into_iter().map(|text| json!({ "connectionString": text })).collect()
            } else {
                json!({ "connectionString": all })
            });
        }
        let wanted = self.policy_name.as_deref().unwrap_or(default_policy);
        let names: Vec<String> = policies.iter().map(|policy| policy.name.clone()).collect();
        let policy =
            policies.into_iter().find(|policy| policy.name == wanted).ok_or_else(|| {
                Failure::NotFound(match names.as_slice() {
                    [] => format!(
                        "{host} has no policies yet; the next start of `induct serve` makes them."
                    ),
                    names => format!(
                        "No policy found with name {wanted} for {host}; there are {}.",
                        names.join(", ")
                    ),
                })
            })?;
        Ok(json!({ "connectionString": self.text(&host_name, policy) }))
    }

    fn text(&self, host_name: &str, policy: AccessPolicy) -> String {
        let key = match self.key_type {
            KeyType::Primary => policy.keys.primary,
            KeyType::Secondary => policy.keys.secondary,
        };
        Text { host_name: host_name.to_owned(), key_name: policy.name, key }.reveal()
    }
}

/// What clients call the service and its hubs. A running server says so itself; its configuration
/// may lie where this command does not look.
struct Names {
    port: u16,
    service_hosts: Vec<String>,
    /// The built-in hubs, as far as a running server says.
    hubs: Option<Vec<ListeningHub>>,
}

impl Names {
    fn find(config: &Config, data: &DataFolder) -> Result<Self, Failure> {
        let (address, service_hosts, hubs) = match data.running() {
            Some(listening) => {
                (listening.https.first().copied(), listening.service_hosts, Some(listening.hubs))
            }
            None => (config.listen.https.first().copied(), config.service.host_names.clone(), None),
        };
        match address.map(|address| address.port()) {
            Some(0) | None => Err(Failure::new(
                "The server chooses its port at its start, and none is running on this data \
                 folder. Start it with `induct serve`, then ask again.",
            )),
            Some(port) => Ok(Self { port, service_hosts, hubs }),
        }
    }
}
