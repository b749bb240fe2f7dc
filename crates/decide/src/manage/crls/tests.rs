//! Which list counts, and when the next one is asked for.

use attest::certificate::describe;
use testkit::{Ca, NOW, Profile, Revocations, fresh};

use super::*;

fn known(ca: &Ca) -> EnrolledCertificate {
    describe(ca.der()).expect("a certificate")
}

fn read_list(ca: &Ca, list: &Revocations) -> Read {
    read(&ca.revocation_list(list), vec![known(ca)], NOW).expect("the CA's list")
}

/// What there is after an import that succeeds.
fn imported(existing: Option<&Crl>, ca: &Ca, list: &Revocations) -> Crl {
    let taken = import(existing, read_list(ca, list), 0, NOW, &fresh(1));
    taken.expect("taken").expect("another list").crl
}

/// A list of this number, made so many days before now.
fn made(number: u64, days_ago: i64) -> Revocations {
    Revocations { this_update: NOW.plus_secs(-days_ago * 86_400), ..Revocations::number(number) }
}

#[test]
fn a_list_is_taken_once_and_only_a_newer_one_takes_its_place() {
    let ca = Ca::root("plant");
    let check = |first: &Revocations, second: &Revocations, expected: Result<bool, &str>| {
        let there = imported(None, &ca, first);
        let outcome = import(Some(&there), read_list(&ca, second), 1, NOW, &fresh(2));
        match (outcome, expected) {
            (Ok(taken), Ok(is_taken)) => assert_eq!(taken.is_some(), is_taken, "{second:?}"),
            (Err(refusal), Err(text)) => assert!(refusal.to_string().contains(text), "{refusal}"),
            (outcome, expected) => panic!("{outcome:?} is not {expected:?}"),
        }
    };
    check(&made(7, 2), &made(8, 1), Ok(true));
    // The same bytes: ECDSA signs a list otherwise each time, so one list is imported twice.
    let der = ca.revocation_list(&made(7, 2));
    let once = || read(&der, vec![known(&ca)], NOW).expect("a list");
    let there = import(None, once(), 0, NOW, &fresh(1)).expect("taken").expect("a list").crl;
    assert_eq!(import(Some(&there), once(), 1, NOW, &fresh(2)), Ok(None));

    check(&made(8, 2), &made(7, 1), Err("its number is 7, and that one's 8"));
    check(&made(0x100, 2), &made(0xFF, 1), Err("its number is FF"));
    check(&made(7, 1), &made(8, 2), Err("it was made before that one"));
    check(&made(7, 1), &made(7, 1), Err("is another one"));
    // A CA that keeps its number and says later that nothing changed.
    check(&made(7, 2), &made(7, 1), Ok(true));
    // One about devices only does not take the place of one about all.
    let contents = read_list(&ca, &made(8, 1)).contents;
    let devices = Contents { scope: Some([7; 32]), ..contents.clone() };
    let counts = imported(None, &ca, &made(7, 2)).list;
    let no = compare(counts.as_ref(), devices, NOW).expect_err("another part");
    assert_eq!(
        no.to_string(),
        "it covers another part of the CA's certificates than the list that counts (their issuing \
         distribution points differ). Delete that list first, or import the CA's complete list"
    );
    assert!(compare(counts.as_ref(), contents, NOW).is_ok());
}

#[test]
fn a_list_is_read_with_the_key_of_whichever_namesake_signed_it() {
    let (ca, namesake, other) = (Ca::root("plant"), Ca::root("plant"), Ca::root("other"));
    let list = ca.revocation_list(&Revocations::default());
    let read = |cas: &[&Ca]| read(&list, cas.iter().map(|ca| known(ca)).collect(), NOW);
    assert_eq!(read(&[&namesake, &ca]).expect("found").ca, known(&ca));
    let no = |cas: &[&Ca], text: &str| {
        let no = read(cas).expect_err("refused").to_string();
        assert!(no.contains(text), "{no}");
    };
    no(&[], "its issuer `CN=plant` is not enrolled here");
    no(&[&namesake], "did not sign it");
    no(&[&other], "its issuer is `CN=plant`, not `CN=other`");
    // One certificate of the CA may sign no lists, and another one may.
    let unfit = ca.reissued(Profile::leaf("plant"));
    assert_eq!(read(&[&unfit, &ca]).expect("found").ca, known(&ca));
    assert_eq!(read(&[&ca, &unfit]).expect("found").ca, known(&ca));
    no(&[&unfit, &namesake], "key usage does not allow");
    no(&[&namesake, &unfit], "key usage does not allow");
    // A namesake whose certificate cannot be read hides nobody either.
    let mut broken = known(&namesake);
    broken.der.truncate(20);
    let found = super::read(&list, vec![broken, known(&ca)], NOW).expect("found");
    assert_eq!(found.ca, known(&ca));
    assert_eq!(issuer(&list), Ok(known(&ca).keys.subject));
}

