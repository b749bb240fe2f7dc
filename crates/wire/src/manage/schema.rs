//! The shapes of the management API's documents, for its OpenAPI document. The tests compare them
//! with what is really parsed and rendered.

mod deprovisionings;
mod explain;
mod simulate;

use model::Json;

use crate::write::Object;

/// The shape of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A text.
    Text,
    /// A moment, RFC 3339.
    Moment,
    /// True or false.
    Flag,
    /// A whole number from 0.
    Count,
    /// A number from 0, with a fraction.
    Measure,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One of the named [`DOCUMENTS`].
    Document(&'static str),
    /// A list.
    List(&'static Shape),
    /// A revocation list as a file, DER or PEM.
    CrlFile,
    /// Several shapes are accepted.
    Either(&'static [Shape]),
    /// This, or `null`.
    OrNull(&'static Shape),
    /// Any object.
    Anything,
    /// Any value at all.
    Value,
}

/// A member of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its shape.
    pub shape: Shape,
    /// Whether it is always there in answers, or must be in requests.
    pub required: bool,
}

/// A document: an object of these members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// Its name in the OpenAPI document.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// Its members, in their order.
    pub members: &'static [Member],
}

const fn always(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: true }
}

const fn maybe(name: &'static str, shape: Shape) -> Member {
    Member { name, shape, required: false }
}

use self::simulate::SIMULATION;
use Shape::{Anything, Count, Either, Flag, List, Moment, Text, Value, Word};

const POLICIES: Shape = Word(&["hashed", "geoLatency", "static"]);
const ACTION: Shape = Word(&["Accept", "Reject"]);
const TARGET: Shape = Word(&["all", "serviceApi", "deviceApi"]);
const KEY: Shape = Word(&["primary", "secondary"]);
const PROBED: Shape = Word(&["builtIn", "healthy", "unauthorized", "unreachable"]);
const USED: Shape = Shape::Document("Usage");
const SLOT: Shape = Shape::Document("CertificateSlot");
const SLOTS: Shape = Shape::Document("CertificateSlots");
const OR_NULL_FLAG: Shape = Shape::OrNull(&Flag);
const OR_NULL_STALE_CRL: Shape = Shape::OrNull(&Word(&["admit", "refuse"]));
const ACK: Shape = Word(&["none", "positive", "negative", "full"]);

/// Every document of the management API.
pub const DOCUMENTS: &[Document] = &joined::<{ n_documents(PARTS) }>(PARTS);

/// The parts.
const PARTS: &[&[Document]] =
    &[GENERAL, deprovisionings::DOCUMENTS, explain::DOCUMENTS, simulate::DOCUMENTS];

const fn n_documents(parts: &[&[Document]]) -> usize {
    let (mut part, mut n) = (0, 0);
    while part < parts.len() {
        n += parts[part].len();
        part += 1;
    }
    n
}

/// The documents of all parts. Each part is a file of its own where there is much of it.
const fn joined<const N: usize>(parts: &[&[Document]]) -> [Document; N] {
    let mut all = [GENERAL[0]; N];
    let (mut part, mut n) = (0, 0);
    while part < parts.len() {
        let mut i = 0;
        while i < parts[part].len() {
            all[n] = parts[part][i];
            (n, i) = (n + 1, i + 1);
        }
        part += 1;
    }
    all
}

