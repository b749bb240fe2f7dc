//! Registration records that outlive their enrollment, and how they go. What is set on groups.

use decide::scenes::{draft, keys};
use induct_app::{
    No,
    bans::Wet,
    enrollments::GroupShape,
    orphans::{Cleared, ORPHAN_BATCH},
    service::SettingsDraft,
};
use model::{
    ApiVersion, AuditFilter, AuditLine, Change, ChangeSet, EnrollmentGroupId, Evidence, GroupDraft,
    GroupSettings, Json, OperatorRefusal, OrphanFilter, Precondition, RecordFilter,
    RegisterRequest, RegistrationId, RegistrationRecord, StaleCrl, SymmetricKey,
};
use store::Store;
use testkit::{ClientStyle, DeviceToken, NOW};

use crate::{
    gated::At,
    instance::{SCOPE, by},
    stage::{Stage, key},
};

fn group_id(text: &str) -> EnrollmentGroupId {
    EnrollmentGroupId::parse(text).unwrap()
}

fn group(text: &str) -> GroupDraft {
    GroupDraft { group_id: group_id(text), draft: draft(keys(&key(7), &key(8))) }
}

fn of_group(text: &str) -> OrphanFilter {
    OrphanFilter { group: Some(group_id(text)), updated_before: None }
}

fn cleared(n_records: u64) -> Cleared {
    Cleared { n_records, next: None }
}

impl Stage {
    async fn enroll(&self, id: &str) {
        self.app.put_group(group(id), &Precondition::None, &by()).await.unwrap();
    }

    async fn disenroll(&self, id: &str) {
        self.app.delete_group(&group_id(id), &Precondition::None, &by()).await.unwrap();
    }

