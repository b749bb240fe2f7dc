//! Revocation lists from files and from URLs, and what they do to a device: all from outside.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use app::ports::Clock;
use http::Method;
use induct::{client::Client, client::ClientSettings, ports::SystemClock};
use serde_json::{Value, json};
use testkit::{Ca, Revocations, certificates::Credential, certificates::pem};

use crate::harness::{Api, Home, Server, until};

const DEVICE: &str = "press-17";

/// The settings that let lists be fetched from this machine.
const ALLOW_HTTP: (&str, &str) = ("INDUCT_CRLS__ALLOW_HTTP", "true");
const ALLOW_PRIVATE: (&str, &str) = ("INDUCT_CRLS__ALLOW_PRIVATE_ADDRESSES", "true");

/// A list of this number, good until so many seconds from now.
fn list(number: u64, good_for_secs: i64) -> Revocations {
    let now = SystemClock.now();
    Revocations {
        this_update: now.plus_secs(-3600),
        next_update: now.plus_secs(good_for_secs),
        ..Revocations::number(number)
    }
}

/// A file and its entity tag.
type Tagged = (String, Vec<u8>);

/// A web server with one file.
struct Url {
    address: SocketAddr,
    /// What it serves; a 503 while there is nothing.
    file: Arc<Mutex<Option<Tagged>>>,
    /// What was answered.
    answered: Arc<Mutex<Vec<u16>>>,
}

impl Url {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let file = Arc::new(Mutex::new(None));
        let answered = Arc::new(Mutex::new(Vec::new()));
        let (served, noted) = (Arc::clone(&file), Arc::clone(&answered));
        // It ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let file = served.lock().expect("no panic").clone();
                let status = answer(&stream, file.as_ref());
                noted.lock().expect("no panic").push(status);
            }
        });
        Self { address, file, answered }
    }

    fn text(&self) -> String {
        format!("http://{}/plant.crl", self.address)
    }

    fn serve(&self, tag: &str, list: Vec<u8>) {
        *self.file.lock().expect("no panic") = Some((format!("\"{tag}\""), list));
    }

    fn answered(&self) -> Vec<u16> {
        self.answered.lock().expect("no panic").clone()
    }
}

fn answer(mut stream: &TcpStream, file: Option<&Tagged>) -> u16 {
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    let mut known = None;
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        if let Some(tag) = line.to_ascii_lowercase().strip_prefix("if-none-match:") {
            known = Some(tag.trim().to_owned());
        }
        if line.is_empty() {
            break;
        }
    }
    let (status, tag, body): (u16, &str, &[u8]) = match file {
        None => (503, "\"\"", b""),
        Some((tag, _)) if known.as_ref() == Some(tag) => (304, tag, b""),
        Some((tag, list)) => (200, tag, list),
    };
    let head = format!(
        "HTTP/1.1 {status} So\r\nETag: {tag}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    // Whoever asked may have gone.
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body));
    status
}

/// A server with a group of a CA's devices.
struct Plant {
    home: Home,
    ca: Ca,
    press: Credential,
}

impl Plant {
    fn new() -> Self {
        let ca = Ca::root("plant");
        let press = ca.leaf(DEVICE);
        Self { home: Home::new(), ca, press }
    }

    fn enroll(&self) {
        let path = self.write("plant.pem", self.ca.pem().as_bytes());
        self.home.run(&["certificate", "create", "-n", "plant", "-p", &path, "--verified"]).json();
        let group = ["enrollment-group", "create", "--gid", "line-4", "--ca-name", "plant"];
        self.home.run(&group).json();
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.home.path().join(name);
        fs::write(&path, bytes).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }

    fn import(&self, list: &Revocations) -> Value {
        let path = self.write("plant.crl", &self.ca.revocation_list(list));
        self.home.run(&["crl", "import", &path]).json()
    }

