//! Every endpoint, asked with credentials: rightly, with wrong etags, and with bodies and headers
//! that are wrong and hold secrets.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use model::{CertificateDer, SymmetricKey};
use serde_json::{Value, json};
use testkit::{Ca, ClientStyle, SoftTpm, sas::derive_device_key};

use super::super::scene::{Ask, HUB, Reply, Scene};
use super::{Keys, Kind, Plan, Secrets};
use crate::routes::{Area, ROUTES, Route};

/// An answer, and where it came from.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) route: String,
    pub(super) status: u16,
    /// Headers and body.
    pub(super) text: String,
    /// The request's path.
    #[expect(dead_code, reason = "shown when a test fails")]
    path: String,
}

/// An endpoint as the tests name it.
pub(super) fn name(route: &Route) -> String {
    format!("{} {}", route.method, route.template)
}

/// First what is there is made, then it is read and changed, then it goes.
const ROUNDS: &[&[Method]] = &[
    &[Method::PUT],
    &[Method::GET, Method::POST, Method::PATCH],
    &[Method::DELETE],
    &[Method::GET],
];

/// What every endpoint answers. Adds the secrets there were meanwhile.
pub(super) async fn visit(scene: &Scene, plan: &Plan, secrets: &mut Secrets) -> Vec<Heard> {
    let things = Things::of(plan);
    let foreign: Vec<_> = things.foreign_key.lines().filter(|line| !line.contains("--")).collect();
    foreign.iter().for_each(|line| secrets.add(Kind::Foreign, line));
    secrets.gather(scene).await;
    let mut heard = Vec::new();
    for methods in ROUNDS {
        for route in ROUTES.iter().filter(|route| methods.contains(&route.method)) {
            for (path, body) in things.targets(scene, route) {
                for ask in asks(scene, route, &path, &body, secrets).await {
                    let reply = scene.send(ask).await;
                    assert_ne!(reply.status, 500, "{} {path}: {reply:?}", name(route));
                    if reply.status < 300 && route.method != Method::GET {
                        secrets.gather(scene).await;
                    }
                    heard.push(hear(route, &path, &reply));
                }
            }
        }
        if methods.contains(&Method::PUT) {
            heard.extend(things.register_tpm(scene, secrets).await);
        }
    }
    heard.extend(audit_lines(scene).await);
    heard
}

/// The whole audit log, page by page.
async fn audit_lines(scene: &Scene) -> Vec<Heard> {
    let path = "/induct/v1/audit";
    let route = ROUTES.iter().find(|route| route.template == path).expect("there");
    let (mut pages, mut token) = (Vec::new(), String::new());
    loop {
        let mut ask = scene.owner("GET", path);
        if !token.is_empty() {
            ask = ask.header("x-ms-continuation", &token);
        }
        let reply = scene.send(ask).await.with_status(200);
        pages.push(hear(route, path, &reply));
        token = reply.header("x-ms-continuation").to_owned();
        if token.is_empty() {
            let all: String = pages.iter().map(|page| page.text.as_str()).collect();
            for action in ["enrollment.create", "linked-hub", "policy", "webhookUrl", "device"] {
                assert!(all.contains(action), "no line with {action}");
            }
            return pages;
        }
    }
}

fn hear(route: &Route, path: &str, reply: &Reply) -> Heard {
    let (route, path, status) = (name(route), path.to_owned(), reply.status);
    Heard { route, status, path, text: format!("{:?}\n{}", reply.headers, reply.text) }
}

/// The registration ID of the one TPM.
const TPM: &str = "tpm-0";

/// What there is to name and to write.
struct Things {
    tpm: SoftTpm,
    individuals: Vec<(String, Value)>,
    groups: Vec<(String, Value)>,
    hubs: Vec<(String, Value)>,
    policies: Vec<(String, Value)>,
    hub_policies: Vec<(String, Value)>,
    devices: Vec<(String, Value)>,
    ca: Ca,
    foreign_key: String,
}

