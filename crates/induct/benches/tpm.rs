//! What a TPM's login over AMQP costs a server, beside the TLS handshake that comes before it: the
//! challenge, which is encrypted to the TPM's two RSA keys, and the check of the answer.
//!
//! Each row goes one step further than the row before it, and the connection is closed there; a
//! login by PLAIN stands beside them. The TPM is one in software and decrypts with two private
//! keys, which takes longer than anything the server does: so the server's own processor time is
//! the figure that counts. The last rows are the pure functions in this process.
//!
//! Run with `cargo bench -p induct --bench tpm`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a bench that cannot run should say so and stop"
)]
#![expect(clippy::print_stdout, reason = "the table is what it is for")]

mod scene;

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use amqp::proto::{ProtocolHeader, SaslFrame, SaslOutcome};
use attest::tpm::{EndorsementKey, StorageRootKey, WrapRandom, wrap};
use bytes::Bytes;
use induct::client::Client;
use rustls::client::Resumption;
use testkit::SoftTpm;
use tokio::{task::JoinSet, time::Instant};

use scene::{Gateway, Room, Serving, cpu_secs, now};

/// How many devices are at it at once.
const N_AT_ONCE: usize = 16;

/// How far a device goes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// It closes the connection once TLS is agreed on.
    Handshake,
    /// It shows a token of a key by PLAIN, of an ID that is not enrolled.
    Plain,
    /// It closes it when it has read its challenge.
    Challenge,
    /// It answers the challenge, and is let in.
    Answer,
}

const STEPS: [(Step, &str); 4] = [
    (Step::Handshake, "TLS handshake"),
    (Step::Plain, "… and PLAIN"),
    (Step::Challenge, "… and the challenge of a TPM"),
    (Step::Answer, "… and its answer"),
];

fn main() {
    if scene::is_list() {
        return;
    }
    scene::raise_descriptors();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (measured, n_calls) = match scene::is_whole() {
        true => (Duration::from_secs(6), 10_000),
        false => (Duration::from_millis(200), 10),
    };
    println!(
        "{:<36}{:>10}{:>16}{:>10}",
        "over AMQP, TLS 1.3, not resumed", "a second", "CPU, us", "ratio"
    );
    let server = Serving::start(Room::Amqp(1_000));
    let mut handshake_us = None;
    for (step, name) in STEPS {
        let (rate, cpu_us) = runtime.block_on(logins(&server, step, measured));
        let ratio = cpu_us / *handshake_us.get_or_insert(cpu_us);
        println!("{name:<36}{rate:>10.0}{cpu_us:>16.0}{ratio:>10.2}");
    }
    println!("{:<36}{:>10}", "pure", "us");
    pure(n_calls);
}

