//! `induct hub …`: what a hub knows of its devices, and what it hears from them (O §4.4).

mod connection;
mod credentials;
mod identity;
mod keys;
mod method;
mod module;
mod monitor;
mod query;
mod twin;

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use super::{Context, Failure, api::Api, complaint::Complaint, target::HubTarget};

/// Manage the devices of a hub: identities, twins, events, methods, queries.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct hub device-identity list -o table
  induct hub device-identity update -d press-17 --status disabled    Cut the device off.
  induct hub device-identity delete -d press-17
  induct hub device-twin update -d press-17 --desired '{\"interval\": 60}'
  induct hub monitor-events                                          Watch what devices send.
  induct hub invoke-device-method -d press-17 --mn reboot
  induct hub query -q \"SELECT deviceId FROM devices WHERE tags.line = 4\"

With several hubs, name the one you mean: -n hub-1.")]
pub struct Hub {
    #[command(flatten)]
    target: HubTarget,
    #[command(subcommand)]
    command: HubCommand,
}

/// What to do with a hub.
#[derive(Debug, Subcommand)]
enum HubCommand {
    /// Device identities: who may connect.
    #[command(subcommand)]
    DeviceIdentity(identity::DeviceIdentity),
    /// Module identities: parts of a device that connect on their own.
    #[command(subcommand)]
    ModuleIdentity(module::ModuleIdentity),
    /// Twins: tags, desired and reported properties.
    #[command(subcommand)]
    DeviceTwin(twin::DeviceTwin),
    /// Watch what devices send, as it comes.
    MonitorEvents(monitor::MonitorEvents),
    /// Call a method on a connected device, and print what it answers.
    InvokeDeviceMethod(method::InvokeDeviceMethod),
    /// Ask a hub about its devices.
    Query(query::Query),
    /// The connection string of the hub.
    #[command(subcommand)]
    ConnectionString(connection::HubConnectionString),
}

/// `--device-id`
#[derive(Debug, Args)]
struct DeviceName {
    /// The device's name in the hub; upper and lower case differ.
    #[arg(short = 'd', long = "device-id", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    device_id: String,
}

/// `--etag`
#[derive(Debug, Args)]
struct HubEtag {
    /// Only if it is still as read: the etag of `show`. `*` is any.
    #[arg(short = 'e', long = "etag", value_name = "ETAG", default_value = "*")]
    etag: String,
}

impl HubEtag {
    /// As hubs want it: in quotes, the star too (H §2.6).
    fn header(&self) -> String {
        format!("\"{}\"", self.etag.trim_matches('"'))
    }
}

impl Hub {
    /// Does it, over the hub's API.
    ///
    /// # Errors
    /// What the options lack, or what the hub answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        let command = match command {
            HubCommand::MonitorEvents(monitor) => {
                return target
                    .follow(context, async |api, context| monitor.run(api, context).await);
            }
            other => other,
        };
        target.run(context, async |api| match command {
            HubCommand::MonitorEvents(_) => Ok(None),
            HubCommand::InvokeDeviceMethod(command) => command.ask(api).await.map(Some),
            HubCommand::DeviceIdentity(command) => command.ask(api).await,
            HubCommand::ModuleIdentity(command) => command.ask(api).await,
            HubCommand::DeviceTwin(command) => command.ask(api).await,
            HubCommand::Query(command) => command.ask(api).await.map(Some),
            HubCommand::ConnectionString(command) => Ok(Some(command.answer(api))),
        })
    }
}

/// All devices that this asks for, as twins.
async fn list_devices(
    api: &Api,
    top: super::api::Top,
    edge_enabled: Option<bool>,
) -> Result<Json, Complaint> {
    let text = match edge_enabled {
        Some(true) => "select * from devices where capabilities.iotEdge = true",
        _ => "select * from devices",
    };
    api.list_loudly("/devices/query", &query::body(text), top).await
}
