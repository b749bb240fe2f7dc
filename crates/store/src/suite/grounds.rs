//! What registrations rest on, what rests on a certificate, and where identities came from.

use model::{
    Anchor, AttestationMechanism, BanSubject, CaCertificate, CertificateDer, Change, ChangeSet,
    ConnectQuery, EnrolledCertificate, EnrollmentRef, Expect, Grounds, GroupQuery, KnownProof,
    Origin, OriginEntry, OtherRegistration, PathCertificate, ProvisioningStatus,
    RegistrationRecord, Sent, Slots, Timestamp, ban::Thumbprint,
};

use super::{
    Harness, assert_same, conflicts,
    scene::{
        ban, ban_on, ban_on_ca, ca_certificate, certificate, device, device_id, grounds, group_id,
        hub, individual, module_id, path_certificate, query, record_of_group, record_of_individual,
        referring_group, registration_id, signing_group, symmetric_key_group, tpm_group,
    },
    write,
};
use crate::Store;

/// They are written after it, replaced, kept when it is, and gone with it.
pub async fn grounds_go_with_their_record(harness: &impl Harness) {
    let store = harness.open().await;
    let found = async |id: &str| store.find_grounds(&registration_id(id)).await.expect("grounds");
    let put =
        |id: &str, grounds: Grounds| Change::PutGrounds(registration_id(id), Box::new(grounds));
    let first = grounds(&["leaf", "line-ca"]);
    conflicts(&store, ChangeSet::new().with(put("press-17", first.clone()))).await;
    write(&store, [record("press-17"), put("Press-17", first.clone())]).await;
    assert_same(&found("PRESS-17").await, &Some(first.clone()));
    write(&store, [record("press-17")]).await;
    assert_same(&found("press-17").await, &Some(first.clone()));
    let facts = store.register_facts(query("press-17", GroupQuery::None)).await.expect("facts");
    assert_eq!(facts.grounds, Some(first));

    let of_key = Grounds { proof: KnownProof::Key { is_primary: false }, path: vec![] };
    for second in [grounds(&["leaf-2", "line-ca"]), of_key, grounds(&[]), tpm("ek", &["ek-ca"])] {
        write(&store, [put("press-17", second.clone())]).await;
        assert_same(&found("press-17").await, &Some(second));
    }
    harness.close(store).await;
    let store = harness.open().await;
    let id = registration_id("press-17");
    let kept = store.find_grounds(&id).await.expect("grounds");
    assert_same(&kept, &Some(tpm("ek", &["ek-ca"])));
    write(&store, [Change::DeleteRecord(id.clone()), record("press-17")]).await;
    assert_eq!(store.find_grounds(&id).await.expect("grounds"), None);
    assert_eq!(store.pending_facts(&id).await.expect("facts").grounds, None);
}

