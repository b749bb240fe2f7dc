//! What the log says of connections: who, from where, why not, and no secret.

use std::{
    io,
    sync::{Arc, Mutex},
};

use testkit::{ClientStyle, tpm::SoftTpm};

use super::scene::*;
use crate::proto::SaslOutcome;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("whole").extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a log says of what this does.
async fn log_of(does: impl AsyncFnOnce(&Scene)) -> String {
    let scene = scene().await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    does(&scene).await;
    let bytes = lines.0.lock().expect("whole").clone();
    text(&bytes)
}

#[track_caller]
fn check(log: &str, said: &[&str], secrets: &[&str]) {
    for said in said {
        let line = log.lines().find(|line| line.contains(said));
        let line = line.unwrap_or_else(|| panic!("{said}: {log}"));
        assert!(line.contains("127.0.0.1:50000"), "{line}");
        assert!(line.contains("tracking_id=") || line.contains("DEBUG"), "{line}");
    }
    for secret in secrets {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

/// The part of a token that nobody may see.
fn signature(token: &str) -> &str {
    let (_, signature) = token.split_once("sig=").expect("a signature");
    signature.split('&').next().expect("a signature")
}

#[tokio::test]
async fn a_connection_leaves_a_line_when_it_opens_and_one_when_it_ends() {
    let log = log_of(async |scene| {
        let mut client = scene.open();
        client.connect().await;
        client.close().await;
    })
    .await;
    let said = [
        "`a client` opened an AMQP connection from 127.0.0.1:50000 (no SASL)",
        "the AMQP connection from 127.0.0.1:50000 is over: the client closed it",
    ];
    check(&log, &said, &[]);
}

#[tokio::test]
async fn a_refused_login_leaves_a_line_that_says_why_and_no_secret() {
    let mut secrets = Vec::new();
    let log = log_of(async |scene| {
        let elsewhere = scene.registration_token(ClientStyle::Java, "dev-2", KEY);
        for password in ["secret-secret", &elsewhere] {
            let mut client = scene.open();
            let outcome = client.sasl_plain(&scene.registration("dev-1"), password).await;
            assert_eq!(outcome, SaslOutcome::Auth);
            client.over().await;
        }
        let mut client = scene.open();
        assert_eq!(client.sasl("A\nB", None).await, SaslOutcome::Auth);
        client.over().await;
        secrets = vec![signature(&elsewhere).to_owned(), "secret-secret".to_owned()];
    })
    .await;
    let said = [
        "refused `PLAIN` of 127.0.0.1:50000 (SASL 1): the credential is not a SharedAccess",
        "refused `PLAIN` of 127.0.0.1:50000 (SASL 1): the token is for another resource",
        "refused `A\u{fffd}B` of 127.0.0.1:50000 (SASL 1): there is no such mechanism",
    ];
    check(&log, &said, &secrets.iter().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_login_leaves_no_secret() {
    let mut secrets = vec![KEY.to_owned()];
    let log = log_of(async |scene| {
        let token = scene.registration_token(ClientStyle::Java, "dev-1", KEY);
        let client = scene.logged_in(&scene.registration("dev-1"), &token).await;
        client.close().await;
        secrets.push(signature(&token).to_owned());

        let mut tpm = SoftTpm::from_fixture();
        let mut client = scene.open();
        client.sasl_tpm_challenge(&mut tpm, &scene.id_scope, "tpm-1").await;
        let resource = wire::percent::encode(&scene.registration("tpm-1"));
        let expiry = scene.app.now().unix_secs() + 60;
        let token = tpm.sas_token(&resource, expiry, Some("registration"));
        assert_eq!(client.sasl_tpm_answer(&token).await, SaslOutcome::Ok);
        client.connect().await;
        client.close().await;
        secrets.push(signature(&token).to_owned());
    })
    .await;
    let said = ["127.0.0.1:50000 (PLAIN)", "127.0.0.1:50000 (TPM)"];
    check(&log, &said, &secrets.iter().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_no_client_of_ours_leaves_no_line_above_debug() {
    let log = log_of(async |scene| {
        let mut client = scene.open();
        client.send_bytes(b"GET / HTTP/1.1\r\n\r\n").await;
        client.rest().await;
        client.vanish().await;
    })
    .await;
    check(&log, &["cut 127.0.0.1:50000 before its login"], &[]);
    assert!(!log.contains("INFO") && !log.contains("WARN"), "{log}");
}
