//! `induct explain`: why a device is admitted or refused.

mod words;

use std::path::{Path, PathBuf};

use attest::tpm::{EndorsementKey, StorageRootKey};
use clap::{ArgGroup, Args};
use model::Json;

use super::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path},
    complaint::Complaint,
    input,
    target::ServiceTarget,
    tpm::key_file,
};

pub(super) use words::explanation;

/// Say why a device is admitted or refused, step by step, and what to change.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("whom").required(true).multiple(true)
    .args(["registration_id", "certificate", "device_id", "tracking_id"])))]
#[command(after_help = "Examples:
  induct explain --registration-id press-17 -o table
      Would it be admitted, if it shows what it showed last?
  induct explain --registration-id press-17 --key @press-17.key -o table
      Does this key fit, and whose is it?
  induct explain --certificate chain.pem -o table
      Which group decides about this chain (leaf first)? The name is the leaf's common name.
  induct explain --registration-id gate-3 --endorsement-key @ek.pub --storage-root-key @srk.pub
      Would this TPM be admitted?
  induct explain --tracking-id 0f8fad5b-d9cb-469f-a165-70867728950e -o table
      Why was it refused then? Devices log the tracking ID; `induct attempt list` shows them all.
  induct explain --hub hub-1 --device-id press-17 -o table
      Would the hub let it in?

It is decided as when the device asks, from the same facts, and nothing is written. What only the
device can do is taken for granted, and the answer says so: that it holds a certificate's private key,
or that its TPM answers. A webhook is not asked.")]
pub struct Explain {
    #[command(flatten)]
    target: ServiceTarget,
    #[command(flatten)]
    asked: Asked,
}

#[derive(Debug, Args)]
struct Asked {
    /// The device, by its registration ID.
    #[arg(long, visible_alias = "rid", value_name = "ID")]
    registration_id: Option<String>,
    /// A key that the device signs with: base64, or @FILE.
    #[arg(long, visible_alias = "key", value_name = "KEY",
          conflicts_with_all = ["certificate", "endorsement_key"])]
    symmetric_key: Option<String>,
    /// The certificates that the device shows, leaf first: a .pem file, or one .cer file.
    #[arg(long, visible_alias = "cp", value_name = "FILE", conflicts_with = "endorsement_key")]
    certificate: Option<PathBuf>,
    /// The endorsement key of the device's TPM: base64, or @FILE as tpm2-tools writes it.
    #[arg(long, visible_alias = "ek", value_name = "KEY", requires = "registration_id")]
    endorsement_key: Option<String>,
    /// The TPM's storage root key, likewise; without it, the enrollment's.
    #[arg(long, visible_alias = "srk", value_name = "KEY", requires = "endorsement_key")]
    storage_root_key: Option<String>,
    /// The certificate of the endorsement key and those above it: a .pem file.
    #[arg(long, value_name = "FILE", requires = "endorsement_key")]
    endorsement_certificates: Option<PathBuf>,
    /// An attempt, by the tracking ID that the device was given.
    #[arg(long, visible_alias = "tid", value_name = "ID", conflicts_with_all = [
        "registration_id", "symmetric_key", "certificate", "endorsement_key", "hub", "device_id",
        "api_version",
    ])]
    tracking_id: Option<String>,
    /// A hub that the device connects to, with --device-id.
    #[arg(long, value_name = "NAME", requires = "device_id")]
    hub: Option<String>,
    /// The device on --hub, or a module of it: DEVICE/MODULE.
    #[arg(long, short = 'd', value_name = "ID", requires = "hub",
          conflicts_with_all = ["registration_id", "endorsement_key"])]
    device_id: Option<String>,
    /// The API version that the device speaks [default: 2021-06-01]. Without a reprovision policy,
    /// those before 2018-09-01-preview keep their hub.
    #[arg(long, value_name = "VERSION", conflicts_with = "hub")]
    api_version: Option<String>,
}

impl Explain {
    /// Does it, over the management API.
    ///
    /// # Errors
    /// What the options lack, or what the service answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, asked } = self;
        target.run(context, async |api| asked.ask(api).await.map(Some))
    }
}

impl Asked {
    async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let explained = api.post(&own_path(["explain"]), Some(&self.document()?)).await?;
        Ok(Answer::new(explained, Sheet::Explanation))
    }

    fn document(&self) -> Result<Json, Complaint> {
        let mut document = Json::empty_object();
        let mut set = |name: &str, text: Option<&str>| {
            if let Some(text) = text {
                document.set(name, Json::from(text));
            }
        };
        set("registrationId", self.registration_id.as_deref());
        set("trackingId", self.tracking_id.as_deref());
        set("hub", self.hub.as_deref());
        set("deviceId", self.device_id.as_deref());
        set("apiVersion", self.api_version.as_deref());
        if let Some(key) = &self.symmetric_key {
            let key = match key.strip_prefix('@') {
                Some(path) => input::text("--symmetric-key", Path::new(path))?,
                None => key.clone(),
            };
            document.set("symmetricKey", Json::String(key));
        }
        if let Some(path) = &self.certificate {
            document.set("certificates", input::certificate("--certificate", path)?);
        }
        if let Some(key) = &self.endorsement_key {
            let read = key_file::endorsement_key;
            let key = key_file::given("--endorsement-key", key, read, EndorsementKey::bytes)?;
            document.set("endorsementKey", Json::String(key));
        }
        if let Some(key) = &self.storage_root_key {
            let read = key_file::storage_root_key;
            let key = key_file::given("--storage-root-key", key, read, StorageRootKey::bytes)?;
            document.set("storageRootKey", Json::String(key));
        }
        if let Some(path) = &self.endorsement_certificates {
            let chain = input::certificate("--endorsement-certificates", path)?;
            document.set("endorsementCertificates", chain);
        }
        Ok(document)
    }
}