/// Each of the keys that a ban may have finds who rests on it, in pages, and nobody else.
pub async fn what_rests_on_a_certificate_is_found_by_every_key(harness: &impl Harness) {
    let store = harness.open().await;
    for (id, path) in [
        ("e", ["leaf-e", "line-ca", "works-ca"]),
        ("B", ["leaf-b", "line-ca", "works-ca"]),
        ("a", ["leaf-a", "line-ca", "works-ca"]),
        ("d", ["leaf-d", "other-ca", "works-ca"]),
        ("c", ["leaf-c", "line-ca", "works-ca"]),
    ] {
        let put = Change::PutGrounds(registration_id(id), Box::new(grounds(&path)));
        write(&store, [record(id), put]).await;
    }
    write(&store, [record("x"), record("y"), record("z")]).await;
    let line = path_certificate("line-ca", "works-ca");
    check(&store, &line, &["a", "B", "c", "e"]).await;
    check(&store, &path_certificate("works-ca", "root"), &["a", "B", "c", "d", "e"]).await;
    check(&store, &path_certificate("leaf-d", "other-ca"), &["d"]).await;
    check(&store, &path_certificate("stranger", "works-ca"), &[]).await;

    // Another certificate of the same CA: its key is that of both.
    let renewed = PathCertificate {
        sha256: [9; 32],
        sha1: [9; 20],
        tbs: [9; 32],
        serial: "99".to_owned(),
        ..line.clone()
    };
    let mut of_renewed = grounds(&["leaf-b2", "line-ca", "works-ca"]);
    of_renewed.path[1] = renewed.clone();
    write(&store, [Change::PutGrounds(registration_id("b"), Box::new(of_renewed))]).await;
    let ca = ban(BanSubject::Ca(Box::new(certificate("line-ca", "works-ca")))).subject.key();
    resting(&store, &ca, &["a", "B", "c", "e"]).await;
    let [by_sha256, by_sha1, by_tbs, _, by_serial] = renewed.ban_keys();
    for key in [by_sha256, by_sha1, by_tbs, by_serial] {
        resting(&store, &key, &["B"]).await;
    }
    let [by_sha256, by_sha1, by_tbs, _, by_serial] = line.ban_keys();
    for key in [by_sha256, by_sha1, by_tbs, by_serial] {
        resting(&store, &key, &["a", "c", "e"]).await;
    }
    check(&store, &path_certificate("leaf-b", "line-ca"), &[]).await;

    // The same certificate, whose signature is written in another way.
    let leaf = path_certificate("leaf-x", "line-ca");
    let mut rewritten = grounds(&["leaf-x", "line-ca"]);
    rewritten.path[0] = PathCertificate { sha256: [8; 32], sha1: [8; 20], ..leaf.clone() };
    let mut written = grounds(&["leaf-x", "line-ca"]);
    written.path[0] = leaf.clone();
    for (id, grounds) in [("x", written), ("y", rewritten.clone())] {
        write(&store, [Change::PutGrounds(registration_id(id), Box::new(grounds))]).await;
    }
    for one in [&leaf, &rewritten.path[0]] {
        let [by_sha256, by_sha1, by_tbs, ..] = one.ban_keys();
        for key in [by_sha256, by_sha1, by_tbs] {
            resting(&store, &key, &["x", "y"]).await;
        }
    }
    for id in ["x", "y"] {
        write(&store, [Change::DeleteRecord(registration_id(id))]).await;
    }

    write(&store, [Change::DeleteRecord(registration_id("c"))]).await;
    resting(&store, &ca, &["a", "B", "e"]).await;
    resting(&store, "registration:b", &["B"]).await;
    for nobody in ["registration:nobody", "registration:", "sha256:", "sha1:0", "ca:é", "x:y", ""]
    {
        resting(&store, nobody, &[]).await;
    }
    for kind in ["sha256", "sha1", "tbs", "ca", "endorsement-key", "serial"] {
        resting(&store, &format!("{kind}:{}", "z".repeat(64)), &[]).await;
        resting(&store, &format!("{kind}:{}", "é".repeat(32)), &[]).await;
        resting(&store, &format!("{kind}:{}:", "0".repeat(64)), &[]).await;
    }
}

/// A TPM by its endorsement key, and by the certificates of that key.
pub async fn what_rests_on_an_endorsement_key_is_found_by_it(harness: &impl Harness) {
    let store = harness.open().await;
    for (id, key) in [("a", "ek-1"), ("b", "ek-2"), ("c", "ek-1")] {
        let put = Change::PutGrounds(registration_id(id), Box::new(tpm(key, &["ek-ca"])));
        write(&store, [record(id), put]).await;
    }
    let (first, second) = (format!("endorsement-key:{EK_1}"), format!("endorsement-key:{EK_2}"));
    resting(&store, &first, &["a", "c"]).await;
    resting(&store, &second, &["b"]).await;
    check(&store, &path_certificate("ek-ca", "root"), &["a", "b", "c"]).await;
    write(&store, [Change::DeleteRecord(registration_id("a"))]).await;
    resting(&store, &first, &["c"]).await;
}

