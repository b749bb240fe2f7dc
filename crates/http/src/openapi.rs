//! The OpenAPI document of the management API, and of our own endpoints on hubs' host names: made from [`ROUTES`] and from the documents that
//! `wire` describes, checked in as `docs/openapi-v1.json`, and compared in a test.

use model::Json;
use wire::manage::schema::{DOCUMENTS, Shape};

use crate::routes::{Action, HubAction, ManageAction, ROUTES, Route};

/// What the paths of our own endpoints begin with, on whatever host name.
pub(crate) const OWN: &str = "/induct/v1/";

/// What the document says of an endpoint besides method, path and right.
struct Operation {
    id: &'static str,
    summary: &'static str,
    /// What the body of the request is.
    request: Option<Shape>,
    /// What is answered; nothing means 204.
    answer: Option<Shape>,
    /// The status of an answer.
    status: &'static str,
    /// Whether 204, without an answer, is as good.
    or_nothing: bool,
    /// Whether 202, with an answer that is not final, comes instead where it takes longer.
    or_later: bool,
    parameters: &'static [Parameter],
}

/// A query parameter or a header.
#[derive(Clone, Copy)]
struct Parameter {
    name: &'static str,
    place: &'static str,
    about: &'static str,
    shape: Shape,
}

const fn query(name: &'static str, about: &'static str, shape: Shape) -> Parameter {
    Parameter { name, place: "query", about, shape }
}

const fn header(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: "header", about, shape: Shape::Text }
}

const IF_MATCH: Parameter = header(
    "If-Match",
    "The etag of what is to be changed, or *. Without it a PUT creates, and other calls change \
     whatever is there.",
);
const FORCE: Parameter =
    query("force", "Does what would otherwise be refused for its effect.", Shape::Flag);
const DRY_RUN: Parameter = query(
    "dryRun",
    "Answers what would come of it, and writes nothing. Where the change decides who is admitted, \
     simulation says for whom. Calls that have no dry run refuse this.",
    Shape::Flag,
);
const HUB: Parameter = query(
    "hub",
    "The built-in hub whose policies are meant; without it, the service's.",
    Shape::Text,
);
const CONTINUATION: Parameter =
    header("x-ms-continuation", "Where to go on: the header of this name in the last answer.");

const IF_ENROLLMENT_MATCH: Parameter =
    header("If-Match", "The etag of the enrollment that is to be changed, or *.");

const IF_GROUP_MATCH: Parameter =
    header("If-Match", "The etag of the group that is to be changed, or *.");
const OF_GROUP: Parameter = query("group", "Only those that this group decided last.", Shape::Text);
const OLDER_THAN: Parameter = query(
    "olderThan",
    "Only those that were not written for so many seconds: whose device did not register since.",
    Shape::Count,
);
const MAX_ITEMS: Parameter = Parameter {
    name: "x-ms-max-item-count",
    place: "header",
    about: "How many items a page has at most.",
    shape: Shape::Count,
};
const WITH_RECORDS: Parameter = query(
    "withRecords",
    "Deletes the group's registration records too, batch by batch; may be asked again to go on.",
    Shape::Flag,
);
const ORPHANS: &[Parameter] = &[OF_GROUP, OLDER_THAN, MAX_ITEMS, CONTINUATION];
const ORPHANS_TO_DELETE: &[Parameter] = &[OF_GROUP, OLDER_THAN, DRY_RUN, MAX_ITEMS, CONTINUATION];

const WAIT: Parameter = query(
    "wait",
    "For how many seconds the answer may be waited for, 0 to 60; 5 when absent.",
    Shape::Count,
);
const STATE: Parameter = query(
    "state",
    "Only devices that stand so.",
    Shape::Word(&["pending", "unchanged", "done", "failed"]),
);

const PAGE: &[Parameter] = &[MAX_ITEMS, CONTINUATION];

const ATTEMPTS: &[Parameter] = &[
    query(
        "trackingId",
        "Only the one whose first or last answer had this tracking ID.",
        Shape::Text,
    ),
    query("device", "Only those of this registration ID or device ID.", Shape::Text),
    query("thumbprint", "Only those with this certificate, SHA-1 or SHA-256.", Shape::Text),
    query(
        "endorsementKey",
        "Only those of this TPM: its endorsement key in base64, or the SHA-256 of it in hex. Of \
         these four, one may be asked by.",
        Shape::Text,
    ),
    query("refused", "Only those that were not admitted; a page may be short then.", Shape::Flag),
    MAX_ITEMS,
    CONTINUATION,
];
const TOP: &[Parameter] = &[query("top", "How many, 1 to 1024; 20 when absent.", Shape::Count)];