/// How many devices go that far in a second, and the microseconds of processor time that each
/// takes the server.
async fn logins(server: &Serving, step: Step, measured: Duration) -> (f64, f64) {
    let client = Arc::new(first_time_client(server));
    let count = Arc::new(AtomicU64::new(0));
    let (cpu_before, began) = (cpu_secs(server.id()), Instant::now());
    let mut devices = JoinSet::new();
    for n in 0..N_AT_ONCE {
        let (client, count) = (Arc::clone(&client), Arc::clone(&count));
        let device =
            Device { id: format!("tpm-{n}"), id_scope: server.id_scope().to_owned(), tpm: tpm() };
        devices.spawn(async move {
            let mut device = device;
            while began.elapsed() < measured {
                device.log_in(&client, step).await;
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    devices.join_all().await;
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_secs(server.id()) - cpu_before);
    #[expect(clippy::cast_precision_loss, reason = "a count of seconds' work")]
    let n = count.load(Ordering::Relaxed) as f64;
    (n / took, cpu * 1e6 / n)
}

/// A client that resumes no session of TLS: a device that provisions comes for the first time.
fn first_time_client(server: &Serving) -> Client {
    let mut settings = server.settings(server.amqp());
    settings.protocol = "amqp";
    let mut config = settings.tls().expect("a configuration");
    config.resumption = Resumption::disabled();
    Client::sharing(settings, Arc::new(config)).expect("a client")
}

fn tpm() -> SoftTpm {
    SoftTpm::from_fixture()
}

struct Device {
    id: String,
    id_scope: String,
    tpm: SoftTpm,
}

impl Device {
    async fn log_in(&mut self, client: &Client, step: Step) {
        let stream = client.dial().await.expect("a connection");
        if step == Step::Handshake {
            return;
        }
        let mut gateway = Gateway::new(stream);
        gateway.say_header(ProtocolHeader::Sasl).await;
        gateway.heard_sasl().await;
        let outcome = match step {
            Step::Handshake => return,
            Step::Plain => {
                let identity = format!("{}/registrations/{}", self.id_scope, self.id);
                let token = scene::registration_token(&identity);
                let response = format!("\0{identity}\0{token}");
                gateway.say_init("PLAIN", Some(response.into())).await;
                gateway.heard_sasl().await
            }
            Step::Challenge | Step::Answer => {
                self.activate(&mut gateway).await;
                if step == Step::Challenge {
                    return;
                }
                let resource = format!("{}%2Fregistrations%2F{}", self.id_scope, self.id);
                let expires = now().plus_secs(3_600).unix_secs();
                let token = self.tpm.sas_token(&resource, expires, Some("registration"));
                respond(&mut gateway, token.as_bytes()).await;
                gateway.heard_sasl().await
            }
        };
        assert_eq!(outcome, SaslFrame::Outcome(SaslOutcome::Ok));
    }

    /// Up to the challenge, which the TPM takes (D §3.3).
    async fn activate(&mut self, gateway: &mut Gateway) {
        let ek = self.tpm.endorsement_key();
        let (scope, id) = (self.id_scope.as_bytes(), self.id.as_bytes());
        let init = [b"\0", scope, b"\0", id, b"\0", &*ek].concat();
        gateway.say_init("TPM", Some(init.into())).await;
        assert_eq!(challenge(gateway).await[..], [0]);
        respond(gateway, &self.tpm.storage_root_key()).await;
        let first = challenge(gateway).await;
        respond(gateway, b"").await;
        let second = challenge(gateway).await;
        self.tpm.activate(&[&first[1..], &second[1..]].concat()).expect("it is for this TPM");
    }
}

async fn challenge(gateway: &mut Gateway) -> Bytes {
    match gateway.heard_sasl().await {
        SaslFrame::Challenge(challenge) => challenge,
        other => panic!("{other:?} instead of a challenge"),
    }
}

async fn respond(gateway: &mut Gateway, payload: &[u8]) {
    let response = [&[0][..], payload].concat();
    gateway.say_sasl(&SaslFrame::Response(response.into())).await;
}

/// What of it is arithmetic.
fn pure(n_calls: u32) {
    let tpm = tpm();
    let (ek, srk) = (tpm.endorsement_key(), tpm.storage_root_key());
    let parse = || {
        let ek = EndorsementKey::parse(black_box(&ek)).expect("a key");
        (ek, StorageRootKey::parse(black_box(&srk)).expect("a key"))
    };
    let (ek, srk) = parse();
    time("parse both keys", n_calls, || drop(black_box(parse())));
    time("wrap a key for a TPM", n_calls, || {
        let random = WrapRandom {
            identity_seed: [1; 32],
            duplication_seed: [2; 32],
            obfuscation: [3; 32],
            inner: [4; 16],
        };
        let blob = wrap(&ek, &srk, black_box(&[5; 32]), b"scope", &random).expect("a blob");
        drop(black_box(blob));
    });
}

fn time(name: &str, n_calls: u32, call: impl Fn()) {
    let began = Instant::now();
    for _ in 0..n_calls {
        call();
    }
    let us = began.elapsed().as_secs_f64() * 1e6 / f64::from(n_calls);
    println!("{name:<36}{us:>10.1}");
}