/// Bytes are kept once and go with the last registration that showed them.
pub async fn shown_certificates_are_found_by_their_thumbprints(harness: &impl Harness) {
    let store = harness.open().await;
    let line = LINE_CA;
    let shown = async |thumbprint: &str| {
        store.shown_certificate(thumbprint).await.expect("read").map(|der| der.0)
    };
    let put = |id: &str, path: &[&str]| {
        [record(id), Change::PutGrounds(registration_id(id), Box::new(grounds(path)))]
    };
    assert_eq!(shown(line).await, None);
    write(&store, put("a", &["leaf-a", "line-ca"])).await;
    write(&store, put("b", &["leaf-b", "line-ca"])).await;
    assert_eq!(shown(line).await.as_deref(), Some(b"line-ca".as_slice()));
    assert_eq!(shown(&line.to_ascii_uppercase()).await.as_deref(), Some(b"line-ca".as_slice()));
    write(&store, put("a", &["leaf-a"])).await;
    assert!(shown(line).await.is_some());
    write(&store, [Change::DeleteRecord(registration_id("b"))]).await;
    assert_eq!(shown(line).await, None);
    assert_eq!(shown("").await, None);
    // Of the verified path, and shown: one certificate, found by SHA-1 as well.
    let mut both = grounds(&["leaf-a", "line-ca"]);
    both.path[1].sha256 = hash_of(line);
    write(&store, [Change::PutGrounds(registration_id("a"), Box::new(both.clone()))]).await;
    let sha1: String = both.path[1].sha1.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(shown(&sha1).await.as_deref(), Some(b"line-ca".as_slice()));
    assert_same(&store.find_grounds(&registration_id("a")).await.expect("read"), &Some(both));
}

/// Those of groups in both slots, and of the CA store.
pub async fn enrolled_certificates_are_known_by_their_thumbprints(harness: &impl Harness) {
    let store = harness.open().await;
    let with = |name: &str, digit: &str| {
        let mut made = certificate(name, "root");
        made.info.sha1_thumbprint = digit.repeat(40);
        made.info.sha256_thumbprint = digit.repeat(64);
        made
    };
    let signing = signing_group("line-4", Some(with("one", "A")), Some(with("two", "B")));
    write(
        &store,
        [
            Change::PutGroup(Box::new(signing)),
            Change::PutGroup(Box::new(symmetric_key_group("line-5"))),
            Change::PutGroup(Box::new(tpm_group("tpms", with("three", "C")))),
            Change::PutCaCertificate(Box::new(ca_certificate("works", with("four", "D")))),
        ],
    )
    .await;
    for (digit, name) in [
        ("A", Some("one")),
        ("b", Some("two")),
        ("C", Some("three")),
        ("d", Some("four")),
        ("E", None),
    ] {
        for length in [40, 64] {
            let found = store.known_certificate(&digit.repeat(length)).await.expect("read");
            let expected = name.map(|name| with(name, &digit.to_ascii_uppercase()));
            assert_eq!(found, expected, "{digit}");
        }
    }
    assert_eq!(store.known_certificate(&"A".repeat(39)).await.expect("read"), None);
}

/// Of an identity: the registration it was assigned to last, whatever its name.
pub async fn an_origin_is_the_registration_that_was_assigned_last(harness: &impl Harness) {
    let store = harness.open().await;
    let assigned = |id: &str, device: &str, to: &str, secs: i64| {
        let mut record = record_of_group(id, "line-4");
        let assignment = record.assignment.as_mut().expect("assigned");
        assignment.hub = hub(to);
        assignment.device_id = device_id(device);
        record.last_updated = Timestamp::from_unix_secs(secs);
        Change::PutRecord(Box::new(record))
    };
    let unassigned =
        RegistrationRecord { assignment: None, ..record_of_group("press-17", "line-4") };
    write(&store, [Change::PutRecord(Box::new(unassigned))]).await;
    assert_eq!(origin(&store, "press-17").await, None);
    write(
        &store,
        [
            assigned("first", "press-17", "hub-1.test", 1),
            assigned("elsewhere", "press-17", "hub-2.test", 9),
            assigned("another", "press-18", "hub-1.test", 9),
        ],
    )
    .await;
    let by = async |device: &str| {
        origin(&store, device).await.map(|origin| origin.registration_id.as_str().to_owned())
    };
    assert_eq!(by("press-17").await.as_deref(), Some("first"));
    write(&store, [assigned("second", "press-17", "hub-1.test", 2)]).await;
    assert_eq!(by("press-17").await.as_deref(), Some("second"));
    write(&store, [assigned("first", "press-17", "hub-1.test", 3)]).await;
    assert_eq!(by("press-17").await.as_deref(), Some("first"));
    // A record that moves leaves where it was, also when its enrollment stays.
    write(&store, [assigned("first", "press-17", "hub-2.test", 4)]).await;
    assert_eq!(by("press-17").await.as_deref(), Some("second"));
    assert_eq!(by("Press-17").await, None);
    let module = module_id("press-17", "filter");
    let of_module = store.origin(&hub("hub-1.test"), &module).await.expect("origin");
    assert_eq!(of_module, origin(&store, "press-17").await);
    write(&store, [Change::DeleteRecord(registration_id("second"))]).await;
    assert_eq!(by("press-17").await, None);
}