#[test]
fn a_ca_among_more_namesakes_than_are_tried_is_not_said_not_to_have_signed() {
    let ca = Ca::root("plant");
    let list = ca.revocation_list(&Revocations::default());
    let mut cas: Vec<_> = (0..MAX_NAMESAKES).map(|_| known(&Ca::root("plant"))).collect();
    let read = |cas: &[EnrolledCertificate]| read(&list, cas.to_vec(), NOW);
    let all_tried = read(&cas).expect_err("nobody signed it").to_string();
    assert!(all_tried.contains("did not sign it"), "{all_tried}");
    // As many as are tried come first.
    cas.push(known(&ca));
    assert_eq!(
        OperatorRefusal::from(read(&cas).expect_err("not tried")),
        bad(
            "revocation list: more than 32 CAs are called `CN=plant`, and none of the 32 that were \
             tried vouches for it; delete those that are not needed any more"
        )
    );
    cas.swap_remove(0);
    assert_eq!(read(&cas).expect("one of 32").ca, known(&ca));
    // Found before the others were needed.
    cas.insert(0, known(&ca));
    assert_eq!(read(&cas).expect("the first").ca, known(&ca));
}

fn draft(url: &str, every_secs: u32) -> SourceDraft {
    SourceDraft { url: url.to_owned(), every_secs }
}

const URL: &str = "https://crl.example/plant.crl";

fn followed(existing: Option<&Crl>, ca: &Ca) -> Crl {
    let draft = draft(URL, DEFAULT_EVERY_SECS);
    follow(existing, &known(ca), draft, &Precondition::Any, 0, NOW, &fresh(1))
        .or_else(|_| {
            let draft = self::draft(URL, DEFAULT_EVERY_SECS);
            follow(existing, &known(ca), draft, &Precondition::None, 0, NOW, &fresh(1))
        })
        .expect("followed")
}

#[test]
fn a_url_is_followed_that_is_legal_and_not_asked_too_often() {
    let ca = Ca::root("plant");
    let check = |url: &str, every_secs: u32, expected: Result<(), &str>| {
        let draft = draft(url, every_secs);
        let outcome = follow(None, &known(&ca), draft, &Precondition::None, 0, NOW, &fresh(1));
        match (outcome, expected) {
            (Ok(crl), Ok(())) => assert_eq!(crl.source.expect("a source").due, NOW),
            (Err(refusal), Err(text)) => assert!(refusal.to_string().contains(text), "{refusal}"),
            (outcome, expected) => panic!("{url}: {outcome:?} is not {expected:?}"),
        }
    };
    check(URL, 60, Ok(()));
    check("HTTP://[::1]:8080/a?b=c", MAX_CRL_EVERY_SECS, Ok(()));
    check(URL, 59, Err("everySecs"));
    check(URL, MAX_CRL_EVERY_SECS + 1, Err("everySecs"));
    check("ldap://crl.example/a", 60, Err("must begin with"));
    check("file:///etc/passwd", 60, Err("must begin with"));
    let user = "url: holds a user name or a password (`…@`); leave it out";
    check("https://ana:secret@crl.example/", 60, Err(user));
    check("https://ana@crl.example/#", 60, Err(user));
    let no_host = "url: names no host; expected one after https://";
    for url in ["https://", "https:///a", "https://:8443/a", "http://[crl]/a", "https://#a"] {
        check(url, 60, Err(no_host));
    }
    let character = "url: holds a blank or another character that no URL has; write it as `%20`";
    for url in ["https://crl.example/a b", "https://crl.example/a\r\nHost: b", "https://crl.é/a"] {
        check(url, 60, Err(character));
    }
    let fragment = "url: holds a fragment (`#…`); leave it out";
    check("https://crl.example/a#newest", 60, Err(fragment));
    check("https://crl.example#", 60, Err(fragment));
    check(&format!("https://crl.example/{}", "a".repeat(2048)), 60, Err("more than 2048 bytes"));
}

#[test]
fn a_source_is_replaced_with_a_precondition_only_and_the_list_stays() {
    let ca = Ca::root("plant");
    let list = imported(None, &ca, &Revocations::number(7));
    let with_source = followed(Some(&list), &ca);
    assert_eq!(with_source.list, list.list);
    let again = |precondition: Precondition| {
        let draft = draft("https://crl.example/2.crl", 60);
        follow(Some(&with_source), &known(&ca), draft, &precondition, 1, NOW, &fresh(3))
    };
    assert!(again(Precondition::None).expect_err("followed").to_string().contains("already"));
    let other = Precondition::Tag("other".to_owned());
    assert_eq!(again(other), Err(OperatorRefusal::StaleEtag));
    let tag = Precondition::Tag(with_source.etag.as_str().to_owned());
    assert_eq!(again(tag).expect("followed").list, list.list);

    let id = list.id();
    let ended = unfollow(Some(&with_source), &id, &Precondition::None, NOW, &fresh(4));
    let ended = ended.expect("not followed any more").expect("the list stays");
    assert_eq!((ended.list, ended.source), (list.list.clone(), None));
    // Of one that never came nothing is left; one that is not followed cannot be left.
    let never_came = followed(None, &ca);
    let ended = unfollow(Some(&never_came), &id, &Precondition::None, NOW, &fresh(4));
    assert_eq!(ended, Ok(None));
    let not_followed = unfollow(Some(&list), &id, &Precondition::None, NOW, &fresh(4));
    assert_eq!(not_followed, Err(OperatorRefusal::CrlNotFound(id)));
}

