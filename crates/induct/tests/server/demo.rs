//! `induct demo`: the first command a newcomer types.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::Stdio,
};

use crate::harness::{induct, run, signal};

#[test]
fn the_demo_names_who_is_refused_and_who_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let finished = run(induct(&["demo", "--exit", "--devices", "5"]).env("TMPDIR", folder.path()));
    assert_eq!(finished.code, 0, "{finished:?}");
    assert_eq!(finished.stderr, "", "no log line and no bar where nobody watches");
    let told = &finished.stdout;
    for expected in [
        "5 of them, press-01 to press-05",
        "group `line-4` is there and enabled",
        "assigned, 5 of 5",
        "accepted, 5 of 5",
        "events, from 5 devices",
        "press-05 is no longer a device of hub-",
        "press-05 was connected. It saw its connection end ",
        "press-04 goes on reporting; of press-05 nothing more is heard.",
        "not authorized: the hub does not know it",
        "disabled: refused, and no hub has it",
        "press-04: register me",
        "as before",
        "press-05 is found, and let back in",
        "(initialAssignment): it is back",
        "hears its reports again",
        "5 devices provisioned and connected, one shut out, cut off, refused, and let back in.",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    assert!(!told.contains('\u{1b}'), "{told}");
    let counts: Vec<usize> = told
        .lines()
        .filter_map(|line| line.split_once("  devices in hub-"))
        .map(|(count, _)| count.trim().parse().expect("a count"))
        .collect();
    assert_eq!((counts.len(), counts.iter().sum()), (2, 5), "{told}");
    assert_eq!(left_in(folder.path()), 0, "the temporary folder is gone");
}

#[test]
fn the_demo_stays_up_until_it_is_interrupted() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = induct(&["demo", "--devices", "2"]);
    let command = command.env("TMPDIR", folder.path()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("it starts");
    let mut lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let mut told = Vec::new();
    for line in lines.by_ref() {
        let line = line.expect("text");
        let is_last = line.starts_with("Ctrl-C ends it");
        told.push(line);
        if is_last {
            break;
        }
    }
    // Every command it proposes works, word for word.
    let mut n_commands = 0;
    for proposed in told.iter().filter_map(|line| line.strip_prefix("  $induct ")) {
        let words: Vec<&str> = proposed.split(' ').collect();
        let finished = run(&mut induct(&words));
        assert_eq!(finished.code, 0, "{proposed}: {finished:?}");
        n_commands += 1;
    }
    assert!(n_commands >= 7, "{told:#?}");
    let modes = modes_in(folder.path());
    signal(process.id(), "INT");
    // Read to the end, so that nothing it says is lost on a closed pipe.
    assert!(lines.all(|line| line.is_ok()));
    let status = process.wait().expect("it ends");
    assert!(status.success(), "{status}");
    assert_eq!(modes, [0o700], "the keys of its devices are for whoever plays it");
    assert_eq!(left_in(folder.path()), 0, "the temporary folder is gone");
}

#[test]
fn a_demo_that_cannot_start_says_why_and_leaves_nothing() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = induct(&["demo", "--exit", "--port", &port]);
    run(command.env("TMPDIR", folder.path())).refused(1, "another program listens there");
    assert_eq!(left_in(folder.path()), 0, "the temporary folder is gone");
}

#[test]
fn one_device_is_too_few_for_the_story() {
    let finished = run(&mut induct(&["demo", "--exit", "--devices", "1"]));
    assert_eq!(finished.code, 2, "{finished:?}");
}

/// Who may do what with the things in the folder.
fn modes_in(folder: &Path) -> Vec<u32> {
    use std::os::unix::fs::PermissionsExt;
    let entries = std::fs::read_dir(folder).expect("readable");
    entries
        .map(|entry| {
            entry.expect("an entry").metadata().expect("there").permissions().mode() & 0o777
        })
        .collect()
}

fn left_in(folder: &Path) -> usize {
    std::fs::read_dir(folder).expect("readable").count()
}
