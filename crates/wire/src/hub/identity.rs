//! Device identities (H §2.4), and those of modules (H §2.8).

use model::{
    AuthenticationDraft, AuthenticationKind, BadKey, DeviceAuthentication, DeviceId,
    DeviceIdentity, DeviceStatus, HubRefusal, IdentityDraft, Json, ModuleId, SymmetricKey,
    Timestamp,
};

use super::parse_body;
use crate::{
    read::{Malformed, Members},
    time,
    write::Object,
};

pub(super) const STATUSES: &[(&str, DeviceStatus)] =
    &[("enabled", DeviceStatus::Enabled), ("disabled", DeviceStatus::Disabled)];

const KINDS: &[(&str, Option<AuthenticationKind>)] = &[
    ("sas", Some(AuthenticationKind::Sas)),
    ("selfSigned", Some(AuthenticationKind::SelfSigned)),
    ("certificateAuthority", Some(AuthenticationKind::CertificateAuthority)),
    ("none", None),
];

/// Which answer an identity is shown in: they write a moment that never was differently (H §2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The answer to the `PUT` that created it.
    Created,
    /// Every other.
    Read,
}

/// Parses the body of a `PUT` of an identity. Read-only members, an `etag` among them, are
/// ignored: the precondition is in the header (H §2.5).
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_identity(body: &[u8]) -> Result<IdentityDraft, HubRefusal> {
    let body = parse_body(body)?;
    Ok(read_identity(&Members::of(&body, "")?, "deviceId")?)
}

/// Parses the body of a `PUT` of a module's identity, as [`parse_identity`].
///
/// # Errors
/// [`HubRefusal::Format`] for a body that is not JSON, [`HubRefusal::ArgumentInvalid`] naming the
/// member.
pub fn parse_module_identity(body: &[u8]) -> Result<IdentityDraft, HubRefusal> {
    let body = parse_body(body)?;
    Ok(read_module(&Members::of(&body, "")?, "deviceId")?)
}

/// Reads the identity part of an object that names a module, and its device as `id_name`.
pub(super) fn read_module(body: &Members<'_>, id_name: &str) -> Result<IdentityDraft, Malformed> {
    let device = read_device_id(body, id_name)?;
    let module = ModuleId::parse(body.required_string("moduleId")?)
        .map_err(|bad| body.wrong("moduleId", bad.to_string()))?;
    Ok(IdentityDraft {
        device_id: DeviceId::of_module(&device, &module),
        status: None,
        status_reason: None,
        // The service we are compatible with takes `none` for `sas` here (H §2.4).
        authentication: read_authentication(body, Some(AuthenticationKind::Sas))?,
        iot_edge: None,
        device_scope: None,
        parent_scopes: Vec::new(),
        managed_by: body.text("managedBy")?.map(str::to_owned),
    })
}

/// Reads the identity part of an object whose device ID is called `id_name`.
pub(crate) fn read_identity(body: &Members<'_>, id_name: &str) -> Result<IdentityDraft, Malformed> {
    let device_id = read_device_id(body, id_name)?;
    let authentication = read_authentication(body, None)?;
    let iot_edge = match body.object("capabilities")? {
        Some(capabilities) => capabilities.bool("iotEdge")?,
        None => None,
    };
    Ok(IdentityDraft {
        device_id,
        status: body.word("status", STATUSES)?,
        status_reason: body.string("statusReason")?.map(str::to_owned),
        authentication,
        iot_edge,
        device_scope: body.text("deviceScope")?.map(str::to_owned),
        parent_scopes: body.strings("parentScopes")?.unwrap_or_default(),
        managed_by: None,
    })
}

fn read_device_id(body: &Members<'_>, name: &str) -> Result<DeviceId, Malformed> {
    DeviceId::parse(body.required_string(name)?).map_err(|bad| body.wrong(name, bad.to_string()))
}

/// Reads `authentication`, if it is there. `none` is refused unless it means something.
fn read_authentication(
    body: &Members<'_>,
    none_means: Option<AuthenticationKind>,
) -> Result<Option<AuthenticationDraft>, Malformed> {
    let Some(members) = body.object("authentication")? else { return Ok(None) };
    let kind = match members.word("type", KINDS)? {
        Some(None) if none_means.is_some() => none_means,
        // In the words of the service we are compatible with (H §2.4).
        Some(None) => return Err(members.wrong("type", "DeviceAuthenticationTypeIsMissing")),
        Some(kind) => kind,
        None => None,
    };
    let keys = members.object("symmetricKey")?;
    let key = |name| keys.as_ref().map_or(Ok(None), |keys| read_key(keys, name));
    let thumbprints = members.object("x509Thumbprint")?;
    let thumbprint = |name| match &thumbprints {
        Some(members) => Ok(members.text(name)?.map(str::to_owned)),
        None => Ok(None),
    };
    Ok(Some(AuthenticationDraft {
        kind,
        primary_key: key("primaryKey")?,
        secondary_key: key("secondaryKey")?,
        primary_thumbprint: thumbprint("primaryThumbprint")?,
        secondary_thumbprint: thumbprint("secondaryThumbprint")?,
    }))
}

