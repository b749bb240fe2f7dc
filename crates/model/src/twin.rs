//! Twins: tags, desired and reported properties, with a stamp on every node (H §3).

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Json, Timestamp, Version};

/// A device's twin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The operator's tags; a JSON object.
    pub tags: Json,
    /// What the operator wants.
    pub desired: TwinSection,
    /// What the device says.
    pub reported: TwinSection,
    /// Counts tag and desired writes, from 1; as 8 big-endian bytes in base64 it is the etag.
    pub etag_counter: u64,
    /// Counts writes of any kind; a fresh twin has 2 (H §3.1).
    pub version_number: u64,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl Twin {
    /// The twin's etag: the base64 of its counter as eight big-endian bytes (H §3.1).
    #[must_use]
    pub fn etag(&self) -> String {
        STANDARD.encode(self.etag_counter.to_be_bytes())
    }
}

/// Desired or reported properties.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TwinSection {
    /// A JSON object without `$metadata` and `$version`.
    pub content: Json,
    /// When each node was last written.
    pub metadata: Metadata,
    /// `$version`: 1 on a fresh twin, one more with each write of the section.
    pub version_number: u64,
}

/// The stamps of one node and of those below it. Arrays are leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `$lastUpdated`; `None` renders as the never-set moment `0001-01-01T00:00:00Z`.
    pub last_updated: Option<Timestamp>,
    /// `$lastUpdatedVersion`; desired properties only.
    pub last_updated_version: Option<u64>,
    /// The stamps of an object's members, in the content's order.
    pub members: Vec<(String, Metadata)>,
}
