//! The shapes of plans and receipts.

use super::{
    Document, Member,
    Shape::{self, Count, Flag, List, Measure, Moment, Text, Word},
    always, maybe,
};

const INTENT: Shape = Word(&["suspend", "retire", "revoke", "reinstate"]);
const STATUS: Shape = Word(&["assigning", "assigned", "failed", "disabled"]);
const ADMITTED: Shape = Word(&["no", "yes", "unknown"]);
const ENTRY: Shape = Shape::Document("EnrollmentName");

const DRAFT: &[Member] = &[
    always("select", Shape::Document("DeviceSelection")),
    always("intent", INTENT),
    maybe("reason", Text),
];

const SELECTION: &[Member] = &[
    maybe("registrationIds", List(&Text)),
    maybe("group", Text),
    maybe("hub", Text),
    maybe("thumbprint", Text),
    maybe("certificate", Text),
    maybe("records", Shape::Document("RecordCondition")),
    maybe("twins", Shape::Document("TwinCondition")),
    maybe("receipt", Text),
];

const RECORDS: &[Member] = &[
    maybe("status", STATUS),
    maybe("hub", Text),
    maybe("group", Text),
    maybe("enrollment", Text),
    maybe("updatedSince", Moment),
    maybe("updatedBefore", Moment),
    maybe("olderThanSecs", Count),
    maybe("orphaned", Flag),
];

const HEAD: &[Member] = &[
    always("id", Text),
    always("intent", INTENT),
    always("state", Word(&["planning", "planned", "applying", "done"])),
    maybe("reason", Text),
    always("select", Shape::Document("SelectedBy")),
    always("by", Text),
    always("created", Moment),
    always("expires", Moment),
    always("wholes", List(&Shape::Document("DeprovisionedWhole"))),
    always("plan", Shape::Document("PlanTotals")),
    always("progress", Shape::Document("DeprovisioningProgress")),
    always("sessions", Shape::Document("EndedSessions")),
    maybe("appliedBy", Text),
    maybe("applied", Moment),
    maybe("finished", Moment),
];

const SELECTED_BY: &[Member] = &[
    maybe("registrationIds", Count),
    maybe("group", Text),
    maybe("hub", Text),
    maybe("certificate", Text),
    maybe("records", Shape::Document("SelectedRecords")),
    maybe("twins", Text),
    maybe("receipt", Text),
];

const SELECTED_RECORDS: &[Member] = &[
    maybe("status", STATUS),
    maybe("hub", Text),
    maybe("group", Text),
    maybe("enrollment", Text),
    maybe("updatedSince", Moment),
    maybe("updatedBefore", Moment),
    always("orphaned", Flag),
];

const WHOLE: &[Member] = &[
    always("act", Word(&["disableGroup", "deleteGroup", "enableGroup", "setBan"])),
    maybe("group", Text),
    maybe("ban", Text),
    maybe("subject", Text),
    always("outcome", Word(&["planned", "unchanged", "done", "leftAlone"])),
    maybe("etag", Text),
    maybe("why", Text),
];

const TOTALS: &[Member] = &[
    always("devices", Count),
    always("unchanged", Count),
    always("enrollments", Count),
    always("records", Count),
    always("sessions", Count),
    always("bans", Count),
    always("identities", List(&Shape::Document("DevicesOfHub"))),
    always("stillAdmitted", Count),
    always("heldOff", List(&Shape::Document("DevicesOfGroup"))),
    always("unknown", Count),
    always("knownNowhere", Count),
    always("byKey", Count),
    always("others", Count),
    always("otherSessions", Count),
    always("otherGroups", List(&Shape::Document("DevicesOfGroup"))),
];

const PROGRESS: &[Member] = &[
    maybe("lookedAt", Count),
    always("devices", Count),
    always("pending", Count),
    always("unchanged", Count),
    always("done", Count),
    always("failed", Count),
    always("closing", Count),
    always("remotePending", Count),
    always("remoteDone", Count),
    always("remoteFailed", Count),
];

const DEVICE: &[Member] = &[
    always("number", Count),
    maybe("registrationId", Text),
    maybe("deviceId", Text),
    always("state", Word(&["pending", "unchanged", "done", "failed"])),
    always("isLate", Flag),
    maybe("at", Moment),
    always("plan", Shape::Document("PlannedDevice")),
    always("parts", List(&Shape::Document("DeprovisionedPart"))),
    always("sessions", Shape::Document("EndedDeviceSessions")),
    always("remote", List(&Shape::Document("RemoteHubStep"))),
    maybe("error", Text),
    maybe("remedy", Text),
];

const PLANNED: &[Member] = &[
    always("isUnchanged", Flag),
    maybe("enrollment", ENTRY),
    always("hasIndividualEnrollment", Flag),
    maybe("record", STATUS),
    always("identities", List(&Shape::Document("PlannedIdentity"))),
    always("sessions", Count),
    always("bans", List(&Text)),
    always("stillAdmitted", ADMITTED),
    maybe("admittedBy", ENTRY),
    always("admittedWithoutBans", ADMITTED),
    maybe("admittedWithoutBansBy", ENTRY),
];

const DID: Shape = Word(&[
    "enrollmentDisabled",
    "enrollmentEnabled",
    "enrollmentDeleted",
    "recordDeleted",
    "identityDisabled",
    "identityEnabled",
    "identityDeleted",
    "banSet",
    "banLifted",
    "leftAlone",
]);

