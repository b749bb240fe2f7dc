//! The master key: made, lost, replaced.

use std::fs;

use crate::harness::{Finished, Home, induct, run};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Tries to start a server that is not meant to start.
fn start_fails(home: &Home, variables: &[(&str, &str)]) -> Finished {
    let mut command = induct(&["serve", "--data"]);
    command.arg(home.data()).current_dir(home.path()).env("INDUCT_LISTEN__HTTPS", "127.0.0.1:0");
    run(command.envs(variables.iter().copied()))
}

/// A key that was in the database before.
fn owner_key(home: &Home) -> String {
    let shown = home.run(&["connection-string", "show"]).json();
    let text = shown["connectionString"].as_str().expect("text");
    text.split_once("SharedAccessKey=").expect("a key").1.to_owned()
}

#[test]
fn the_first_start_makes_a_master_key_and_says_what_losing_it_means() {
    let home = Home::new();
    let ended = home.start().stop();
    let path = home.data().canonicalize().expect("made").join("master.key");
    let key = fs::read_to_string(&path).expect("the key");
    assert!(ended.stdout.contains(&path.display().to_string()), "{ended:?}");
    assert!(ended.stdout.contains("Without it nobody can read the keys"), "{ended:?}");
    assert!(!(ended.stdout + &ended.stderr).contains(key.trim()), "the key was told");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn without_its_master_key_a_database_is_not_served_and_no_other_key_is_made() {
    let home = Home::new();
    home.start().stop();
    let path = home.data().join("master.key");
    let key = fs::read_to_string(&path).expect("the key");
    fs::remove_file(&path).expect("removed");
    start_fails(&home, &[]).refused(1, "put the master key this database was made with back");
    home.run(&["connection-string", "show"]).refused(1, "there is no master key");
    assert!(!path.exists(), "another key is of no use");
    start_fails(&home, &[("INDUCT_MASTER_KEY", KEY)]).refused(1, "the master key is not the one");
    fs::write(&path, key).expect("restored");
    home.start().stop();
}

#[test]
fn no_secret_stands_in_the_database_file() {
    let home = Home::new();
    let server = home.start();
    let own = "dGhpcyBpcyBhIGtleSB0aGF0IG5vYm9keSBzaG91bGQ=";
    home.run(&["policy", "create", "--pn", "ci", "-r", "EnrollmentRead", "--primary-key", own])
        .json();
    let key = owner_key(&home);
    server.stop();
    for entry in fs::read_dir(home.data()).expect("the folder") {
        let path = entry.expect("an entry").path();
        if !path.is_file() {
            continue;
        }
        let bytes = fs::read(&path).expect("read");
        for secret in [&key, own] {
            let text = secret.as_bytes();
            assert!(
                !bytes.windows(text.len()).any(|w| w == text),
                "a key is in {}",
                path.display()
            );
        }
    }
}

#[test]
fn the_master_key_may_come_from_a_variable_a_file_or_a_command() {
    let home = Home::new();
    home.start_with(&[("INDUCT_MASTER_KEY", KEY)]).stop();
    assert!(!home.data().join("master.key").exists());
    let file = home.path().join("k");
    fs::write(&file, KEY).expect("written");
    let file = file.to_str().expect("UTF-8");
    home.start_with(&[("INDUCT_SECRETS__MASTER_KEY_FILE", file)]).stop();
    let command = format!("echo {KEY}");
    let variables =
        [("INDUCT_SECRETS__MASTER_KEY_COMMAND", command.as_str()), ("PATH", "/usr/bin:/bin")];
    home.start_with(&variables).stop();
    let both = [("INDUCT_SECRETS__MASTER_KEY_FILE", file), ("INDUCT_MASTER_KEY", KEY)];
    start_fails(&home, &both).refused(1, "keep the one that holds the master key");
}

#[test]
fn rekey_waits_for_the_server_to_stop_and_then_gives_the_database_another_key() {
    let home = Home::new();
    let server = home.start();
    let before = owner_key(&home);
    let path = home.data().join("master.key");
    let old = fs::read_to_string(&path).expect("the key");
    home.run(&["rekey"]).refused(1, "another `induct serve`");
    assert_eq!(fs::read_to_string(&path).expect("the key"), old);
    server.stop();

    let done = home.run(&["rekey"]);
    assert!(done.json()["sealedRows"].as_u64().expect("a number") >= 6, "{done:?}");
    let new = fs::read_to_string(&path).expect("the key");
    assert_ne!(new, old);
    assert!(!(done.stdout + &done.stderr).contains(new.trim()), "the key was told");
    assert_eq!(fs::read_to_string(home.data().join("master.key.old")).expect("kept"), old);
    assert!(!home.data().join("master.key.new").exists());
    assert_eq!(owner_key(&home), before);
    home.start().stop();

    home.run(&["rekey"]).refused(1, "is there from an earlier `induct rekey`");
    fs::write(&path, &old).expect("written");
    start_fails(&home, &[]).refused(1, "the master key is not the one");
}

#[test]
fn a_rekey_that_was_cut_off_is_finished_by_the_next() {
    let home = Home::new();
    home.start().stop();
    let (own, new) = (home.data().join("master.key"), home.data().join("master.key.new"));
    fs::write(&new, KEY).expect("written");
    // The database has its new key, and the file is not yet in its place.
    let new_text = new.to_str().expect("UTF-8");
    home.run(&["rekey", "--new", new_text]).json();
    start_fails(&home, &[]).refused(1, "the master key is not the one");
    home.run(&["rekey"]).json();
    assert_eq!(fs::read_to_string(&own).expect("the key").trim(), KEY);
    home.start().stop();
}

#[test]
fn rekey_goes_from_one_file_to_another() {
    let home = Home::new();
    let file = |name: &str| home.path().join(name).to_str().expect("UTF-8").to_owned();
    let (old, new) = (file("old"), file("new"));
    fs::write(&old, KEY).expect("written");
    home.start_with(&[("INDUCT_SECRETS__MASTER_KEY_FILE", &old)]).stop();
    home.run(&["rekey", "--old", &old]).refused(2, "name a file with --new");
    home.run(&["rekey", "--old", &old, "--new", &old]).refused(2, "holds the present master key");
    let done = home.run(&["rekey", "--old", &old, "--new", &new]);
    assert_eq!(done.code, 0, "{done:?}");
    start_fails(&home, &[("INDUCT_SECRETS__MASTER_KEY_FILE", &old)]).refused(1, "is not the one");
    home.start_with(&[("INDUCT_SECRETS__MASTER_KEY_FILE", &new)]).stop();
}

#[test]
fn there_is_nothing_to_rekey_before_the_first_start() {
    let home = Home::new();
    home.run(&["rekey"]).refused(1, "`induct serve` makes one at its first start");
    assert!(!home.data().exists());
}
