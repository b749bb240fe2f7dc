//! A webhook that answers well, wrongly, slowly, never, and elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use model::{
    CustomAllocation, EnrollmentGroup, EnrollmentGroupId, Etag, HubName, RegistrationId, Sent,
    SymmetricKey, SymmetricKeys, Terms, Timestamp,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::*;

const WELL: &str =
    r#"{"iotHubHostName":"hub-a.example.test","initialTwin":null,"payload":{"a":1}}"#;

/// How the webhook answers, call after call; the last one again and again. An empty text closes
/// the connection.
struct Hook {
    address: SocketAddr,
    n_calls: Arc<AtomicUsize>,
}

impl Hook {
    async fn answering(answers: Vec<Option<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let n_calls = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&n_calls);
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let n = counter.fetch_add(1, Ordering::Relaxed);
                let mut seen = vec![0; 64 * 1024];
                let _ = stream.read(&mut seen).await;
                match answers.get(n).or(answers.last()) {
                    Some(Some(answer)) => {
                        let _ = stream.write_all(answer.as_bytes()).await;
                    }
                    // Never: the connection stays open.
                    Some(None) | None => held.push(stream),
                }
            }
        });
        Self { address, n_calls }
    }

    fn n_calls(&self) -> usize {
        self.n_calls.load(Ordering::Relaxed)
    }
}

fn answer(status: &str, body: &str) -> Option<String> {
    let n = body.len();
    Some(format!("HTTP/1.1 {status}\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"))
}

fn question(url: &str) -> Question {
    let key = SymmetricKey::from_bytes(&[7; 32]).expect("a key");
    let webhook =
        CustomAllocation { webhook_url: url.to_owned(), api_version: "2021-10-01".to_owned() };
    let at = Timestamp::from_unix_secs(0);
    let group = EnrollmentGroup {
        group_id: EnrollmentGroupId::parse("line-4").expect("legal"),
        terms: Terms {
            attestation: AttestationMechanism::SymmetricKey(SymmetricKeys {
                primary: key.clone(),
                secondary: key,
            }),
            iot_edge: None,
            iot_hub_host_name: None,
            initial_twin: None,
            etag: Etag::from_random([0; 16]),
            provisioning_status: Sent::Absent,
            reprovision_policy: None,
            created: at,
            last_updated: at,
            allocation_policy: None,
            iot_hubs: None,
            custom_allocation: Some(webhook.clone()),
            version: 1,
        },
        settings: model::GroupSettings::default(),
    };
    Question {
        webhook,
        entry: AskedFor::Group(Box::new(group)),
        registration_id: RegistrationId::parse("press-17").expect("legal"),
        current: None,
        proved_by: ProvedBy::SymmetricKey,
        payload: None,
        linked_hubs: vec![HubName::parse("hub-a.example.test").expect("a hub")],
    }
}

fn hook(allow_http_on_loopback: bool) -> HttpsAllocationHook {
    HttpsAllocationHook::new(WebhookSettings {
        time_limit: Duration::from_millis(300),
        allow_http_on_loopback,
        ..WebhookSettings::new("")
    })
}

/// The webhook is asked once, answers so, and this comes of it after so many calls.
async fn check(answers: Vec<Option<String>>, expected: Answer, n_calls: usize) {
    let server = Hook::answering(answers).await;
    let url = format!("http://{}/api/allocate?code=hush", server.address);
    assert_eq!(hook(true).ask(&question(&url)).await, expected);
    assert_eq!(server.n_calls(), n_calls);
}

fn well() -> Answer {
    let payload = Some(json::parse(r#"{"a":1}"#).expect("JSON"));
    Answer::Hub(Chosen { hub: "hub-a.example.test".to_owned(), initial_twin: None, payload })
}

fn failed(why: &str) -> Answer {
    Answer::Failed(format!("Custom allocation failed{why}"))
}

#[tokio::test]
async fn a_good_answer_counts() {
    check(vec![answer("200 OK", WELL)], well(), 1).await;
}

#[tokio::test]
async fn a_5xx_or_a_broken_connection_is_tried_once_more() {
    check(vec![answer("503 Busy", ""), answer("200 OK", WELL)], well(), 2).await;
    check(vec![answer("500 Bad", "")], failed(" with status code: 500"), 2).await;
    check(vec![Some(String::new()), answer("200 OK", WELL)], well(), 2).await;
}

#[tokio::test]
async fn a_no_is_a_no_with_its_status() {
    check(vec![answer("400 Bad Request", "no")], failed(" with status code: 400"), 1).await;
    check(vec![answer("404 Not Found", "")], failed(" with status code: 404"), 1).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let elsewhere = Hook::answering(vec![answer("200 OK", WELL)]).await;
    let redirect = format!(
        "HTTP/1.1 307 There\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n",
        elsewhere.address
    );
    check(vec![Some(redirect)], failed(" with status code: 307"), 1).await;
    assert_eq!(elsewhere.n_calls(), 0);
}

#[tokio::test]
async fn a_wrong_answer_says_what_is_wrong() {
    let body = r#"{"iotHubHostName":7}"#;
    let told = ": in its answer, iotHubHostName: expected a string, found a number.";
    check(vec![answer("200 OK", body)], failed(told), 1).await;
    let large = format!(r#"{{"x":"{}"}}"#, "x".repeat(webhook::MAX_ANSWER_BYTES));
    let told = ": the webhook's answer broke off or is too large.";
    check(vec![answer("200 OK", &large)], failed(told), 2).await;
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_waited_for_twice_and_no_longer() {
    check(vec![None], failed(": the webhook gave no answer in time."), 2).await;
    check(vec![None, answer("200 OK", WELL)], well(), 2).await;
}

#[tokio::test]
async fn without_tls_only_loopback_may_be_called_and_only_if_allowed() {
    let server = Hook::answering(vec![answer("200 OK", WELL)]).await;
    let no = failed(": the webhook's address must begin with https://.");
    let here = question(&format!("http://{}/", server.address));
    assert_eq!(hook(false).ask(&here).await, no);
    assert_eq!(server.n_calls(), 0);
    assert_eq!(hook(true).ask(&question("http://hook.example.test/")).await, no);
    let bad = failed(": the webhook's address is not legal.");
    assert_eq!(hook(true).ask(&question("ftp://localhost/?code=hush")).await, bad);
}