const AUDIT: &[Parameter] = &[
    query("policy", "Only changes by this policy.", Shape::Text),
    query("action", "Only changes whose action begins so.", Shape::Text),
    query("target", "Only changes of this.", Shape::Text),
    query("since", "Only changes at or after this moment.", Shape::Moment),
    query("until", "Only changes before this moment.", Shape::Moment),
    query("top", "How many lines a page has.", Shape::Count),
    CONTINUATION,
];

const EVENT_PAGE: &str = "EventPage";
const EVENTS: &[Parameter] = &[
    query("from", "Where to begin: earliest, latest (the default), or a time.", Shape::Text),
    query(
        "cursor",
        "Where to go on: the cursor of an earlier answer. Counts more than from.",
        Shape::Text,
    ),
    query("partition", "Only events of this partition.", Shape::Count),
    query("deviceId", "Only events of this device and its modules.", Shape::Text),
    query("limit", "How many events a page has at most, 1 to 1000; 100 when absent.", Shape::Count),
    query(
        "wait",
        "How many seconds a page waits for its first event, 0 to 60; 0 when absent.",
        Shape::Count,
    ),
    header(
        "Last-Event-ID",
        "Where a stream goes on: the id of the last message. Counts more than cursor.",
    ),
];

use Shape::{Document, List};

