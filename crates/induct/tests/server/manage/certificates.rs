//! CA certificates: upload, proof of possession, what refers to them.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::harness::{Home, Server};

/// A CA made for a test: its certificate and what it signs with.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("signed");
        Self { pem: certificate.pem(), issuer: Issuer::new(params, key) }
    }

    /// A certificate with this common name, signed by the CA.
    fn sign(&self, name: &str) -> String {
        let key = KeyPair::generate().expect("a key");
        params(name).signed_by(&key, &self.issuer).expect("signed").pem()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

fn started() -> (Home, Server) {
    let home = Home::new();
    let server = home.start();
    (home, server)
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, text).expect("written");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_ca_certificate_counts_after_its_holder_signed_the_code() {
    let (home, _server) = started();
    let ca = Authority::new("Plant CA");
    let path = write(home.path(), "ca.pem", &ca.pem);
    let made = home.run(&["dps", "certificate", "create", "-n", "plant", "-p", &path]).json();
    assert_eq!(made["isVerified"], false);
    assert!(made["subject"].as_str().expect("text").contains("Plant CA"), "{made}");
    assert!(made["expiry"].is_string(), "{made}");
    home.run(&["certificate", "create", "-n", "plant", "-p", &path])
        .refused(1, "Certificate 'plant' already exists.");

    let code = || {
        let made = home.run(&["certificate", "generate-verification-code", "-n", "plant"]).json();
        made["verificationCode"].as_str().expect("a code").to_owned()
    };
    let (first, second) = (code(), code());
    assert_ne!(first, second);
    let verify = |name: &str, text: &str| {
        let path = write(home.path(), name, text);
        home.run(&["certificate", "verify", "-n", "plant", "-p", &path])
    };
    verify("old.pem", &ca.sign(&first)).refused(1, "possession of the key is not proven");
    let other = Authority::new("Plant CA");
    verify("other.pem", &other.sign(&second)).refused(1, "possession of the key is not proven");
    let verified = verify("proof.pem", &ca.sign(&second)).json();
    assert_eq!(verified["isVerified"], true);
    assert_ne!(verified["etag"], made["etag"], "every step makes a new etag");
}

#[test]
fn deleting_a_ca_certificate_tells_which_groups_lose_it() {
    let (home, _server) = started();
    let path = write(home.path(), "ca.pem", &Authority::new("Plant CA").pem);
    let create = ["certificate", "create", "-n", "plant", "-p", &path, "--verified"];
    assert_eq!(home.run(&create).json()["isVerified"], true);
    home.run(&["enrollment-group", "create", "--gid", "line-4", "--ca-name", "plant"]).json();
    let shown = home.run(&["certificate", "show", "-n", "plant"]).json();
    assert_eq!(shown["usedBy"], serde_json::json!(["line-4"]));
    home.run(&["certificate", "delete", "-n", "plant", "--etag", "b2xk"]).refused(1, "code 412");
    let deleted = home.run(&["certificate", "delete", "-n", "plant"]);
    assert_eq!(deleted.code, 0, "{deleted:?}");
    assert!(deleted.stderr.contains("WARNING: These groups refer to it"), "{deleted:?}");
    assert!(deleted.stderr.contains("line-4"), "{deleted:?}");
    home.run(&["certificate", "show", "-n", "plant"])
        .refused(3, "no certificate is called `plant`");
}

#[test]
fn a_private_key_is_not_sent_and_no_certificate_is_refused() {
    let (home, _server) = started();
    let key = write(home.path(), "key.pem", "-----BEGIN PRIVATE KEY-----\n");
    home.run(&["certificate", "create", "-n", "k", "-p", &key]).refused(1, "holds a private key");
    let text = write(home.path(), "text.pem", "hello");
    let refused = home.run(&["certificate", "create", "-n", "k", "-p", &text]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert_eq!(home.run(&["certificate", "list"]).json(), serde_json::json!([]));
}