/// The `n`-th enrollment: the first asks a webhook.
fn enrollment(id_name: &str, id: &str, n: usize, keys: &Keys, code: &str) -> Value {
    let mut body = json!({
        id_name: id,
        "attestation": {"type": "symmetricKey", "symmetricKey": symmetric(keys)},
        "provisioningStatus": "enabled",
    });
    if n == 0 {
        body["allocationPolicy"] = "custom".into();
        body["customAllocationDefinition"] = json!({
            "webhookUrl": format!("https://f.example.test/api/choose?code={code}"),
            "apiVersion": "2021-10-01",
        });
    }
    body
}

fn symmetric(keys: &Keys) -> Value {
    let text = |key: Option<&SymmetricKey>| key.map(|key| key.reveal().to_owned());
    let (primary, secondary) = keys.as_ref().map(|(a, b)| (a, b)).unzip();
    json!({"primaryKey": text(primary), "secondaryKey": text(secondary)})
}

fn policy(rights: &str, keys: &Keys) -> Value {
    let mut body = symmetric(keys);
    body["rights"] = rights.into();
    if keys.is_none() {
        body = json!({ "rights": rights });
    }
    body
}

fn named<T>(
    list: &[T],
    prefix: &str,
    body: impl Fn(usize, &str, &T) -> Value,
) -> Vec<(String, Value)> {
    let thing = |(n, item)| {
        let name = format!("{prefix}-{n}");
        let body = body(n, &name, item);
        (name, body)
    };
    list.iter().enumerate().map(thing).collect()
}

impl Things {
    fn of(plan: &Plan) -> Self {
        let ca = Ca::root("factory");
        let tpm = SoftTpm::from_fixture();
        let mut individuals = named(&plan.individuals, "ind", |n, id, (keys, code)| {
            enrollment("registrationId", id, n, keys, code)
        });
        let key = STANDARD.encode(tpm.endorsement_key());
        let by_tpm = json!({
            "registrationId": TPM,
            "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}},
        });
        individuals.push((TPM.to_owned(), by_tpm));
        Self {
            tpm,
            individuals,
            groups: named(&plan.groups, "grp", |n, id, (keys, code)| {
                enrollment("enrollmentGroupId", id, n, keys, code)
            }),
            hubs: (0..)
                .zip(&plan.remote_hubs)
                .map(|(n, key): (u8, _)| {
                    let host = format!("remote-{n}.example.test");
                    let key = key.reveal();
                    let text =
                        format!("HostName={host};SharedAccessKeyName=o;SharedAccessKey={key}");
                    // No device is to be sent there: nobody listens.
                    let body = json!({"connectionString": text, "applyAllocationPolicy": false});
                    (host, body)
                })
                .collect(),
            policies: named(&plan.policies, "pol", |_, _, keys| policy("EnrollmentRead", keys)),
            hub_policies: named(&plan.policies, "pol", |_, _, keys| policy("RegistryRead", keys)),
            devices: named(
                &plan.devices,
                "dev",
                |_, id, keys| json!({"deviceId": id, "authentication": {"type": "sas", "symmetricKey": symmetric(keys)}}),
            ),
            foreign_key: ca.key_pem(),
            ca,
        }
    }

