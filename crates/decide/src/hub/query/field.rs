//! What a query's path finds in a device: the members of the service's view of a twin (H §3.1),
//! without rendering the whole of it.

use std::borrow::Cow;

use model::query::Path;
use model::{AuthenticationKind, Device, DeviceStatus, Json, Metadata, Timestamp, TwinSection};

/// 0001-01-01T00:00:00Z, what a moment that was never set looks like.
const NEVER: Timestamp = Timestamp::from_ticks(-621_355_968_000_000_000);

/// What a path found.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Field<'a> {
    /// A value of the twin, or one made from the identity.
    Value(Cow<'a, Json>),
    /// A moment.
    Moment(Timestamp),
}

impl Field<'_> {
    pub(super) fn is_primitive(&self) -> bool {
        !matches!(self.json(), Some(Json::Array(_) | Json::Object(_)))
    }

    /// The value, unless it is a moment.
    pub(super) fn json(&self) -> Option<&Json> {
        match self {
            Self::Value(json) => Some(json),
            Self::Moment(_) => None,
        }
    }

    pub(super) fn into_json(self) -> Json {
        match self {
            Self::Value(json) => json.into_owned(),
            Self::Moment(moment) => Json::String(moment_text(moment)),
        }
    }
}

/// Follows a path into a device. The names the service gives match in any letter case, those of
/// the operator and the device only as written.
pub(super) fn find<'a>(path: &Path, device: &'a Device) -> Option<Field<'a>> {
    let (root, rest) = path.0.split_first()?;
    let Device { identity, twin } = device;
    let field = match root.to_ascii_lowercase().as_str() {
        "tags" => {
            // Empty tags are not part of a twin's view (H §3.1).
            let tags = Some(&twin.tags).filter(|tags| !tags.is_empty_object())?;
            return inside(tags, rest).map(borrowed);
        }
        "properties" => return properties(device, rest),
        "capabilities" => return below(capabilities(identity.iot_edge), rest),
        "x509thumbprint" => return below(thumbprints(device), rest),
        "parentscopes" if identity.parent_scopes.is_empty() => return None,
        "parentscopes" => owned(Json::Array(
            identity.parent_scopes.iter().map(|scope| scope.as_str().into()).collect(),
        )),
        "devicescope" => text(identity.device_scope.as_deref()?),
        "deviceid" => text(identity.device_id.as_str()),
        "etag" => text(&twin.etag()),
        "deviceetag" => text(&identity.etag()),
        "status" => text(match identity.status {
            DeviceStatus::Enabled => "enabled",
            DeviceStatus::Disabled => "disabled",
        }),
        "statusreason" => text(identity.status_reason.as_deref()?),
        "statusupdatetime" => Field::Moment(identity.status_updated.unwrap_or(NEVER)),
        "connectionstate" => text(if identity.connected { "Connected" } else { "Disconnected" }),
        "lastactivitytime" => Field::Moment(identity.last_activity.unwrap_or(NEVER)),
        "cloudtodevicemessagecount" => {
            owned(Json::from(u64::from(identity.cloud_to_device_messages)))
        }
        "authenticationtype" => text(match identity.authentication.kind {
            AuthenticationKind::Sas => "sas",
            AuthenticationKind::SelfSigned => "selfSigned",
            AuthenticationKind::CertificateAuthority => "certificateAuthority",
        }),
        "version" => owned(Json::from(twin.version_number)),
        _ => return None,
    };
    rest.is_empty().then_some(field)
}

fn properties<'a>(device: &'a Device, rest: &[String]) -> Option<Field<'a>> {
    let twin = &device.twin;
    let Some((name, rest)) = rest.split_first() else {
        return Some(owned(Json::Object(vec![
            ("desired".to_owned(), section_view(&twin.desired)),
            ("reported".to_owned(), section_view(&twin.reported)),
        ])));
    };
    let section = match name.to_ascii_lowercase().as_str() {
        "desired" => &twin.desired,
        "reported" => &twin.reported,
        _ => return None,
    };
    match rest {
        [] => Some(owned(section_view(section))),
        [name] if name == "$version" => Some(owned(Json::from(section.version_number))),
        [name, rest @ ..] if name == "$metadata" => metadata(&section.metadata, rest),
        rest => inside(&section.content, rest).map(borrowed),
    }
}