/// The source and the list after a fetch.
fn after(existing: &Crl, outcome: Fetched) -> (CrlSource, Option<CrlList>, bool) {
    let taken = fetched(existing, outcome, NOW, &fresh(5)).expect("followed");
    let is_new = taken.revoked.is_some();
    (taken.crl.source.expect("a source"), taken.crl.list, is_new)
}

#[test]
fn a_fetched_list_takes_the_place_of_the_one_that_counts() {
    let ca = Ca::root("plant");
    let crl = followed(None, &ca);
    let press = ca.leaf("press-17");
    let list = read_list(&ca, &made(7, 1).with(&press));
    let tag = Some("\"7\"".to_owned());
    let (source, list, is_new) = after(&crl, Fetched::List(Box::new(Ok(list)), tag.clone()));
    assert!(is_new && list.expect("a list").n_revoked == 1);
    assert_eq!((source.entity_tag, source.n_failures, source.last_error), (tag, 0, None));
    assert_eq!(source.due, NOW.plus_secs(i64::from(DEFAULT_EVERY_SECS)));
    assert_eq!(source.last_success, Some(NOW));
}

#[test]
fn what_fails_leaves_the_list_that_counts_and_is_tried_again_ever_later() {
    let ca = Ca::root("plant");
    let mut crl = followed(Some(&imported(None, &ca, &made(7, 1))), &ca);
    let list = crl.list.clone();
    for expected in [60, 120, 240, 480, 960, 1920, 3840, 7680, 15_360, 21_600, 21_600] {
        let (source, kept, is_new) = after(&crl, Fetched::Failed("no answer".to_owned()));
        assert_eq!((kept, is_new), (list.clone(), false));
        assert_eq!(source.due, NOW.plus_secs(expected));
        assert_eq!(source.last_error.as_deref(), Some("no answer"));
        crl.source = Some(source);
    }
    assert_eq!(crl.source.as_ref().expect("a source").n_failures, 11);

    let check = |outcome: Fetched, text: &str| {
        let (source, kept, is_new) = after(&crl, outcome);
        assert_eq!((kept, is_new), (list.clone(), false));
        let error = source.last_error.expect("an error");
        assert!(error.contains(text), "{error}");
    };
    check(
        Fetched::List(Box::new(Ok(read_list(&ca, &made(6, 0)))), None),
        "older than the list that counts",
    );
    let other = Ca::root("plant");
    let forged = read(&other.revocation_list(&made(9, 0)), vec![known(&ca)], NOW);
    check(Fetched::List(Box::new(forged), None), "did not sign it");
    check(Fetched::NotModified, "the server answered that there is nothing new, and was not asked");
    check(
        Fetched::List(Box::new(Err(NotTaken::BrokeOff)), None),
        "reading it broke off; this is a bug, and the server's log says where",
    );
    check(Fetched::Failed("a".repeat(9999)), "aaa");
}

#[test]
fn nothing_new_is_a_success() {
    let ca = Ca::root("plant");
    let der = ca.revocation_list(&made(7, 1));
    let once = || read(&der, vec![known(&ca)], NOW).expect("a list");
    let crl = followed(None, &ca);
    let taken = fetched(
        &crl,
        Fetched::List(Box::new(Ok(once())), Some("\"7\"".to_owned())),
        NOW,
        &fresh(5),
    );
    let crl = taken.expect("followed").crl;
    let etag = crl.etag.clone();
    for outcome in [Fetched::NotModified, Fetched::List(Box::new(Ok(once())), None)] {
        let taken = fetched(&crl, outcome, NOW.plus_secs(9), &fresh(6)).expect("followed");
        assert_eq!((&taken.crl.list, &taken.crl.etag), (&crl.list, &etag));
        assert!(taken.revoked.is_none());
        let source = taken.crl.source.expect("a source");
        assert_eq!((source.last_success, source.last_error), (Some(NOW.plus_secs(9)), None));
    }
    // Nobody follows it any more.
    let ended = Crl { source: None, ..crl };
    assert_eq!(fetched(&ended, Fetched::NotModified, NOW, &fresh(7)), None);
}

#[test]
fn there_is_an_end_to_how_many_lists_are_kept() {
    let ca = Ca::root("plant");
    let full = MAX_CRLS as u64;
    let outcome = import(None, read_list(&ca, &made(7, 1)), full, NOW, &fresh(1));
    assert!(matches!(outcome, Err(OperatorRefusal::QuotaExceeded { .. })), "{outcome:?}");
    let there = imported(None, &ca, &made(7, 2));
    assert!(import(Some(&there), read_list(&ca, &made(8, 1)), full, NOW, &fresh(1)).is_ok());
}