/// An identity whose record was deleted is remembered to come from it, and a group that was deleted
/// to have said what it said: neither lets a device in that the end of its enrollment keeps out.
pub async fn an_origin_outlives_its_record_and_its_group(harness: &impl Harness) {
    let store = harness.open().await;
    let group = |ends_sessions: Option<bool>| {
        let mut group = symmetric_key_group("line-4");
        group.settings.disenroll_ends_sessions = ends_sessions;
        Change::PutGroup(Box::new(group))
    };
    let put_device = || Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17")));
    write(&store, [group(Some(true)), put_device(), record("press-17")]).await;
    write(&store, [Change::DeleteRecord(registration_id("PRESS-17"))]).await;
    let found = origin(&store, "press-17").await.expect("remembered");
    assert_eq!(found.registration_id, registration_id("press-17"));
    assert_eq!(found.enrollment, EnrollmentRef::Group(group_id("line-4")));
    assert!(found.entry.is_some_and(|entry| entry.is_enabled));
    assert_eq!((found.ends_sessions, found.grounds), (Some(true), None));

    write(&store, [Change::DeleteGroup(group_id("LINE-4"))]).await;
    let check = async |entry_is_there: bool, ends_sessions: Option<bool>| {
        let found = origin(&store, "press-17").await.expect("remembered");
        assert_eq!(found.entry.is_some(), entry_is_there);
        assert_eq!(found.ends_sessions, ends_sessions);
    };
    check(false, Some(true)).await;
    // Another group that goes does not make it forgotten; the group's return does.
    let other = || {
        let mut other = symmetric_key_group("line-5");
        other.settings.disenroll_ends_sessions = Some(false);
        Change::PutGroup(Box::new(other))
    };
    write(&store, [other(), Change::DeleteGroup(group_id("line-5"))]).await;
    check(false, Some(true)).await;
    write(&store, [group(None)]).await;
    check(true, None).await;
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    check(false, None).await;

    // With the record there is the record's; without the identity there is nothing.
    write(&store, [Change::PutRecord(Box::new(record_of_individual("press-17")))]).await;
    let found = origin(&store, "press-17").await.expect("assigned");
    assert_eq!(found.enrollment, EnrollmentRef::Individual(registration_id("press-17")));
    write(&store, [Change::DeleteRecord(registration_id("press-17"))]).await;
    let found = origin(&store, "press-17").await.expect("remembered");
    assert_eq!(found.enrollment, EnrollmentRef::Individual(registration_id("press-17")));
    write(&store, [Change::DeleteDevice(hub("hub-1.test"), device_id("press-17"))]).await;
    write(&store, [put_device()]).await;
    assert_eq!(origin(&store, "press-17").await, None);
}

