use std::path::Path;

use model::Timestamp;

use super::*;
use crate::{
    config::{Given, parse},
    ports::Environment,
};

const NOW: Timestamp = testkit::NOW;
const DAY_SECS: i64 = 86_400;

fn config(data: &Path, text: &str) -> Config {
    let given = Given { data: Some(data.to_path_buf()), config: None };
    parse(text, None, &given, &Environment::default()).expect("legal").config
}

fn read(data: &Path, name: &str) -> String {
    fs::read_to_string(data.join("tls").join(name)).expect(name)
}

fn prepare(data: &Path, text: &str, now: Timestamp) -> Result<Certificates, CertificatesError> {
    prepare_with(data, text, &["hub-1.localhost"], now)
}

fn prepare_with(
    data: &Path,
    text: &str,
    built_in: &[&str],
    now: Timestamp,
) -> Result<Certificates, CertificatesError> {
    Certificates::prepare(&config(data, text), &DataFolder::new(data), &hubs(built_in), now)
}

fn hubs(names: &[&str]) -> Vec<HubName> {
    names.iter().map(|name| HubName::parse(name).expect("legal")).collect()
}

#[test]
fn the_ca_is_made_once_and_its_certificates_stay() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    assert!(prepare(data, "", NOW).expect("made").made_ca);
    let before = ["ca.pem", "ca.key", "server.pem", "server-rsa.pem"].map(|name| read(data, name));
    assert!(!prepare(data, "", NOW.plus_secs(DAY_SECS)).expect("found").made_ca);
    let after = ["ca.pem", "ca.key", "server.pem", "server-rsa.pem"].map(|name| read(data, name));
    assert_eq!(before, after);
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("folder");
    prepare(folder.path(), "", NOW).expect("made");
    for name in ["ca.key", "server.key", "server-rsa.key"] {
        let metadata = fs::metadata(folder.path().join("tls").join(name)).expect(name);
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[test]
fn a_new_name_gets_a_new_certificate_of_the_same_ca() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    prepare(data, "", NOW).expect("made");
    let (ca, server) = (read(data, "ca.pem"), read(data, "server.pem"));
    let text = "[service]\nhost_names = ['dps.example.com']\n";
    prepare(data, text, NOW).expect("issued");
    assert_eq!(read(data, "ca.pem"), ca);
    assert_ne!(read(data, "server.pem"), server);
    for name in ["dps.example.com", "hub-1.localhost", "localhost", "127.0.0.1", "::1"] {
        let names = [name.to_owned()];
        assert!(authority::covers(&read(data, "server.pem"), &names, NOW.unix_secs()), "{name}");
        assert!(
            authority::covers(&read(data, "server-rsa.pem"), &names, NOW.unix_secs()),
            "{name}"
        );
    }
}

#[test]
fn the_chore_renews_what_nears_its_end_and_takes_it_into_use() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    let certificates = prepare(data, "", NOW).expect("made");
    let chain = || certificates.server().chain_der();
    let before = chain();
    certificates.run_once(&hubs(&["hub-1.localhost"]), NOW.plus_secs(300 * DAY_SECS));
    assert_eq!(chain(), before);
    certificates.run_once(&hubs(&["hub-1.localhost"]), NOW.plus_secs(390 * DAY_SECS));
    assert_ne!(chain(), before);
}

#[test]
fn a_hub_that_is_linked_while_the_server_runs_gets_into_the_certificate() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    let certificates = prepare(data, "", NOW).expect("made");
    let before = certificates.server().chain_der();
    certificates.run_once(&hubs(&["hub-1.localhost", "hub-9.example.com"]), NOW);
    assert_ne!(certificates.server().chain_der(), before);
    let names = ["hub-1.localhost", "hub-9.example.com"].map(str::to_owned);
    assert!(authority::covers(&read(data, "server.pem"), &names, NOW.unix_secs()));
    assert!(authority::covers(&read(data, "server-rsa.pem"), &names, NOW.unix_secs()));
}

#[test]
fn half_of_a_renewal_is_repaired_at_the_next_start() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    prepare(data, "", NOW).expect("made");
    let other = tempfile::tempdir().expect("folder");
    prepare(other.path(), "", NOW).expect("made");
    fs::write(data.join("tls/server.key"), read(other.path(), "server.key")).expect("written");
    prepare(data, "", NOW).expect("repaired");
    assert_ne!(read(data, "server.key"), read(other.path(), "server.key"));
}

#[test]
fn half_of_a_ca_is_never_replaced() {
    let folder = tempfile::tempdir().expect("folder");
    let data = folder.path();
    prepare(data, "", NOW).expect("made");
    let key = read(data, "ca.key");
    fs::remove_file(data.join("tls/ca.pem")).expect("removed");
    let text = "[service]\nhost_names = ['new.example.com']\n";
    let error = prepare(data, text, NOW).expect_err("lost").to_string();
    assert!(error.contains("ca.pem is missing; restore it"), "{error}");
    assert_eq!(read(data, "ca.key"), key);
}

#[test]
fn the_operators_files_are_used_and_reloaded() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str| folder.path().join(name);
    let write = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let made = authority::create(&names, NOW.unix_secs()).expect("made");
        fs::write(file("chain.pem"), made.chain_pem).expect("written");
        fs::write(file("key.pem"), made.key_pem).expect("written");
    };
    write(&["dps.example.com"]);
    let text = format!(
        "[tls]\ncertificate = '{}'\nkey = '{}'\nca = '/pki/root.pem'\n",
        file("chain.pem").display(),
        file("key.pem").display()
    );
    let certificates = prepare(&file("data"), &text, NOW).expect("loaded");
    assert_eq!(certificates.ca.as_deref(), Some(Path::new("/pki/root.pem")));
    assert!(!file("data").exists(), "no CA of our own is made");
    let before = certificates.server().chain_der();
    write(&["new.example.com"]);
    certificates.run_once(&hubs(&["hub-1.localhost"]), NOW);
    assert_ne!(certificates.server().chain_der(), before);

    fs::write(file("key.pem"), "no key").expect("written");
    let error = prepare(&file("data"), &text, NOW).expect_err("no key").to_string();
    assert!(error.contains("key.pem` holds no usable private key"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_lack_of_descriptors_is_not_blamed_on_the_folder() {
    let told = |errno: rustix::io::Errno| {
        file_error("read", Path::new("tls/ca.pem"), io::Error::from(errno)).to_string()
    };
    for errno in [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE] {
        let text = told(errno);
        assert!(text.starts_with("cannot read tls/ca.pem; the process has too many"), "{text}");
        assert!(text.contains("LimitNOFILE=") && !text.contains("owns"), "{text}");
    }
    let text = told(rustix::io::Errno::ACCESS);
    assert_eq!(text, "cannot read tls/ca.pem; check who owns the data folder");
}
