//! What the audit log shows of a thing: everything that says what it is, and no secret.
//!
//! Keys are left out altogether; that they changed is told by [`note_new_keys`]. Of a webhook's
//! address the query and the user are masked, of a certificate subject and thumbprint are shown,
//! of a twin the operator's sections. A payload that a webhook gave for a device is left out.

use attest::certificate;
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{
    AccessPolicy, AllocationPolicy, AttestationMechanism, AuthenticationKind, Ban, BanKind,
    BanSubject, CaCertificate, Crl, CustomAllocation, Device, DeviceStatus, Endorsement,
    EnrolledCertificate, EnrollmentGroup, EnrollmentRef, GroupSettings, HubAccess,
    IndividualEnrollment, IpAction, IpTarget, Json, LinkedHub, PolicyScope, ProvisioningStatus,
    RegistrationRecord, RegistrationStatus, ReprovisionPolicy, Sent, ServiceSettings, Slots,
    StaleCrl, Terms, Twin, hex,
};

mod deprovision;

pub use deprovision::{before_deprovisioning, by_receipt, deprovisioned, deprovisioning};

/// What stands for a secret.
const MASK: &str = "****";

/// An individual enrollment.
#[must_use]
pub fn individual(enrollment: &IndividualEnrollment) -> Json {
    let mut view = Object::default();
    view.text("registrationId", enrollment.registration_id.as_str());
    view.maybe("deviceId", enrollment.device_id.as_ref().map(|id| Json::from(id.as_str())));
    view.maybe("optionalDeviceInformation", enrollment.optional_device_information.clone());
    terms(&mut view, &enrollment.terms);
    view.done()
}

/// An enrollment group.
#[must_use]
pub fn group(group: &EnrollmentGroup) -> Json {
    let mut view = Object::default();
    view.text("enrollmentGroupId", group.group_id.as_str());
    terms(&mut view, &group.terms);
    if group.settings != GroupSettings::default() {
        view.put("settings", group_settings(&group.settings));
    }
    view.done()
}

/// What is set on a group beside what the vendor's API shows.
#[must_use]
pub fn group_settings(settings: &GroupSettings) -> Json {
    let mut view = Object::default();
    view.put(
        "disenrollEndsSessions",
        settings.disenroll_ends_sessions.map_or(Json::Null, Json::from),
    );
    let stale_crl = settings.stale_crl.map(|stale| match stale {
        StaleCrl::Admit => "admit",
        StaleCrl::Refuse => "refuse",
    });
    view.put("staleCrl", stale_crl.map_or(Json::Null, Json::from));
    view.done()
}

/// Registration records that went together: how many, which, and which groups' they were.
#[must_use]
pub fn records(records: &[RegistrationRecord]) -> Json {
    let mut groups: Vec<&str> = Vec::new();
    for record in records {
        match &record.enrollment {
            EnrollmentRef::Group(id) if !groups.contains(&id.as_str()) => groups.push(id.as_str()),
            EnrollmentRef::Group(_) | EnrollmentRef::Individual(_) => {}
        }
    }
    let list = |items: &mut dyn Iterator<Item = &str>| Json::Array(items.map(Json::from).collect());
    let mut view = Object::default();
    view.put("records", Json::from(records.len() as u64));
    view.put("enrollmentGroups", list(&mut groups.into_iter()));
    let ids = &mut records.iter().map(|record| record.registration_id.as_str());
    view.put("registrationIds", list(ids));
    view.done()
}

/// A revocation list.
#[must_use]
pub fn crl(crl: &Crl) -> Json {
    let mut view = Object::default();
    view.text("ca", &crl.ca.info.subject_name);
    if let Some(list) = &crl.list {
        view.maybe(
            "number",
            list.number.as_ref().map(|number| Json::from(number.to_hex().as_str())),
        );
        view.text("sha256", &hex::upper(&list.sha256));
        view.put("revoked", Json::from(list.n_revoked));
    }
    if let Some(source) = &crl.source {
        view.text("url", &masked_url(&source.url));
        view.put("everySecs", Json::from(u64::from(source.every_secs)));
    }
    view.done()
}