/// The proof and the path of a registration whose record was deleted are those of the identity that it
/// left, also when that is of no record any more; a later record has its own. Nobody else finds them.
pub async fn what_a_registration_rested_on_is_kept_as_long_as_an_identity_came_from_it(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    let put_device = |id: &str| Change::PutDevice(hub("hub-1.test"), Box::new(device(id)));
    let put = |id: &str, grounds: &Grounds| {
        Change::PutGrounds(registration_id(id), Box::new(grounds.clone()))
    };
    let delete = |id: &str| Change::DeleteRecord(registration_id(id));
    let first = tpm("ek-1", &["ek", "ek-ca"]);
    write(&store, [put_device("press-17"), record("press-17"), put("press-17", &first)]).await;
    write(&store, [delete("PRESS-17")]).await;
    let of = async |id: &str| origin(&store, id).await.expect("remembered").grounds;
    assert_same(&of("press-17").await, &Some(first.clone()));
    // There is no record for whom they would be listed or asked about.
    let id = registration_id("press-17");
    assert_eq!(store.find_grounds(&id).await.expect("grounds"), None);
    for key in [format!("endorsement-key:{EK_1}"), first.path[1].ban_keys()[0].clone()] {
        let page = store.records_resting_on(&key, None, 1).await.expect("listed");
        assert_eq!((page.items.len(), page.next), (0, None), "{key}");
    }

    // Written again it rests on what it shows then.
    let second = tpm("ek-2", &["ek"]);
    write(&store, [record("press-17"), put("press-17", &second)]).await;
    assert_same(&of("press-17").await, &Some(second.clone()));
    write(&store, [delete("press-17")]).await;
    assert_same(&of("press-17").await, &Some(second));
    let shown = || store.shown_certificate(EK_2);
    assert!(shown().await.expect("read").is_some());
    // With the identity the last trace goes.
    let gone = Change::DeleteDevice(hub("hub-1.test"), device_id("press-17"));
    write(&store, [gone]).await;
    assert_eq!(shown().await.expect("read"), None);

    // Another registration takes the identity over and leaves it: it came from that one then.
    let of_device = |id: &str| {
        let mut record = record_of_group(id, "line-4");
        record.assignment.as_mut().expect("assigned").device_id = device_id("saw");
        Change::PutRecord(Box::new(record))
    };
    write(&store, [put_device("saw"), of_device("a"), put("a", &first), delete("a")]).await;
    let third = grounds(&["leaf", "line-ca"]);
    write(&store, [of_device("b"), put("b", &third)]).await;
    assert_same(&of("saw").await, &Some(third.clone()));
    write(&store, [delete("b")]).await;
    assert_same(&of("saw").await, &Some(third));
    assert_eq!(store.shown_certificate(EK_1).await.expect("read"), None);
}

/// The last one decides, the others are listed with what they rest on.
pub async fn all_registrations_of_an_identity_are_known(harness: &impl Harness) {
    let store = harness.open().await;
    let assigned = |record: RegistrationRecord, secs: i64| {
        let mut record = record;
        record.assignment.as_mut().expect("assigned").device_id = device_id("shared");
        record.last_updated = Timestamp::from_unix_secs(secs);
        Change::PutRecord(Box::new(record))
    };
    let rests = grounds(&["leaf", "line-ca"]);
    write(
        &store,
        [
            assigned(record_of_individual("first"), 1),
            Change::PutGrounds(registration_id("first"), Box::new(rests.clone())),
            assigned(record_of_group("second", "line-4"), 2),
            assigned(record_of_group("third", "line-4"), 3),
        ],
    )
    .await;
    let found = origin(&store, "shared").await.expect("assigned");
    assert_eq!(found.registration_id, registration_id("third"));
    let mut others = found.others;
    others.sort_by(|a, b| a.registration_id.as_str().cmp(b.registration_id.as_str()));
    let mut expected = vec![
        OtherRegistration {
            registration_id: registration_id("first"),
            enrollment: EnrollmentRef::Individual(registration_id("first")),
            is_enrolled: false,
            grounds: Some(rests),
        },
        OtherRegistration {
            registration_id: registration_id("second"),
            enrollment: EnrollmentRef::Group(group_id("line-4")),
            is_enrolled: false,
            grounds: None,
        },
    ];
    assert_eq!(others, expected);
    write(&store, [Change::PutIndividual(Box::new(individual("first")))]).await;
    expected[0].is_enrolled = true;
    let found = origin(&store, "shared").await.expect("assigned");
    assert!(found.others.contains(&expected[0]));
    // Bans on any of them are read.
    let bans = [ban_on("first"), ban_on("second"), ban_on("third"), ban_on("fourth")];
    let put = |ban: &model::Ban| Change::PutBan(Box::new(ban.clone()));
    write(&store, bans.iter().map(put).collect::<Vec<_>>()).await;
    let leaf = ban(BanSubject::by_sha1(expected[0].grounds.as_ref().expect("known").path[0].sha1));
    write(&store, [put(&leaf)]).await;
    let facts = store.connect_facts(&connecting("shared")).await.expect("facts");
    let keys: Vec<String> = facts.bans.iter().map(|ban| ban.subject.key()).collect();
    let mut wanted: Vec<String> =
        bans[..3].iter().chain([&leaf]).map(|ban| ban.subject.key()).collect();
    wanted.sort();
    assert_eq!(keys, wanted);
}