const PART: &[Member] = &[
    always("did", DID),
    maybe("etag", Text),
    maybe("hub", Text),
    maybe("deviceId", Text),
    maybe("reasonBefore", Text),
    maybe("ban", Text),
    maybe("replacedKind", Word(&["suspended", "retired", "revoked"])),
    maybe("replacedReason", Text),
    maybe("what", Text),
    maybe("why", Text),
];

const STEP: &[Member] = &[
    always("hub", Text),
    always("deviceId", Text),
    always("task", Word(&["delete", "disable", "enable"])),
    always("state", Word(&["pending", "done", "superseded", "failed"])),
    maybe("failures", Count),
    maybe("changed", Flag),
    maybe("error", Text),
    maybe("remedy", Text),
    always("at", Moment),
];

pub(super) const DOCUMENTS: &[Document] = &[
    Document {
        name: "DeprovisioningDraft",
        about: "Which devices, and what is to become of them. suspend: banned and disabled until \
                reinstated. retire: enrollment, record and identities deleted; only an individual \
                enrollment made since lets it in. revoke: the same, and banned until an operator \
                lifts the bans. reinstate: undoes a suspension.",
        members: DRAFT,
    },
    Document {
        name: "DeviceSelection",
        about: "Devices that meet all of these. A group alone, or a certificate alone, is meant as \
                a whole. certificate: PEM, or base64 of DER; thumbprint: SHA-1 or SHA-256 in hex, \
                of a certificate that devices' admission rests on. receipt: the devices that this \
                one changed.",
        members: SELECTION,
    },
    Document {
        name: "RecordCondition",
        about: "Devices with such a registration record; at least one member. group or enrollment \
                decided last; orphaned means that neither exists any more.",
        members: RECORDS,
    },
    Document {
        name: "TwinCondition",
        about: "Devices with such a twin on a built-in hub: a hub query, SELECT * FROM devices \
                WHERE …",
        members: &[always("query", Text)],
    },
    Document {
        name: "Deprovisioning",
        about: "A plan, and once it is applied, the receipt: how far it is, and what came of it. \
                It is done when all that is ours is; remote hubs may still be told. A plan that \
                stays planning was interrupted.",
        members: HEAD,
    },
    Document {
        name: "SelectedBy",
        about: "The selection as it is remembered: of registration IDs, how many were listed; of a \
                certificate, the name of a ban on it.",
        members: SELECTED_BY,
    },
    Document {
        name: "SelectedRecords",
        about: "The condition on records as it is remembered.",
        members: SELECTED_RECORDS,
    },
    Document {
        name: "DeprovisionedWhole",
        about: "What is done to a group or a CA as a whole, before any device.",
        members: WHOLE,
    },
    Document {
        name: "PlanTotals",
        about: "What the plan comes to. unchanged: devices that are in that state already. \
                identities: by hub, on remote ones devices that they are told of. stillAdmitted: \
                devices that would get in afterwards. heldOff: by which group devices would get \
                in, were it not for the bans. unknown: of these it is not known what they can \
                prove themselves with; of those that are knownNowhere, nothing is known but the ID. \
                byKey: devices to revoke that have a symmetric key, which may admit them under \
                another ID. others: devices outside the selection that the CAs banned as a whole \
                keep out too, with otherSessions, and by group.",
        members: TOTALS,
    },
    Document {
        name: "DevicesOfHub",
        about: "Devices on a hub.",
        members: &[always("hub", Text), always("devices", Count)],
    },
    Document {
        name: "DevicesOfGroup",
        about: "Devices of a group.",
        members: &[always("group", Text), always("devices", Count)],
    },
    Document {
        name: "DeprovisioningProgress",
        about: "How far it is, in devices; closing are those whose sessions are waited for; the \
                last three count what remote hubs are told.",
        members: PROGRESS,
    },
    Document {
        name: "EndedSessions",
        about: "Live sessions ended, the longest time from an act to the last session it ended \
                being closed, and when the last of all was.",
        members: &[
            always("ended", Count),
            maybe("closedAfterMs", Measure),
            maybe("lastClosed", Moment),
        ],
    },
    Document {
        name: "DeprovisionedDevice",
        about: "A device of a plan or a receipt. isLate: it joined after the plan was made.",
        members: DEVICE,
    },
    Document {
        name: "PlannedDevice",
        about: "What was found when the plan was made, and meant to be done.",
        members: PLANNED,
    },
    Document {
        name: "EnrollmentName",
        about: "An enrollment group, or an individual enrollment by its registration ID.",
        members: &[maybe("group", Text), maybe("enrollment", Text)],
    },
    Document {
        name: "PlannedIdentity",
        about: "An identity on a hub; of a remote one it is not known whether it is there.",
        members: &[always("hub", Text), always("deviceId", Text), always("isRemote", Flag)],
    },
    Document { name: "DeprovisionedPart", about: "Something that was done.", members: PART },
    Document {
        name: "EndedDeviceSessions",
        about: "What became of a device's live sessions, those of its modules included. notYet: \
                they took longer than was waited; they have no effect all the same. unmeasured: \
                closed, but a restart came between.",
        members: &[
            always("ended", Count),
            always("closed", Word(&["none", "waiting", "closed", "notYet", "unmeasured"])),
            maybe("closedAfterMs", Measure),
            maybe("closedAt", Moment),
        ],
    },
    Document {
        name: "RemoteHubStep",
        about: "What a remote hub is told. superseded: a later deprovisioning took its place.",
        members: STEP,
    },
];
