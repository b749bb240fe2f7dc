//! Marks: they move with what is written, before whoever asked hears of it.

use model::{Change, ChangeSet, Expect, RegistrationId};

use super::{Harness, conflicts, write};
use crate::{Store, first_settings};

fn id(text: &str) -> RegistrationId {
    RegistrationId::parse(text).expect("legal")
}

fn forgets(device: &str) -> Change {
    Change::DeleteRecord(id(device))
}

/// And the same ones are seen by all users of the store.
pub async fn marks_move_with_what_is_written(harness: &impl Harness) {
    let store = harness.open().await;
    let other_user = store.clone();
    let press = || other_user.marks().of(&id("press-17"));
    let before = press();
    write(&store, [forgets("PRESS-17")]).await;
    assert_eq!(press(), before.after_own_commit());

    let before = press();
    write(&store, [Change::DeleteBan("sha256:other".to_owned())]).await;
    assert_ne!(press(), before, "a ban may concern everyone");

    let settings = || other_user.marks().of_settings();
    let before = settings();
    write(&store, [forgets("press-17")]).await;
    assert_eq!(settings(), before);
    write(&store, [Change::PutServiceSettings(Box::new(first_settings()))]).await;
    assert_ne!(settings(), before);
}

/// A change set that conflicts admits nobody.
pub async fn marks_stay_where_nothing_is_written(harness: &impl Harness) {
    let store = harness.open().await;
    let press = || store.marks().of(&id("press-17"));
    let before = press();
    let never = ChangeSet::new().expecting(Expect::Crl([7; 32], 1));
    conflicts(&store, never.with(forgets("press-17"))).await;
    assert_eq!(press(), before);
}
