//! Certificates that operators enroll by mistake: broken ones, too large ones, and private keys.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::{Ca, KeyKind, Profile};

use super::Victim;
use crate::world::{
    Reply,
    enrollments::{by_key, group_by_key, with},
};

const RSA_16384: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/certificates/leaf-rsa16384.pem");

/// Enrolls this text as a client certificate and as a group's CA, each in both slots. All four
/// are refused; returns what was said.
async fn enroll(victim: &Victim, text: &str) -> Vec<Reply> {
    let mut replies = Vec::new();
    for slot in ["primary", "secondary"] {
        let slots = json!({slot: {"certificate": text}});
        let x509 = |kind: &str, slots: &Value| json!({"type": "x509", "x509": {kind: slots}});
        let own = with(by_key("new"), "attestation", x509("clientCertificates", &slots));
        let group = with(group_by_key("new"), "attestation", x509("signingCertificates", &slots));
        for (path, body) in [("/enrollments/new", own), ("/enrollmentGroups/new", group)] {
            let reply = victim.world.service().send("PUT", path, None, body.to_string()).await;
            let message = reply.refused(400_000);
            assert!(message.contains(&format!("{slot}.certificate")), "{message}");
            replies.push(reply);
        }
    }
    replies
}

async fn check_enroll(victim: &Victim, text: &str, words: &str) {
    for reply in enroll(victim, text).await {
        assert!(reply.text().contains(words), "{text:.60}…: {}", reply.text());
    }
}

#[tokio::test]
async fn broken_pem_and_bad_base64_are_refused_with_what_is_wrong() {
    let victim = Victim::new().await;
    let good = Ca::root("Works Root").leaf("new").pem();
    let cut = &good[..good.len() / 2];
    let no_end = good.replace("-----END CERTIFICATE-----", "");
    let other_end = good.replace("END CERTIFICATE", "END PUBLIC KEY");
    let odd = good.replacen("MII", "M!I", 1);
    let shorter = {
        let der = Ca::root("Works Root").leaf("new").der().to_vec();
        STANDARD.encode(&der[..der.len() - 10])
    };
    let longer = {
        let mut der = Ca::root("Works Root").leaf("new").der().to_vec();
        der.extend([0, 0]);
        STANDARD.encode(der)
    };
    for (text, words) in [
        ("hello", "base64"),
        ("%%%%", "base64"),
        (cut, "END"),
        (&no_end, "END"),
        (&other_end, "END"),
        (&odd, "base64"),
        ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "CERTIFICATE"),
        (&format!("{good}{good}"), "2 certificates"),
        (&shorter, "certificate"),
        (&longer, "certificate"),
        (&STANDARD.encode([0x30, 0x03, 0x30, 0x01, 0x00]), "certificate"),
        (&"A".repeat(70_000), "at most"),
    ] {
        check_enroll(&victim, text, words).await;
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_private_key_beside_or_instead_of_a_certificate_is_refused_and_never_repeated() {
    let victim = Victim::new().await;
    let ca = Ca::root("Works Root");
    for kind in [KeyKind::P256, KeyKind::Rsa2048] {
        let leaf = ca.issue(Profile::leaf("new").key(kind));
        let key = leaf.key_pem();
        let body: String = key.lines().filter(|line| !line.contains("-----")).collect();
        let texts = [
            key.clone(),
            format!("{}{key}", leaf.pem()),
            format!("{key}{}", leaf.pem()),
            key.replace("PRIVATE KEY", "EC PRIVATE KEY"),
            key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            STANDARD.encode(leaf.key_der()),
            STANDARD.encode(key.as_bytes()),
        ];
        for text in &texts {
            for reply in enroll(&victim, text).await {
                let answer = reply.text();
                assert!(answer.contains("private key"), "{answer}");
                for n in (0..body.len().saturating_sub(24)).step_by(24) {
                    assert!(!answer.contains(&body[n..n + 24]), "the key is in the answer");
                }
            }
        }
        let log = victim.world.log();
        for n in (0..body.len().saturating_sub(24)).step_by(24) {
            assert!(!log.contains(&body[n..n + 24]), "the key is in the log");
        }
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn a_certificate_with_a_key_of_16384_bits_cannot_be_enrolled() {
    let victim = Victim::new().await;
    let text = std::fs::read_to_string(RSA_16384).expect("the fixture");
    check_enroll(&victim, &text, "16384").await;
    for reply in enroll(&victim, &text).await {
        assert!(reply.text().contains("8192"), "both figures: {}", reply.text());
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn x509_attestation_of_the_wrong_kind_or_of_none_is_refused() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    let pem = Ca::root("Works Root").pem();
    let slots = json!({"primary": {"certificate": pem}});
    let names = json!({"primary": "works"});
    for x509 in [
        json!({}),
        json!({"signingCertificates": slots}),
        json!({"caReferences": names}),
        json!({"clientCertificates": slots, "signingCertificates": slots}),
        json!({"clientCertificates": {}}),
        json!({"clientCertificates": {"primary": {}}}),
        json!({"clientCertificates": {"primary": {"info": {"sha1Thumbprint": "AB"}}}}),
    ] {
        let body = with(by_key("new"), "attestation", json!({"type": "x509", "x509": x509}));
        let reply = service.send("PUT", "/enrollments/new", None, body.to_string()).await;
        assert!(reply.refused(400_000).contains("attestation.x509"), "{x509}");
    }
    for x509 in [
        json!({}),
        json!({"clientCertificates": slots}),
        json!({"signingCertificates": slots, "caReferences": names}),
        json!({"signingCertificates": {}}),
    ] {
        let body = with(group_by_key("new"), "attestation", json!({"type": "x509", "x509": x509}));
        let reply = service.send("PUT", "/enrollmentGroups/new", None, body.to_string()).await;
        assert!(reply.refused(400_000).contains("attestation.x509"), "{x509}");
    }
    victim.assert_unharmed().await;
}