/// A ban.
#[must_use]
pub fn ban(ban: &Ban) -> Json {
    let mut view = Object::default();
    view.text("ban", &ban.subject.key());
    match &ban.subject {
        BanSubject::Ca(certificate) => view.text("subject", &certificate.info.subject_name),
        BanSubject::Serial { issuer_name, .. } => view.text("issuer", issuer_name),
        BanSubject::Registration(_)
        | BanSubject::Certificate { .. }
        | BanSubject::CertificateSha1 { .. }
        | BanSubject::EndorsementKey(_) => {}
    }
    let kind = match ban.kind {
        BanKind::Suspended => "suspended",
        BanKind::Retired => "retired",
        BanKind::Revoked => "revoked",
    };
    view.text("kind", kind);
    view.maybe("reason", ban.reason.as_deref().map(Json::from));
    view.maybe(
        "expires",
        ban.expires.map(|at| Json::from(u64::try_from(at.unix_secs()).unwrap_or(0))),
    );
    view.maybe("receipt", ban.receipt.as_ref().map(|id| Json::from(id.as_str())));
    view.done()
}

fn terms(view: &mut Object, terms: &Terms) {
    view.put("attestation", attestation(&terms.attestation));
    view.maybe("iotEdge", terms.iot_edge.map(Json::from));
    view.maybe("iotHubHostName", terms.iot_hub_host_name.as_deref().map(Json::from));
    view.maybe("initialTwin", terms.initial_twin.clone());
    match terms.provisioning_status {
        Sent::Absent | Sent::Null => {}
        Sent::Value(status) => view.text("provisioningStatus", provisioning_status(status)),
    }
    view.maybe("reprovisionPolicy", terms.reprovision_policy.map(reprovision_policy));
    view.maybe(
        "allocationPolicy",
        terms.allocation_policy.map(|policy| Json::from(allocation_policy(policy))),
    );
    view.maybe("iotHubs", terms.iot_hubs.as_deref().map(texts));
    view.maybe("customAllocationDefinition", terms.custom_allocation.as_ref().map(webhook));
}

fn attestation(mechanism: &AttestationMechanism) -> Json {
    let mut view = Object::default();
    match mechanism {
        AttestationMechanism::SymmetricKey(_) => view.text("type", "symmetricKey"),
        AttestationMechanism::X509Client(slots) => {
            view.text("type", "x509");
            view.put("clientCertificates", both(slots, enrolled));
        }
        AttestationMechanism::X509Signing(slots) => {
            view.text("type", "x509");
            view.put("signingCertificates", both(slots, enrolled));
        }
        AttestationMechanism::X509CaReferences(slots) => {
            view.text("type", "x509");
            view.put("caReferences", both(slots, |name| Json::from(name.as_str())));
        }
        // A TPM's endorsement key here is its public half.
        AttestationMechanism::Tpm(tpm) => {
            view.text("type", "tpm");
            view.text("endorsementKey", &STANDARD.encode(&tpm.endorsement_key));
            view.maybe("endorsement", tpm.endorsement.as_deref().map(endorsement));
        }
        AttestationMechanism::TpmIssuer(slots) => {
            view.text("type", "tpm");
            view.put("issuers", both(slots, enrolled));
        }
    }
    view.done()
}

fn endorsement(endorsement: &Endorsement) -> Json {
    let mut view = Object::default();
    view.put("roots", both(&endorsement.roots, enrolled));
    let shown = endorsement.certificates.iter().map(|der| match certificate::describe(&der.0) {
        Ok(certificate) => enrolled(&certificate),
        // They were read when they were written.
        Err(_) => Json::Null,
    });
    view.put("certificates", Json::Array(shown.collect()));
    view.done()
}

fn both<T>(slots: &Slots<T>, show: impl Fn(&T) -> Json) -> Json {
    let mut view = Object::default();
    view.maybe("primary", slots.primary.as_ref().map(&show));
    view.maybe("secondary", slots.secondary.as_ref().map(&show));
    view.done()
}

fn enrolled(certificate: &EnrolledCertificate) -> Json {
    let mut view = Object::default();
    view.text("subjectName", &certificate.info.subject_name);
    view.text("sha256Thumbprint", &certificate.info.sha256_thumbprint);
    view.done()
}

