//! No secret is ever written where people read: not to standard output or error, nor to any file
//! beside the database.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use testkit::Ca;

use crate::world::{
    Answer, Device, HUBS, Scene, World,
    device::Proof,
    enrollments::{
        by_certificate, by_key, group, group_by_ca, group_by_key, individual, primary_key,
        secondary_key,
    },
};

/// Secrets, each with a name that may be shown.
#[derive(Default)]
struct Secrets(Vec<(String, String)>);

impl Secrets {
    /// Adds a secret, and its first half: what is cut is not safe for it.
    fn add(&mut self, name: &str, secret: &str) {
        let half = &secret[..secret.len() / 2];
        assert!(half.len() >= 16, "{name} is long enough to be recognised");
        self.0.push((name.to_owned(), half.to_owned()));
    }

    fn add_key(&mut self, name: &str, key: &[u8]) {
        self.add(name, &STANDARD.encode(key));
        self.add(name, &key.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    }

    fn add_token(&mut self, name: &str, token: &str) {
        let signature = token.split('&').find_map(|member| member.strip_prefix("sig="));
        let signature = signature.expect("a token has a signature");
        self.add(name, signature);
        let decoded = signature.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
        self.add(name, &decoded);
    }

    fn assert_not_in(&self, place: &str, text: &str) {
        let lower = text.to_ascii_lowercase();
        for (name, secret) in &self.0 {
            assert!(
                !lower.contains(&secret.to_ascii_lowercase()),
                "the secret of {name} stands in {place}"
            );
        }
    }
}

/// Text files that Induct wrote, but for the key files themselves.
fn readable_files(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tls" {
                readable_files(&path, found);
            }
        } else if !name.starts_with("induct.db") {
            let text = fs::read(&path).unwrap_or_default();
            found.push((path.display().to_string(), String::from_utf8_lossy(&text).into_owned()));
        }
    }
}

async fn play(world: &World, secrets: &mut Secrets) {
    let service = world.service();
    for host in ["localhost", HUBS[0]] {
        let policy = world.policy_of(host);
        secrets.add_key(&format!("policy {} of {host}", policy.name), policy.key.bytes());
        secrets.add_token(&format!("a token of {host}"), &world.hub(host).token(600));
    }
    let ca = Ca::root("Works Root").intermediate("line-4");
    secrets.add_key("the CA's key", ca.as_credential().key_der());
    let own = service.create(&individual("press-1"), &by_key("press-1")).await;
    let keys = service.create(&group("line-7"), &group_by_key("line-7")).await;
    service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
    for (name, shown) in [("press-1", &own), ("line-7", &keys)] {
        secrets.add(name, primary_key(shown));
        secrets.add(name, secondary_key(shown));
    }
    let leaf = ca.leaf("press-3");
    secrets.add_key("the leaf's key", leaf.key_der());
    let devices = [
        Device::with_key("press-1", primary_key(&own)),
        Device::of_group("press-2", primary_key(&keys)),
        Device::with_certificate("press-3", &leaf),
    ];
    for device in &devices {
        if let Proof::Key(key) = &device.proof {
            secrets.add_key(&device.id, key.bytes());
        }
        if let Some(token) = device.authorization(world.id_scope(), 3600) {
            secrets.add_token(&device.id, &token);
        }
        device.register(world).await.assigned();
    }
    service.send("POST", "/enrollments/press-1/attestationmechanism", None, "").await.expect(200);
    for id in ["press-1", "press-2", "press-3"] {
        world.identity(HUBS[0], id).await.expect("an identity");
    }
    refuse(world, secrets, &leaf.key_pem()).await;
}

/// What goes wrong is what gets logged: bodies, tokens and keys in all the wrong places.
async fn refuse(world: &World, secrets: &mut Secrets, private_key_pem: &str) {
    let service = world.service();
    let expired = service.token(-3600);
    secrets.add_token("an expired token", &expired);
    let path = service.versioned("/enrollments/press-1");
    let headers = [("authorization", expired.as_str())];
    assert_eq!(service.send_raw("GET", &path, &headers, "").await.status, 401);

    let wrong = Device::with_key("press-1", "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IHNlY3JldA==");
    let token = wrong.authorization(world.id_scope(), 3600).expect("a token");
    secrets.add_token("a token by a wrong key", &token);
    assert!(matches!(wrong.register(world).await, Answer::Refused { code: 401_002, .. }));

    let odd_key = "bm90IGEga2V5IGJ1dCBoYWxmIG9mIG9uZSwgd2hvIGtub3dz!";
    secrets.add("a malformed key", odd_key);
    let mut body = by_key("press-9");
    body["attestation"]["symmetricKey"] = json!({"primaryKey": odd_key, "secondaryKey": odd_key});
    let reply = service.send("PUT", "/enrollments/press-9", None, body.to_string()).await;
    assert_eq!(reply.status, 400);
    secrets.assert_not_in("the answer to a malformed key", &reply.text());

    let mut body = by_certificate("press-9", &Ca::root("Works Root").leaf("press-9"));
    body["attestation"]["x509"]["clientCertificates"]["primary"]["certificate"] =
        json!(private_key_pem);
    let reply = service.send("PUT", "/enrollments/press-9", None, body.to_string()).await;
    assert_eq!(reply.status, 400);
    secrets.assert_not_in("the answer to a private key", &reply.text());

    // A key in a path, in a query and in a body that is no JSON.
    let key = "c2VjcmV0LWtleS1pbi1hLXBsYWNlLXdoZXJlLWl0LWRvZXMtbm90LWJlbG9uZw";
    secrets.add("a key in a query", key);
    let path = format!("/enrollments/press-1?api-version=2021-10-01&key={key}");
    let token = service.token(600);
    let headers = [("authorization", token.as_str()), ("content-type", "application/json")];
    service.send_raw("GET", &path, &headers, "").await.expect(200);
    let path = service.versioned("/enrollments/press-9");
    let body = format!("{{\"primaryKey\": \"{key}\",,}}");
    let reply = service.send_raw("PUT", &path, &headers, body).await;
    assert_eq!(reply.status, 400);
    secrets.assert_not_in("the answer to a body that is no JSON", &reply.text());
}

#[tokio::test]
async fn no_secret_is_written_to_the_log_at_its_most_talkative_nor_to_any_file_people_read() {
    let mut secrets = Secrets::default();
    let mut world = Scene::new().log_level("trace").start().await;
    play(&world, &mut secrets).await;
    world.restart(Scene::new().log_level("trace")).await;
    world.assert_healthy().await;
    let mut n_server_keys = 0;
    for entry in fs::read_dir(world.data_folder().join("tls")).expect("the server's certificates") {
        let path = entry.expect("an entry").path();
        let text = fs::read_to_string(&path).unwrap_or_default();
        if text.contains("PRIVATE KEY-----") {
            let lines: Vec<_> = text.lines().filter(|line| !line.contains("-----")).collect();
            secrets.add(&path.display().to_string(), &lines.concat());
            n_server_keys += 1;
        }
    }
    assert!(n_server_keys > 0, "the server has a key of its own");
    let log = world.log();
    assert!(log.contains("press-1"), "the log tells of the devices:\n{log}");
    secrets.assert_not_in("the log", &log);
    let mut files = Vec::new();
    readable_files(world.folder(), &mut files);
    assert!(!files.is_empty());
    for (name, text) in &files {
        secrets.assert_not_in(name, text);
    }
}