    /// The status of the answer to a register request of the device.
    async fn register(&self, server: &Server) -> u16 {
        let listening = server.listening();
        let ca_pem = fs::read_to_string(self.home.data().join("tls/ca.pem")).expect("a CA");
        let settings = ClientSettings::new("localhost", server.address().port(), ca_pem)
            .at(server.address())
            .with_identity(self.press.chain_pem(), self.press.key_pem());
        let client = Client::new(settings).expect("a client");
        let path = format!(
            "/{}/registrations/{DEVICE}/register?api-version=2021-06-01",
            listening.id_scope
        );
        let body = json!({ "registrationId": DEVICE }).to_string();
        let headers = [("content-type", "application/json")];
        let answer = client.request(Method::PUT, &path, &headers, body).await;
        answer.expect("an answer").status.as_u16()
    }

    /// Looks at the list until it is as wanted.
    async fn wait_for(&self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        until(async || self.home.run(&["crl", "show", "plant"]).json(), is_wanted).await
    }
}

#[tokio::test]
async fn a_list_from_a_file_keeps_a_device_out_until_a_newer_one_lets_it_in() {
    let plant = Plant::new();
    let server = plant.home.start();
    plant.enroll();
    assert_eq!(plant.register(&server).await, 202);
    let taken = plant.import(&list(7, 3600).with(&plant.press));
    assert_eq!((&taken["newlyRevoked"], &taken["number"]), (&json!(1), &json!("7")));
    assert_eq!(plant.register(&server).await, 401);

    // Whoever brings an older one, or a file of another kind, does not undo it.
    let older = plant.write("older.crl", &plant.ca.revocation_list(&list(6, 3600)));
    plant.home.run(&["crl", "import", &older]).refused(1, "its number is 6, and that one's 7");
    let key = plant.write("plant.key", plant.ca.key_pem().as_bytes());
    plant.home.run(&["crl", "import", &key]).refused(1, "holds no revocation list");
    plant.home.run(&["crl", "import", "nowhere.crl"]).refused(1, "nowhere.crl");
    plant.home.run(&["crl", "show", "nobody"]).refused(3, "nobody");
    assert_eq!(plant.register(&server).await, 401);

    // The server forgets nothing.
    drop(server);
    let server = plant.home.start();
    assert_eq!(plant.register(&server).await, 401);
    let newer = pem("X509 CRL", &plant.ca.revocation_list(&list(8, 3600)));
    let newer = plant.write("newer.pem", newer.as_bytes());
    let taken = plant.home.run(&["crl", "import", &newer]).json();
    assert_eq!((&taken["noLongerRevoked"], &taken["revoked"]), (&json!(1), &json!(0)));
    assert_eq!(plant.register(&server).await, 202);

    let ca_file = plant.home.path().join("plant.pem");
    let ca_file = ca_file.to_str().expect("UTF-8");
    assert_eq!(plant.home.run(&["crl", "show", ca_file]).json()["ca"], "CN=plant");
    assert_eq!(plant.home.run(&["crl", "delete", ca_file]).code, 0);
    assert_eq!(plant.home.run(&["crl", "list"]).json(), json!([]));
}

#[tokio::test]
async fn a_list_that_is_out_of_date_is_marked_and_refuses_where_a_group_wants_it() {
    let plant = Plant::new();
    let server = plant.home.start();
    plant.enroll();
    let over = Revocations { this_update: SystemClock.now().plus_secs(-7200), ..list(1, -3600) };
    let path = plant.write("over.crl", &plant.ca.revocation_list(&over));
    let taken = plant.home.run(&["crl", "import", &path]);
    assert!(taken.stderr.contains("STALE"), "{taken:?}");
    assert_eq!(taken.json()["isStale"], true);
    let table = plant.home.run(&["crl", "list", "-o", "table"]).stdout;
    assert!(table.contains("STALE") && table.contains("CN=plant"), "{table}");
    let listed = plant.home.run(&["crl", "list"]);
    assert!(listed.stderr.contains("WARNING: Out of date (STALE): CN=plant."), "{listed:?}");
    let usage = plant.home.run(&["usage"]).json();
    assert_eq!(usage["staleRevocationLists"]["current"], 1);
    assert_eq!(plant.register(&server).await, 202);
    set_stale_crl(&plant, &server, "refuse").await;
    assert_eq!(plant.register(&server).await, 401);
    set_stale_crl(&plant, &server, "admit").await;
    assert_eq!(plant.register(&server).await, 202);
    // The log says it.
    let ended = server.stop();
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    let server = plant.home.start();
    let warning = "the revocation list of `CN=plant` is out of date";
    until(async || server.log(), |log| log.contains(warning)).await;
    server.stop();
}

