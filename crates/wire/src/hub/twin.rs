//! Twins as services see and write them (H §3.1 to §3.3).

use model::{Device, HubRefusal, Json, Metadata, Timestamp, TwinDraft, TwinSection};

use super::{
    identity::{connection_state, kind_name, scopes, status_name, thumbprints},
    parse_body,
};
use crate::{
    read::{Malformed, Members, type_name},
    time,
    write::Object,
};

/// Parses the body of a `PATCH` or `PUT` of a twin. Clients send whole twins back, so everything
/// but `tags` and `properties.desired` is ignored (H §3.3).
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_twin(body: &[u8]) -> Result<TwinDraft, HubRefusal> {
    let body = parse_body(body)?;
    Ok(read_twin(&Members::of(&body, "")?)?)
}

pub(super) fn read_twin(body: &Members<'_>) -> Result<TwinDraft, Malformed> {
    let desired = match body.object("properties")? {
        Some(properties) => read_section(&properties, "desired")?,
        None => None,
    };
    Ok(TwinDraft { tags: read_section(body, "tags")?, desired })
}

/// A section as it was sent: absent, `null` (which clears it) or an object.
fn read_section(members: &Members<'_>, name: &str) -> Result<Option<Json>, Malformed> {
    match members.raw(name) {
        None => Ok(None),
        Some(section @ (Json::Null | Json::Object(_))) => Ok(Some(section.clone())),
        Some(other) => {
            Err(members
                .wrong(name, format!("expected an object or null, found {}", type_name(other))))
        }
    }
}

/// A device's twin, or a module's, with its mirror of the identity.
#[must_use]
pub fn twin(device: &Device) -> Json {
    let Device { identity, twin } = device;
    let properties = Object::new()
        .with("desired", section(&twin.desired))
        .with("reported", section(&twin.reported));
    let tags = Some(&twin.tags).filter(|tags| !tags.is_empty_object()).cloned();
    let module = identity.device_id.module();
    let capabilities =
        module.is_none().then(|| Object::new().with("iotEdge", identity.iot_edge).build());
    let object = Object::new()
        .with("deviceId", identity.device_id.device())
        .with_some("moduleId", module)
        .with("etag", twin.etag().as_str())
        .with("deviceEtag", identity.etag().as_str())
        .with("status", status_name(identity.status))
        .with_some("statusReason", identity.status_reason.as_deref())
        .with("statusUpdateTime", moment(identity.status_updated).as_str())
        .with("connectionState", connection_state(identity.connected))
        .with("lastActivityTime", moment(identity.last_activity).as_str())
        .with("cloudToDeviceMessageCount", u64::from(identity.cloud_to_device_messages))
        .with("authenticationType", kind_name(identity.authentication.kind))
        .with("x509Thumbprint", thumbprints(&identity.authentication))
        .with("version", twin.version_number)
        .with_some("tags", tags)
        .with("properties", properties)
        .with_some("capabilities", capabilities);
    scopes(object, identity).build()
}

/// Content, `$metadata`, `$version`.
fn section(section: &TwinSection) -> Json {
    let mut json = match &section.content {
        content @ Json::Object(_) => content.clone(),
        _ => Json::empty_object(),
    };
    json.set("$metadata", metadata(&section.metadata));
    json.set("$version", Json::from(section.version_number));
    json
}

fn metadata(node: &Metadata) -> Json {
    let stamp = Object::new()
        .with("$lastUpdated", moment(node.last_updated).as_str())
        .with_some("$lastUpdatedVersion", node.last_updated_version);
    node.members
        .iter()
        .fold(stamp, |object, (name, below)| object.with(name, metadata(below)))
        .build()
}

fn moment(moment: Option<Timestamp>) -> String {
    moment.map_or_else(|| time::NEVER.to_owned(), time::wire)
}