/// A `match` without `_`, so that a new endpoint asks for its description. A table, so one line
/// each.
#[rustfmt::skip]
fn operation(action: ManageAction) -> Operation {
    use ManageAction as M;
    let op = |id, summary, request, answer, parameters| {
        Operation { id, summary, request, answer, status: "200", or_nothing: false, or_later: false, parameters }
    };
    const LINKED_HUBS: Option<Shape> = Some(List(&Document("LinkedHub")));
    const LINKED_HUB: Option<Shape> = Some(Document("LinkedHub"));
    const CERTIFICATES: Option<Shape> = Some(List(&Document("Certificate")));
    const CERTIFICATE: Option<Shape> = Some(Document("Certificate"));
    const POLICIES: Option<Shape> = Some(List(&Document("Policy")));
    const POLICY: Option<Shape> = Some(Document("Policy"));
    const RULES: Option<Shape> = Some(List(&Document("IpRule")));
    const SERVICE: Option<Shape> = Some(Document("Service"));
    const TPM_GROUP: Option<Shape> = Some(Document("TpmEnrollmentGroup"));
    const DEPROVISIONING: Option<Shape> = Some(Document("Deprovisioning"));
    let body = |name| Some(Document(name));
    match action {
        M::GetService => op("getService", "The service's settings", None, SERVICE, &[]),
        M::PatchService => op("updateService", "Changes settings; what would keep the caller out needs force", body("ServiceChange"), SERVICE, &[IF_MATCH, FORCE, DRY_RUN]),
        M::GetIpRules => op("getIpRules", "The IP rules; the etag, which is the service's, is in the ETag header", None, RULES, &[]),
        M::PutIpRules => op("putIpRules", "Replaces all IP rules; what would keep the caller out needs force", RULES, RULES, &[IF_MATCH, FORCE, DRY_RUN]),
        M::ListHubs => op("listLinkedHubs", "The linked hubs", None, LINKED_HUBS, &[]),
        M::GetHub => op("getLinkedHub", "A linked hub", None, LINKED_HUB, &[]),
        M::PutHub => op("putLinkedHub", "Links a hub or changes it", body("LinkedHubDraft"), LINKED_HUB, &[IF_MATCH]),
        M::DeleteHub => op("deleteLinkedHub", "Unlinks a hub; a built-in one that has devices needs force", None, body("LinkedHubRemoved"), &[IF_MATCH, FORCE]),
        M::ProbeHub => op("probeLinkedHub", "Finds out whether a hub answers and lets us in", None, body("LinkedHubProbe"), &[]),
        M::ListCertificates => op("listCertificates", "The CA certificates", None, CERTIFICATES, &[]),
        M::GetCertificate => op("getCertificate", "A CA certificate", None, CERTIFICATE, &[]),
        M::PutCertificate => op("putCertificate", "Uploads a CA certificate or replaces it", body("CertificateDraft"), CERTIFICATE, &[IF_MATCH, DRY_RUN]),
        M::DeleteCertificate => op("deleteCertificate", "Deletes a CA certificate", None, body("CertificateRemoved"), &[IF_MATCH, DRY_RUN]),
        M::GenerateVerificationCode => op("generateVerificationCode", "Makes a new verification code", None, CERTIFICATE, &[IF_MATCH]),
        M::VerifyCertificate => op("verifyCertificate", "Proves possession of a CA's key", body("CertificateProof"), CERTIFICATE, &[IF_MATCH, DRY_RUN]),
        M::ListPolicies => op("listPolicies", "The shared access policies, without keys", None, POLICIES, &[HUB]),
        M::GetPolicy => op("getPolicy", "A shared access policy, without keys", None, POLICY, &[HUB]),
        M::PutPolicy => op("putPolicy", "Creates a policy or replaces it", body("PolicyDraft"), POLICY, &[HUB, IF_MATCH]),
        M::DeletePolicy => op("deletePolicy", "Deletes a policy; the last that can manage the service stays", None, None, &[HUB, IF_MATCH]),
        M::ListKeys => op("listPolicyKeys", "A policy with its keys", None, body("PolicyWithKeys"), &[HUB]),
        M::RotateKey => op("rotatePolicyKey", "Makes one key anew; the other goes on working", body("PolicyRotation"), POLICY, &[HUB, IF_MATCH]),
        M::Usage => op("getUsage", "How full the service is", None, body("UsageReport"), &[]),
        M::ListAudit => op("listAudit", "Changes by operators, the oldest first", None, Some(List(&Document("AuditLine"))), AUDIT),
        M::VerifyAudit => op("verifyAudit", "Whether the audit log is as it was written", None, body("AuditCheck"), &[]),
        M::ListCrls => op("listCrls", "The revocation lists of CAs, without the serial numbers on them", None, Some(List(&Document("Crl"))), &[]),
        M::ImportCrl => op("importCrl", "Takes a revocation list in, whose CA must be enrolled here; an older one than the one that counts is refused", Some(Shape::CrlFile), body("Crl"), &[]),
        M::GetCrl => op("getCrl", "The revocation list of a CA, by its id or by the name of the CA's certificate", None, body("Crl"), &[]),
        M::DeleteCrl => op("deleteCrl", "Deletes a revocation list; whom it revoked is admitted again", None, None, &[IF_MATCH]),
        M::FollowCrl => op("followCrl", "Fetches the revocation lists of a CA from a URL from now on; the CA by the id of its list or by the name of its certificate", body("CrlSourceDraft"), body("Crl"), &[IF_MATCH]),
        M::UnfollowCrl => op("unfollowCrl", "Fetches the lists of a CA no more; the one that counts stays", None, None, &[IF_MATCH]),
        M::FetchCrl => op("fetchCrl", "Asks the URL now; what failed is in the source", None, body("Crl"), &[]),
        M::ListDeprovisionings => op("listDeprovisionings", "Plans and receipts, the latest first, page by page", None, Some(List(&Document("Deprovisioning"))), PAGE),
        M::PlanDeprovisioning => Operation { or_later: true, ..op("planDeprovisioning", "Plans what is to become of devices; nothing happens to any of them", body("DeprovisioningDraft"), DEPROVISIONING, &[WAIT]) },
        M::GetDeprovisioning => op("getDeprovisioning", "A plan or a receipt, with how far it is", None, DEPROVISIONING, &[]),
        M::ListDeprovisionedDevices => op("listDeprovisionedDevices", "The devices of a plan or a receipt, page by page", None, Some(List(&Document("DeprovisionedDevice"))), &[STATE, MAX_ITEMS, CONTINUATION]),
        M::ApplyDeprovisioning => Operation { or_later: true, ..op("applyDeprovisioning", "Applies a plan; again, answers how far it is", None, DEPROVISIONING, &[WAIT]) },
        M::ListBans => op("listBans", "Who is kept out whatever an enrollment says, page by page", None, Some(List(&Document("Ban"))), PAGE),
        M::GetBan => op("getBan", "A ban, by its name", None, body("Ban"), &[]),
        M::PutBan => op("putBan", "Keeps a device out until the ban is lifted; again, changes its words", body("BanDraft"), body("Ban"), &[DRY_RUN]),
        M::LiftBan => op("liftBan", "Lifts a ban; answers what it was", None, body("Ban"), &[DRY_RUN]),
        M::Simulate => op("simulateChange", "Says what a change would mean for the devices that are known, and changes nothing", body("SimulationDraft"), body("Simulation"), &[]),
        M::Explain => op("explain", "Says why a device is admitted or refused, or would be, and changes nothing", body("ExplainDraft"), body("Explanation"), &[]),
        M::ListAttempts => op("listAttempts", "What devices asked for and what became of it, the latest first, page by page", None, Some(List(&Document("Attempt"))), ATTEMPTS),
        M::GetAttempt => op("getAttempt", "Why an attempt was admitted or refused, by its tracking ID", None, body("Explanation"), &[]),
        M::TopRefused => op("topRefused", "Which devices and addresses are refused most", None, body("TopRefused"), TOP),
        M::ListTpmGroups => op("listTpmEnrollmentGroups", "Groups of TPMs, an extension of Induct, page by page", None, Some(List(&Document("TpmEnrollmentGroup"))), PAGE),
        M::GetTpmGroup => op("getTpmEnrollmentGroup", "A group of TPMs", None, TPM_GROUP, &[]),
        M::PutTpmGroup => op("putTpmEnrollmentGroup", "Creates a group of TPMs or replaces it", TPM_GROUP, TPM_GROUP, &[IF_MATCH, DRY_RUN]),
        M::DeleteTpmGroup => removal("deleteTpmEnrollmentGroup", "Deletes a group of TPMs; its registration records stay, unless they are to go too"),
        M::DeleteGroup => removal("deleteEnrollmentGroup", "Deletes an enrollment group as the vendor's API does; its registration records stay, unless they are to go too"),
        M::GetGroupSettings => op("getEnrollmentGroupSettings", "What is set on a group, of TPMs or not, beside what the vendor's API shows", None, body("GroupSettings"), &[]),
        M::PutGroupSettings => op("putEnrollmentGroupSettings", "Replaces what is set on a group", body("GroupSettingsDraft"), body("GroupSettings"), &[IF_GROUP_MATCH, DRY_RUN]),
        M::ListOrphans => op("listOrphans", "Registration records whose enrollment no longer exists, page by page", None, Some(List(&Document("Orphan"))), ORPHANS),
        M::CountOrphans => op("countOrphans", "How many registration records have no enrollment", None, body("OrphanCount"), &[OF_GROUP, OLDER_THAN]),
        M::DeleteOrphans => op("deleteOrphans", "Deletes the next batch of orphans; the devices' identities stay on their hubs", None, body("OrphansRemoved"), ORPHANS_TO_DELETE),
        M::GetEndorsement => op("getEndorsement", "What an individual enrollment demands of its TPM's certificate, an extension of Induct", None, body("Endorsement"), &[]),
        M::PutEndorsement => op("putEndorsement", "Demands a certificate, whatever was demanded before", body("EndorsementDraft"), body("Endorsement"), &[IF_ENROLLMENT_MATCH, DRY_RUN]),
        M::DeleteEndorsement => Operation { or_nothing: true, ..op("deleteEndorsement", "Demands no certificate any more", None, body("Endorsement"), &[IF_ENROLLMENT_MATCH, DRY_RUN]) },
        M::ReadEvents => reading("readHubEvents"),
        M::SendMessage => sending("sendHubMessage"),
    }
}