async fn set_stale_crl(plant: &Plant, server: &Server, to: &str) {
    let service = Api::service(&plant.home, server);
    let path = "/induct/v1/enrollmentGroups/line-4/settings";
    let body = json!({ "staleCrl": to });
    let answer = service.request(Method::PUT, path, &[("if-match", "*")], &body).await;
    assert!(answer.expect("an answer").status.is_success());
}

#[tokio::test]
async fn a_url_is_followed_asked_only_for_something_newer_and_outlives_its_outages() {
    let plant = Plant::new();
    let url = Url::start();
    let server = plant.home.start_with(&[ALLOW_HTTP, ALLOW_PRIVATE]);
    plant.enroll();
    // Nothing is there yet: that is told at once, and tried again.
    let followed = plant.home.run(&["crl", "follow", "plant", &url.text(), "--every", "60s"]);
    assert!(followed.stderr.contains("could not be fetched: it answered 503"), "{followed:?}");
    let crl = followed.json();
    assert_eq!((&crl["isStale"], &crl["source"]["everySecs"]), (&json!(true), &json!(60)));
    assert_eq!(plant.register(&server).await, 202);

    url.serve("7", plant.ca.revocation_list(&list(7, 3600).with(&plant.press)));
    let fetched = plant.home.run(&["crl", "fetch", "plant"]).json();
    assert_eq!((&fetched["newlyRevoked"], &fetched["isStale"]), (&json!(1), &json!(false)));
    assert_eq!(plant.register(&server).await, 401);
    let again = plant.home.run(&["crl", "fetch", "plant"]).json();
    assert_eq!((&again["newlyRevoked"], &again["etag"]), (&json!(0), &fetched["etag"]));
    assert_eq!(url.answered().last(), Some(&304));

    // An old list at the URL, which somebody kept, is not taken; the one that counts stays.
    url.serve("6", plant.ca.revocation_list(&list(6, 3600)));
    let refused = plant.home.run(&["crl", "fetch", "plant"]);
    assert!(refused.stderr.contains("older than the list that counts"), "{refused:?}");
    assert_eq!(plant.register(&server).await, 401);

    // What is due when a server is killed is fetched by the next one by itself.
    url.serve("8", plant.ca.revocation_list(&list(8, 3600)));
    let body = json!({ "url": url.text(), "everySecs": 3600 });
    let service = Api::service(&plant.home, &server);
    let path = "/induct/v1/crls/plant/source";
    let put = service.request(Method::PUT, path, &[("if-match", "*")], &body).await;
    assert!(put.expect("an answer").status.is_success());
    server.kill();
    let server = plant.home.start_with(&[ALLOW_HTTP, ALLOW_PRIVATE]);
    plant.wait_for(|crl| crl["number"] == "8").await;
    assert_eq!(plant.register(&server).await, 202);

    plant.home.run(&["crl", "follow", "plant", &url.text()]).refused(1, "followed already");
    assert_eq!(plant.home.run(&["crl", "unfollow", "plant"]).code, 0);
    let crl = plant.home.run(&["crl", "show", "plant"]).json();
    assert_eq!((&crl["number"], &crl["source"]), (&json!("8"), &Value::Null));
    let log = plant.home.run(&["audit", "list"]).json().to_string();
    for action in ["crl.follow", "crl.fetch", "crl.unfollow"] {
        assert!(log.contains(action), "{log}");
    }
}

#[tokio::test]
async fn a_url_that_is_not_https_is_followed_only_where_the_configuration_allows_it() {
    let plant = Plant::new();
    let url = Url::start();
    let _server = plant.home.start();
    plant.enroll();
    plant.home.run(&["crl", "follow", "plant", &url.text()]).refused(1, "crls.allow_http");
    plant.home.run(&["crl", "follow", "plant", "ldap://a/"]).refused(1, "legal URL");
    let metadata = "https://169.254.169.254/latest";
    plant.home.run(&["crl", "follow", "plant", metadata]).refused(1, "allow_private_addresses");
    plant.home.run(&["crl", "follow", "plant", "https://a/", "--every", "1s"]).refused(2, "60s");
    assert!(url.answered().is_empty());
}