const GENERAL: &[Document] = &[
    Document {
        name: "Service",
        about: "The service's settings.",
        members: &[
            always("allocationPolicy", POLICIES),
            always("operatorApiOnLoopbackOnly", Flag),
            always("disenrollEndsSessions", Flag),
            always("idScope", Text),
            always("hosts", List(&Text)),
            always("etag", Text),
            always("updated", Moment),
        ],
    },
    Document {
        name: "ServiceChange",
        about: "What changes of the service's settings; what is absent stays.",
        members: &[
            maybe("allocationPolicy", POLICIES),
            maybe("operatorApiOnLoopbackOnly", Flag),
            maybe("disenrollEndsSessions", Flag),
        ],
    },
    Document {
        name: "IpRule",
        about: "Who may come in; the first rule that fits decides, and without one everyone may.",
        members: &[
            always("filterName", Text),
            always("action", ACTION),
            always("ipMask", Text),
            always("target", TARGET),
        ],
    },
    Document {
        name: "LinkedHub",
        about: "A linked hub. A remote hub's key is masked in its connectionString.",
        members: &[
            always("name", Text),
            always("builtIn", Flag),
            maybe("connectionString", Text),
            always("allocationWeight", Count),
            always("applyAllocationPolicy", Flag),
            always("declared", Flag),
            always("etag", Text),
            always("created", Moment),
            always("updated", Moment),
        ],
    },
    Document {
        name: "LinkedHubDraft",
        about: "A hub to link or change. A connectionString whose key is masked or absent keeps \
                the key; without connectionString and builtIn a new hub is built in.",
        members: &[
            maybe("builtIn", Flag),
            maybe("connectionString", Text),
            maybe("allocationWeight", Count),
            maybe("applyAllocationPolicy", Flag),
        ],
    },
    Document {
        name: "LinkedHubRemoved",
        about: "Who misses a hub that was unlinked.",
        members: &[
            always("name", Text),
            always("devices", Count),
            always("individualEnrollments", Count),
            always("enrollmentGroups", Count),
            always("lookedAtAll", Flag),
        ],
    },
    Document {
        name: "LinkedHubProbe",
        about: "How a linked hub is doing.",
        members: &[always("name", Text), always("status", PROBED), maybe("message", Text)],
    },
    Document {
        name: "Certificate",
        about: "A CA certificate. The verificationCode is in the answer of the call that made it.",
        members: &[
            always("name", Text),
            always("subject", Text),
            always("issuer", Text),
            always("thumbprint", Text),
            always("sha256Thumbprint", Text),
            always("notBefore", Moment),
            always("expiry", Moment),
            always("isVerified", Flag),
            maybe("verificationCode", Text),
            always("usedBy", List(&Text)),
            always("etag", Text),
            always("created", Moment),
            always("updated", Moment),
            SIMULATION,
        ],
    },
    Document {
        name: "CertificateDraft",
        about: "A CA certificate to upload: PEM, or base64 of a PEM or DER file.",
        members: &[always("certificate", Text), maybe("isVerified", Flag)],
    },
    Document {
        name: "CertificateProof",
        about: "A certificate called like the verification code, signed by the CA.",
        members: &[always("certificate", Text)],
    },
    Document {
        name: "CertificateRemoved",
        about: "The groups that referred to the certificate, and stop attesting by it.",
        members: &[always("name", Text), always("usedBy", List(&Text)), SIMULATION],
    },
    Document {
        name: "CertificateInfo",
        about: "What is shown of a certificate that is kept.",
        members: &[
            always("subjectName", Text),
            always("sha1Thumbprint", Text),
            always("sha256Thumbprint", Text),
            always("issuerName", Text),
            always("notBeforeUtc", Moment),
            always("notAfterUtc", Moment),
            always("serialNumber", Text),
            always("version", Count),
        ],
    },
    Document {
        name: "CertificateSlot",
        about: "A certificate in an enrollment. Answers show info; requests send certificate (PEM, \
                or base64 of a PEM or DER file), or info alone to keep the certificate that has \
                its thumbprint.",
        members: &[maybe("certificate", Text), maybe("info", Shape::Document("CertificateInfo"))],
    },
    Document {
        name: "CertificateSlots",
        about: "Two certificates, at least one of which is there. Both always count.",
        members: &[maybe("primary", SLOT), maybe("secondary", SLOT)],
    },
    Document {
        name: "TpmIssuers",
        about: "CA certificates of TPM vendors: roots or issuers below them.",
        members: &[always("issuers", SLOTS)],
    },
    Document {
        name: "TpmIssuerAttestation",
        about: "How TPMs of a group prove themselves: by their endorsement key's certificate, and \
                by an answer to a challenge that only the TPM with that key can give.",
        members: &[always("type", Word(&["tpm"])), always("tpm", Shape::Document("TpmIssuers"))],
    },
    Document {
        name: "BanDraft",
        about: "Whom to keep out: exactly one of registrationId; certificate, PEM or base64 of DER, \
                where a CA's bans the CA; thumbprint, SHA-1 or SHA-256 in hex; serialNumber in hex, \
                with the issuer's certificate or thumbprint; endorsementKey, base64 of TPM2B_PUBLIC.",
        members: &[
            maybe("registrationId", Text),
            maybe("certificate", Text),
            maybe("thumbprint", Text),
            maybe("serialNumber", Text),
            maybe("issuer", Text),
            maybe("endorsementKey", Text),
            maybe("reason", Text),
            maybe("expires", Moment),
        ],
    },
    Document {
        name: "Ban",
        about: "Who is kept out whatever an enrollment says. A retired registration ID is admitted \
                by an individual enrollment made since; a suspended one when it is reinstated; a \
                revoked one when the ban is lifted.",
        members: &[
            always("name", Text),
            maybe("registrationId", Text),
            maybe("thumbprint", Text),
            maybe("subject", Text),
            maybe("serialNumber", Text),
            maybe("issuer", Text),
            maybe("endorsementKeySha256", Text),
            always(
                "about",
                Word(&["registration", "certificate", "ca", "serial", "endorsementKey"]),
            ),
            always("kind", Word(&["suspended", "retired", "revoked"])),
            maybe("reason", Text),
            always("by", Text),
            always("created", Moment),
            maybe("expires", Moment),
            maybe("receipt", Text),
            SIMULATION,
        ],
    },
    Document {
        name: "CrlSourceDraft",
        about: "Where newer revocation lists come from, and how often they are fetched; every six \
                hours, unless it is said.",
        members: &[always("url", Text), maybe("everySecs", Count)],
    },
    Document {
        name: "CrlSource",
        about: "Where newer revocation lists come from. What failed is tried again ever later, and \
                leaves the list that counts.",
        members: &[
            always("url", Text),
            always("everySecs", Count),
            always("nextFetch", Moment),
            maybe("lastSuccess", Moment),
            maybe("lastError", Text),
            always("failures", Count),
        ],
    },
    Document {
        name: "Crl",
        about: "The revocation list of a CA, without the serial numbers on it. It is out of date \
                when its nextUpdate is over, or while none ever came. newlyRevoked and \
                noLongerRevoked are there when a list was taken in.",
        members: &[
            always("id", Text),
            always("ca", Text),
            always("caSha256Thumbprint", Text),
            always("isStale", Flag),
            maybe("number", Text),
            maybe("thisUpdate", Moment),
            maybe("nextUpdate", Moment),
            maybe("revoked", Count),
            maybe("takenIn", Moment),
            maybe("sha256", Text),
            maybe("newlyRevoked", Count),
            maybe("noLongerRevoked", Count),
            maybe("source", Shape::Document("CrlSource")),
            always("etag", Text),
            always("created", Moment),
            always("updated", Moment),
        ],
    },
    Document {
        name: "TpmEnrollmentGroup",
        about: "An extension of Induct: a group of TPMs by the issuers of their endorsement keys' \
                certificates. Its other members are those of an enrollment group. A device's \
                registration ID is the one that its endorsement key gives it, as `induct tpm show` \
                prints it. Requests may leave out etag and the two times, which are not read from them.",
        members: &[
            always("enrollmentGroupId", Text),
            always("attestation", Shape::Document("TpmIssuerAttestation")),
            maybe("capabilities", Anything),
            maybe("iotHubHostName", Text),
            maybe("initialTwin", Anything),
            maybe("etag", Text),
            maybe("provisioningStatus", Word(&["enabled", "disabled"])),
            maybe("reprovisionPolicy", Anything),
            maybe("createdDateTimeUtc", Moment),
            maybe("lastUpdatedDateTimeUtc", Moment),
            maybe("allocationPolicy", Word(&["hashed", "geoLatency", "static", "custom"])),
            maybe("iotHubs", List(&Text)),
            maybe("customAllocationDefinition", Anything),
            SIMULATION,
        ],
    },
    Document {
        name: "GroupSettings",
        about: "An extension of Induct: what is set on an enrollment group of whichever attestation \
                beside what the vendor's API shows. null leaves it to the service: \
                disenrollEndsSessions to the setting of that name, staleCrl to admit. The etag is \
                the group's.",
        members: &[
            always("enrollmentGroupId", Text),
            always("disenrollEndsSessions", OR_NULL_FLAG),
            always("staleCrl", OR_NULL_STALE_CRL),
            always("etag", Text),
            SIMULATION,
        ],
    },
    Document {
        name: "GroupSettingsDraft",
        about: "What is to be set on an enrollment group; what is absent becomes null.",
        members: &[
            maybe("disenrollEndsSessions", OR_NULL_FLAG),
            maybe("staleCrl", OR_NULL_STALE_CRL),
        ],
    },
    Document {
        name: "GroupRemoved",
        about: "A group that is gone with so many of its registration records; when isDone is \
                false there are more, which DELETE /induct/v1/orphans?group=ID deletes. Of a dry \
                run, how many would go in all.",
        members: &[
            always("enrollmentGroupId", Text),
            always("records", Count),
            always("isDryRun", Flag),
            always("isDone", Flag),
            SIMULATION,
        ],
    },
    Document {
        name: "Orphan",
        about: "A registration record whose enrollment no longer exists: the group it rested on, \
                if it was one, and the members of every registration record.",
        members: &[
            maybe("enrollmentGroupId", Text),
            always("registrationId", Text),
            always("createdDateTimeUtc", Moment),
            maybe("assignedHub", Text),
            maybe("deviceId", Text),
            always("status", Word(&["assigning", "assigned", "failed", "disabled"])),
            maybe("substatus", Text),
            maybe("errorCode", Count),
            maybe("errorMessage", Text),
            always("lastUpdatedDateTimeUtc", Moment),
            always("etag", Text),
            maybe("payload", Value),
        ],
    },
    Document {
        name: "OrphanCount",
        about: "How many registration records have no enrollment.",
        members: &[always("records", Count)],
    },
    Document {
        name: "OrphansRemoved",
        about: "How many orphans this call deleted; when isDone is false, go on with the header \
                x-ms-continuation. Of a dry run, how many would go in all.",
        members: &[always("records", Count), always("isDryRun", Flag), always("isDone", Flag)],
    },
    Document {
        name: "Endorsement",
        about: "An extension of Induct: what an individual enrollment by TPM demands of the \
                endorsement key's certificate; nothing, when roots is absent. certificates are \
                base64 of DER, the key's own first; when there are none, the device shows them. \
                The etag is the enrollment's.",
        members: &[
            always("registrationId", Text),
            maybe("roots", SLOTS),
            maybe("certificates", List(&Text)),
            always("etag", Text),
            SIMULATION,
        ],
    },
    Document {
        name: "EndorsementDraft",
        about: "Which TPM vendors' certificates count, and, unless the device is to show them, the \
                endorsement key's certificate and those between it and a root, the key's own first: \
                PEM, or base64 of PEM or DER.",
        members: &[always("roots", SLOTS), maybe("certificates", List(&Text))],
    },
    Document {
        name: "Policy",
        about: "A shared access policy, without its keys.",
        members: &[
            always("keyName", Text),
            always("rights", Text),
            always("etag", Text),
            always("created", Moment),
            always("updated", Moment),
        ],
    },
    Document {
        name: "PolicyWithKeys",
        about: "A shared access policy with its keys.",
        members: &[
            always("keyName", Text),
            always("primaryKey", Text),
            always("secondaryKey", Text),
            always("rights", Text),
            always("etag", Text),
            always("created", Moment),
            always("updated", Moment),
        ],
    },
    Document {
        name: "PolicyDraft",
        about: "A policy to create or replace. Absent keys are generated or kept.",
        members: &[
            always("rights", Either(&[Text, List(&Text)])),
            maybe("primaryKey", Text),
            maybe("secondaryKey", Text),
        ],
    },
    Document {
        name: "PolicyRotation",
        about: "Which key is made anew; with value it becomes that.",
        members: &[always("key", KEY), maybe("value", Text)],
    },
    Document {
        name: "Usage",
        about: "How much there is, and how much there may be.",
        members: &[always("current", Count), maybe("limit", Count)],
    },
    Document {
        name: "UsageReport",
        about: "How full the service is.",
        members: &[
            always("registrations", USED),
            always("orphanedRegistrations", USED),
            always("individualEnrollments", USED),
            always("x509Groups", USED),
            always("symmetricKeyGroups", USED),
            always("caCertificates", USED),
            always("linkedHubs", USED),
            always("revocationLists", USED),
            always("staleRevocationLists", USED),
        ],
    },
    Document {
        name: "AuditLine",
        about: "A change by an operator. The hash covers the line and the hash before it.",
        members: &[
            always("number", Count),
            always("time", Moment),
            always("policy", Text),
            maybe("address", Text),
            always("action", Text),
            always("target", Text),
            maybe("before", Anything),
            maybe("after", Anything),
            maybe("etag", Text),
            always("previousHash", Text),
            always("hash", Text),
        ],
    },
    Document {
        name: "AuditHead",
        about: "Number and hash of a line, worth noting elsewhere.",
        members: &[always("number", Count), always("hash", Text)],
    },
    Document {
        name: "AuditBreak",
        about: "The first line that is not as it was written.",
        members: &[always("number", Count), always("reason", Text)],
    },
    Document {
        name: "AuditCheck",
        about: "Whether the audit log is as it was written.",
        members: &[
            always("isWhole", Flag),
            always("lines", Count),
            always("last", Shape::Document("AuditHead")),
            maybe("broken", Shape::Document("AuditBreak")),
        ],
    },
    Document {
        name: "Event",
        about: "What a device sent. properties is what the message says about itself, \
                applicationProperties what its sender added, annotations what the hub says of it; \
                body is there when it is JSON and says so, else bodyBase64.",
        members: &[
            always("partition", Count),
            always("sequenceNumber", Count),
            always("offset", Text),
            always("enqueuedTime", Moment),
            always("deviceId", Text),
            maybe("moduleId", Text),
            always("properties", Anything),
            always("applicationProperties", Anything),
            always("annotations", Anything),
            maybe("body", Value),
            maybe("bodyBase64", Text),
        ],
    },
    Document {
        name: "EventPage",
        about: "Events in the order they were taken, exactly so within a partition, and where to \
                go on.",
        members: &[always("events", List(&Shape::Document("Event"))), always("cursor", Text)],
    },
    Document {
        name: "MessageDraft",
        about: "A message to a device. Its body is one of body (JSON), bodyText and bodyBase64, \
                or nothing. Without expiryTimeUtc it waits as long as the hub's default; ack says \
                of which ends there is feedback.",
        members: &[
            maybe("messageId", Text),
            maybe("correlationId", Text),
            maybe("userId", Text),
            maybe("contentType", Text),
            maybe("contentEncoding", Text),
            maybe("expiryTimeUtc", Moment),
            maybe("ack", ACK),
            maybe("properties", Anything),
            maybe("body", Value),
            maybe("bodyText", Text),
            maybe("bodyBase64", Text),
        ],
    },
    Document {
        name: "MessageSent",
        about: "A message that waits for its device until it expires.",
        members: &[
            always("messageId", Text),
            always("deviceId", Text),
            always("enqueuedTime", Moment),
            always("expiryTimeUtc", Moment),
        ],
    },
    Document {
        name: "HubError",
        about: "A refusal or a fault of a hub. The name between ErrorCode: and the semicolon is in \
                the header iothub-errorcode too.",
        members: &[always("Message", Text), always("ExceptionMessage", Text)],
    },
    Document {
        name: "Error",
        about: "A refusal or a fault. The HTTP status is the first three digits of errorCode.",
        members: &[
            always("errorCode", Count),
            always("trackingId", Text),
            always("message", Text),
            always("timestampUtc", Moment),
        ],
    },
];

