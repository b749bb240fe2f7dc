//! Every path we answer, with the method and the right it needs: the one list of endpoints.
//!
//! We match ourselves, on segments that were split first and percent-decoded once after (D §1.1).
//! A common router cannot say what the vendors' clients need: `/{scope}/registrations/{id}` beside
//! `/registrations/{id}` and `/enrollments/{id}`, literals in any letter case, a trailing slash
//! (O §1.15), and an enrollment called `query` that can be read by GET while POST queries (O §1.2).

use http::Method;
use model::Right;

/// Whom an endpoint serves, and so which credentials it wants and how its errors look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Area {
    /// Whoever asks whether we are alive. No credentials, on any host.
    Health,
    /// Devices that register; they prove themselves to their enrollment (D §1.10).
    Device,
    /// Operators of the provisioning service (O §1).
    Operator,
    /// Operators who configure the service: the management API, which is our own (O §3).
    Manage,
    /// Operators of a hub, on the hub's host name (H §2, §3, §7).
    Hub,
}

/// One endpoint.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path; `{name}` stands for one segment, `{*}` at the end for one or more.
    pub template: &'static str,
    /// Whom it serves.
    pub area: Area,
    /// What an operator's policy must allow; `None` where no operator's token is asked for.
    pub right: Option<Right>,
    pub(crate) action: Action,
}