/// Whether a call of our own has a parameter of this name.
pub(crate) fn takes(route: &Route, parameter: &str) -> bool {
    let operation = match route.action {
        Action::Manage(action) => Some(operation(action)),
        Action::Hub(action) => hub_operation(action),
        Action::Health | Action::Device(_) | Action::Operator(_) => None,
    };
    let mut parameters = operation.iter().flat_map(|operation| operation.parameters);
    parameters.any(|known| known.name == parameter)
}

/// A group is deleted; where its records go too, or of a dry run, there is something to tell.
const fn removal(id: &'static str, summary: &'static str) -> Operation {
    Operation {
        id,
        summary,
        request: None,
        answer: Some(Document("GroupRemoved")),
        status: "200",
        or_nothing: true,
        or_later: false,
        parameters: &[IF_MATCH, WITH_RECORDS, MAX_ITEMS, DRY_RUN],
    }
}

/// Our own endpoints on a hub's host name; `None` for the vendor's.
fn hub_operation(action: HubAction) -> Option<Operation> {
    match action {
        HubAction::ReadEvents => Some(reading("readEvents")),
        HubAction::SendMessage => Some(sending("sendMessage")),
        _ => None,
    }
}

const fn reading(id: &'static str) -> Operation {
    Operation {
        id,
        summary: "What devices of a built-in hub sent: a page, or with Accept: text/event-stream \
                  server-sent events, each with the event as its data and the cursor after it as \
                  its id. A page may be empty before the end is reached; go on with its cursor",
        request: None,
        answer: Some(Document(EVENT_PAGE)),
        status: "200",
        or_nothing: false,
        or_later: false,
        parameters: EVENTS,
    }
}

const fn sending(id: &'static str) -> Operation {
    Operation {
        id,
        summary: "Puts a message into a device's queue",
        request: Some(Document("MessageDraft")),
        answer: Some(Document("MessageSent")),
        status: "201",
        or_nothing: false,
        or_later: false,
        parameters: &[],
    }
}