impl Document {
    /// As JSON Schema.
    #[must_use]
    pub fn json_schema(&self) -> Json {
        let members =
            self.members.iter().map(|member| (member.name.to_owned(), member.shape.json_schema()));
        let required = self.members.iter().filter(|member| member.required);
        let required: Vec<Json> = required.map(|member| member.name.into()).collect();
        Object::new()
            .with("type", "object")
            .with("description", self.about)
            .with("properties", Json::Object(members.collect()))
            .with_some(
                "required",
                Some(Json::Array(required)).filter(|list| *list != Json::Array(Vec::new())),
            )
            .build()
    }
}

impl Shape {
    /// As JSON Schema.
    #[must_use]
    pub fn json_schema(&self) -> Json {
        let of_type = |name: &str| Object::new().with("type", name);
        match self {
            Self::Text => of_type("string").build(),
            Self::Moment => of_type("string").with("format", "date-time").build(),
            Self::Flag => of_type("boolean").build(),
            Self::CrlFile => of_type("string").with("format", "binary").build(),
            Self::Count => of_type("integer").with("minimum", 0_u64).build(),
            Self::Measure => of_type("number").with("minimum", 0_u64).build(),
            Self::Word(words) => {
                let words = words.iter().map(|word| Json::from(*word)).collect();
                of_type("string").with("enum", Json::Array(words)).build()
            }
            Self::Document(name) => {
                let place = format!("#/components/schemas/{name}");
                Object::new().with("$ref", place.as_str()).build()
            }
            Self::List(shape) => of_type("array").with("items", shape.json_schema()).build(),
            Self::Either(shapes) => {
                let shapes = shapes.iter().map(Self::json_schema).collect();
                Object::new().with("oneOf", Json::Array(shapes)).build()
            }
            Self::OrNull(shape) => {
                let null = of_type("null").build();
                Object::new().with("oneOf", Json::Array(vec![shape.json_schema(), null])).build()
            }
            Self::Anything => of_type("object").build(),
            Self::Value => Json::empty_object(),
        }
    }
}