/// Also when the record, or the group, is gone; until a group decides again.
pub async fn an_individual_enrollment_has_the_word_of_the_group_it_took_its_device_from(
    harness: &impl Harness,
) {
    let store = harness.open().await;
    let group = |ends_sessions: Option<bool>| {
        let mut group = symmetric_key_group("Line-4");
        group.settings.disenroll_ends_sessions = ends_sessions;
        Change::PutGroup(Box::new(group))
    };
    let by_itself = || Change::PutRecord(Box::new(record_of_individual("press-17")));
    let put_device = Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17")));
    write(&store, [group(Some(true)), put_device, by_itself()]).await;
    let check = async |from: Option<&str>, ends_sessions: Option<bool>| {
        let found = origin(&store, "press-17").await.expect("assigned");
        let key = found.taken_from.as_ref().map(|group| group.key().to_owned());
        assert_eq!((key.as_deref(), found.ends_sessions), (from, ends_sessions));
    };
    check(None, None).await;
    write(&store, [record("press-17")]).await;
    check(None, Some(true)).await;
    write(&store, [by_itself()]).await;
    check(Some("line-4"), Some(true)).await;
    write(&store, [group(Some(false)), by_itself()]).await;
    check(Some("line-4"), Some(false)).await;
    write(&store, [Change::DeleteRecord(registration_id("press-17"))]).await;
    check(Some("line-4"), Some(false)).await;
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    check(Some("line-4"), Some(false)).await;
    write(&store, [record("press-17")]).await;
    check(None, Some(false)).await;
}

/// Whoever decided from it conflicts with a write to any of it: the record, the enrollment, the CAs
/// it refers to.
pub async fn what_an_origin_was_read_from_is_expected(harness: &impl Harness) {
    let store = harness.open().await;
    let one =
        || Change::PutCaCertificate(Box::new(ca_certificate("one", certificate("one", "root"))));
    let two =
        || Change::PutCaCertificate(Box::new(ca_certificate("two", certificate("two", "root"))));
    let referring = || Change::PutGroup(Box::new(referring_group("line-4", Some("one"), None)));
    let put_device = Change::PutDevice(hub("hub-1.test"), Box::new(device("press-17")));
    write(&store, [put_device, record("press-17")]).await;
    let expects = async || origin(&store, "press-17").await.expect("known").expects;
    let deciding = |expects: Vec<Expect>| ChangeSet { expects, changes: vec![] };
    let id = || registration_id("press-17");
    let deeds: [(Vec<Change>, bool); 9] = [
        (vec![one()], false),
        (vec![referring()], true),
        (vec![two()], false),
        (vec![one()], true),
        (vec![record("press-17")], true),
        (vec![Change::DeleteGroup(group_id("line-4"))], true),
        (vec![Change::DeleteRecord(id())], true),
        (vec![record("press-17")], true),
        (vec![Change::PutRecord(Box::new(record_of_individual("press-17")))], true),
    ];
    for (n, (deed, matters)) in deeds.into_iter().enumerate() {
        let before = expects().await;
        store.commit(deciding(before.clone())).await.expect("nothing has changed");
        write(&store, deed).await;
        let outcome = store.commit(deciding(before)).await;
        assert_eq!(outcome.is_err(), matters, "{n}");
    }
    let before = expects().await;
    write(&store, [Change::PutIndividual(Box::new(individual("press-17")))]).await;
    conflicts(&store, deciding(before)).await;
}

/// Of a device that shows nothing, by what it was provisioned by; through CAs of groups and of the
/// store, verified or not, that are enrolled since.
pub async fn facts_lead_up_to_banned_cas_through_those_that_are_known(harness: &impl Harness) {
    let store = harness.open().await;
    let put_grounds =
        Change::PutGrounds(registration_id("press-17"), Box::new(grounds(&["leaf", "line-ca"])));
    let above = |name: &str, issuer: &str| certificate(name, issuer);
    let root = CaCertificate { verified: false, ..ca_certificate("r", above("root", "works")) };
    write(
        &store,
        [
            record("press-17"),
            put_grounds,
            Change::PutCaCertificate(Box::new(root)),
            Change::PutGroup(Box::new(signing_group("g", Some(above("works", "top")), None))),
            Change::PutGroup(Box::new(signing_group("h", Some(above("other", "top")), None))),
        ],
    )
    .await;
    let found = async || {
        let facts = store.connect_facts(&connecting("press-17")).await.expect("facts");
        let pending = store.pending_facts(&registration_id("press-17")).await.expect("facts");
        assert_eq!((&facts.bans, &facts.known_cas), (&pending.bans, &pending.known_cas));
        let names = |cas: &[EnrolledCertificate]| {
            let mut names: Vec<_> = cas.iter().map(|ca| ca.info.subject_name.clone()).collect();
            names.sort();
            names
        };
        (facts.bans.len(), names(&facts.known_cas))
    };
    assert_eq!(found().await, (0, vec![]));
    let put = |ban: model::Ban| Change::PutBan(Box::new(ban));
    write(&store, [put(ban_on_ca("other", "top")), put(ban_on("press-18"))]).await;
    assert_eq!(found().await, (0, vec![]));
    write(&store, [put(ban_on_ca("top", "top"))]).await;
    assert_eq!(found().await, (1, vec!["CN=root".to_owned(), "CN=works".to_owned()]));
}

