//! The nouns of Induct: ids, enrollments, registration records, device identities, twins,
//! evidence, refusals, and the change sets that connect a decision to a store.
//!
//! What lives here is data and the rules that make a single value right (an id that parses, a key
//! of a legal length). What deliberately does not: JSON text, HTTP status codes, SQL, async,
//! clocks, and any rule that needs two facts to be compared (that is `decide`).

pub mod access;
pub mod attempt;
pub mod ban;
pub mod change;
pub mod crl;
pub mod deprovision;
pub mod enrollment;
pub mod event;
pub mod evidence;
pub mod facts;
pub mod hex;
pub mod hub;
pub mod ids;
pub mod json;
pub mod message;
pub mod query;
pub mod question;
pub mod record;
pub mod refusal;
pub mod secret;
pub mod service;
pub mod session;
pub mod simulation;
pub mod step;
pub mod time;
pub mod twin;

pub use access::{AccessPolicy, PolicyScope, Right, Rights};
pub use attempt::{
    Attempt, AttemptAsked, AttemptFilter, AttemptOutcome, AttemptRepeat, AttemptShown, Door,
    StoredAttempt,
};
pub use ban::{
    Anchor, Ban, BanKind, BanSubject, Grounds, KnownProof, Origin, OriginEntry, OtherRegistration,
    PathCertificate,
};
pub use change::{BansRead, Change, ChangeSet, Counted, Expect, Version};
pub use crl::{Crl, CrlFacts, CrlList, CrlNumber, CrlSource, RevokedChange, RevokedStep, Serials};
pub use deprovision::{
    Closed, DeprovisionItem, DeprovisionState, Deprovisioning, DeviceSubject, EndedSessions,
    Former, Intent, ItemState, Part, PlanTotals, PlannedDevice, PlannedIdentity, Receipt,
    ReceiptCounts, RecordCondition, RemoteStep, RemoteStepState, RemoteStepTask, ReplacedBan,
    SelectedBy, SelectedCertificate, Selection, SharedAct, SharedOutcome, SharedPart,
    StillAdmitted, Trouble, TwinCondition, Whole,
};
pub use enrollment::*;
pub use event::*;
pub use evidence::{
    ApiVersion, CertificateDer, Evidence, Fresh, MAX_TPM_CHALLENGES, RegisterRequest, SasToken,
    TPM_CHALLENGE_LIFE_SECS, TpmChallenge, TpmKeys, TpmRandom,
};
pub use facts::*;
pub use hub::*;
pub use ids::*;
pub use json::Json;
pub use message::*;
pub use question::{Question, Shows};
pub use record::*;
pub use refusal::{AttestFailure, ConnectRefusal, DeviceRefusal, HubRefusal, OperatorRefusal};
pub use secret::{BadKey, SymmetricKey, SymmetricKeys};
pub use service::*;
pub use session::*;
pub use simulation::{
    ChangeDraft, SimulatedEffect, SimulatedEntry, SimulatedUnknown, Simulation, SimulationLimits,
    SimulationStop,
};
pub use step::{Decided, Step};
pub use time::Timestamp;
pub use twin::{Metadata, Twin, TwinSection};
