//! What the operator configures while the service runs: allocation and networking (O §3).

use std::net::IpAddr;

use crate::{AllocationPolicy, Etag, Timestamp};

/// How many IP rules there may be (O §3.6).
pub const MAX_IP_RULES: usize = 100;

/// The settings of the service that are changed while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// How hubs are chosen for enrollments that do not say. Never `Custom` (O §3.2).
    pub allocation_policy: AllocationPolicy,
    /// Whether the operator API answers to loopback addresses only.
    pub operator_api_on_loopback_only: bool,
    /// Who may come in, first match first; whoever matches none may.
    pub ip_rules: Vec<IpRule>,
    /// Whether disabling or deleting an enrollment, group or CA certificate ends the sessions that
    /// rest on it, and keeps their devices from their hubs. Off by default, as the vendor's
    /// service (O §2). A group may say otherwise. Bans do it whatever this says.
    pub disenroll_ends_sessions: bool,
    /// The version mark.
    pub etag: Etag,
    /// When they were last written.
    pub last_updated: Timestamp,
}

/// One rule on who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpRule {
    /// Its name: 1 to 128 ASCII characters, unique without letter case.
    pub name: String,
    /// What it does.
    pub action: IpAction,
    /// Whom it is about.
    pub network: IpNetwork,
    /// Which API it is about.
    pub target: IpTarget,
}

/// What an IP rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpAction {
    /// Lets in.
    Accept,
    /// Keeps out.
    Reject,
}

/// Which API an IP rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IpTarget {
    /// Both.
    All,
    /// The operator API and the hubs' registries.
    ServiceApi,
    /// The device API.
    DeviceApi,
}

/// A network: an address and how many of its leading bits count. IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IpNetwork {
    /// The address; bits beyond the prefix are zero.
    pub address: IpAddr,
    /// 0 to 32 or 0 to 128.
    pub prefix: u8,
}

/// The figures that limits count against, as configured (D §6). Sizes and counts are enforced;
/// a rate of `None` is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quotas {
    /// Registration records.
    pub registrations: u64,
    /// Individual enrollments.
    pub individual_enrollments: u64,
    /// Enrollment groups with certificates.
    pub x509_groups: u64,
    /// Enrollment groups with symmetric keys.
    pub symmetric_key_groups: u64,
    /// CA certificates.
    pub ca_certificates: u64,
    /// Linked hubs.
    pub linked_hubs: u64,
}

/// A line of the audit log as a use case hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When.
    pub at: Timestamp,
    /// Who.
    pub by: Caller,
    /// What was done, such as `enrollment.update`.
    pub action: String,
    /// To what, such as `enrollments/press-17`.
    pub target: String,
    /// What it was before, without secrets; absent for a creation.
    pub before: Option<crate::Json>,
    /// What it is now, without secrets; absent for a deletion.
    pub after: Option<crate::Json>,
    /// The etag of what is there now, where it has one.
    pub etag: Option<String>,
}

/// A line of the audit log as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditLine {
    /// Its number: 1, 2, 3, without a gap.
    pub number: u64,
    /// What happened.
    pub entry: AuditEntry,
    /// The hash of the line before; zeros for the first.
    pub previous: [u8; 32],
    /// This line's own hash, over everything above.
    pub hash: [u8; 32],
}

/// Who asked: a shared access policy, and from where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Caller {
    /// The policy, or `induct` for what the program does on its own behalf.
    pub policy: String,
    /// The address, without port; absent for what the program does by itself.
    pub address: Option<IpAddr>,
}

/// Which lines of the audit log to list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AuditFilter {
    /// Only those of this policy.
    pub policy: Option<String>,
    /// Only those whose action begins so.
    pub action: Option<String>,
    /// Only those on this target.
    pub target: Option<String>,
    /// Only those at or after this moment.
    pub since: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
}
