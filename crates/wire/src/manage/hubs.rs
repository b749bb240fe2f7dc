//! Linked hubs (O §3.4).

use model::{HubAccess, HubName, Json, LinkedHub, OperatorRefusal, RemoteAccess, SymmetricKey};

use super::{read_object, stamped};
use crate::{
    connection_string::{self, Masked, Target},
    operator::MAX_ECHO_CHARS,
    read::{Malformed, Members},
    write::Object,
};

/// The port of a hub whose connection string names none.
const HTTPS_PORT: u16 = 443;

/// A linked hub as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubBody {
    /// `builtIn` and `connectionString`
    pub access: AccessBody,
    /// `allocationWeight`
    pub weight: Option<u32>,
    /// `applyAllocationPolicy`
    pub apply_allocation_policy: Option<bool>,
}

/// Where a hub is, as an operator sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessBody {
    /// Nothing was sent.
    Absent,
    /// In this process.
    BuiltIn,
    /// Elsewhere, as its connection string says.
    Remote {
        /// The port, when it is not 443.
        port: Option<u16>,
        /// The policy.
        policy: String,
        /// The key, unless it is masked or not there: then the stored one stays (O §3.4).
        key: Option<SymmetricKey>,
    },
}

/// Parses the hub's name of a path.
///
/// # Errors
/// [`OperatorRefusal::BadId`]
pub fn hub_name(text: &str) -> Result<HubName, OperatorRefusal> {
    HubName::parse(text).map_err(|source| OperatorRefusal::BadId {
        what: "the hub's name",
        id: text.chars().take(MAX_ECHO_CHARS).collect(),
        source,
    })
}

/// Parses the body of a `PUT` of the hub of this name. An empty object is enough to link a
/// built-in hub. What a `GET` shows besides is accepted and ignored.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_linked_hub(name: &HubName, body: &[u8]) -> Result<HubBody, OperatorRefusal> {
    const KNOWN: &[&str] = &[
        "name",
        "builtIn",
        "connectionString",
        "allocationWeight",
        "applyAllocationPolicy",
        "declared",
        "etag",
        "created",
        "updated",
    ];
    read_object(body, KNOWN, |body| {
        if body.text("name")?.is_some_and(|text| !text.eq_ignore_ascii_case(name.as_str())) {
            return Err(body.wrong("name", "is not the one of the path"));
        }
        Ok(HubBody {
            access: read_access(body, name)?,
            weight: read_weight(body)?,
            apply_allocation_policy: body.bool("applyAllocationPolicy")?,
        })
    })
}

fn read_access(body: &Members<'_>, name: &HubName) -> Result<AccessBody, Malformed> {
    const CONNECTION: &str = "connectionString";
    match (body.bool("builtIn")?, body.text(CONNECTION)?) {
        (None, None) => Ok(AccessBody::Absent),
        (Some(true), None) => Ok(AccessBody::BuiltIn),
        (Some(true), Some(_)) => {
            Err(body.wrong("builtIn", "a built-in hub has no connectionString"))
        }
        (Some(false), None) => {
            Err(body.wrong("builtIn", "a hub that is not built in needs a connectionString"))
        }
        (Some(false) | None, Some(text)) => {
            let parsed = Masked::parse_maskable(text, Target::Hub)
                .map_err(|bad| body.wrong(CONNECTION, bad.to_string()))?;
            let (host, port) = match parsed.host_name.split_once(':') {
                None => (parsed.host_name.as_str(), None),
                Some((host, digits)) => {
                    let port: u16 = digits
                        .parse()
                        .ok()
                        .filter(|port| *port != 0)
                        .ok_or_else(|| body.wrong(CONNECTION, "HostName has a bad port"))?;
                    (host, Some(port).filter(|port| *port != HTTPS_PORT))
                }
            };
            if !host.eq_ignore_ascii_case(name.as_str()) {
                return Err(body.wrong(
                    CONNECTION,
                    "does not match the host name value specified in the path",
                ));
            }
            Ok(AccessBody::Remote { port, policy: parsed.key_name, key: parsed.key })
        }
    }
}

fn read_weight(body: &Members<'_>) -> Result<Option<u32>, Malformed> {
    const WEIGHT: &str = "allocationWeight";
    match body.value(WEIGHT) {
        None => Ok(None),
        Some(Json::Number(digits)) => match digits.parse() {
            Ok(weight) => Ok(Some(weight)),
            Err(_) => Err(body.wrong(WEIGHT, "expected a whole number from 0 to 1000")),
        },
        Some(_) => Err(body.wrong(WEIGHT, "expected a number")),
    }
}

/// A linked hub. A remote one's key is masked.
#[must_use]
pub fn linked_hub(hub: &LinkedHub) -> Json {
    let (built_in, connection) = match &hub.access {
        HubAccess::BuiltIn => (true, None),
        HubAccess::Remote(RemoteAccess { port, policy, key: _ }) => {
            let host = match port {
                None => hub.name.to_string(),
                Some(port) => format!("{}:{port}", hub.name),
            };
            (false, Some(connection_string::masked(&host, policy)))
        }
    };
    let object = Object::new()
        .with("name", hub.name.as_str())
        .with("builtIn", built_in)
        .with_some("connectionString", connection.as_deref())
        .with("allocationWeight", u64::from(hub.weight))
        .with("applyAllocationPolicy", hub.apply_allocation_policy)
        .with("declared", hub.declared);
    stamped(object, hub.etag.as_str(), hub.created, hub.last_updated).build()
}

/// Who misses a hub that was unlinked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HubUnlinked {
    /// How many devices are in its registry, which stays.
    pub n_devices: u64,
    /// How many individual enrollments still name it.
    pub n_individuals: u64,
    /// How many groups still name it.
    pub n_groups: u64,
    /// Whether all enrollments were looked at.
    pub looked_at_all: bool,
}

/// The answer to a `DELETE`: who misses the hub.
#[must_use]
pub fn hub_unlinked(name: &HubName, missed: HubUnlinked) -> Json {
    Object::new()
        .with("name", name.as_str())
        .with("devices", missed.n_devices)
        .with("individualEnrollments", missed.n_individuals)
        .with("enrollmentGroups", missed.n_groups)
        .with("lookedAtAll", missed.looked_at_all)
        .build()
}

/// How a linked hub is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HubProbe<'a> {
    /// It is in this process.
    BuiltIn,
    /// It answers, and lets us in.
    Healthy,
    /// It refuses our credentials; with its own text.
    Unauthorized(&'a str),
    /// It cannot be reached, or is broken; with what happened.
    Unreachable(&'a str),
}

/// The answer to a probe.
#[must_use]
pub fn hub_probe(name: &HubName, probe: HubProbe<'_>) -> Json {
    let (status, message) = match probe {
        HubProbe::BuiltIn => ("builtIn", None),
        HubProbe::Healthy => ("healthy", None),
        HubProbe::Unauthorized(text) => ("unauthorized", Some(text)),
        HubProbe::Unreachable(text) => ("unreachable", Some(text)),
    };
    Object::new()
        .with("name", name.as_str())
        .with("status", status)
        .with_some("message", message)
        .build()
}
