//! `induct hub module-identity …` (H §2.8)

use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use super::{
    DeviceName, HubEtag,
    credentials::{self, Credentials},
    identity::DEVICES,
};
use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, path},
    complaint::Complaint,
    document::members,
};

/// Module identities: parts of a device that connect on their own.
#[derive(Debug, Subcommand)]
pub(super) enum ModuleIdentity {
    /// Give a device a module. A disabled device disables its modules.
    #[command(after_help = "Examples:
  induct hub module-identity create -d press-17 -m camera
  induct hub module-identity create -d press-17 -m camera --am x509_ca
      Its certificate has the common name press-17/camera.")]
    Create(Create),
    /// Show a module's identity, its keys included.
    #[command(after_help = "Example:
  induct hub module-identity show -d press-17 -m camera")]
    Show(ModuleName),
    /// List the modules of a device.
    #[command(after_help = "Example:
  induct hub module-identity list -d press-17 -o table")]
    List(DeviceName),
    /// Delete a module and its twin.
    #[command(after_help = "Example:
  induct hub module-identity delete -d press-17 -m camera")]
    Delete(Delete),
    /// The connection string of a module.
    #[command(subcommand)]
    ConnectionString(ModuleConnectionString),
}

/// The connection string of a module.
#[derive(Debug, Subcommand)]
pub(super) enum ModuleConnectionString {
    /// Print what a module connects to the hub with, key included.
    #[command(after_help = "Example:
  induct hub module-identity connection-string show -d press-17 -m camera")]
    Show(ShowConnectionString),
}

/// `--device-id` and `--module-id`
#[derive(Debug, Args)]
pub(super) struct ModuleName {
    #[command(flatten)]
    device: DeviceName,
    /// The module's name below its device; upper and lower case differ.
    #[arg(short = 'm', long = "module-id", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    module_id: String,
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    module: ModuleName,
    #[command(flatten)]
    credentials: Credentials,
    /// Who manages the module; stored and shown.
    #[arg(long = "managed-by", value_name = "TEXT")]
    managed_by: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Delete {
    #[command(flatten)]
    module: ModuleName,
    #[command(flatten)]
    etag: HubEtag,
}

#[derive(Debug, Args)]
pub(super) struct ShowConnectionString {
    #[command(flatten)]
    module: ModuleName,
    /// Which key: primary or secondary.
    #[arg(long = "key-type", visible_alias = "kt", value_name = "KEY", default_value = "primary",
          value_parser = ["primary", "secondary"])]
    key_type: String,
}

impl ModuleName {
    fn path(&self) -> String {
        path([DEVICES, &self.device.device_id, "modules", &self.module_id])
    }
}

impl ModuleIdentity {
    pub(super) async fn ask(self, api: &Api) -> Result<Option<Answer>, Complaint> {
        let answer = |json| Ok(Some(Answer::new(json, Sheet::Modules)));
        match self {
            Self::Create(create) => answer(create.ask(api).await?),
            Self::Show(module) => {
                let mut identity = api.get(&module.path()).await?;
                identity.set("hub", Json::from(api.login().host.as_str()));
                answer(identity)
            }
            Self::List(device) => {
                answer(api.get(&path([DEVICES, &device.device_id, "modules"])).await?)
            }
            Self::Delete(delete) => {
                api.delete(&delete.module.path(), Some(&delete.etag.header())).await?;
                Ok(None)
            }
            Self::ConnectionString(ModuleConnectionString::Show(show)) => {
                Ok(Some(Answer::new(show.ask(api).await?, Sheet::Plain)))
            }
        }
    }
}

impl Create {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let ModuleName { device, module_id } = &self.module;
        let method = self.credentials.method()?.unwrap_or("shared_private_key");
        let mut identity = members([
            ("deviceId", Json::from(device.device_id.as_str())),
            ("moduleId", Json::from(module_id.as_str())),
            ("authentication", self.credentials.authentication(method)?),
        ]);
        if let Some(manager) = &self.managed_by {
            identity.set("managedBy", Json::from(manager.as_str()));
        }
        api.put(&self.module.path(), None, &identity).await
    }
}

impl ShowConnectionString {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let ModuleName { device, module_id } = &self.module;
        let identity = api.get(&self.module.path()).await?;
        let (host, id) = (&api.login().host, &device.device_id);
        let of = format!("HostName={host};DeviceId={id};ModuleId={module_id}");
        Ok(credentials::connection_string(&of, &identity, &self.key_type))
    }
}
