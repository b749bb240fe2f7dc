//! `induct hub device-identity …` (O §4.4)

use std::path::PathBuf;

use clap::{Args, Subcommand};
use model::Json;

use super::{
    DeviceName, HubEtag,
    credentials::{self, Credentials},
    keys::{self, RenewKey},
    twin::ListDevices,
};
use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, path},
    complaint::Complaint,
    document::{members, set_at},
    input::switch,
};

/// Device identities: who may connect.
#[derive(Debug, Subcommand)]
pub(super) enum DeviceIdentity {
    /// Register a device by hand, without provisioning.
    #[command(after_help = "Examples:
  induct hub device-identity create -d press-17
  induct hub device-identity create -d press-17 --am x509_thumbprint --ptp SHA256HEX
  induct hub device-identity create -d press-17 --am x509_thumbprint --od . --vd 30
      Makes a self-signed certificate and its key in this folder.
  induct hub device-identity create -d press-17 --am x509_ca")]
    Create(Box<Create>),
    /// Show a device's identity, its keys included.
    #[command(after_help = "Example:
  induct hub device-identity show -d press-17")]
    Show(DeviceName),
    /// List devices.
    #[command(after_help = "Examples:
  induct hub device-identity list -o table
  induct hub device-identity list --top -1")]
    List(ListDevices),
    /// Change an identity; what you do not name stays as it is.
    #[command(after_help = "Examples:
  induct hub device-identity update -d press-17 --status disabled --star stolen
  induct hub device-identity update -d press-17 --status enabled
  induct hub device-identity update -d press-17 --set capabilities.iotEdge=true")]
    Update(Box<Update>),
    /// Delete a device and its twin. While it is still enrolled it can come back.
    #[command(after_help = "Example:
  induct hub device-identity delete -d press-17

To keep it out, disable its enrollment first: induct enrollment update --eid press-17 --ps disabled")]
    Delete(Delete),
    /// Give devices new symmetric keys, or swap the two.
    #[command(after_help = "Examples:
  induct hub device-identity renew-key -d press-17 --kt primary
  induct hub device-identity renew-key -d press-17 press-18 --kt swap

A device enrolled by symmetric key gets its enrollment's keys again when it registers.")]
    RenewKey(RenewKey),
    /// The connection string of a device.
    #[command(subcommand)]
    ConnectionString(DeviceConnectionString),
}

/// The connection string of a device.
#[derive(Debug, Subcommand)]
pub(super) enum DeviceConnectionString {
    /// Print what a device connects to the hub with, key included.
    #[command(after_help = "Examples:
  induct hub device-identity connection-string show -d press-17
  induct hub device-identity connection-string show -d press-17 --kt secondary")]
    Show(ShowConnectionString),
}

#[derive(Debug, Args)]
pub(super) struct ShowConnectionString {
    #[command(flatten)]
    device: DeviceName,
    /// Which key: primary or secondary.
    #[arg(long = "key-type", visible_alias = "kt", value_name = "KEY", default_value = "primary",
          value_parser = ["primary", "secondary"])]
    key_type: String,
}

/// Options of `create` and `update`.
#[derive(Debug, Args)]
struct Fields {
    #[command(flatten)]
    credentials: Credentials,
    /// Whether it is an IoT Edge device; alone it means true.
    #[arg(long = "edge-enabled", visible_alias = "ee", value_name = "BOOL", value_parser = switch,
          num_args = 0..=1, default_missing_value = "true")]
    edge_enabled: Option<bool>,
    /// Whether the device may connect: enabled or disabled.
    #[arg(long, visible_alias = "sta", value_name = "STATUS",
          value_parser = ["enabled", "disabled"], ignore_case = true)]
    status: Option<String>,
    /// Why it has this status.
    #[arg(long = "status-reason", visible_alias = "star", value_name = "TEXT")]
    status_reason: Option<String>,
    /// The scope of an IoT Edge device.
    #[arg(long = "device-scope", value_name = "SCOPE")]
    device_scope: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    device: DeviceName,
    #[command(flatten)]
    fields: Fields,
    /// How many days a certificate made here is valid [default: 365].
    #[arg(long = "valid-days", visible_alias = "vd", value_name = "DAYS",
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    valid_days: Option<u32>,
    /// Where a certificate made here and its key are written [default: here].
    #[arg(long = "output-dir", visible_alias = "od", value_name = "FOLDER")]
    output_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Update {
    #[command(flatten)]
    device: DeviceName,
    #[command(flatten)]
    fields: Fields,
    /// Set one value: path=value, such as capabilities.iotEdge=true.
    #[arg(long, value_name = "PATH=VALUE", num_args = 1..)]
    set: Vec<String>,
    #[command(flatten)]
    etag: HubEtag,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    device: DeviceName,
    #[command(flatten)]
    etag: HubEtag,
}

