//! How a device or a module proves itself to a hub: the options, and what hubs want of them.

use clap::Args;
use model::Json;

use super::keys;
use crate::cli::{complaint::Complaint, document::members, enrollment::fields::one_of};

/// How it proves itself.
#[derive(Debug, Args)]
pub(super) struct Credentials {
    /// How it proves itself: shared_private_key, x509_thumbprint or x509_ca.
    #[arg(long = "auth-method", visible_alias = "am", value_name = "METHOD")]
    pub(super) auth_method: Option<String>,
    /// The primary key, base64.
    #[arg(long = "primary-key", visible_alias = "pk", value_name = "KEY")]
    pub(super) primary_key: Option<String>,
    /// The secondary key, base64.
    #[arg(long = "secondary-key", visible_alias = "sk", value_name = "KEY")]
    pub(super) secondary_key: Option<String>,
    /// The thumbprint of its certificate, SHA-1 or SHA-256 in hex.
    #[arg(long = "primary-thumbprint", visible_alias = "ptp", value_name = "HEX")]
    pub(super) primary_thumbprint: Option<String>,
    /// The thumbprint of its next certificate.
    #[arg(long = "secondary-thumbprint", visible_alias = "stp", value_name = "HEX")]
    pub(super) secondary_thumbprint: Option<String>,
}

impl Credentials {
    /// The method given, if it is one.
    pub(super) fn method(&self) -> Result<Option<&'static str>, Complaint> {
        let methods = ["shared_private_key", "x509_thumbprint", "x509_ca"];
        match self.auth_method.as_deref() {
            None => Ok(None),
            Some(given) => one_of(&methods, given).map(Some).ok_or_else(|| {
                Complaint::misuse("Invalid authentication method.")
                    .with_remedy(format!("`{given}` is not one of {}.", methods.join(", ")))
            }),
        }
    }

    /// `authentication` as hubs want it (H §2.4).
    pub(super) fn authentication(&self, method: &str) -> Result<Json, Complaint> {
        let text = |text: &Option<String>| text.as_deref().map_or(Json::Null, Json::from);
        match method {
            "x509_ca" => Ok(members([("type", Json::from("certificateAuthority"))])),
            "x509_thumbprint" => {
                if self.primary_thumbprint.is_none() {
                    return Err(Complaint::new("primary thumbprint required with selfSigned auth")
                        .with_remedy("Pass --ptp, or --od to have a certificate made."));
                }
                let thumbprints = members([
                    ("primaryThumbprint", text(&self.primary_thumbprint)),
                    ("secondaryThumbprint", text(&self.secondary_thumbprint)),
                ]);
                let kind = Json::from("selfSigned");
                Ok(members([("x509Thumbprint", thumbprints), ("type", kind)]))
            }
            _ => {
                let keys = match (&self.primary_key, &self.secondary_key) {
                    (None, None) => Json::empty_object(),
                    (Some(_), Some(_)) => members([
                        ("primaryKey", text(&self.primary_key)),
                        ("secondaryKey", text(&self.secondary_key)),
                    ]),
                    _ => {
                        return Err(Complaint::new(
                            "primary + secondary keys required with sas auth",
                        ));
                    }
                };
                Ok(members([("symmetricKey", keys), ("type", Json::from("sas"))]))
            }
        }
    }
}

/// A connection string that begins so and ends in what an identity proves itself with.
pub(super) fn connection_string(of: &str, identity: &Json, key_type: &str) -> Json {
    let authentication = identity.get("authentication");
    let is_sas = authentication.and_then(|a| a.get("type")).and_then(Json::as_str) == Some("sas");
    let proof = if is_sas {
        let member = if key_type == "primary" { "primaryKey" } else { "secondaryKey" };
        let key = keys::symmetric_keys(identity).and_then(|keys| keys.get(member));
        format!("SharedAccessKey={}", key.and_then(Json::as_str).unwrap_or_default())
    } else {
        "x509=true".to_owned()
    };
    members([("connectionString", Json::String(format!("{of};{proof}")))])
}
