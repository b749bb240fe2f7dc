//! `induct hub device-twin …` (O §4.4)

use clap::{Args, Subcommand};
use model::Json;

use super::{DeviceName, HubEtag, list_devices};
use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, Top, path},
    complaint::Complaint,
    document::{members, set_at},
    input::{object, switch},
};

/// Twins: tags, desired and reported properties.
#[derive(Debug, Subcommand)]
pub(super) enum DeviceTwin {
    /// Show a device's twin.
    #[command(after_help = "Example:
  induct hub device-twin show -d press-17")]
    Show(DeviceName),
    /// Merge tags and desired properties into a twin; null removes a member.
    #[command(after_help = "Examples:
  induct hub device-twin update -d press-17 --desired '{\"interval\": 60}'
  induct hub device-twin update -d press-17 --tags '{\"line\": 4, \"old\": null}'
  induct hub device-twin update -d press-17 --desired @desired.json --etag AAAAAAAAAAE=")]
    Update(Update),
    /// Replace tags and desired properties of a twin; what you leave out is gone.
    #[command(after_help = "Example:
  induct hub device-twin replace -d press-17 --json twin.json")]
    Replace(Replace),
    /// List the twins of all devices.
    #[command(after_help = "Examples:
  induct hub device-twin list -o table
  induct hub device-twin list --top -1")]
    List(ListDevices),
}

/// Options of both lists of devices.
#[derive(Debug, Args)]
pub(super) struct ListDevices {
    /// How many to show; -1 for all.
    #[arg(long, value_name = "N", default_value_t = 1000, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..))]
    top: i64,
    /// Only IoT Edge devices.
    #[arg(long = "edge-enabled", visible_alias = "ee", value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true")]
    edge_enabled: Option<bool>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    device: DeviceName,
    /// Desired properties to merge: JSON text, a path, or @path; "" removes all.
    #[arg(long, value_name = "JSON")]
    desired: Option<String>,
    /// Tags to merge: JSON text, a path, or @path; "" removes all.
    #[arg(long, value_name = "JSON")]
    tags: Option<String>,
    /// Set one value and replace the twin: path=value, such as tags.line=4. Deprecated by the
    /// vendor for --tags and --desired.
    #[arg(long, value_name = "PATH=VALUE", num_args = 1..)]
    set: Vec<String>,
    #[command(flatten)]
    etag: HubEtag,
}

#[derive(Debug, Args)]
pub(super) struct Replace {
    #[command(flatten)]
    device: DeviceName,
    /// The twin: JSON text, a path, or @path, with tags and properties.desired.
    #[arg(short = 'j', long, value_name = "JSON")]
    json: String,
    #[command(flatten)]
    etag: HubEtag,
}

impl DeviceTwin {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let twin = match self {
            Self::Show(device) => api.get(&path(["twins", &device.device_id])).await?,
            Self::Update(update) => update.ask(api).await?,
            Self::Replace(replace) => replace.ask(api).await?,
            Self::List(list) => list.ask(api).await?,
        };
        Ok(Some(Answer::new(twin, Sheet::Twins)))
    }
}

impl ListDevices {
    pub(super) async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        list_devices(api, Top { top: self.top }, self.edge_enabled).await
    }
}

impl Update {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = path(["twins", &self.device.device_id]);
        let etag = self.etag.header();
        if self.desired.is_none() && self.tags.is_none() && self.set.is_empty() {
            return Err(Complaint::misuse("Nothing to update.")
                .with_remedy("Name what changes with --desired or --tags."));
        }
        let mut twin = None;
        if self.desired.is_some() || self.tags.is_some() {
            let mut patch = Json::empty_object();
            if let Some(given) = &self.tags {
                patch.set("tags", object("--tags", given)?.unwrap_or(Json::Null));
            }
            if let Some(given) = &self.desired {
                let desired = object("--desired", given)?.unwrap_or(Json::Null);
                patch.set("properties", members([("desired", desired)]));
            }
            twin = Some(api.patch(&path, &etag, &patch).await?);
        }
        if !self.set.is_empty() {
            let mut whole = match twin {
                Some(twin) => twin,
                None => api.get(&path).await?,
            };
            for assignment in &self.set {
                set_at(&mut whole, assignment)?;
            }
            twin = Some(api.put(&path, Some(&etag), &whole).await?);
        }
        Ok(twin.unwrap_or(Json::Null))
    }
}

impl Replace {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let twin = object("--json", &self.json)?.unwrap_or_else(Json::empty_object);
        let path = path(["twins", &self.device.device_id]);
        api.put(&path, Some(&self.etag.header()), &twin).await
    }
}
