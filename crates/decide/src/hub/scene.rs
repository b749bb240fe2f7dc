//! What the hub's tests build their facts from.

use model::{
    AuthenticationDraft, AuthenticationKind, Device, DeviceAuthentication, DeviceId, Fresh,
    IdentityDraft, Json, Metadata, Precondition, SymmetricKey, SymmetricKeys, Timestamp, TwinDraft,
};

use super::{identity, twin};

/// The moment the recorded device of H §2.4 and §3.1 was created: generation 637612875240648717.
pub(super) const CREATED: Timestamp = Timestamp::from_ticks(637_612_875_240_648_717 - YEAR_ONE);
pub(super) const LATER: Timestamp = CREATED.plus_secs(3600);
const YEAR_ONE: i64 = 621_355_968_000_000_000;

/// The counter inside the recorded etag `NzI3ODk0ODYz`.
pub(super) fn fresh() -> Fresh {
    Fresh {
        etag: [1; 16],
        operation: [2; 16],
        primary_key: [3; 64],
        secondary_key: [4; 64],
        counter: 727_894_863,
        tpm: model::TpmRandom {
            key: [5; 32],
            inner: [6; 16],
            identity_seed: [7; 32],
            duplication_seed: [8; 32],
            obfuscation: [9; 32],
        },
    }
}

/// A device ID, or a module's name below one.
pub(super) fn id(text: &str) -> DeviceId {
    DeviceId::parse_stored(text).expect("a device ID")
}

/// `dev1`, as it was created.
pub(super) fn dev1() -> Device {
    identity::put(None, &draft("dev1"), &Precondition::None, CREATED, &fresh()).expect("a device")
}

/// `dev1` with this content, which was there from the start.
pub(super) fn dev1_with(tags: &str, desired: &str) -> Device {
    let twin = twin::fresh(Some(&json(tags)), Some(&json(desired)), CREATED).expect("a twin");
    Device { twin, ..dev1() }
}

pub(super) fn draft(device_id: &str) -> IdentityDraft {
    IdentityDraft {
        device_id: id(device_id),
        status: None,
        status_reason: None,
        authentication: None,
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: None,
    }
}

pub(super) fn no_authentication() -> AuthenticationDraft {
    AuthenticationDraft {
        kind: None,
        primary_key: None,
        secondary_key: None,
        primary_thumbprint: None,
        secondary_thumbprint: None,
    }
}

pub(super) fn keys(byte: u8) -> SymmetricKeys {
    SymmetricKeys { primary: key(byte), secondary: key(byte + 1) }
}

pub(super) fn key(byte: u8) -> SymmetricKey {
    SymmetricKey::derived(&[byte; 32])
}

pub(super) fn sas(byte: u8) -> DeviceAuthentication {
    DeviceAuthentication {
        kind: AuthenticationKind::Sas,
        keys: Some(keys(byte)),
        primary_thumbprint: None,
        secondary_thumbprint: None,
    }
}

/// A twin draft from texts; an empty text is a section not sent.
pub(super) fn sections(tags: &str, desired: &str) -> TwinDraft {
    let section = |text: &str| (!text.is_empty()).then(|| json(text));
    TwinDraft { tags: section(tags), desired: section(desired) }
}

pub(super) fn json(text: &str) -> Json {
    from_serde(&serde_json::from_str(text).expect("JSON"))
}

fn from_serde(value: &serde_json::Value) -> Json {
    use serde_json::Value;
    match value {
        Value::Null => Json::Null,
        Value::Bool(b) => Json::Bool(*b),
        Value::Number(n) => Json::Number(n.to_string().into()),
        Value::String(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(from_serde).collect()),
        Value::Object(members) => {
            Json::Object(members.iter().map(|(k, v)| (k.clone(), from_serde(v))).collect())
        }
    }
}

/// The stamps of a tree in one line: `c` for [`CREATED`], `l` for [`LATER`], `-` for never, then
/// the version, then the members.
pub(super) fn stamps(node: &Metadata) -> String {
    let at = match node.last_updated {
        None => "-",
        Some(CREATED) => "c",
        Some(LATER) => "l",
        Some(_) => "?",
    };
    let version = node.last_updated_version.map_or(String::new(), |version| version.to_string());
    let members: Vec<String> =
        node.members.iter().map(|(name, node)| format!("{name}:{}", stamps(node))).collect();
    match members.is_empty() {
        true => format!("{at}{version}"),
        false => format!("{at}{version}({})", members.join(" ")),
    }
}