    async fn register(&self, id: &str) -> RegistrationRecord {
        let key: SymmetricKey = testkit::sas::derive_device_key(&key(7), id);
        let token = DeviceToken {
            style: ClientStyle::Python,
            id_scope: SCOPE,
            registration_id: id,
            key: &key,
            expiry_unix_secs: NOW.unix_secs() + 36_000,
        };
        let request = RegisterRequest {
            registration_id: RegistrationId::parse(id).unwrap(),
            evidence: Evidence::Sas(token.parsed()),
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        self.app.register(SCOPE, request).await.unwrap().record
    }

    /// As many records of a group as are wanted, made from one that came about.
    async fn crowd(&self, group: &str, n: usize) {
        self.enroll(group).await;
        let one = self.register(&format!("{group}-0000")).await;
        let mut changes = ChangeSet::new();
        for n in 1..n {
            let registration_id = RegistrationId::parse(&format!("{group}-{n:04}")).unwrap();
            let record = RegistrationRecord { registration_id, ..one.clone() };
            changes.changes.push(Change::PutRecord(Box::new(record)));
        }
        self.store.commit(changes).await.unwrap();
    }

    async fn n_records(&self) -> u64 {
        self.store.count_records(&RecordFilter::All).await.unwrap()
    }

    async fn ends_sessions(&self, on: bool) {
        let draft = SettingsDraft { disenroll_ends_sessions: Some(on), ..SettingsDraft::default() };
        self.app.update_service(&draft, &Precondition::None, false, &by()).await.unwrap();
    }

    async fn audit(&self, action: &str) -> Vec<AuditLine> {
        let filter = AuditFilter { action: Some(action.to_owned()), ..AuditFilter::default() };
        self.store.list_audit(&filter, None, 100).await.unwrap()
    }
}

#[tokio::test]
async fn orphans_expire_by_the_age_of_their_last_registration() {
    let stage = Stage::new().await;
    for (name, device) in [("line-4", "a"), ("line-5", "b")] {
        stage.enroll(name).await;
        stage.register(device).await;
        stage.disenroll(name).await;
        stage.clock.advance(1_000);
    }
    stage.enroll("line-6").await;
    stage.register("c").await;
    stage.clock.advance(5_000);
    let expire = async |secs: i64| stage.app.expire_orphans(secs, None).await.unwrap();
    assert_eq!(expire(8_000).await, cleared(0));
    assert_eq!(expire(6_500).await, cleared(1));
    assert_eq!(stage.app.count_orphans(&of_group("line-5")).await.unwrap(), 1);
    assert_eq!(expire(10).await, cleared(1));
    assert_eq!(stage.n_records().await, 1, "who is enrolled stays, however old");
    let lines = stage.audit("registration.expire-orphans").await;
    assert_eq!(lines.len(), 2, "a pass that deletes nothing leaves no line");
    assert_eq!(lines[0].entry.by.policy, "induct");
    let before = lines[0].entry.before.as_ref().unwrap().to_string();
    let expected = r#"{"records":1,"enrollmentGroups":["line-4"],"registrationIds":["a"]}"#;
    assert_eq!(before, expected);
}

#[tokio::test]
async fn a_record_that_keeps_its_device_from_its_hub_does_not_expire() {
    let stage = Stage::new().await;
    stage.enroll("line-4").await;
    stage.register("a").await;
    stage.ends_sessions(true).await;
    stage.disenroll("line-4").await;
    stage.clock.advance(100);
    assert_eq!(stage.app.expire_orphans(10, None).await.unwrap(), cleared(0));
    assert_eq!(stage.n_records().await, 1);
    stage.ends_sessions(false).await;
    assert_eq!(stage.app.expire_orphans(10, None).await.unwrap(), cleared(1));
}

#[tokio::test]
async fn a_group_that_comes_back_in_the_middle_keeps_its_records() {
    let stage = Stage::new().await;
    stage.crowd("line-4", 3).await;
    stage.disenroll("line-4").await;
    let mut held = stage.store.hold(At::Asked, |change| matches!(change, Change::DeleteRecord(_)));
    let app = stage.app.clone();
    let deleting = tokio::spawn(async move {
        app.delete_orphans(&OrphanFilter::default(), None, 10, Wet::Done, &by()).await
    });
    held.reached().await;
    stage.enroll("line-4").await;
    held.release();
    assert_eq!(deleting.await.unwrap().unwrap(), cleared(0));
    assert_eq!(stage.n_records().await, 3);
    assert!(stage.audit("registration.delete").await.is_empty());
}

#[tokio::test]
async fn many_orphans_go_in_batches_with_a_line_each() {
    let stage = Stage::new().await;
    let n = 2 * ORPHAN_BATCH + 7;
    stage.crowd("line-4", n).await;
    stage.disenroll("line-4").await;
    let all = OrphanFilter::default();
    let dry = stage.app.delete_orphans(&all, None, 10, Wet::Dry, &by()).await.unwrap();
    assert_eq!(dry, cleared(n as u64));
    assert_eq!(stage.n_records().await, n as u64, "a dry run deletes nothing");
    let (mut after, mut batches) = (None::<String>, Vec::new());
    loop {
        let (at, me) = (after.as_deref(), by());
        let batch = stage.app.delete_orphans(&all, at, 10_000, Wet::Done, &me).await.unwrap();
        batches.push(batch.n_records);
        after = batch.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(batches, [ORPHAN_BATCH as u64, ORPHAN_BATCH as u64, 7]);
    assert_eq!(stage.n_records().await, 0);
    let lines = stage.audit("registration.delete-orphans").await;
    let counted: Vec<Option<&Json>> =
        lines.iter().map(|line| line.entry.before.as_ref().unwrap().get("records")).collect();
    let expected: Vec<Json> = batches.into_iter().map(Json::from).collect();
    assert_eq!(counted, expected.iter().map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_group_goes_before_its_records_and_asking_again_finishes() {
    let stage = Stage::new().await;
    stage.crowd("line-4", 5).await;
    // The first group that takes a device's key is whose it is.
    stage.enroll("line-3").await;
    stage.register("other").await;
    let delete = async |wet: Wet| {
        let (shape, id, none) = (GroupShape::Vendor, group_id("line-4"), Precondition::None);
        stage.app.delete_group_with_records(shape, &id, &none, 2, wet, &by()).await
    };
    assert_eq!(delete(Wet::Dry).await.unwrap(), cleared(5));
    assert!(stage.app.get_group(&group_id("line-4")).await.is_ok());
    // The group is gone and then something breaks.
    let mut held = stage.store.hold(At::Asked, |change| matches!(change, Change::DeleteRecord(_)));
    tokio::select! {
        done = delete(Wet::Done) => panic!("it was not held up: {done:?}"),
        () = held.reached() => {}
    }
    let gone = stage.app.get_group(&group_id("line-4")).await;
    assert!(matches!(gone, Err(No::Refused(OperatorRefusal::GroupNotFound))));
    assert_eq!(stage.app.count_orphans(&of_group("line-4")).await.unwrap(), 5);
    assert_eq!(delete(Wet::Dry).await.unwrap(), cleared(5));
    let first = delete(Wet::Done).await.unwrap();
    assert_eq!((first.n_records, first.next.is_some()), (2, true));
    assert_eq!(delete(Wet::Done).await.unwrap().n_records, 2);
    assert_eq!(delete(Wet::Done).await.unwrap(), cleared(1));
    for wet in [Wet::Done, Wet::Dry] {
        let missing = delete(wet).await;
        assert!(matches!(missing, Err(No::Refused(OperatorRefusal::GroupNotFound))));
    }
    assert_eq!(stage.n_records().await, 1, "another group's record stays");
}

#[tokio::test]
async fn what_is_set_on_a_group_stays_when_the_group_is_replaced() {
    let stage = Stage::new().await;
    stage.enroll("line-4").await;
    let id = group_id("line-4");
    let settings =
        GroupSettings { disenroll_ends_sessions: Some(true), stale_crl: Some(StaleCrl::Refuse) };
    let put = async |settings: GroupSettings, precondition: Precondition, wet: Wet| {
        stage.app.put_group_settings(&id, settings, &precondition, wet, &by()).await
    };
    put(settings, Precondition::None, Wet::Dry).await.unwrap();
    let unset = stage.app.get_group_settings(&id).await.unwrap();
    assert_eq!(unset.settings, GroupSettings::default(), "a dry run sets nothing");
    let written = put(settings, Precondition::None, Wet::Done).await.unwrap();
    let stale = put(settings, Precondition::Tag(unset.terms.etag.as_str().to_owned()), Wet::Done);
    assert!(matches!(stale.await, Err(No::Refused(OperatorRefusal::StaleEtag))));
    let tag = Precondition::Tag(written.terms.etag.as_str().to_owned());
    let replaced = stage.app.put_group(group("line-4"), &tag, &by()).await.unwrap();
    assert_eq!(replaced.settings, settings);
    assert_eq!(stage.app.get_group_settings(&id).await.unwrap().settings, settings);
    let lines = stage.audit("enrollment-group.settings").await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!(line.entry.target, "enrollmentGroups/line-4");
    let shown = |view: &Option<Json>| view.as_ref().unwrap().to_string();
    let (before, after) = (shown(&line.entry.before), shown(&line.entry.after));
    assert_eq!(before, r#"{"disenrollEndsSessions":null,"staleCrl":null}"#);
    assert_eq!(after, r#"{"disenrollEndsSessions":true,"staleCrl":"refuse"}"#);
}

#[tokio::test]
async fn a_preview_of_the_services_settings_changes_none() {
    let stage = Stage::new().await;
    let draft = SettingsDraft { disenroll_ends_sessions: Some(true), ..SettingsDraft::default() };
    let before = stage.app.service_settings().await.unwrap();
    let preview = stage.app.preview_service(&draft, &Precondition::None, false, &by()).await;
    assert!(preview.unwrap().disenroll_ends_sessions);
    assert_eq!(stage.app.service_settings().await.unwrap(), before);
}