fn connecting(device: &str) -> ConnectQuery {
    ConnectQuery {
        hub: hub("hub-1.test"),
        device_id: device_id(device),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    }
}

/// Whether the entry is there and enabled, what its group says of sessions, and what it admits by.
pub async fn an_origin_tells_what_its_enrollment_is_worth_now(harness: &impl Harness) {
    let store = harness.open().await;
    write(&store, [record("press-17")]).await;
    let rests = grounds(&["leaf", "line-ca"]);
    let mut expected = Origin {
        taken_from: None,
        others: vec![],
        expects: vec![],
        registration_id: registration_id("press-17"),
        enrollment: EnrollmentRef::Group(group_id("line-4")),
        entry: None,
        ends_sessions: None,
        grounds: None,
    };
    assert_eq!(settled(&store, "press-17").await, Some(expected.clone()));
    let put_grounds = Change::PutGrounds(registration_id("press-17"), Box::new(rests.clone()));
    write(&store, [put_grounds]).await;
    expected.grounds = Some(rests);
    assert_eq!(settled(&store, "press-17").await, Some(expected));

    let entry = async || origin(&store, "press-17").await.expect("assigned").entry;
    let own = |name: &str| Anchor {
        key: certificate(name, "root").keys.subject_and_key,
        reference: None,
    };
    let stored = |name: &str, of: &str| Anchor { reference: Some(name.to_owned()), ..own(of) };
    let there = |ends_sessions, anchors| OriginEntry { is_enabled: true, ends_sessions, anchors };

    let mut group = symmetric_key_group("LINE-4");
    write(&store, [Change::PutGroup(Box::new(group.clone()))]).await;
    assert_eq!(entry().await, Some(there(None, None)));
    group.settings.disenroll_ends_sessions = Some(false);
    group.terms.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    write(&store, [Change::PutGroup(Box::new(group.clone()))]).await;
    let disabled = OriginEntry { is_enabled: false, ..there(Some(false), None) };
    assert_eq!(entry().await, Some(disabled));

    let (one, two) = (certificate("one", "root"), certificate("two", "root"));
    let mut signing = signing_group("line-4", Some(one.clone()), Some(two.clone()));
    signing.settings.disenroll_ends_sessions = Some(true);
    write(&store, [Change::PutGroup(Box::new(signing))]).await;
    let anchors = vec![own("one"), own("two")];
    assert_eq!(entry().await, Some(there(Some(true), Some(anchors))));
    write(&store, [Change::PutGroup(Box::new(tpm_group("line-4", one.clone())))]).await;
    assert_eq!(entry().await, Some(there(None, Some(vec![own("one")]))));

    // References count for what they lead to, while that is verified.
    let referring = referring_group("line-4", Some("first"), Some("second"));
    write(&store, [Change::PutGroup(Box::new(referring))]).await;
    assert_eq!(entry().await, Some(there(None, Some(vec![]))));
    let second = ca_certificate("second", two);
    let unverified = CaCertificate { verified: false, ..second.clone() };
    let put = |certificate| Change::PutCaCertificate(Box::new(certificate));
    write(&store, [put(ca_certificate("first", one.clone())), put(unverified)]).await;
    assert_eq!(entry().await, Some(there(None, Some(vec![stored("first", "one")]))));
    write(&store, [put(second), put(ca_certificate("third", one.clone()))]).await;
    let anchors = vec![stored("first", "one"), stored("second", "two")];
    assert_eq!(entry().await, Some(there(None, Some(anchors))));
    write(&store, [Change::DeleteCaCertificate("first".to_owned())]).await;
    assert_eq!(entry().await, Some(there(None, Some(vec![stored("second", "two")]))));
    write(&store, [Change::DeleteGroup(group_id("line-4"))]).await;
    assert_eq!(entry().await, None);

    // Of an individual enrollment the leaves count.
    let mut enrollment = individual("Press-17");
    write(
        &store,
        [
            Change::PutRecord(Box::new(record_of_individual("press-17"))),
            Change::PutIndividual(Box::new(enrollment.clone())),
        ],
    )
    .await;
    assert_eq!(entry().await, Some(there(None, None)));
    let leaf = EnrolledCertificate { der: b"line-ca".to_vec(), ..one };
    let slots = Slots { primary: None, secondary: Some(leaf) };
    enrollment.terms.attestation = AttestationMechanism::X509Client(slots);
    enrollment.terms.provisioning_status = Sent::Value(ProvisioningStatus::Disabled);
    write(&store, [Change::PutIndividual(Box::new(enrollment))]).await;
    let anchors = Some(vec![Anchor { key: hash_of(LINE_CA), reference: None }]);
    let disabled = OriginEntry { is_enabled: false, ..there(None, anchors) };
    assert_eq!(entry().await, Some(disabled));
}

