//! The shapes of explanations and attempts.

use super::{
    Document, Member,
    Shape::{self, Count, Flag, List, Moment, Text, Word},
    always, maybe,
};

const ENTRY: Shape = Shape::Document("EnrollmentName");
const ASKED: Shape = Word(&["register", "connect"]);

const QUESTION: &[Member] = &[
    maybe("registrationId", Text),
    maybe("symmetricKey", Text),
    maybe("certificates", Text),
    maybe("endorsementKey", Text),
    maybe("storageRootKey", Text),
    maybe("endorsementCertificates", Text),
    maybe("hub", Text),
    maybe("deviceId", Text),
    maybe("apiVersion", Text),
    maybe("trackingId", Text),
];

const EXPLANATION: &[Member] = &[
    always("asked", ASKED),
    maybe("registrationId", Text),
    maybe("apiVersion", Text),
    maybe("hub", Text),
    maybe("deviceId", Text),
    always("outcome", Text),
    maybe("isAdmission", Flag),
    always("told", Text),
    always("steps", List(&Text)),
    maybe("enrollment", ENTRY),
    maybe("remedy", Text),
    always("assumed", List(&Text)),
    always("bans", List(&Shape::Document("Ban"))),
    maybe("registration", Shape::Document("ExplainedRegistration")),
    maybe("attempt", Shape::Document("Attempt")),
];

const ATTEMPT: &[Member] = &[
    always("trackingId", Text),
    maybe("lastTrackingId", Text),
    always("first", Moment),
    always("last", Moment),
    always("count", Count),
    always("door", Word(&["https", "mqtt", "amqp"])),
    always("address", Text),
    always("asked", ASKED),
    maybe("registrationId", Text),
    maybe("apiVersion", Text),
    maybe("hub", Text),
    maybe("deviceId", Text),
    maybe("shown", Word(&["symmetricKey", "x509", "tpm"])),
    maybe("thumbprint", Text),
    maybe("sha1Thumbprint", Text),
    maybe("endorsementKeySha256", Text),
    always("outcome", Text),
    always("isAdmission", Flag),
    maybe("reason", Text),
    maybe("assignedHub", Text),
    maybe("assignedDeviceId", Text),
    maybe("enrollment", ENTRY),
];

const REGISTRATION: &[Member] = &[
    always("registrationId", Text),
    always("status", Word(&["assigning", "assigned", "failed", "disabled"])),
    maybe("assignedHub", Text),
    maybe("deviceId", Text),
    always("enrollment", ENTRY),
    always("updated", Moment),
];

const TOP: &[Member] = &[
    always("devices", List(&Shape::Document("RefusedOften"))),
    always("addresses", List(&Shape::Document("RefusedOften"))),
];

const OFTEN: &[Member] = &[
    maybe("registrationId", Text),
    maybe("address", Text),
    always("count", Count),
    always("mayBeLessBy", Count),
    always("since", Moment),
    always("last", Moment),
    always("reason", Text),
];

pub(super) const DOCUMENTS: &[Document] = &[
    Document {
        name: "ExplainDraft",
        about: "Whom to explain: a registration ID, with what the device shows, one of symmetricKey, \
                certificates (PEM, leaf first) and endorsementKey (base64 of TPM2B_PUBLIC), or \
                without, where it is what the device showed last; a hub and a device ID, likewise; \
                or the trackingId of an attempt. Keys are used and forgotten.",
        members: QUESTION,
    },
    Document {
        name: "Explanation",
        about: "Why a device is admitted or refused: what came or would come of it, step by step, \
                the entry that decides, what to change, and what was taken for granted. Without \
                isAdmission it is not known; outcome is then WebhookDecides or NotKnown.",
        members: EXPLANATION,
    },
    Document {
        name: "ExplainedRegistration",
        about: "Where the device is now.",
        members: REGISTRATION,
    },
    Document {
        name: "Attempt",
        about: "What a device asked for, what it showed, without any secret, and what became of it. \
                Repetitions of one refusal are counted with the first one.",
        members: ATTEMPT,
    },
    Document {
        name: "TopRefused",
        about: "Who is refused most since the server was started: at most 1,024 devices and as many \
                addresses are counted.",
        members: TOP,
    },
    Document {
        name: "RefusedOften",
        about: "One who is refused again and again. The count may be too high by mayBeLessBy, where \
                there are too many to count each.",
        members: OFTEN,
    },
];