/// The path of device identities.
pub(super) const DEVICES: &str = "devices";

impl DeviceIdentity {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let one = |json| Ok(Some(Answer::new(json, Sheet::Identities)));
        match self {
            Self::Create(create) => one(create.ask(api).await?),
            Self::Show(device) => {
                let mut identity = api.get(&path([DEVICES, &device.device_id])).await?;
                identity.set("hub", Json::from(api.login().host.as_str()));
                one(identity)
            }
            Self::List(list) => Ok(Some(Answer::new(list.ask(api).await?, Sheet::Twins))),
            Self::Update(update) => one(update.ask(api).await?),
            Self::Delete(delete) => {
                let path = path([DEVICES, &delete.device.device_id]);
                api.delete(&path, Some(&delete.etag.header())).await?;
                Ok(None)
            }
            Self::RenewKey(renew) => one(renew.ask(api).await?),
            Self::ConnectionString(DeviceConnectionString::Show(show)) => {
                Ok(Some(Answer::new(show.ask(api).await?, Sheet::Plain)))
            }
        }
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let id = &self.device.device_id;
        let mut fields = self.fields;
        let method = fields.credentials.method()?.unwrap_or("shared_private_key");
        let makes_certificate = method == "x509_thumbprint"
            && fields.credentials.primary_thumbprint.is_none()
            && (self.valid_days.is_some() || self.output_dir.is_some());
        if makes_certificate {
            let folder = self.output_dir.unwrap_or_else(|| PathBuf::from("."));
            let thumbprint = keys::make_certificate(id, self.valid_days.unwrap_or(365), &folder)?;
            fields.credentials.primary_thumbprint = Some(thumbprint);
        }
        let mut identity = members([
            ("deviceId", Json::from(id.as_str())),
            ("status", Json::from(fields.status.as_deref().unwrap_or("enabled"))),
            ("authentication", fields.credentials.authentication(method)?),
        ]);
        if let Some(reason) = &fields.status_reason {
            identity.set("statusReason", Json::from(reason.as_str()));
        }
        let edge = Json::from(fields.edge_enabled.unwrap_or(false));
        identity.set("capabilities", members([("iotEdge", edge)]));
        if let Some(scope) = &fields.device_scope {
            identity.set("deviceScope", Json::from(scope.as_str()));
        }
        api.put(&path([DEVICES, id]), None, &identity).await
    }
}

impl Update {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = path([DEVICES, &self.device.device_id]);
        let mut identity = api.get(&path).await?;
        self.fields.write_changes(&mut identity)?;
        for assignment in &self.set {
            set_at(&mut identity, assignment)?;
        }
        identity.set("etag", Json::from(self.etag.etag.as_str()));
        api.put(&path, Some(&self.etag.header()), &identity).await
    }
}

impl ShowConnectionString {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let id = &self.device.device_id;
        let identity = api.get(&path([DEVICES, id])).await?;
        let of = format!("HostName={};DeviceId={id}", api.login().host);
        Ok(credentials::connection_string(&of, &identity, &self.key_type))
    }
}

impl Fields {
    fn write_changes(&self, identity: &mut Json) -> Result<(), Complaint> {
        if let Some(status) = &self.status {
            identity.set("status", Json::from(status.to_ascii_lowercase().as_str()));
        }
        if let Some(reason) = &self.status_reason {
            identity.set("statusReason", Json::from(reason.as_str()));
        }
        if let Some(edge) = self.edge_enabled {
            identity.set("capabilities", members([("iotEdge", Json::from(edge))]));
        }
        if let Some(scope) = &self.device_scope {
            identity.set("deviceScope", Json::from(scope.as_str()));
        }
        let credentials = &self.credentials;
        if let Some(method) = credentials.method()? {
            identity.set("authentication", credentials.authentication(method)?);
            return Ok(());
        }
        let mut authentication = match identity.get("authentication") {
            Some(authentication @ Json::Object(_)) => authentication.clone(),
            _ => Json::empty_object(),
        };
        let mut set = |section: &str, name: &str, value: &Option<String>| {
            let Some(value) = value else { return };
            let mut content = match authentication.get(section) {
                Some(content @ Json::Object(_)) => content.clone(),
                _ => Json::empty_object(),
            };
            content.set(name, Json::from(value.as_str()));
            authentication.set(section, content);
        };
        set("symmetricKey", "primaryKey", &credentials.primary_key);
        set("symmetricKey", "secondaryKey", &credentials.secondary_key);
        set("x509Thumbprint", "primaryThumbprint", &credentials.primary_thumbprint);
        set("x509Thumbprint", "secondaryThumbprint", &credentials.secondary_thumbprint);
        identity.set("authentication", authentication);
        Ok(())
    }
}
