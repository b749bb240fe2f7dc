//! What an operator sets on a group beside what the vendor's API shows: an extension of Induct.

use model::{
    EnrollmentGroup, Etag, Fresh, GroupSettings, OperatorRefusal, Precondition, Timestamp,
};

/// What a group becomes when its settings are put: the settings are replaced, whatever they were,
/// and the rest stays. The precondition is about the group, whose etag changes.
///
/// # Errors
/// [`OperatorRefusal::GroupNotFound`], [`OperatorRefusal::StaleEtag`].
pub fn put_settings(
    existing: Option<&EnrollmentGroup>,
    settings: GroupSettings,
    precondition: &Precondition,
    now: Timestamp,
    fresh: &Fresh,
) -> Result<EnrollmentGroup, OperatorRefusal> {
    let terms = existing.map(|group| &group.terms);
    super::delete(terms, precondition, OperatorRefusal::GroupNotFound)?;
    let mut written = existing.cloned().ok_or(OperatorRefusal::GroupNotFound)?;
    written.settings = settings;
    written.terms.etag = Etag::from_random(fresh.etag);
    written.terms.last_updated = now;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use model::StaleCrl;
    use testkit::{NOW, fresh};

    use super::*;
    use crate::scenes::{
        World, draft, keys,
        name::{group, key},
    };

    #[test]
    fn settings_are_replaced_and_the_rest_of_the_group_stays() {
        let mut world = World::default();
        world.enroll_group("line-4", draft(keys(&key(1), &key(2))));
        let existing = world.groups.values().next().expect("enrolled").clone();
        let settings = GroupSettings {
            disenroll_ends_sessions: Some(true),
            stale_crl: Some(StaleCrl::Refuse),
        };
        let put = |precondition: &Precondition| {
            put_settings(Some(&existing), settings, precondition, NOW.plus_secs(9), &fresh(7))
        };
        let written = put(&Precondition::None).expect("put");
        assert_ne!(written.terms.etag, existing.terms.etag);
        let mut expected = existing.clone();
        expected.settings = settings;
        expected.terms.etag = written.terms.etag.clone();
        expected.terms.last_updated = NOW.plus_secs(9);
        assert_eq!(written, expected);
        let tag = |text: &str| Precondition::Tag(text.to_owned());
        assert!(put(&tag(existing.terms.etag.as_str())).is_ok());
        assert_eq!(put(&tag("old")), Err(OperatorRefusal::StaleEtag));
        let missing = put_settings(None, settings, &Precondition::Any, NOW, &fresh(7));
        assert_eq!(missing, Err(OperatorRefusal::GroupNotFound));
        assert_eq!(existing.group_id, group("line-4"));
    }
}
