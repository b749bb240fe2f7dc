//! Allocation by a webhook that answers well, wrongly, slowly or never.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::wait_for_registration;
use crate::harness::{Api, Home, Server};

/// How the webhook behaves.
#[derive(Debug, Clone)]
enum Manner {
    /// It answers with this status and body.
    Answers(u16, Value),
    /// It sends elsewhere.
    Redirects(String),
    /// It takes the question and says nothing.
    IsSilent,
    /// It hangs up.
    HangsUp,
}

/// A webhook over plain HTTP on this machine, and what it was asked.
struct Webhook {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Webhook {
    fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        // It ends with the test program.
        thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                let question = read_question(&stream);
                noted.lock().expect("no panic").push(question);
                if let Some(stream) = answer(stream, &manner) {
                    open.push(stream);
                }
            }
        });
        Self { address, asked }
    }

    fn url(&self) -> String {
        format!("http://{}/allocate?code=swordfish", self.address)
    }

    fn asked(&self) -> Vec<Value> {
        self.asked.lock().expect("no panic").clone()
    }
}

fn read_question(stream: &TcpStream) -> Value {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut reader = BufReader::new(stream);
    let mut size = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a head");
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(length) = line.strip_prefix("content-length:") {
            size = length.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; size];
    reader.read_exact(&mut body).expect("a body");
    serde_json::from_slice(&body).expect("JSON")
}

/// Answers; gives the connection back if it is to stay open.
fn answer(mut stream: TcpStream, manner: &Manner) -> Option<TcpStream> {
    let (head, body) = match manner {
        Manner::Answers(status, body) => (format!("{status} Whatever"), body.to_string()),
        Manner::Redirects(to) => (format!("302 Found\r\nlocation: {to}"), String::new()),
        Manner::IsSilent => return Some(stream),
        Manner::HangsUp => return None,
    };
    let length = body.len();
    let text =
        format!("HTTP/1.1 {head}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    // Whoever asked may have given up.
    let _ = stream.write_all(text.as_bytes());
    None
}

fn started() -> (Home, Server) {
    let home = Home::new();
    let server = home.start_with(&[
        ("INDUCT_WEBHOOK__ALLOW_HTTP_ON_LOOPBACK", "true"),
        ("INDUCT_WEBHOOK__TIMEOUT_SECS", "1"),
    ]);
    home.run(&["linked-hub", "create", "--hub-name", "hub-2.localhost"]).json();
    (home, server)
}

/// Enrolls a group that asks this webhook, and registers a device of it.
async fn register(home: &Home, server: &Server, webhook: &Webhook) -> Value {
    let service = Api::service(home, server);
    service.enroll_group("line-4").await;
    let url = webhook.url();
    let custom = ["--ap", "custom", "--webhook-url", &url, "--api-version", "2021-10-01"];
    home.run(&[&["enrollment-group", "update", "--gid", "line-4"][..], &custom].concat()).json();
    Api::devices(server).register("press-17").await.expect("an answer");
    wait_for_registration(&service, "press-17", |record| record["status"] != "assigning").await
}

#[tokio::test]
async fn the_webhook_chooses_the_hub_and_sees_no_secret() {
    let (home, server) = started();
    let webhook = Webhook::start(Manner::Answers(
        200,
        json!({ "iotHubHostName": "hub-2.localhost", "payload": { "line": 4 }, "initialTwin": null }),
    ));
    let record = register(&home, &server, &webhook).await;
    assert_eq!(record["status"], "assigned", "{record}");
    assert_eq!(record["assignedHub"], "hub-2.localhost");
    let asked = webhook.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["deviceRuntimeContext"]["registrationId"], "press-17");
    assert_eq!(asked[0]["linkedHubs"], json!(["hub-1.localhost", "hub-2.localhost"]));
    assert_eq!(asked[0]["enrollmentGroup"]["attestation"], json!({ "type": "symmetricKey" }));
    assert!(!asked[0].to_string().contains("swordfish"), "{}", asked[0]);
    let ended = server.stop();
    assert!(!ended.stderr.contains("swordfish"), "the webhook's code is in the log");
}

/// The registration fails with 400207 and this text; the webhook was asked so often.
async fn check_failure(manner: Manner, told: &str, n_asked: usize) {
    let (home, server) = started();
    let webhook = Webhook::start(manner);
    let record = register(&home, &server, &webhook).await;
    assert_eq!(record["status"], "failed", "{record}");
    assert_eq!(record["errorCode"], 400_207, "{record}");
    let text = record["errorMessage"].as_str().expect("text");
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("swordfish"), "{text}");
    assert_eq!(webhook.asked().len(), n_asked);
}

#[tokio::test]
async fn a_webhook_that_says_no_fails_the_registration_with_its_status() {
    check_failure(Manner::Answers(400, json!("no")), "400", 1).await;
}

#[tokio::test]
async fn a_broken_webhook_is_asked_once_more() {
    check_failure(Manner::Answers(503, json!({})), "503", 2).await;
}

#[tokio::test]
async fn a_hub_that_is_not_linked_is_no_answer() {
    let body = json!({ "iotHubHostName": "elsewhere.localhost" });
    check_failure(Manner::Answers(200, body), "elsewhere.localhost", 1).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = Webhook::start(Manner::Answers(200, json!({})));
    check_failure(Manner::Redirects(elsewhere.url()), "302", 1).await;
    assert_eq!(elsewhere.asked().len(), 0);
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_given_up() {
    check_failure(Manner::IsSilent, "gave no answer in time", 2).await;
}

#[tokio::test]
async fn a_webhook_that_hangs_up_is_given_up() {
    check_failure(Manner::HangsUp, "Custom allocation failed", 2).await;
}