fn read_key(keys: &Members<'_>, name: &str) -> Result<Option<SymmetricKey>, Malformed> {
    let Some(text) = keys.text(name)? else { return Ok(None) };
    SymmetricKey::parse(text).map(Some).map_err(|bad| match bad {
        BadKey::Length(_) => keys.wrong(name, format!("Invalid device key length: {bad}")),
        BadKey::NotBase64 => keys.wrong(name, bad.to_string()),
    })
}

/// An identity, keys included (H §2.4, §2.5); a module's has another shape (H §2.8).
#[must_use]
pub fn identity(identity: &DeviceIdentity, answer: Answer) -> Json {
    let moment = |moment: Option<Timestamp>| match (moment, answer) {
        (Some(moment), _) => time::wire(moment),
        (None, Answer::Created) => time::NEVER_WITHOUT_ZONE.to_owned(),
        (None, Answer::Read) => time::NEVER.to_owned(),
    };
    if let Some(module) = identity.device_id.module() {
        return Object::new()
            .with("moduleId", module)
            .with_nullable("managedBy", identity.managed_by.as_deref())
            .with("deviceId", identity.device_id.device())
            .with("generationId", identity.generation_id.as_str())
            .with("etag", identity.etag().as_str())
            .with("connectionState", connection_state(identity.connected))
            .with("connectionStateUpdatedTime", moment(identity.connection_state_updated).as_str())
            .with("lastActivityTime", moment(identity.last_activity).as_str())
            .with("cloudToDeviceMessageCount", u64::from(identity.cloud_to_device_messages))
            .with("authentication", authentication(&identity.authentication))
            .build();
    }
    let object = Object::new()
        .with("deviceId", identity.device_id.as_str())
        .with("generationId", identity.generation_id.as_str())
        .with("etag", identity.etag().as_str())
        .with("connectionState", connection_state(identity.connected))
        .with("status", status_name(identity.status))
        .with_nullable("statusReason", identity.status_reason.as_deref())
        .with("connectionStateUpdatedTime", moment(identity.connection_state_updated).as_str())
        .with("statusUpdatedTime", moment(identity.status_updated).as_str())
        .with("lastActivityTime", moment(identity.last_activity).as_str())
        .with("cloudToDeviceMessageCount", u64::from(identity.cloud_to_device_messages))
        .with("authentication", authentication(&identity.authentication))
        .with("capabilities", Object::new().with("iotEdge", identity.iot_edge));
    scopes(object, identity).build()
}

fn authentication(authentication: &DeviceAuthentication) -> Json {
    let keys = authentication.keys.as_ref();
    let keys = Object::new()
        .with_nullable("primaryKey", keys.map(|keys| keys.primary.reveal()))
        .with_nullable("secondaryKey", keys.map(|keys| keys.secondary.reveal()));
    Object::new()
        .with("symmetricKey", keys)
        .with("x509Thumbprint", thumbprints(authentication))
        .with("type", kind_name(authentication.kind))
        .build()
}

pub(super) fn thumbprints(authentication: &DeviceAuthentication) -> Object {
    Object::new()
        .with_nullable("primaryThumbprint", authentication.primary_thumbprint.as_deref())
        .with_nullable("secondaryThumbprint", authentication.secondary_thumbprint.as_deref())
}

/// `deviceScope` and `parentScopes`, only when used (H §2.4, §3.1).
pub(super) fn scopes(object: Object, identity: &DeviceIdentity) -> Object {
    let parents = &identity.parent_scopes;
    let parents = (!parents.is_empty())
        .then(|| Json::Array(parents.iter().map(|scope| Json::from(scope.as_str())).collect()));
    object
        .with_some("deviceScope", identity.device_scope.as_deref())
        .with_some("parentScopes", parents)
}

pub(super) const fn connection_state(connected: bool) -> &'static str {
    if connected { "Connected" } else { "Disconnected" }
}

pub(crate) const fn status_name(status: DeviceStatus) -> &'static str {
    match status {
        DeviceStatus::Enabled => "enabled",
        DeviceStatus::Disabled => "disabled",
    }
}

pub(crate) const fn kind_name(kind: AuthenticationKind) -> &'static str {
    match kind {
        AuthenticationKind::Sas => "sas",
        AuthenticationKind::SelfSigned => "selfSigned",
        AuthenticationKind::CertificateAuthority => "certificateAuthority",
    }
}