fn reprovision_policy(policy: ReprovisionPolicy) -> Json {
    let mut view = Object::default();
    view.maybe("updateHubAssignment", policy.update_hub_assignment.map(Json::from));
    view.maybe("migrateDeviceData", policy.migrate_device_data.map(Json::from));
    view.done()
}

fn webhook(webhook: &CustomAllocation) -> Json {
    let mut view = Object::default();
    view.text("webhookUrl", &masked_url(&webhook.webhook_url));
    view.text("apiVersion", &webhook.api_version);
    view.done()
}

/// An address without what may be a secret in it: its user, its query, its fragment.
#[must_use]
pub fn masked_url(url: &str) -> String {
    let (bare, rest) = match url.find(['?', '#']) {
        None => (url, String::new()),
        Some(at) => (&url[..at], format!("{}{MASK}", &url[at..=at])),
    };
    let host_at = bare.find("://").map_or(0, |at| at + 3);
    let (scheme, place) = bare.split_at(host_at);
    // A user may hold a slash and a path an `@`, so whatever comes before the last `@` goes.
    match place.rfind('@') {
        None => format!("{scheme}{place}{rest}"),
        Some(at) => format!("{scheme}{MASK}{}{rest}", &place[at..]),
    }
}

/// A registration record.
#[must_use]
pub fn record(record: &RegistrationRecord) -> Json {
    let mut view = Object::default();
    view.text("registrationId", record.registration_id.as_str());
    view.text("status", status(record.status));
    if let Some(assignment) = &record.assignment {
        view.text("assignedHub", assignment.hub.as_str());
        view.text("deviceId", assignment.device_id.as_str());
    }
    match &record.enrollment {
        EnrollmentRef::Individual(id) => view.text("enrollment", id.as_str()),
        EnrollmentRef::Group(id) => view.text("enrollmentGroup", id.as_str()),
    }
    if let Some(failure) = &record.failure {
        view.put("errorCode", Json::Number(failure.code.to_string().into()));
    }
    view.done()
}

const fn status(status: RegistrationStatus) -> &'static str {
    match status {
        RegistrationStatus::Assigning => "assigning",
        RegistrationStatus::Assigned => "assigned",
        RegistrationStatus::Failed => "failed",
        RegistrationStatus::Disabled => "disabled",
    }
}

/// A device: its identity, and the operator's sections of its twin.
#[must_use]
pub fn device(device: &Device) -> Json {
    let mut view = Object::default();
    let identity = &device.identity;
    let module = identity.device_id.module();
    view.text("deviceId", identity.device_id.device());
    view.maybe("moduleId", module.map(Json::from));
    view.text("generationId", &identity.generation_id);
    if module.is_none() {
        view.text(
            "status",
            match identity.status {
                DeviceStatus::Enabled => "enabled",
                DeviceStatus::Disabled => "disabled",
            },
        );
    }
    view.maybe("statusReason", identity.status_reason.as_deref().map(Json::from));
    let mut authentication = Object::default();
    let kind = match identity.authentication.kind {
        AuthenticationKind::Sas => "sas",
        AuthenticationKind::SelfSigned => "selfSigned",
        AuthenticationKind::CertificateAuthority => "certificateAuthority",
    };
    authentication.text("type", kind);
    let thumbprint = |text: &Option<String>| text.as_deref().map(Json::from);
    let (primary, secondary) = (
        &identity.authentication.primary_thumbprint,
        &identity.authentication.secondary_thumbprint,
    );
    authentication.maybe("primaryThumbprint", thumbprint(primary));
    authentication.maybe("secondaryThumbprint", thumbprint(secondary));
    view.put("authentication", authentication.done());
    if module.is_none() {
        view.put("iotEdge", Json::from(identity.iot_edge));
    }
    view.maybe("managedBy", identity.managed_by.as_deref().map(Json::from));
    view.maybe("deviceScope", identity.device_scope.as_deref().map(Json::from));
    if !identity.parent_scopes.is_empty() {
        view.put("parentScopes", texts(&identity.parent_scopes));
    }
    view.put("twin", twin(&device.twin));
    view.done()
}

