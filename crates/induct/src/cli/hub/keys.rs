//! New keys for devices: symmetric ones in the hub, and a self-signed certificate in a folder.

use std::path::Path;

use app::ports::{Clock, Entropy};
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use clap::Args;
use model::Json;

use super::{HubEtag, identity::DEVICES};
use crate::{
    cli::{
        api::{Api, path},
        complaint::Complaint,
    },
    data_folder::write_file,
    ports::{SystemClock, SystemEntropy},
};

/// The longest common name of a certificate, in characters (RFC 5280).
const MAX_COMMON_NAME: usize = 64;

#[derive(Debug, Args)]
pub(super) struct RenewKey {
    /// The devices, several separated by spaces.
    #[arg(short = 'd', long = "device-id", visible_alias = "device-ids", value_name = "ID",
          num_args = 1.., required = true)]
    device_ids: Vec<String>,
    /// Which key to renew: primary, secondary or both; or swap the two.
    #[arg(long = "key-type", visible_alias = "kt", value_name = "KEY",
          value_parser = ["primary", "secondary", "both", "swap"])]
    key_type: String,
    #[command(flatten)]
    etag: HubEtag,
}

/// The symmetric keys of an identity.
pub(super) fn symmetric_keys(identity: &Json) -> Option<&Json> {
    identity.get("authentication").and_then(|a| a.get("symmetricKey"))
}

impl RenewKey {
    /// Renews one device after the other; the first that cannot be renewed ends it.
    pub(super) async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let mut renewed = Vec::new();
        for id in &self.device_ids {
            renewed.push(self.renew(api, id).await?);
        }
        Ok(if renewed.len() == 1 { renewed.remove(0) } else { Json::Array(renewed) })
    }

    async fn renew(&self, api: &Api, id: &str) -> Result<Json, Complaint> {
        let path = path([DEVICES, id]);
        let mut identity = api.get(&path).await?;
        let mut authentication = match identity.get("authentication") {
            Some(authentication)
                if authentication.get("type").and_then(Json::as_str) == Some("sas") =>
            {
                authentication.clone()
            }
            _ => {
                return Err(Complaint::new(format!(
                    "{id}: Device authentication should be of type sas"
                )));
            }
        };
        let mut keys = symmetric_keys(&identity).cloned().unwrap_or_else(Json::empty_object);
        let old = |name: &str| keys.get(name).cloned().unwrap_or(Json::Null);
        let (primary, secondary) = match self.key_type.as_str() {
            "swap" => (old("secondaryKey"), old("primaryKey")),
            "primary" => (new_key(), old("secondaryKey")),
            "secondary" => (old("primaryKey"), new_key()),
            _ => (new_key(), new_key()),
        };
        keys.set("primaryKey", primary);
        keys.set("secondaryKey", secondary);
        authentication.set("symmetricKey", keys);
        // Nobody may have changed the identity between reading and writing: half of what is
        // written was read.
        let etag = identity.get("etag").and_then(Json::as_str).unwrap_or("*");
        let if_match = match self.etag.etag.as_str() {
            "*" => format!("\"{etag}\""),
            _ => self.etag.header(),
        };
        identity.set("authentication", authentication);
        api.put(&path, Some(&if_match), &identity).await
    }
}

/// A key of 32 random bytes, as a hub makes them.
fn new_key() -> Json {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    Json::String(STANDARD.encode(bytes))
}

/// Makes a self-signed P-256 certificate with its key, `ID-cert.pem` and `ID-key.pem`, and returns
/// its SHA-256 thumbprint in upper-case hex.
pub(super) fn make_certificate(
    device_id: &str,
    valid_days: u32,
    folder: &Path,
) -> Result<String, Complaint> {
    if !folder.is_dir() {
        return Err(Complaint::new(format!(
            "certificate output directory of '{}' does not exist.",
            folder.display()
        )));
    }
    if device_id.contains(['/', '\\']) || device_id.chars().count() > MAX_COMMON_NAME {
        return Err(Complaint::new(format!(
            "No certificate can be made for `{device_id}`: a name in a certificate has at most \
             {MAX_COMMON_NAME} characters, and one of a file no slash."
        )));
    }
    let failed = |why: String| Complaint::new(format!("No certificate could be made: {why}"));
    let key = rcgen::KeyPair::generate().map_err(|error| failed(error.to_string()))?;
    let certificate = certificate_params(device_id, valid_days)
        .and_then(|params| params.self_signed(&key).map_err(|error| error.to_string()))
        .map_err(failed)?;
    let files = [("cert", certificate.pem()), ("key", key.serialize_pem())];
    for (suffix, text) in files {
        let path = folder.join(format!("{device_id}-{suffix}.pem"));
        write_file(&path, text.as_bytes())
            .map_err(|error| failed(format!("cannot write {}: {error}", path.display())))?;
    }
    let thumbprint = digest::digest(&digest::SHA256, certificate.der());
    Ok(model::hex::upper(thumbprint.as_ref()))
}

fn certificate_params(
    device_id: &str,
    valid_days: u32,
) -> Result<rcgen::CertificateParams, String> {
    let now = SystemClock.now().unix_secs();
    let at = |secs: i64| {
        time::OffsetDateTime::from_unix_timestamp(secs).map_err(|error| error.to_string())
    };
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, device_id);
    params.not_before = at(now)?;
    params.not_after = at(now.saturating_add(i64::from(valid_days) * 24 * 60 * 60))?;
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}
