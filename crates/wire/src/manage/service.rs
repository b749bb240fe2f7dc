//! The service's settings.

use model::{AllocationPolicy, Json, OperatorRefusal, ServiceSettings};

use super::{read_object, texts};
use crate::{operator::ALLOCATION_POLICIES, time, write::Object};

/// Settings as an operator sends them; what is absent stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ServiceBody {
    /// `allocationPolicy`
    pub allocation_policy: Option<AllocationPolicy>,
    /// `operatorApiOnLoopbackOnly`
    pub operator_api_on_loopback_only: Option<bool>,
    /// `disenrollEndsSessions`
    pub disenroll_ends_sessions: Option<bool>,
}

/// Parses the body of a `PATCH` of the service. What a `GET` shows besides is accepted and
/// ignored, so that its answer can be sent back.
///
/// # Errors
/// [`OperatorRefusal::BadRequest`] naming the member's path and what was expected.
pub fn parse_service(body: &[u8]) -> Result<ServiceBody, OperatorRefusal> {
    const KNOWN: &[&str] = &[
        "allocationPolicy",
        "operatorApiOnLoopbackOnly",
        "disenrollEndsSessions",
        "idScope",
        "hosts",
        "etag",
        "updated",
    ];
    read_object(body, KNOWN, |body| {
        Ok(ServiceBody {
            allocation_policy: body.word("allocationPolicy", ALLOCATION_POLICIES)?,
            operator_api_on_loopback_only: body.bool("operatorApiOnLoopbackOnly")?,
            disenroll_ends_sessions: body.bool("disenrollEndsSessions")?,
        })
    })
}

/// The service.
#[must_use]
pub fn service(settings: &ServiceSettings, id_scope: &str, hosts: &[String]) -> Json {
    let policy = ALLOCATION_POLICIES.iter().find(|(_, is)| *is == settings.allocation_policy);
    Object::new()
        .with_some("allocationPolicy", policy.map(|(word, _)| *word))
        .with("operatorApiOnLoopbackOnly", settings.operator_api_on_loopback_only)
        .with("disenrollEndsSessions", settings.disenroll_ends_sessions)
        .with("idScope", id_scope)
        .with("hosts", texts(hosts.iter().map(String::as_str)))
        .with("etag", settings.etag.as_str())
        .with("updated", time::wire(settings.last_updated).as_str())
        .build()
}