    /// The TPM is challenged, answers, and hears of its hub and its key there.
    async fn register_tpm(&self, scene: &Scene, secrets: &mut Secrets) -> Vec<Heard> {
        let mut tpm = self.tpm.clone();
        let text = |der: &CertificateDer| STANDARD.encode(&der.0);
        let chain: Vec<_> = tpm.endorsement_chain(&self.ca).iter().map(text).collect();
        let body = json!({"tpm": {
            "endorsementKey": STANDARD.encode(tpm.endorsement_key()),
            "storageRootKey": STANDARD.encode(tpm.storage_root_key()),
            "endorsementCertificates": chain,
        }});
        let find = |method: Method, end: &str| {
            let is_meant = |route: &&Route| {
                let is_devices = route.area == Area::Device;
                is_devices && route.method == method && route.template.ends_with(end)
            };
            ROUTES.iter().find(is_meant).expect("there")
        };
        let (register, poll) = (find(Method::PUT, "/register"), find(Method::GET, "{operation}"));
        let path = fill(scene, register.template, TPM);
        let ask = unentitled(register, &path).json(body.to_string());
        let challenged = scene.send(ask.clone()).await.with_status(401);
        secrets.gather(scene).await;
        let mut activate = |blob: String| {
            tpm.activate(&STANDARD.decode(blob).expect("base64")).expect("for this TPM");
            let resource = ClientStyle::NodeTpm.resource(&scene.id_scope, TPM);
            tpm.sas_token(&resource, scene.now().unix_secs() + 600, None)
        };
        let token = activate(challenged.text_at("/authenticationKey"));
        let answered = scene.send(ask.header("authorization", &token)).await.with_status(202);
        let operation = answered.text_at("/operationId");
        let poll_path = fill(scene, poll.template, TPM).replace("nobody", &operation);
        let ask = unentitled(poll, &poll_path).header("authorization", &token);
        let polled = scene.send(ask).await.with_status(200);
        activate(polled.text_at("/registrationState/tpm/authenticationKey"));
        secrets.gather(scene).await;
        vec![
            hear(register, &path, &challenged),
            hear(register, &path, &answered),
            hear(poll, &poll_path, &polled),
        ]
    }