fn metadata<'a>(node: &Metadata, path: &[String]) -> Option<Field<'a>> {
    match path {
        [] => Some(owned(metadata_view(node))),
        [name] if name == "$lastUpdated" => Some(Field::Moment(node.last_updated.unwrap_or(NEVER))),
        [name] if name == "$lastUpdatedVersion" => {
            node.last_updated_version.map(|version| owned(Json::from(version)))
        }
        [name, rest @ ..] => {
            let (_, member) = node.members.iter().find(|(member, _)| member == name)?;
            metadata(member, rest)
        }
    }
}

/// A section as the service shows it: its content, `$metadata` and `$version`.
fn section_view(section: &TwinSection) -> Json {
    let mut view = section.content.clone();
    view.set("$metadata", metadata_view(&section.metadata));
    view.set("$version", Json::from(section.version_number));
    view
}

fn metadata_view(node: &Metadata) -> Json {
    let updated = moment_text(node.last_updated.unwrap_or(NEVER));
    let mut members = vec![("$lastUpdated".to_owned(), Json::String(updated))];
    if let Some(version) = node.last_updated_version {
        members.push(("$lastUpdatedVersion".to_owned(), Json::from(version)));
    }
    members.extend(node.members.iter().map(|(name, node)| (name.clone(), metadata_view(node))));
    Json::Object(members)
}

fn capabilities(iot_edge: bool) -> Json {
    Json::Object(vec![("iotEdge".to_owned(), Json::from(iot_edge))])
}

fn thumbprints(device: &Device) -> Json {
    let shown = |text: &Option<String>| text.as_deref().map_or(Json::Null, Json::from);
    let authentication = &device.identity.authentication;
    Json::Object(vec![
        ("primaryThumbprint".to_owned(), shown(&authentication.primary_thumbprint)),
        ("secondaryThumbprint".to_owned(), shown(&authentication.secondary_thumbprint)),
    ])
}

fn inside<'a>(value: &'a Json, path: &[String]) -> Option<&'a Json> {
    path.iter().try_fold(value, |value, name| value.get(name))
}

/// A path of at most one more name into an object of the service's own making.
fn below<'a>(object: Json, path: &[String]) -> Option<Field<'a>> {
    match path {
        [] => Some(owned(object)),
        [name] => {
            let members = object.as_object()?;
            let (_, value) =
                members.iter().find(|(member, _)| member.eq_ignore_ascii_case(name))?;
            Some(owned(value.clone()))
        }
        _ => None,
    }
}

fn borrowed(json: &Json) -> Field<'_> {
    Field::Value(Cow::Borrowed(json))
}

fn owned<'a>(json: Json) -> Field<'a> {
    Field::Value(Cow::Owned(json))
}

fn text<'a>(text: &str) -> Field<'a> {
    owned(Json::from(text))
}

/// ISO 8601 with up to seven fractional digits, trailing zeros dropped, and `Z` (H §2.1).
pub(super) fn moment_text(moment: Timestamp) -> String {
    let nanos = i128::from(moment.ticks()) * 100;
    let end = if nanos < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_nanosecond(nanos).unwrap_or(end).to_string()
}

/// The moment a literal names, if it names one. A moment without an offset is UTC (H §2.1 shows
/// the never-set moment without one).
pub(super) fn parse_moment(text: &str) -> Option<Timestamp> {
    let moment = match text.parse::<jiff::Timestamp>() {
        Ok(moment) => moment,
        Err(_) => {
            let civil: jiff::civil::DateTime = text.parse().ok()?;
            civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp()
        }
    };
    i64::try_from(moment.as_nanosecond().div_euclid(100)).ok().map(Timestamp::from_ticks)
}
