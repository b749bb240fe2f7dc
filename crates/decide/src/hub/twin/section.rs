//! The merge of a patch into a section, and the stamps that tell when each node was written
//! (H §3.2, §3.3).
//!
//! Both walk patch and content side by side by name, so the time is that of sorting, whatever a
//! patch holds. Depth was checked by the caller.

use std::collections::BTreeMap;

use model::{Json, Metadata, Timestamp};

use super::limits::is_kept;

/// What a write leaves on each node that it touches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stamp {
    /// `$lastUpdated`; `None` is the never-set moment.
    pub(super) at: Option<Timestamp>,
    /// `$lastUpdatedVersion`; desired properties only.
    pub(super) version: Option<u64>,
}

/// The content after a patch. Members keep their order, new ones follow in the patch's order.
pub(super) fn merged(content: &Json, patch: &Json) -> Json {
    let (Json::Object(old), Json::Object(new)) = (content, patch) else {
        return cleaned(patch);
    };
    let mut patches = by_name(new);
    let mut members = Vec::with_capacity(old.len());
    for (name, value) in old {
        match patches.remove(name.as_str()) {
            None => members.push((name.clone(), value.clone())),
            Some(Json::Null) => {}
            Some(patch) => members.push((name.clone(), merged(value, patch))),
        }
    }
    let added = new
        .iter()
        .filter(|(name, value)| is_kept(name, value) && patches.contains_key(name.as_str()));
    members.extend(added.map(|(name, value)| (name.clone(), cleaned(value))));
    Json::Object(members)
}

/// A value as it is kept: without members that are `null` or have a key beginning with `$`.
/// Arrays are kept whole.
pub(super) fn cleaned(value: &Json) -> Json {
    match value {
        Json::Object(members) => Json::Object(
            members
                .iter()
                .filter(|(name, member)| is_kept(name, member))
                .map(|(name, member)| (name.clone(), cleaned(member)))
                .collect(),
        ),
        leaf => leaf.clone(),
    }
}

/// A patch as a device is told of it: without members that have a key beginning with `$`, which a
/// write ignores, but with those that are `null`, which say what is gone (H §3.5).
pub(super) fn as_sent(patch: &Json) -> Json {
    match patch {
        Json::Object(members) => Json::Object(
            members
                .iter()
                .filter(|(name, _)| !name.starts_with('$'))
                .map(|(name, member)| (name.clone(), as_sent(member)))
                .collect(),
        ),
        leaf => leaf.clone(),
    }
}

/// The metadata of `content`, the outcome of a write. Nodes that `patch` reaches, which includes
/// the ancestors of all it changed, are stamped; the others keep what `before` says of them.
pub(super) fn stamped(
    content: &Json,
    before: Option<&Metadata>,
    patch: Option<&Json>,
    stamp: Stamp,
) -> Metadata {
    if let (None, Some(before)) = (patch, before) {
        return before.clone();
    }
    let old: BTreeMap<&str, &Metadata> = before
        .iter()
        .flat_map(|metadata| &metadata.members)
        .map(|(name, metadata)| (name.as_str(), metadata))
        .collect();
    let new = by_name(patch.and_then(Json::as_object).unwrap_or_default());
    let members = content.as_object().unwrap_or_default().iter().map(|(name, value)| {
        let (old, new) = (old.get(name.as_str()), new.get(name.as_str()));
        (name.clone(), stamped(value, old.copied(), new.copied(), stamp))
    });
    Metadata {
        last_updated: stamp.at,
        last_updated_version: stamp.version,
        members: members.collect(),
    }
}

fn by_name(members: &[(String, Json)]) -> BTreeMap<&str, &Json> {
    members.iter().map(|(name, value)| (name.as_str(), value)).collect()
}