/// SHA-256 of `ek-1`, of `ek-2` and of `line-ca`, by `printf ek-1 | sha256sum`.
const EK_1: &str = "d4bccaf3ecb8a42a0240a045e94f105001032dffd58dc38fe2538b10b2ba9560";
const EK_2: &str = "94c33d6b5de1de318281117797454d318bc2cf94870837b3dd685b88fe509998";
const LINE_CA: &str = "f8ec2f80a8f398bf8b199d5e7067eca4d830177165ba76641e578b7f4f00e3d2";

fn hash_of(hex: &str) -> [u8; 32] {
    match Thumbprint::parse(hex) {
        Some(Thumbprint::Sha256(hash)) => hash,
        other => panic!("{other:?} is no SHA-256"),
    }
}

fn record(id: &str) -> Change {
    Change::PutRecord(Box::new(record_of_group(id, "line-4")))
}

/// What the admission of a TPM rests on whose endorsement key's certificates have these subjects.
fn tpm(key: &str, path: &[&str]) -> Grounds {
    let Grounds { path, .. } = grounds(path);
    let proof = KnownProof::Tpm {
        endorsement_key: key.as_bytes().to_vec(),
        storage_root_key: vec![1, 2, 3],
        endorsement_certificates: vec![CertificateDer(key.as_bytes().to_vec())],
    };
    Grounds { proof, path }
}

/// Expects that these registrations are found by every key of a certificate.
async fn check(store: &impl Store, certificate: &PathCertificate, expected: &[&str]) {
    for key in certificate.ban_keys() {
        resting(store, &key, expected).await;
    }
}

/// Expects that these registrations rest on what a ban of this key is about, in this order.
async fn resting(store: &impl Store, key: &str, expected: &[&str]) {
    for limit in [1, 2, 100] {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = store.records_resting_on(key, after.as_deref(), limit).await;
            let page = page.expect("listed");
            assert!(page.items.len() <= limit);
            let ids = page.items.iter().map(|record| record.registration_id.as_str().to_owned());
            found.extend(ids);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(found, expected, "{key}, {limit} at a time");
    }
}

/// Of a device of `hub-1.test`; the same among the facts of its connection.
async fn origin(store: &impl Store, device: &str) -> Option<Origin> {
    let hub = hub("hub-1.test");
    let origin = store.origin(&hub, &device_id(device)).await.expect("origin");
    let query = ConnectQuery {
        hub,
        device_id: device_id(device),
        policy: None,
        with_ca_certificates: false,
        ban_keys: Vec::new(),
        ca_names: Vec::new(),
        serials: Vec::new(),
    };
    let facts = store.connect_facts(&query).await.expect("facts");
    assert_eq!(facts.origin, origin);
    origin
}

/// The same but for what it was read from.
async fn settled(store: &impl Store, device: &str) -> Option<Origin> {
    origin(store, device).await.map(|origin| Origin { expects: vec![], ..origin })
}