/// What an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Health,
    Device(DeviceAction),
    Operator(OperatorAction),
    Manage(ManageAction),
    Hub(HubAction),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DeviceAction {
    Register,
    OperationStatus,
    RegistrationStatus,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OperatorAction {
    QueryIndividuals,
    BulkIndividuals,
    IndividualAttestation,
    GetIndividual,
    PutIndividual,
    DeleteIndividual,
    QueryGroups,
    BulkGroups,
    GroupAttestation,
    GetGroup,
    PutGroup,
    DeleteGroup,
    QueryRecords,
    GetRecord,
    DeleteRecord,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ManageAction {
    GetService,
    PatchService,
    GetIpRules,
    PutIpRules,
    ListHubs,
    GetHub,
    PutHub,
    DeleteHub,
    ProbeHub,
    ListCertificates,
    GetCertificate,
    PutCertificate,
    DeleteCertificate,
    GenerateVerificationCode,
    VerifyCertificate,
    ListPolicies,
    GetPolicy,
    PutPolicy,
    DeletePolicy,
    ListKeys,
    RotateKey,
    Usage,
    ListAudit,
    VerifyAudit,
    ReadEvents,
    SendMessage,
    ListCrls,
    ImportCrl,
    GetCrl,
    DeleteCrl,
    FollowCrl,
    UnfollowCrl,
    FetchCrl,
    ListDeprovisionings,
    PlanDeprovisioning,
    GetDeprovisioning,
    ListDeprovisionedDevices,
    ApplyDeprovisioning,
    ListBans,
    GetBan,
    PutBan,
    LiftBan,
    Explain,
    ListAttempts,
    GetAttempt,
    TopRefused,
    ListTpmGroups,
    GetTpmGroup,
    PutTpmGroup,
    DeleteTpmGroup,
    DeleteGroup,
    GetGroupSettings,
    PutGroupSettings,
    ListOrphans,
    CountOrphans,
    DeleteOrphans,
    GetEndorsement,
    PutEndorsement,
    DeleteEndorsement,
    Simulate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HubAction {
    ListDevices,
    BulkDevices,
    Query,
    GetDevice,
    PutDevice,
    DeleteDevice,
    PurgeCommands,
    ListModules,
    GetModule,
    PutModule,
    DeleteModule,
    GetTwin,
    PatchTwin,
    ReplaceTwin,
    GetModuleTwin,
    PatchModuleTwin,
    ReplaceModuleTwin,
    CallMethod,
    CallModuleMethod,
    ReadEvents,
    SendMessage,
    ReadFeedback,
    CompleteFeedback,
    AbandonFeedback,
    DeviceStatistics,
    ServiceStatistics,
    /// A part of a real hub that is not built here; the text names it.
    NotBuilt(&'static str),
}

const fn health(template: &'static str) -> Route {
    let action = Action::Health;
    Route { method: Method::GET, template, area: Area::Health, right: None, action }
}

const fn device(method: Method, template: &'static str, action: DeviceAction) -> Route {
    let action = Action::Device(action);
    Route { method, template, area: Area::Device, right: None, action }
}

const fn operator(
    method: Method,
    template: &'static str,
    right: Right,
    action: OperatorAction,
) -> Route {
    let action = Action::Operator(action);
    Route { method, template, area: Area::Operator, right: Some(right), action }
}

/// Whoever configures the service may change what everything else rests on, so there is one right
/// for all of it. What devices say and are told is opened by it too: no other right of the service
/// is about hubs, and whoever has this one can make a policy of the hub that may do the same.
const fn manage(method: Method, template: &'static str, action: ManageAction) -> Route {
    extension(method, template, Right::ServiceConfig, action)
}

/// What we add to the vendor's enrollments needs the right that enrollments need.
const fn extension(
    method: Method,
    template: &'static str,
    right: Right,
    action: ManageAction,
) -> Route {
    let action = Action::Manage(action);
    Route { method, template, area: Area::Manage, right: Some(right), action }
}

const fn hub(method: Method, template: &'static str, right: Right, action: HubAction) -> Route {
    let action = Action::Hub(action);
    Route { method, template, area: Area::Hub, right: Some(right), action }
}

const JOBS: HubAction = HubAction::NotBuilt("jobs");
const CONFIGURATIONS: HubAction = HubAction::NotBuilt("automatic device configurations");
const MESSAGES: HubAction = HubAction::NotBuilt("messages of this kind over HTTPS");
const DIGITAL_TWINS: HubAction = HubAction::NotBuilt("digital twins");

/// Every endpoint. The first whose path and method fit is taken, so `query` stands before `{id}`.
///
/// Rights: O §1.2 (`attestationmechanism` shows keys and so needs the right to write, O §1.5) and
/// H §2.2 (purging the queue of messages to a device is `ServiceConnect`, as sending one is). Our own
/// endpoints on a hub's host name begin with `/induct/v1`, as the management API does.
pub static ROUTES: &[Route] = {
    use self::{HubAction as H, ManageAction as M, OperatorAction as O};
    use DeviceAction::{OperationStatus, Register, RegistrationStatus};
    use Right::{
        EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite,
        RegistryRead, RegistryWrite, ServiceConnect,
    };
    const GET: Method = Method::GET;
    const PUT: Method = Method::PUT;
    const POST: Method = Method::POST;
    const PATCH: Method = Method::PATCH;
    const DELETE: Method = Method::DELETE;
    &[
        health("/healthz"),
        operator(POST, "/enrollments/query", EnrollmentRead, O::QueryIndividuals),
        operator(POST, "/enrollments", EnrollmentWrite, O::BulkIndividuals),
        operator(
            POST,
            "/enrollments/{id}/attestationmechanism",
            EnrollmentWrite,
            O::IndividualAttestation,
        ),
        operator(GET, "/enrollments/{id}", EnrollmentRead, O::GetIndividual),
        operator(PUT, "/enrollments/{id}", EnrollmentWrite, O::PutIndividual),
        operator(DELETE, "/enrollments/{id}", EnrollmentWrite, O::DeleteIndividual),
        operator(POST, "/enrollmentGroups/query", EnrollmentRead, O::QueryGroups),
        operator(POST, "/enrollmentGroups", EnrollmentWrite, O::BulkGroups),
        operator(
            POST,
            "/enrollmentGroups/{id}/attestationmechanism",
            EnrollmentWrite,
            O::GroupAttestation,
        ),
        operator(GET, "/enrollmentGroups/{id}", EnrollmentRead, O::GetGroup),
        operator(PUT, "/enrollmentGroups/{id}", EnrollmentWrite, O::PutGroup),
        operator(DELETE, "/enrollmentGroups/{id}", EnrollmentWrite, O::DeleteGroup),
        operator(POST, "/registrations/{id}/query", RegistrationStatusRead, O::QueryRecords),
        operator(GET, "/registrations/{id}", RegistrationStatusRead, O::GetRecord),
        operator(DELETE, "/registrations/{id}", RegistrationStatusWrite, O::DeleteRecord),
        manage(GET, "/induct/v1/service", M::GetService),
        manage(PATCH, "/induct/v1/service", M::PatchService),
        manage(GET, "/induct/v1/ip-rules", M::GetIpRules),
        manage(PUT, "/induct/v1/ip-rules", M::PutIpRules),
        manage(GET, "/induct/v1/linked-hubs", M::ListHubs),
        manage(GET, "/induct/v1/linked-hubs/{name}", M::GetHub),
        manage(PUT, "/induct/v1/linked-hubs/{name}", M::PutHub),
        manage(DELETE, "/induct/v1/linked-hubs/{name}", M::DeleteHub),
        manage(POST, "/induct/v1/linked-hubs/{name}/probe", M::ProbeHub),
        manage(GET, "/induct/v1/certificates", M::ListCertificates),
        manage(GET, "/induct/v1/certificates/{name}", M::GetCertificate),
        manage(PUT, "/induct/v1/certificates/{name}", M::PutCertificate),
        manage(DELETE, "/induct/v1/certificates/{name}", M::DeleteCertificate),
        manage(
            POST,
            "/induct/v1/certificates/{name}/generateVerificationCode",
            M::GenerateVerificationCode,
        ),
        manage(POST, "/induct/v1/certificates/{name}/verify", M::VerifyCertificate),
        manage(GET, "/induct/v1/policies", M::ListPolicies),
        manage(GET, "/induct/v1/policies/{name}", M::GetPolicy),
        manage(PUT, "/induct/v1/policies/{name}", M::PutPolicy),
        manage(DELETE, "/induct/v1/policies/{name}", M::DeletePolicy),
        manage(POST, "/induct/v1/policies/{name}/listkeys", M::ListKeys),
        manage(POST, "/induct/v1/policies/{name}/rotate", M::RotateKey),
        manage(GET, "/induct/v1/usage", M::Usage),
        manage(GET, "/induct/v1/audit", M::ListAudit),
        manage(GET, "/induct/v1/audit/verify", M::VerifyAudit),
        manage(GET, "/induct/v1/hubs/{hub}/events", M::ReadEvents),
        manage(POST, "/induct/v1/hubs/{hub}/devices/{id}/messages", M::SendMessage),
        extension(GET, "/induct/v1/crls", EnrollmentRead, M::ListCrls),
        extension(PUT, "/induct/v1/crls", EnrollmentWrite, M::ImportCrl),
        extension(GET, "/induct/v1/crls/{ca}", EnrollmentRead, M::GetCrl),
        extension(DELETE, "/induct/v1/crls/{ca}", EnrollmentWrite, M::DeleteCrl),
        // What makes this process ask somewhere else is configuration.
        manage(PUT, "/induct/v1/crls/{ca}/source", M::FollowCrl),
        manage(DELETE, "/induct/v1/crls/{ca}/source", M::UnfollowCrl),
        manage(POST, "/induct/v1/crls/{ca}/fetch", M::FetchCrl),
        // Deprovisioning takes enrollments, records and identities away, on all hubs, and bans: it
        // needs the one right that is about all of these. So do receipts, which tell of them.
        manage(GET, "/induct/v1/deprovisionings", M::ListDeprovisionings),
        manage(POST, "/induct/v1/deprovisionings", M::PlanDeprovisioning),
        manage(GET, "/induct/v1/deprovisionings/{id}", M::GetDeprovisioning),
        manage(GET, "/induct/v1/deprovisionings/{id}/devices", M::ListDeprovisionedDevices),
        manage(POST, "/induct/v1/deprovisionings/{id}/apply", M::ApplyDeprovisioning),
        extension(GET, "/induct/v1/bans", EnrollmentRead, M::ListBans),
        extension(POST, "/induct/v1/bans", EnrollmentWrite, M::PutBan),
        extension(GET, "/induct/v1/bans/{name}", EnrollmentRead, M::GetBan),
        // Whoever enrolls devices may keep some out; but to let in whom somebody keeps out, who may
        // be revoked, is for whoever may revoke.
        manage(DELETE, "/induct/v1/bans/{name}", M::LiftBan),
        extension(POST, "/induct/v1/simulate", EnrollmentRead, M::Simulate),
        // Explanations and attempts tell of enrollments and bans, and of the registrations that
        // enrollments show as well (O §1.3).
        extension(POST, "/induct/v1/explain", EnrollmentRead, M::Explain),
        extension(GET, "/induct/v1/attempts", EnrollmentRead, M::ListAttempts),
        extension(GET, "/induct/v1/attempts/{trackingId}", EnrollmentRead, M::GetAttempt),
        extension(GET, "/induct/v1/topRefused", EnrollmentRead, M::TopRefused),
        extension(GET, "/induct/v1/orphans", RegistrationStatusRead, M::ListOrphans),
        extension(DELETE, "/induct/v1/orphans", RegistrationStatusWrite, M::DeleteOrphans),
        extension(GET, "/induct/v1/orphans/count", RegistrationStatusRead, M::CountOrphans),
        extension(DELETE, "/induct/v1/enrollmentGroups/{id}", EnrollmentWrite, M::DeleteGroup),
        extension(
            GET,
            "/induct/v1/enrollmentGroups/{id}/settings",
            EnrollmentRead,
            M::GetGroupSettings,
        ),
        extension(
            PUT,
            "/induct/v1/enrollmentGroups/{id}/settings",
            EnrollmentWrite,
            M::PutGroupSettings,
        ),
        extension(GET, "/induct/v1/tpmEnrollmentGroups", EnrollmentRead, M::ListTpmGroups),
        extension(GET, "/induct/v1/tpmEnrollmentGroups/{id}", EnrollmentRead, M::GetTpmGroup),
        extension(PUT, "/induct/v1/tpmEnrollmentGroups/{id}", EnrollmentWrite, M::PutTpmGroup),
        extension(
            DELETE,
            "/induct/v1/tpmEnrollmentGroups/{id}",
            EnrollmentWrite,
            M::DeleteTpmGroup,
        ),
        extension(
            GET,
            "/induct/v1/enrollments/{id}/endorsement",
            EnrollmentRead,
            M::GetEndorsement,
        ),
        extension(
            PUT,
            "/induct/v1/enrollments/{id}/endorsement",
            EnrollmentWrite,
            M::PutEndorsement,
        ),
        extension(
            DELETE,
            "/induct/v1/enrollments/{id}/endorsement",
            EnrollmentWrite,
            M::DeleteEndorsement,
        ),
        device(PUT, "/{scope}/registrations/{id}/register", Register),
        device(GET, "/{scope}/registrations/{id}/operations/{operation}", OperationStatus),
        device(POST, "/{scope}/registrations/{id}", RegistrationStatus),
        hub(GET, "/devices", RegistryRead, H::ListDevices),
        hub(POST, "/devices", RegistryWrite, H::BulkDevices),
        hub(POST, "/devices/query", ServiceConnect, H::Query),
        hub(GET, "/devices/{id}", RegistryRead, H::GetDevice),
        hub(PUT, "/devices/{id}", RegistryWrite, H::PutDevice),
        hub(DELETE, "/devices/{id}", RegistryWrite, H::DeleteDevice),
        hub(DELETE, "/devices/{id}/commands", ServiceConnect, H::PurgeCommands),
        hub(GET, "/devices/{id}/modules", RegistryRead, H::ListModules),
        hub(GET, "/devices/{id}/modules/{module}", RegistryRead, H::GetModule),
        hub(PUT, "/devices/{id}/modules/{module}", RegistryWrite, H::PutModule),
        hub(DELETE, "/devices/{id}/modules/{module}", RegistryWrite, H::DeleteModule),
        hub(GET, "/twins/{id}", ServiceConnect, H::GetTwin),
        hub(PATCH, "/twins/{id}", ServiceConnect, H::PatchTwin),
        hub(PUT, "/twins/{id}", ServiceConnect, H::ReplaceTwin),
        hub(GET, "/twins/{id}/modules/{module}", ServiceConnect, H::GetModuleTwin),
        hub(PATCH, "/twins/{id}/modules/{module}", ServiceConnect, H::PatchModuleTwin),
        hub(PUT, "/twins/{id}/modules/{module}", ServiceConnect, H::ReplaceModuleTwin),
        hub(POST, "/twins/{id}/methods", ServiceConnect, H::CallMethod),
        hub(POST, "/twins/{id}/modules/{module}/methods", ServiceConnect, H::CallModuleMethod),
        hub(GET, "/statistics/devices", RegistryRead, H::DeviceStatistics),
        hub(GET, "/statistics/service", RegistryRead, H::ServiceStatistics),
        hub(POST, "/jobs/create", RegistryWrite, JOBS),
        hub(GET, "/jobs", RegistryRead, JOBS),
        hub(GET, "/jobs/{*}", ServiceConnect, JOBS),
        hub(PUT, "/jobs/{*}", ServiceConnect, JOBS),
        hub(POST, "/jobs/{*}", ServiceConnect, JOBS),
        hub(DELETE, "/jobs/{*}", RegistryWrite, JOBS),
        hub(GET, "/configurations", ServiceConnect, CONFIGURATIONS),
        hub(GET, "/configurations/{*}", ServiceConnect, CONFIGURATIONS),
        hub(PUT, "/configurations/{*}", ServiceConnect, CONFIGURATIONS),
        hub(POST, "/configurations/{*}", ServiceConnect, CONFIGURATIONS),
        hub(DELETE, "/configurations/{*}", ServiceConnect, CONFIGURATIONS),
        hub(POST, "/devices/{id}/applyConfigurationContent", ServiceConnect, CONFIGURATIONS),
        hub(GET, "/induct/v1/events", ServiceConnect, H::ReadEvents),
        hub(POST, "/induct/v1/devices/{id}/messages", ServiceConnect, H::SendMessage),
        hub(GET, "/messages/serviceBound/feedback", ServiceConnect, H::ReadFeedback),
        hub(DELETE, "/messages/serviceBound/feedback/{token}", ServiceConnect, H::CompleteFeedback),
        hub(
            POST,
            "/messages/serviceBound/feedback/{token}/abandon",
            ServiceConnect,
            H::AbandonFeedback,
        ),
        hub(GET, "/messages/{*}", ServiceConnect, MESSAGES),
        hub(POST, "/messages/{*}", ServiceConnect, MESSAGES),
        hub(DELETE, "/messages/{*}", ServiceConnect, MESSAGES),
        hub(GET, "/digitaltwins/{*}", ServiceConnect, DIGITAL_TWINS),
        hub(PATCH, "/digitaltwins/{*}", ServiceConnect, DIGITAL_TWINS),
        hub(POST, "/digitaltwins/{*}", ServiceConnect, DIGITAL_TWINS),
    ]
};

/// Whose endpoints a host name answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// The provisioning service's.
    Service,
    /// A hub's.
    Hub,
}

impl Site {
    fn answers(self, area: Area) -> bool {
        match area {
            Area::Health => true,
            Area::Device | Area::Operator | Area::Manage => self == Self::Service,
            Area::Hub => self == Self::Hub,
        }
    }
}

/// What is at a path.
#[derive(Debug)]
pub(crate) enum Found {
    /// An endpoint, and what stood for the `{…}` of its template, in order.
    Route(&'static Route, Vec<String>),
    /// Endpoints for these methods only.
    OtherMethods(Vec<Method>),
    /// Nothing here, but an endpoint on hosts of the other kind.
    OnOtherSite,
    /// Nothing.
    Nothing,
}

/// Looks an endpoint up by a path's decoded segments.
pub(crate) fn find(site: Site, method: &Method, segments: &[String]) -> Found {
    let mut allowed: Vec<Method> = Vec::new();
    let mut on_other_site = false;
    for route in ROUTES {
        let Some(params) = fit(route.template, segments) else { continue };
        if !site.answers(route.area) {
            // The device's paths begin with any text at all, and would claim a hub's.
            on_other_site |= route.area != Area::Device;
        } else if route.method == *method {
            return Found::Route(route, params);
        } else if !allowed.contains(&route.method) {
            allowed.push(route.method.clone());
        }
    }
    match (allowed.is_empty(), on_other_site) {
        (false, _) => Found::OtherMethods(allowed),
        (true, true) => Found::OnOtherSite,
        (true, false) => Found::Nothing,
    }
}

fn fit(template: &str, segments: &[String]) -> Option<Vec<String>> {
    let mut params = Vec::new();
    let mut rest = segments.iter();
    for part in template.split('/').skip(1) {
        if part == "{*}" {
            return rest.next().is_some().then_some(params);
        }
        let segment = rest.next()?;
        if part.starts_with('{') {
            if segment.is_empty() {
                return None;
            }
            params.push(segment.clone());
        } else if !part.eq_ignore_ascii_case(segment) {
            return None;
        }
    }
    rest.next().is_none().then_some(params)
}

/// Splits a raw path into segments and decodes each once. Slashes at the end count for nothing.
///
/// # Errors
/// [`wire::percent::BadEscape`]
pub(crate) fn segments(raw_path: &str) -> Result<Vec<String>, wire::percent::BadEscape> {
    let path = raw_path.strip_prefix('/').unwrap_or(raw_path).trim_end_matches('/');
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/').map(wire::percent::decode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(site: Site, method: Method, path: &str, expected: &str) {
        let found = match find(site, &method, &segments(path).expect("legal")) {
            Found::Route(route, params) => format!("{} {params:?}", route.template),
            Found::OtherMethods(methods) => format!("allows {methods:?}"),
            Found::OnOtherSite => "on the other site".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn literals_match_in_any_case_and_with_a_slash_at_the_end() {
        let service = Site::Service;
        check(service, Method::POST, "/enrollments/", "/enrollments []");
        check(
            service,
            Method::POST,
            "/enrollmentgroups/line-7/attestationmechanism",
            r#"/enrollmentGroups/{id}/attestationmechanism ["line-7"]"#,
        );
        check(Site::Hub, Method::GET, "/Devices/d/Modules/", r#"/devices/{id}/modules ["d"]"#);
    }

    #[test]
    fn an_id_is_decoded_once() {
        let service = Site::Service;
        check(service, Method::GET, "/enrollments/a%3Ab", r#"/enrollments/{id} ["a:b"]"#);
        check(service, Method::GET, "/enrollments/a%253Ab", r#"/enrollments/{id} ["a%3Ab"]"#);
        check(Site::Hub, Method::GET, "/devices/a%2Fb", r#"/devices/{id} ["a/b"]"#);
        assert!(segments("/enrollments/%zz").is_err());
    }

    #[test]
    fn query_is_a_query_by_post_and_a_name_by_any_other_method() {
        let service = Site::Service;
        check(service, Method::POST, "/enrollments/query", "/enrollments/query []");
        check(service, Method::GET, "/enrollments/query", r#"/enrollments/{id} ["query"]"#);
        check(
            service,
            Method::POST,
            "/registrations/line-7/query",
            r#"/registrations/{id}/query ["line-7"]"#,
        );
    }

    #[test]
    fn a_devices_paths_stand_beside_the_operators() {
        let service = Site::Service;
        check(
            service,
            Method::PUT,
            "/0ne00ABCDEF/registrations/dev%3a1/register",
            r#"/{scope}/registrations/{id}/register ["0ne00ABCDEF", "dev:1"]"#,
        );
        check(
            service,
            Method::POST,
            "/0ne00ABCDEF/registrations/dev-1",
            r#"/{scope}/registrations/{id} ["0ne00ABCDEF", "dev-1"]"#,
        );
        check(service, Method::GET, "/registrations/dev-1", r#"/registrations/{id} ["dev-1"]"#);
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        check(Site::Service, Method::PATCH, "/enrollments/a", "allows [GET, PUT, DELETE]");
        check(Site::Service, Method::GET, "/devices", "on the other site");
        check(Site::Hub, Method::GET, "/enrollments/a", "on the other site");
        check(Site::Hub, Method::POST, "/0ne00ABCDEF/registrations/d", "nothing");
        check(Site::Service, Method::GET, "/", "nothing");
        check(Site::Service, Method::GET, "/enrollments//a", "nothing");
        check(Site::Hub, Method::GET, "/jobs/v2/query", "/jobs/{*} []");
    }

    proptest::proptest! {
        #[test]
        fn no_path_makes_a_look_up_panic(path: String) {
            if let Ok(segments) = segments(&path) {
                let _ = find(Site::Service, &Method::PUT, &segments);
                let _ = find(Site::Hub, &Method::PUT, &segments);
            }
        }
    }
}
