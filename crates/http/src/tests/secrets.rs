//! No answer, log line or audit line shows a stored secret, but for the answers listed here.

mod visit;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use model::{
    AttestationMechanism, GroupQuery, HubAccess, PolicyScope, RegisterQuery, RegistrationId,
    SymmetricKey, SymmetricKeys, Terms,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use store::Store;
use tokio::runtime;

use self::visit::{Heard, visit};
use super::faults::{listen_to_the_log, text};
use super::scene::{Scene, scene};
use crate::routes::ROUTES;

/// What a secret is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A symmetric key of an enrollment.
    Enrollment,
    /// What stands in the query of a webhook's address.
    Webhook,
    /// The key of a remote hub's connection string.
    RemoteHub,
    /// A key of a shared access policy.
    Policy,
    /// A key of a device identity of a hub.
    Device,
    /// What a TPM is challenged with: the key that its answer is signed by.
    Challenge,
    /// A certificate's private key, which was sent by mistake and is kept nowhere.
    Foreign,
}

/// Every answer that may show a secret, if it is a success: O §1.8 for the keys of enrollments,
/// H §2.4 for those of identities. A webhook's address is an ordinary member of its enrollment:
/// clients read the document and write it back whole (O §1.7).
const ALLOWED: &[(&str, Kind)] = &[
    ("PUT /enrollments/{id}", Kind::Enrollment),
    ("POST /enrollments/{id}/attestationmechanism", Kind::Enrollment),
    ("PUT /enrollmentGroups/{id}", Kind::Enrollment),
    ("POST /enrollmentGroups/{id}/attestationmechanism", Kind::Enrollment),
    ("PUT /enrollments/{id}", Kind::Webhook),
    ("GET /enrollments/{id}", Kind::Webhook),
    ("POST /enrollments/query", Kind::Webhook),
    ("PUT /enrollmentGroups/{id}", Kind::Webhook),
    ("GET /enrollmentGroups/{id}", Kind::Webhook),
    ("POST /enrollmentGroups/query", Kind::Webhook),
    ("POST /induct/v1/policies/{name}/listkeys", Kind::Policy),
    ("PUT /devices/{id}", Kind::Device),
    ("GET /devices/{id}", Kind::Device),
    ("GET /devices", Kind::Device),
];

type Keys = Option<(SymmetricKey, SymmetricKey)>;

/// What an instance is filled with. Where keys are missing, the instance makes its own.
#[derive(Debug, Clone)]
struct Plan {
    /// Keys, and the code in the webhook's address.
    individuals: Vec<(Keys, String)>,
    groups: Vec<(Keys, String)>,
    remote_hubs: Vec<SymmetricKey>,
    policies: Vec<Keys>,
    devices: Vec<Keys>,
}

fn key() -> impl Strategy<Value = SymmetricKey> {
    // Bytes that would be seen in a text as they are.
    "[A-Za-z0-9]{16,64}".prop_map(|raw| SymmetricKey::from_bytes(raw.as_bytes()).expect("legal"))
}

fn plan() -> impl Strategy<Value = Plan> {
    let keys = || option::of((key(), key()));
    let enrollments = || vec((keys(), "[A-Za-z0-9_-]{24,48}"), 2..4);
    (enrollments(), enrollments(), vec(key(), 1..3), vec(keys(), 1..3), vec(keys(), 1..4)).prop_map(
        |(individuals, groups, remote_hubs, policies, devices)| Plan {
            individuals,
            groups,
            remote_hubs,
            policies,
            devices,
        },
    )
}

/// Every secret that ever was, with what it was of.
#[derive(Default)]
struct Secrets(BTreeMap<String, BTreeSet<Kind>>);

impl Secrets {
    fn add(&mut self, kind: Kind, text: &str) {
        self.0.entry(text.to_owned()).or_default().insert(kind);
    }

    fn add_both(&mut self, kind: Kind, keys: &SymmetricKeys) {
        self.add(kind, keys.primary.reveal());
        self.add(kind, keys.secondary.reveal());
    }

    fn add_terms(&mut self, terms: &Terms) {
        if let AttestationMechanism::SymmetricKey(keys) = &terms.attestation {
            self.add_both(Kind::Enrollment, keys);
        }
        let url = terms.custom_allocation.as_ref().map(|custom| custom.webhook_url.as_str());
        if let Some((_, code)) = url.and_then(|url| url.split_once("?code=")) {
            self.add(Kind::Webhook, code);
        }
    }

    /// Adds the keys that a TPM with this name is challenged with.
    async fn add_challenges(&mut self, store: &dyn Store, id: &RegistrationId) {
        let query = RegisterQuery {
            registration_id: id.clone(),
            groups: GroupQuery::None,
            ban_keys: Vec::new(),
            ca_names: Vec::new(),
            serials: Vec::new(),
        };
        for challenge in store.register_facts(query).await.expect("store").tpm_challenges {
            self.add(Kind::Challenge, challenge.key.reveal());
        }
    }