/// The document, OpenAPI 3.1.
#[must_use]
pub fn document() -> Json {
    let mut paths: Vec<(String, Json)> = Vec::new();
    for route in ROUTES {
        let operation = match route.action {
            Action::Manage(action) => operation(action),
            Action::Hub(action) if route.template.starts_with(OWN) => {
                let Some(operation) = hub_operation(action) else { continue };
                operation
            }
            _ => continue,
        };
        let method = route.method.as_str().to_ascii_lowercase();
        let described = describe(route, &operation);
        match paths.iter_mut().find(|(path, _)| path == route.template) {
            Some((_, methods)) => methods.set(&method, described),
            None => {
                let methods = Json::Object(vec![(method, described)]);
                paths.push((route.template.to_owned(), methods));
            }
        }
    }
    let schemas = DOCUMENTS.iter().map(|one| (one.name.to_owned(), one.json_schema())).collect();
    let key = object([
        ("type", "apiKey".into()),
        ("in", "header".into()),
        ("name", "Authorization".into()),
        (
            "description",
            "A SharedAccessSignature of a policy of the service, or of the hub.".into(),
        ),
    ]);
    object([
        ("openapi", "3.1.0".into()),
        (
            "info",
            object([
                ("title", "Induct management API".into()),
                ("version", "v1".into()),
                (
                    "description",
                    "What an operator configures while the service runs, what Induct adds to \
                     attestation by TPM, what devices of the built-in hubs say, and what they are \
                     told. Each call needs a policy with the \
                     right it names: of the service, on the service's host name; of the hub, where \
                     x-host is hub, which means the hub's host name."
                        .into(),
                ),
            ]),
        ),
        ("security", Json::Array(vec![object([("sharedAccess", Json::Array(Vec::new()))])])),
        ("paths", Json::Object(paths)),
        (
            "components",
            object([
                ("securitySchemes", object([("sharedAccess", key)])),
                ("schemas", Json::Object(schemas)),
            ]),
        ),
    ])
}

fn describe(route: &Route, operation: &Operation) -> Json {
    let named = route.template.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        Some(object([
            ("name", name.into()),
            ("in", "path".into()),
            ("required", true.into()),
            ("schema", Shape::Text.json_schema()),
        ]))
    });
    let others = operation.parameters.iter().map(|parameter| {
        object([
            ("name", parameter.name.into()),
            ("in", parameter.place.into()),
            ("description", parameter.about.into()),
            ("schema", parameter.shape.json_schema()),
        ])
    });
    let parameters: Vec<Json> = named.chain(others).collect();
    let good = match &operation.answer {
        Some(shape) => (operation.status, response("The answer.", Some(shape))),
        None => ("204", response("Done.", None)),
    };
    let is_hubs = matches!(route.action, Action::Hub(_));
    let error = if is_hubs { "HubError" } else { "Error" };
    let no = response("A refusal or a fault.", Some(&Document(error)));
    let mut members =
        vec![("operationId", operation.id.into()), ("summary", operation.summary.into())];
    if let Some(right) = route.right {
        members.push(("x-right", right.name().into()));
    }
    if is_hubs {
        members.push(("x-host", "hub".into()));
    }
    if !parameters.is_empty() {
        members.push(("parameters", Json::Array(parameters)));
    }
    if let Some(shape) = &operation.request {
        let body = object([("required", true.into()), ("content", content(shape))]);
        members.push(("requestBody", body));
    }
    let nothing = operation.or_nothing.then(|| ("204", response("Done.", None)));
    let about = "It goes on by itself; ask again how far it is.";
    let later = operation.or_later.then(|| ("202", response(about, operation.answer.as_ref())));
    let responses = [good].into_iter().chain(later).chain(nothing).chain([("default", no)]);
    members.push(("responses", object(responses)));
    object(members)
}

fn response(about: &str, shape: Option<&Shape>) -> Json {
    let mut members = vec![("description", about.into())];
    members.extend(shape.map(|shape| ("content", content(shape))));
    object(members)
}

fn content(shape: &Shape) -> Json {
    if *shape == Shape::CrlFile {
        let file = || object([("schema", shape.json_schema())]);
        return object([("application/pkix-crl", file()), ("application/x-pem-file", file())]);
    }
    let as_json = ("application/json", object([("schema", shape.json_schema())]));
    if *shape != Document(EVENT_PAGE) {
        return object([as_json]);
    }
    let as_stream = ("text/event-stream", object([("schema", Shape::Text.json_schema())]));
    object([as_json, as_stream])
}

fn object<'a>(members: impl IntoIterator<Item = (&'a str, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}
