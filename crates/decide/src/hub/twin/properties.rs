//! What holds for every sequence of patches.

use model::Metadata;
use proptest::prelude::*;

use super::*;
use crate::hub::scene::{CREATED, LATER, dev1};

/// A patch with few names, so that patches meet, and now and then something illegal.
fn patches() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        4 => Just(Json::Null),
        2 => any::<bool>().prop_map(Json::Bool),
        3 => any::<i32>().prop_map(|n| Json::Number(n.to_string().into())),
        3 => "[a-zé]{0,9}".prop_map(Json::String),
        1 => (0..5000_usize).prop_map(|n| Json::String("x".repeat(n))),
        1 => prop::collection::vec(any::<u8>().prop_map(|n| Json::from(u64::from(n))), 0..4)
            .prop_map(Json::Array),
    ];
    let tree = leaf.prop_recursive(12, 40, 5, |inner| {
        let name =
            prop_oneof![20 => "[abcd]", 1 => Just("$v".to_owned()), 1 => Just(String::new())];
        prop_oneof![
            8 => prop::collection::btree_map(name, inner.clone(), 0..5)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..3).prop_map(Json::Array),
        ]
    });
    prop::collection::btree_map("[abcd]", tree, 0..5)
        .prop_map(|members| Json::Object(members.into_iter().collect()))
}

fn has_no_nulls(value: &Json) -> bool {
    match value {
        Json::Null => false,
        Json::Array(items) => items.iter().all(has_no_nulls),
        Json::Object(members) => {
            members.iter().all(|(name, value)| !name.starts_with('$') && has_no_nulls(value))
        }
        Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
    }
}

fn mirrors(metadata: &Metadata, content: &Json) -> bool {
    let members = content.as_object().unwrap_or_default();
    metadata.members.len() == members.len()
        && metadata
            .members
            .iter()
            .zip(members)
            .all(|((stamped, metadata), (name, value))| stamped == name && mirrors(metadata, value))
}

/// No node is older than what lies below it, once the never-set moment counts as oldest.
fn ancestors_are_newest(metadata: &Metadata) -> bool {
    metadata.members.iter().all(|(_, member)| {
        member.last_updated <= metadata.last_updated
            && member.last_updated_version <= metadata.last_updated_version
            && ancestors_are_newest(member)
    })
}

proptest! {
    #[test]
    fn any_sequence_of_patches_keeps_a_twin_in_shape(
        sent in prop::collection::vec((patches(), 0..3_u8), 1..8),
    ) {
        let mut device = dev1();
        for (n, (json, way)) in sent.into_iter().enumerate() {
            let now = CREATED.plus_secs(i64::try_from(n).expect("few") + 1);
            let draft = TwinDraft { tags: Some(json.clone()), desired: Some(json.clone()) };
            let written = match way {
                0 => patch(&device, &draft, &Precondition::None, now),
                1 => replace(&device, &draft, &Precondition::None, now),
                _ => patch_reported(&device.twin, &json, now),
            };
            let Ok(twin) = written else { continue };
            prop_assert!(twin.version_number > device.twin.version_number);
            prop_assert!(has_no_nulls(&twin.tags));
            prop_assert!(check_section(TAGS, &twin.tags, MAX_TAGS_BYTES).is_ok());
            for section in [&twin.desired, &twin.reported] {
                prop_assert!(has_no_nulls(&section.content));
                prop_assert!(mirrors(&section.metadata, &section.content));
                prop_assert!(ancestors_are_newest(&section.metadata));
                prop_assert!(
                    check_section(DESIRED, &section.content, MAX_PROPERTIES_BYTES).is_ok()
                );
            }
            device.twin = twin;
        }
    }

    #[test]
    fn a_patch_sent_twice_changes_content_once(first in patches(), second in patches()) {
        let tags = |json: &Json| TwinDraft { tags: None, desired: Some(json.clone()) };
        let mut device = dev1();
        if let Ok(twin) = patch(&device, &tags(&first), &Precondition::None, CREATED) {
            device.twin = twin;
        }
        if let Ok(twin) = patch(&device, &tags(&second), &Precondition::None, LATER) {
            device.twin = twin;
            let again = patch(&device, &tags(&second), &Precondition::None, LATER);
            let again = again.expect("what fitted once fits again");
            prop_assert_eq!(&again.desired.content, &device.twin.desired.content);
            prop_assert!(again.desired.version_number > device.twin.desired.version_number);
        }
    }

    #[test]
    fn a_replacement_equals_a_patch_of_an_emptied_twin(before in patches(), sent in patches()) {
        let draft = |json: &Json| TwinDraft { tags: None, desired: Some(json.clone()) };
        let mut device = dev1();
        if let Ok(twin) = patch(&device, &draft(&before), &Precondition::None, CREATED) {
            device.twin = twin;
        }
        let replaced = replace(&device, &draft(&sent), &Precondition::None, LATER);
        let patched = patch(&dev1(), &draft(&sent), &Precondition::None, LATER);
        prop_assert_eq!(
            replaced.map(|twin| twin.desired.content),
            patched.map(|twin| twin.desired.content)
        );
    }
}