    /// Adds what the store holds now.
    async fn gather(&mut self, scene: &Scene) {
        let store = &scene.store;
        for individual in store.list_individuals(None, 100).await.expect("store").items {
            self.add_terms(&individual.terms);
            self.add_challenges(&**store, &individual.registration_id).await;
        }
        for group in store.list_groups(None, 100).await.expect("store").items {
            self.add_terms(&group.terms);
        }
        let mut scopes = vec![PolicyScope::Service];
        for hub in store.service_facts().await.expect("store").hubs {
            if let HubAccess::Remote(remote) = &hub.access {
                self.add(Kind::RemoteHub, remote.key.reveal());
            }
            for device in store.list_devices(&hub.name, None, 100).await.expect("store").items {
                if let Some(keys) = &device.identity.authentication.keys {
                    self.add_both(Kind::Device, keys);
                }
            }
            scopes.push(PolicyScope::Hub(hub.name));
        }
        for scope in scopes {
            for policy in store.list_policies(&scope).await.expect("store") {
                self.add_both(Kind::Policy, &policy.keys);
            }
        }
    }

    /// Each secret, as it may be written.
    fn forms(&self) -> Vec<(Vec<String>, &BTreeSet<Kind>)> {
        self.0.iter().map(|(text, kinds)| (forms(text), kinds)).collect()
    }
}

/// How a secret may be written: as it is, the beginning, the end, escaped, and a key's bytes as
/// text, in hex and as a list.
fn forms(secret: &str) -> Vec<String> {
    let bare = secret.trim_end_matches('=');
    let part = 14.min(bare.len());
    let mut forms = vec![
        bare[..part].to_owned(),
        bare[bare.len() - part..].to_owned(),
        wire::percent::encode(bare),
    ];
    let Ok(key) = SymmetricKey::parse(secret) else { return forms };
    let bytes = key.bytes();
    let mut hex = String::new();
    for byte in &bytes[..8] {
        write!(hex, "{byte:02x}").expect("a string takes all");
    }
    forms.extend([hex.to_uppercase(), hex]);
    let list = format!("{:?}", &bytes[..8]);
    forms.push(list.trim_end_matches(']').to_owned());
    if let Ok(raw) = str::from_utf8(&bytes[..14]) {
        forms.push(raw.to_owned());
    }
    forms
}

fn shows(text: &str, forms: &[String]) -> bool {
    forms.iter().any(|form| text.contains(form.as_str()))
}

/// Fills an instance, asks everything there is to ask, and looks for secrets in what it said.
async fn check(plan: &Plan) {
    let scene = scene().await;
    let (lines, guard) = listen_to_the_log();
    let mut secrets = Secrets::default();
    let heard = visit(&scene, plan, &mut secrets).await;
    drop(guard);
    check_answers(&heard, &secrets);
    let log = text(&lines);
    assert!(log.lines().count() >= heard.len(), "each request leaves a line");
    for (forms, kinds) in secrets.forms() {
        let line = log.lines().find(|line| shows(line, &forms));
        assert_eq!(line, None, "the log shows a secret of {kinds:?}");
    }
}

fn check_answers(heard: &[Heard], secrets: &Secrets) {
    let forms = secrets.forms();
    let mut seen: BTreeSet<&(&str, Kind)> = BTreeSet::new();
    for reply in heard {
        for (forms, kinds) in &forms {
            if !shows(&reply.text, forms) {
                continue;
            }
            let allowed: Vec<_> = ALLOWED
                .iter()
                .filter(|(route, kind)| *route == reply.route && kinds.contains(kind))
                .collect();
            let is_success = (200..300).contains(&reply.status);
            assert!(is_success && !allowed.is_empty(), "a secret of {kinds:?}: {reply:#?}");
            seen.extend(allowed);
        }
    }
    // What is allowed is also there: we do see secrets where they are.
    let unseen: Vec<_> = ALLOWED.iter().filter(|allowed| !seen.contains(allowed)).collect();
    assert!(unseen.is_empty(), "allowed but not shown: {unseen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3, max_shrink_iters: 8, ..ProptestConfig::default() })]

    #[test]
    fn no_answer_and_no_line_shows_a_stored_secret_but_where_it_is_allowed(plan in plan()) {
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("runtime").block_on(check(&plan));
    }
}

#[test]
fn the_answers_that_may_show_a_secret_are_answers_of_ours() {
    let routes: BTreeSet<_> = ROUTES.iter().map(visit::name).collect();
    for (route, kind) in ALLOWED {
        assert!(routes.contains(*route), "{route} for {kind:?}");
    }
}
