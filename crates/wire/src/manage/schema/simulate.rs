//! The shapes of changes that are only thought of, and of what they would mean.

use super::{
    Document, Member,
    Shape::{self, Anything, Count, Either, Flag, List, Text, Word},
    always, maybe,
};

/// The summary that a dry run adds to its answer.
pub(super) const SIMULATION: Member = maybe("simulation", Shape::Document("Simulation"));

const EFFECT: Shape = Word(&["loses", "gains", "moves", "unknown"]);
const WHY: Shape = Word(&["notKept", "noKey", "unreadable"]);
const ENTRY: Shape = Shape::Document("AdmittingEntry");
const NAMED_OR_PUT: Shape = Either(&[Text, Anything]);

pub(super) const DOCUMENTS: &[Document] = &[
    Document {
        name: "SimulationDraft",
        about: "A change that is only thought of: exactly one of enrollment, enrollmentGroup, \
                tpmEnrollmentGroup, certificate and ban. To put it, its document as the PUT of it \
                has, of a certificate with the member name besides; else its name.",
        members: &[
            always("change", Word(&["put", "delete", "disable", "enable", "lift"])),
            maybe("enrollment", NAMED_OR_PUT),
            maybe("enrollmentGroup", NAMED_OR_PUT),
            maybe("tpmEnrollmentGroup", NAMED_OR_PUT),
            maybe("certificate", NAMED_OR_PUT),
            maybe("ban", NAMED_OR_PUT),
            maybe("maxDevices", Count),
            maybe("maxSecs", Count),
            maybe("maxNamed", Count),
        ],
    },
    Document {
        name: "Simulation",
        about: "What a change would mean for the devices that are known, which are those with a \
                registration record: for how many nothing changes, how many would no longer be \
                admitted, how many would be and are not, how many by another entry, and of how \
                many nobody can tell. When isWhole is false there are more, which were not looked \
                at. effects counts by entry, devices names the first.",
        members: &[
            always("lookedAt", Count),
            always("unchanged", Count),
            always("loses", Count),
            always("gains", Count),
            always("moves", Count),
            always("unknown", Count),
            always("isWhole", Flag),
            maybe("stoppedBy", Word(&["devices", "time"])),
            always("effects", List(&Shape::Document("SimulatedEffect"))),
            always("devices", List(&Shape::Document("SimulatedDevice"))),
        ],
    },
    Document {
        name: "SimulatedEffect",
        about: "What changes for so many devices: by which entry they are admitted before (from) \
                and after (to); or why that is not known.",
        members: &[
            always("effect", EFFECT),
            maybe("from", ENTRY),
            maybe("to", ENTRY),
            maybe("why", WHY),
            always("devices", Count),
        ],
    },
    Document {
        name: "SimulatedDevice",
        about: "What changes for a device.",
        members: &[
            always("registrationId", Text),
            always("effect", EFFECT),
            maybe("from", ENTRY),
            maybe("to", ENTRY),
            maybe("why", WHY),
        ],
    },
    Document {
        name: "AdmittingEntry",
        about: "What admits a device: a group, or its own individual enrollment.",
        members: &[always("kind", Word(&["group", "enrollment"])), maybe("group", Text)],
    },
];
