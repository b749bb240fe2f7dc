use super::*;
use crate::{
    config::{Given, parse},
    ports::Environment,
};

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn config(data: &Path, text: &str) -> Config {
    let given = Given { data: Some(data.to_path_buf()), config: None };
    parse(text, None, &given, &Environment::default()).expect("legal").config
}

fn find_or_make_with(data: &Path, text: &str) -> Result<Found, MasterKeyError> {
    find_or_make(&config(data, text), &DataFolder::new(data))
}

fn from_command_text(command: &str) -> Result<MasterKey, String> {
    let source = MasterKeySource::Command(command.to_owned());
    let found = from_source(&source, &DataFolder::new("/nonexistent"));
    found.map(|key| key.expect("a key")).map_err(|error| error.to_string())
}

#[test]
fn a_key_is_made_once_for_its_owner_only_and_found_again() {
    let folder = tempfile::tempdir().expect("folder");
    let made = find_or_make_with(folder.path(), "").expect("made");
    let path = made.made.expect("made just now");
    let again = find_or_make_with(folder.path(), "").expect("found");
    assert_eq!((again.key, again.made), (made.key, None));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = fs::metadata(&path).expect("there");
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    }
    let text = fs::read_to_string(&path).expect("text");
    assert_eq!((text.trim().len(), text.len()), (64, 65));
}

#[test]
fn a_file_of_the_operators_is_read_and_never_made() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("k");
    let text = format!("[secrets]\nmaster_key_file = '{}'\n", path.display());
    let refused = find_or_make_with(folder.path(), &text).expect_err("missing").to_string();
    assert!(refused.starts_with("the master key cannot be read from "), "{refused}");
    assert!(!path.exists());

    fs::write(&path, format!("  {KEY}\n")).expect("written");
    let found = find_or_make_with(folder.path(), &text).expect("found");
    assert_eq!(found.key, MasterKey::parse(KEY).expect("a key"));
    assert_eq!(found.made, None);

    fs::write(&path, "password1").expect("written");
    let refused = find_or_make_with(folder.path(), &text).expect_err("no key").to_string();
    assert!(refused.ends_with("holds no master key"), "{refused}");
    assert!(!refused.contains("password1"), "{refused}");
}

#[cfg(unix)]
#[test]
fn a_command_prints_the_key_or_says_why_not() {
    let check = |command: &str, expected: Result<&str, &str>| {
        let expected = expected.map(|key| MasterKey::parse(key).expect("a key"));
        match (from_command_text(command), expected) {
            (Ok(key), Ok(expected)) => assert_eq!(key, expected, "{command}"),
            (Err(told), Err(expected)) => assert!(told.contains(expected), "{told}"),
            (found, _) => panic!("{command}: {found:?}"),
        }
    };
    check(&format!("echo {KEY}"), Ok(KEY));
    check(&format!("printf %s {KEY}"), Ok(KEY));
    check("exit 3", Err("ended with exit status: 3"));
    check("echo hello", Err("prints is no master key"));
    check("head -c 100000 /dev/zero", Err("secrets.master_key_command"));
}