    /// The paths to ask an endpoint at, with the body it wants there.
    fn targets(&self, scene: &Scene, route: &Route) -> Vec<(String, Value)> {
        let template = route.template;
        let at = |things: &[(String, Value)], body: &dyn Fn(&Value) -> Value| {
            let target =
                |(name, thing): &(String, Value)| (fill(scene, template, name), body(thing));
            things.iter().map(target).collect::<Vec<_>>()
        };
        let whole = |things: &[(String, Value)]| at(things, &Value::clone);
        let bodies = |things: &[(String, Value)]| {
            things.iter().map(|(_, body)| body.clone()).collect::<Vec<_>>()
        };
        let once = |body: Value| vec![(fill(scene, template, "nobody"), body)];
        let rest = template.trim_start_matches("/induct/v1");
        match (route.area, rest) {
            (Area::Operator, "/enrollments") => {
                once(json!({"enrollments": bodies(&self.individuals), "mode": "update"}))
            }
            (Area::Operator, "/enrollmentGroups") => {
                once(json!({"enrollmentGroups": bodies(&self.groups), "mode": "create"}))
            }
            (Area::Operator, _) if rest.starts_with("/enrollments/{") => whole(&self.individuals),
            (Area::Operator, _) if rest.starts_with("/enrollmentGroups/{") => whole(&self.groups),
            (Area::Operator, _) if rest.ends_with("/query") && rest.contains('{') => {
                whole(&self.groups)
            }
            (Area::Operator, _) if rest.contains('{') => whole(&self.individuals),
            (Area::Operator, _) => once(json!({"query": "*"})),
            (Area::Manage, "/service") => once(json!({"allocationPolicy": "hashed"})),
            (Area::Manage, "/ip-rules") => once(json!([])),
            (Area::Manage, "/explain") => {
                let asked = |(id, body): &(String, Value)| {
                    let key = &body["attestation"]["symmetricKey"]["primaryKey"];
                    let body = match key {
                        Value::String(_) => json!({"registrationId": id, "symmetricKey": key}),
                        _ => json!({"registrationId": id, "certificates": self.foreign_key}),
                    };
                    (fill(scene, template, id), body)
                };
                self.individuals.iter().map(asked).collect()
            }
            (Area::Manage, _) if rest.starts_with("/linked-hubs/{") => whole(&self.hubs),
            (Area::Manage, "/certificates/{name}/verify") => {
                vec![(fill(scene, template, "ca"), json!({"certificate": self.foreign_key}))]
            }
            (Area::Manage, _) if rest.starts_with("/certificates/{") => {
                let certificate = |pem: String| json!({"certificate": pem});
                let path = fill(scene, template, "ca");
                vec![
                    (path.clone(), certificate(self.ca.pem())),
                    (path, certificate(format!("{}{}", self.ca.pem(), self.foreign_key))),
                ]
            }
            (Area::Manage, _) if rest.starts_with("/tpmEnrollmentGroups/{") => {
                let group = |pem: String| {
                    let issuers = json!({"primary": {"certificate": pem}});
                    let attestation = json!({"type": "tpm", "tpm": {"issuers": issuers}});
                    json!({"enrollmentGroupId": "tpms", "attestation": attestation})
                };
                let path = fill(scene, template, "tpms");
                vec![
                    (path.clone(), group(self.ca.pem())),
                    (path, group(format!("{}{}", self.ca.pem(), self.foreign_key))),
                ]
            }
            (Area::Manage, _) if rest.starts_with("/enrollments/{") => {
                let path = fill(scene, template, TPM);
                let demand = |certificates: Value| {
                    let roots = json!({"primary": {"certificate": self.ca.pem()}});
                    json!({"roots": roots, "certificates": certificates})
                };
                vec![(path.clone(), demand(json!([]))), (path, demand(json!([self.foreign_key])))]
            }
            (Area::Manage, _) if rest.starts_with("/policies") => {
                let rotation = |policy: &Value| match &policy["primaryKey"] {
                    Value::String(key) => json!({"key": "secondary", "value": key}),
                    _ => json!({"key": "secondary"}),
                };
                let body: &dyn Fn(&Value) -> Value =
                    if rest.ends_with("/rotate") { &rotation } else { &Value::clone };
                let of_hub = at(&self.hub_policies, body);
                let of_hub = of_hub.into_iter().map(|(path, b)| (format!("{path}?hub={HUB}"), b));
                at(&self.policies, body).into_iter().chain(of_hub).collect()
            }
            (Area::Hub, "/devices") => {
                let element = |body: Value| json!({"id": body["deviceId"], "importMode": "createOrUpdate", "authentication": body["authentication"]});
                once(bodies(&self.devices).into_iter().map(element).collect())
            }
            (Area::Hub, "/devices/query") => once(json!({"query": "SELECT * FROM devices"})),
            (Area::Hub, _) if rest.starts_with("/twins/{") => {
                at(&self.devices, &|_| json!({"tags": {"line": 7}}))
            }
            (Area::Hub, _) if rest.ends_with("/methods") => {
                at(&self.devices, &|_| json!({"methodName": "reboot", "payload": {"line": 7}}))
            }
            (Area::Hub | Area::Manage, _) if rest.ends_with("/messages") => {
                at(&self.devices, &|_| json!({"ack": "full", "body": {"line": 7}}))
            }
            (Area::Hub, _) if rest.contains("{id}") => whole(&self.devices),
            (Area::Device, _) => {
                let mut targets = at(
                    &self.individuals,
                    &|body| json!({"registrationId": body["registrationId"], "payload": {"a": 1}}),
                );
                targets.push((
                    fill(scene, template, "of-group"),
                    json!({"registrationId": "of-group"}),
                ));
                targets
            }
            _ => once(json!({})),
        }
    }
}