/// A twin: the sections an operator writes.
#[must_use]
pub fn twin(twin: &Twin) -> Json {
    let mut view = Object::default();
    view.put("tags", twin.tags.clone());
    view.put("desired", twin.desired.content.clone());
    view.done()
}

/// A linked hub.
#[must_use]
pub fn hub(hub: &LinkedHub) -> Json {
    let mut view = Object::default();
    view.text("hostName", hub.name.as_str());
    match &hub.access {
        HubAccess::BuiltIn => view.text("kind", "builtIn"),
        HubAccess::Remote(remote) => {
            view.text("kind", "remote");
            view.maybe("port", remote.port.map(|port| Json::from(u64::from(port))));
            view.text("policy", &remote.policy);
        }
    }
    view.put("weight", Json::from(u64::from(hub.weight)));
    view.put("applyAllocationPolicy", Json::from(hub.apply_allocation_policy));
    view.put("declared", Json::from(hub.declared));
    view.done()
}

/// A shared access policy.
#[must_use]
pub fn policy(policy: &AccessPolicy) -> Json {
    let mut view = Object::default();
    view.text("keyName", &policy.name);
    match &policy.scope {
        PolicyScope::Service => {}
        PolicyScope::Hub(hub) => view.text("hub", hub.as_str()),
    }
    let rights: Vec<_> = policy.rights.collapsed().into_iter().map(model::Right::name).collect();
    view.text("rights", &rights.join(", "));
    view.done()
}

/// A CA certificate.
#[must_use]
pub fn certificate(certificate: &CaCertificate) -> Json {
    let mut view = Object::default();
    view.text("name", &certificate.name);
    view.text("subjectName", &certificate.certificate.info.subject_name);
    view.text("sha256Thumbprint", &certificate.certificate.info.sha256_thumbprint);
    view.put("verified", Json::from(certificate.verified));
    view.done()
}

/// The service's settings.
#[must_use]
pub fn settings(settings: &ServiceSettings) -> Json {
    let mut view = Object::default();
    view.text("allocationPolicy", allocation_policy(settings.allocation_policy));
    view.put("operatorApiOnLoopbackOnly", Json::from(settings.operator_api_on_loopback_only));
    view.put("disenrollEndsSessions", Json::from(settings.disenroll_ends_sessions));
    let rules = settings.ip_rules.iter().map(|rule| {
        let mut view = Object::default();
        view.text("name", &rule.name);
        view.text(
            "action",
            match rule.action {
                IpAction::Accept => "Accept",
                IpAction::Reject => "Reject",
            },
        );
        view.text("network", &format!("{}/{}", rule.network.address, rule.network.prefix));
        view.text(
            "target",
            match rule.target {
                IpTarget::All => "all",
                IpTarget::ServiceApi => "serviceApi",
                IpTarget::DeviceApi => "deviceApi",
            },
        );
        view.done()
    });
    view.put("ipRules", Json::Array(rules.collect()));
    view.done()
}

/// Says in a view that symmetric keys are others than before, which the view itself cannot show.
#[must_use]
pub fn note_new_keys(mut view: Json) -> Json {
    view.set("symmetricKeys", Json::from("changed"));
    view
}

const fn provisioning_status(status: ProvisioningStatus) -> &'static str {
    match status {
        ProvisioningStatus::Enabled => "enabled",
        ProvisioningStatus::Disabled => "disabled",
    }
}

const fn allocation_policy(policy: AllocationPolicy) -> &'static str {
    match policy {
        AllocationPolicy::Hashed => "hashed",
        AllocationPolicy::GeoLatency => "geoLatency",
        AllocationPolicy::Static => "static",
        AllocationPolicy::Custom => "custom",
    }
}

fn texts(texts: &[String]) -> Json {
    Json::Array(texts.iter().map(|text| Json::from(text.as_str())).collect())
}

/// An object in the making.
#[derive(Default)]
struct Object(Vec<(String, Json)>);

impl Object {
    fn put(&mut self, name: &str, value: Json) {
        self.0.push((name.to_owned(), value));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.put(name, Json::from(text));
    }

    fn maybe(&mut self, name: &str, value: Option<Json>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn done(self) -> Json {
        Json::Object(self.0)
    }
}

#[cfg(test)]
mod tests;
