//! Which devices are meant, by every way an operator has to say so.

use std::{collections::BTreeSet, fs};

use app::ports::Clock;
use induct::{
    ports::SystemClock,
    simulate::{Authority, DeviceCertificate, Identity, Network, Over},
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use serde_json::Value;

use super::{
    GROUP, deprovision, devices_of, done,
    doors::{network, register_at},
    names, with_group,
};
use crate::harness::{Api, Home, Server};

const TWO_HUBS: &str = "[{name = 'hub-1', host = 'hub-1.localhost'}, \
                        {name = 'hub-2', host = 'hub-2.localhost', apply_allocation_policy = false}]";

/// Whom a plan or receipt is about.
#[track_caller]
fn about(home: &Home, receipt: &Value) -> BTreeSet<String> {
    let name = |device: &Value| {
        let name = device.get("registrationId").or(device.get("deviceId"));
        name.and_then(Value::as_str).expect("a name").to_owned()
    };
    devices_of(home, receipt).iter().map(name).collect()
}

/// These words mean these devices, and nothing happens.
#[track_caller]
fn check(home: &Home, words: &[&str], expected: &[&str]) {
    let words = [words, &["--intent", "suspend", "--dry-run"]].concat();
    let planned = deprovision(home, &words);
    if expected.is_empty() {
        planned.refused(3, "No device is selected.");
        return;
    }
    let expected = expected.iter().map(|id| (*id).to_owned()).collect();
    assert_eq!(about(home, &planned.json()), expected, "{words:?}");
}

fn written(home: &Home, name: &str, text: &str) -> String {
    let path = home.path().join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[tokio::test]
async fn devices_are_named_by_a_file_by_their_records_and_by_their_twins() {
    let (home, server) = with_group(&names(4)).await;
    let ids = ["press-0", "press-1", "press-2", "press-3"];
    let file = written(&home, "stolen.txt", "# on 3 May\npress-1\n\n PRESS-2 # again\npress-1\n");
    check(&home, &["--file", &file], &["press-1", "PRESS-2"]);
    check(&home, &["--file", &file, "--rid", "press-3"], &["press-1", "PRESS-2", "press-3"]);
    let nobody = written(&home, "nobody.txt", "# none\n");
    deprovision(&home, &["--file", &nobody, "--intent", "retire"]).refused(2, "lists no");

    check(&home, &["--where", "status=assigned"], &ids);
    check(&home, &["--where", "status=failed"], &[]);
    check(&home, &["--where", "status=assigned,hub=hub-1", "--where", "group=line-4"], &ids);
    check(&home, &["--where", "older-than=1d"], &[]);
    check(&home, &["--where", "orphaned"], &[]);
    check(
        &home,
        &["--rid", "press-1", "--rid", "press-9", "--where", "group=line-4"],
        &["press-1"],
    );
    deprovision(&home, &["--where", "colour=red", "--intent", "retire"]).refused(2, "older-than");

    for id in ["press-1", "press-3"] {
        let update = ["hub", "device-twin", "update", "-d", id, "--tags", r#"{"site":"north"}"#];
        home.run(&update).json();
    }
    let north = "SELECT * FROM devices WHERE tags.site = 'north'";
    check(&home, &["--hub", "hub-1", "--twin-query", north], &["press-1", "press-3"]);
    check(&home, &["--twin-query", north, "--rid", "press-3"], &["press-3"]);
    let bad = ["--twin-query", "DELETE FROM devices", "--intent", "retire", "--dry-run"];
    deprovision(&home, &bad).refused(1, "HTTP 400");

    // All of these were plans only.
    let (receipt, _) = done(&home, &["--hub", "hub-1", "--tq", north, "--intent", "retire"]);
    assert_eq!(receipt["progress"]["done"], 2);
    home.run(&["enrollment-group", "delete", "--gid", GROUP]);
    check(&home, &["--where", "orphaned"], &["press-0", "press-2"]);
    let devices = Api::devices(&server);
    assert_eq!(devices.register("press-1").await.expect("an answer").status.as_u16(), 401);
}

#[tokio::test]
async fn a_hub_is_cleared_of_its_devices_and_no_other_is() {
    let home = Home::new();
    let server = home.start_with(&[("INDUCT_HUBS", TWO_HUBS)]);
    Api::service(&home, &server).enroll_group(GROUP).await;
    super::register_all(&server, &names(2)).await;
    for id in ["by-hand", "odd#1"] {
        home.run(&["hub", "device-identity", "create", "--hub", "hub-2", "-d", id]).json();
    }
    let (receipt, _) = done(&home, &["--hub", "hub-2", "--intent", "retire"]);
    let expected = ["by-hand", "odd#1"].map(str::to_owned);
    assert_eq!(about(&home, &receipt), expected.into());
    let left = |hub: &str| {
        let listed = home.run(&["hub", "device-identity", "list", "--hub", hub]).json();
        listed.as_array().expect("a list").len()
    };
    assert_eq!((left("hub-1"), left("hub-2")), (2, 0));
    deprovision(&home, &["--hub", "hub-3", "--intent", "retire"]).refused(3, "`hub-3`");
    drop(server);
}

/// Two hubs whose host names begin alike.
const ALIKE: &str = "[{name = 'hub-1', host = 'east.localhost'}, \
                     {name = 'hub-2', host = 'east.example.test'}]";

#[test]
fn what_selects_nobody_in_particular_is_refused_with_what_to_do() {
    let home = Home::new();
    let _server = home.start_with(&[("INDUCT_HUBS", ALIKE)]);
    let nobody = written(&home, "nobody.txt", "# none\n");
    let endless = written(&home, "endless.txt", "");
    let most = wire::manage::MAX_DEPROVISIONING_BYTES as u64;
    // It has no bytes on the disk.
    fs::File::create(&endless).and_then(|file| file.set_len(most + 1)).expect("written");
    let too_large = format!("it has {} bytes, at most {most} are read.", most + 1);
    for (words, code, fact, remedy) in [
        (&[][..], 2, "No devices are selected.", "Name them: --registration-id, --file,"),
        (
            &["--where", "status=assigned,status=failed"],
            2,
            "--where says status twice; conditions must all hold.",
            "Say it once; for several values make several plans.",
        ),
        (
            &["--where", "older-than=1d", "--where", "older-than=2d"],
            2,
            "--where says older-than twice;",
            "Say it once",
        ),
        (&["--file", &nobody], 2, "lists no registration IDs.", "one registration ID a line"),
        (&["--file", "nowhere"], 1, "--file: cannot read nowhere: ", "(os error 2).\n"),
        (&["--file", &endless], 1, &too_large, "Split it, and make a plan of each part."),
        (
            &["--hub", "west"],
            3,
            "No linked hub is called `west`.",
            "There are east.example.test, east.localhost.",
        ),
        (&["--hub", "east"], 2, "Several linked hubs are called `east`.", "the whole host name"),
        (&["--where", "hub=east"], 2, "Several linked hubs are called `east`.", "whole host name"),
    ] {
        let refused = deprovision(&home, &[words, &["--intent", "retire", "--yes"]].concat());
        refused.refused(code, fact);
        refused.refused(code, remedy);
    }
    let told = "--plan names a plan, which has its devices already; select none beside it.";
    deprovision(&home, &["--plan", "a", "--rid", "press-1", "--yes"]).refused(2, told);
    assert_eq!(home.run(&["receipt", "list"]).json(), serde_json::json!([]), "nothing was planned");
}

#[test]
fn who_is_named_wrongly_is_told_before_anything_is_banned() {
    let home = Home::new();
    let _server = home.start();
    let planned = deprovision(&home, &["--rid", "pres-17", "--intent", "retire", "--dry-run"]);
    let told = "WARNING: nothing is known of 1 device: no enrollment, no record, no identity here.";
    assert!(planned.stderr.contains(told), "{planned:?}");
    assert!(planned.stderr.contains("pres-17"), "{planned:?}");
}

/// A works with a CA for a line, and saws of that line with certificates.
struct Works {
    home: Home,
    _server: Server,
    network: Network,
    root: Authority,
    line: Authority,
}

impl Works {
    fn new() -> Self {
        let home = Home::new();
        let server = home.start();
        let root = Authority::root("works", 1, SystemClock.now()).expect("a CA");
        let (line, _) = root.below("line-4", SystemClock.now()).expect("a CA");
        let network = network(&home, &server);
        let works = Self { home, _server: server, network, root, line };
        works.enroll("line-4", &works.line);
        works
    }

    fn enroll(&self, group: &str, ca: &Authority) {
        let path = written(&self.home, &format!("{group}.pem"), ca.pem());
        let create = ["enrollment-group", "create", "--gid", group, "--certificate-path", &path];
        self.home.run(&create).json();
    }

    /// Whether a device with this certificate, or one of this authority, is let in.
    async fn registers(&self, id: &str, certificate: &DeviceCertificate) -> bool {
        let identity = Identity::with_certificate(id, certificate).expect("a device");
        let over_https = register_at(&self.network, &identity, Over::Https).await;
        let over_mqtt = register_at(&self.network, &identity, Over::Mqtt).await;
        assert_eq!(over_https, over_mqtt, "{id} at both doors");
        over_https
    }
}

fn issue(ca: &Authority, id: &str) -> DeviceCertificate {
    ca.issue(id, SystemClock.now()).expect("a certificate")
}

#[tokio::test]
async fn a_certificate_is_named_by_its_thumbprint_and_a_ca_by_its_file() {
    let works = Works::new();
    let mut saws = Vec::new();
    for id in ["saw-0", "saw-1", "saw-2"] {
        let certificate = issue(&works.line, id);
        assert!(works.registers(id, &certificate).await, "{id}");
        saws.push(certificate);
    }
    let leaf = CertificateDer::from_pem_slice(saws[0].chain_pem.as_bytes()).expect("PEM");
    let known = attest::certificate::describe(&leaf).expect("a certificate");
    let known = attest::certificate::path_certificate(&known);
    let sha256: String = known.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    let (receipt, _) =
        done(&works.home, &["--thumbprint", &sha256, "--intent", "revoke", "--reason", "copied"]);
    assert_eq!(about(&works.home, &receipt), ["saw-0".to_owned()].into());
    assert_eq!(receipt["wholes"][0]["ban"], format!("sha256:{sha256}"));
    assert!(!works.registers("saw-0", &saws[0]).await);
    assert!(works.registers("saw-1", &saws[1]).await);

    let ca = written(&works.home, "line-4-ca.pem", works.line.pem());
    let (receipt, said) = done(&works.home, &["--certificate", &ca, "--intent", "revoke"]);
    assert!(said.contains("CN=line-4 is banned"), "{said}");
    let expected = ["saw-1", "saw-2"].map(str::to_owned);
    assert_eq!(about(&works.home, &receipt), expected.into());
    // Neither they nor whoever else the CA signs, by no group; others of the works get in.
    works.enroll("works", &works.root);
    for (id, certificate) in [("saw-1", &saws[1]), ("saw-3", &issue(&works.line, "saw-3"))] {
        assert!(!works.registers(id, certificate).await, "{id}");
    }
    assert!(works.registers("lathe-1", &issue(&works.root, "lathe-1")).await);
}