fn fill(scene: &Scene, template: &str, name: &str) -> String {
    let part = |part| match part {
        "{scope}" => scene.id_scope.clone(),
        "{hub}" => HUB.to_owned(),
        "{token}" => "7".to_owned(),
        "{*}" => "a/b".to_owned(),
        "{module}" | "{operation}" => "nobody".to_owned(),
        part if part.starts_with('{') => name.to_owned(),
        part => part.to_owned(),
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

/// The request, and how it is done wrongly.
async fn asks(
    scene: &Scene,
    route: &Route,
    path: &str,
    body: &Value,
    secrets: &Secrets,
) -> Vec<Ask> {
    let bare = entitled(scene, route, path).await;
    let text = body.to_string();
    let good = bare.clone().json(&text);
    let tagged = |tag: &str| good.clone().header("if-match", tag);
    let mut asks = vec![good.clone(), tagged("*"), tagged("\"c3RhbGU=\"")];
    asks.push(good.clone().header("x-ms-max-item-count", "1"));
    asks.push(bare.clone());
    let told = told_in(&text, secrets);
    for secret in &told {
        // A hub names the version it was asked for, as the recorded one does (H §2.6).
        if route.area != Area::Hub {
            asks.push(tagged(secret));
        }
        asks.push(good.clone().header("x-ms-continuation", secret));
        let keys = [format!("HostName=a;SharedAccessKey={secret}"), format!("Basic {secret}")];
        let foreign = unentitled(route, path);
        asks.extend(keys.map(|key| foreign.clone().header("authorization", key)));
    }
    asks.extend(damaged(route, body, &told).into_iter().map(|text| tagged("*").body(text)));
    asks
}

/// The secrets in a body; when it has none, any.
fn told_in(body: &str, secrets: &Secrets) -> Vec<String> {
    let all = || secrets.0.keys();
    let told: Vec<_> = all().filter(|secret| body.contains(secret.as_str())).cloned().collect();
    if told.is_empty() { all().take(1).cloned().collect() } else { told }
}

/// Members that hold what their writer likes, and show it.
const FREE: &[&str] = &["tags", "payload", "body"];

/// Bodies that are wrong, with the secrets in them.
fn damaged(route: &Route, body: &Value, told: &[String]) -> Vec<String> {
    let text = body.to_string();
    let mut damaged =
        vec![text[..text.len() - 1].to_owned(), json!([body]).to_string(), json!(text).to_string()];
    for secret in told {
        damaged.push(secret.clone());
        damaged.push(text.replace(secret.as_str(), &format!("{secret}!")));
        damaged.push(text.replace(&format!("\"{secret}\""), &format!("[\"{secret}\"]")));
        damaged.push(text.replace("SharedAccessKey=", "SharedAccessKey=****;Key="));
        damaged.push(text.replace("HostName=", "HostName=other."));
        damaged.push(text.replace("https://", "ftp://"));
        for member in body.as_object().into_iter().flat_map(|object| object.keys()) {
            // An explanation is about whoever is named, enrolled or not, and says the name.
            let is_name = route.template.ends_with("/explain") && member == "registrationId";
            if is_name || FREE.contains(&member.as_str()) {
                continue;
            }
            let mut wrong = body.clone();
            wrong[member] = secret.as_str().into();
            damaged.push(wrong.to_string());
            wrong[member] = json!({ "type": secret });
            damaged.push(wrong.to_string());
        }
    }
    damaged
}

fn unentitled(route: &Route, path: &str) -> Ask {
    let ask = Ask::new(route.method.as_str(), &format!("{path}{}", version(path)));
    if route.area == Area::Hub { ask.host(HUB) } else { ask }
}

fn version(path: &str) -> &'static str {
    if path.contains('?') { "&api-version=2021-10-01" } else { "?api-version=2021-10-01" }
}

/// A request of someone who may ask this.
async fn entitled(scene: &Scene, route: &Route, path: &str) -> Ask {
    let method = route.method.as_str();
    match route.area {
        Area::Health | Area::Operator | Area::Manage => scene.owner(method, path),
        Area::Hub => scene.hub_owner(method, path),
        Area::Device => {
            let id = path.split('/').nth(3).expect("a device's path");
            let key = device_key(scene, id).await;
            let ask = unentitled(route, path);
            ask.header("authorization", scene.device_token(ClientStyle::CSharp, id, key.reveal()))
        }
    }
}

/// The key of a device: its enrollment's, or derived from the last group's. When the enrollment
/// is gone, any.
async fn device_key(scene: &Scene, id: &str) -> SymmetricKey {
    use model::AttestationMechanism::SymmetricKey as Keys;
    let individuals = scene.store.list_individuals(None, 100).await.expect("store").items;
    let own = individuals.into_iter().find(|one| one.registration_id.as_str() == id);
    if let Some(Keys(keys)) = own.map(|own| own.terms.attestation) {
        return keys.primary;
    }
    let groups = scene.store.list_groups(None, 100).await.expect("store").items;
    match groups.into_iter().next_back().map(|group| group.terms.attestation) {
        Some(Keys(keys)) => derive_device_key(&keys.primary, id),
        _ => SymmetricKey::generated(&[7; 64]),
    }
}
