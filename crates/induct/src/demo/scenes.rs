//! The scenes: what is asked, what must be answered, and how it is told.

use std::{collections::BTreeMap, path::Path};

use futures_util::{StreamExt, TryStreamExt, stream};
use model::Json;
use tokio::time::Instant;

use super::{
    connections::Connections,
    events::{self, Reader},
    factory::Made,
    stage::{HUBS, Stage},
    story::{Teller, Tone},
};
use crate::{
    cli::{
        Failure,
        api::{Top, path},
        complaint::{Complaint, Kind},
        document::members,
    },
    simulate::{Over, Settled, Trouble, register},
};

/// The enrollment group of the demo.
const GROUP: &str = "line-4";
/// How many devices register at the same time.
const AT_ONCE: usize = 8;

/// Which hub every device was assigned to, by registration ID.
pub(super) type Assignments = BTreeMap<String, String>;

/// Scene 1: the server.
pub(super) fn server(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), Failure> {
    teller.chapter("A provisioning service starts")?;
    teller.say(format_args!(
        "It listens on https://{}, for MQTT on mqtts://{} and for AMQP on amqps://{}.",
        stage.address, stage.mqtt_address, stage.amqp_address
    ))?;
    teller.say(format_args!("Devices ask for ID scope {}.", stage.id_scope()))?;
    let hubs: Vec<&str> = HUBS.iter().map(|(_, host)| *host).collect();
    teller.say(format_args!("Built in are the hubs {}, both empty.", hubs.join(" and ")))?;
    teller.say(format_args!("Everything is in {}.", stage.data().display()))
}

/// Scene 2: the certificates.
pub(super) fn factory(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), Failure> {
    let devices = &stage.factory.devices;
    let (Some(first), Some(last)) = (devices.first(), devices.last()) else {
        return Err(Failure::new("The factory made no devices."));
    };
    teller.chapter("A factory makes devices")?;
    teller.say(format_args!(
        "{} of them, {} to {}, each with a key and a certificate of its own.",
        devices.len(),
        first.id,
        last.id
    ))?;
    teller.say("An intermediate CA signed the certificates; a root CA signed the intermediate.")?;
    teller.say(format_args!("They are in {}.", stage.factory.folder.display()))
}

/// Scene 3: the operator enrolls all of them at once.
pub(super) async fn enroll(stage: &Stage, teller: &mut Teller<'_>) -> Result<(), Failure> {
    teller.chapter("The operator enrolls them all at once")?;
    let certificate = Json::from(stage.factory.intermediate_pem.as_str());
    let slots = members([("primary", members([("certificate", certificate)]))]);
    let x509 = members([("signingCertificates", slots)]);
    let twin = r#"{"tags": {"line": 4}, "properties": {"desired": {"interval": 60}}}"#;
    let document = members([
        ("enrollmentGroupId", Json::from(GROUP)),
        ("attestation", members([("type", Json::from("x509")), ("x509", x509)])),
        ("initialTwin", json::parse(twin)?),
        ("provisioningStatus", Json::from("enabled")),
        ("allocationPolicy", Json::from("hashed")),
    ]);
    let group_path = path(["enrollmentGroups", GROUP]);
    let group = stage.service().await?.put(&group_path, None, &document).await?;
    let subject = at(&group, "attestation.x509.signingCertificates.primary.info.subjectName");
    expect(
        text(subject).contains("Demo factory line 4"),
        "the group should hold the intermediate's certificate",
        &group,
    )?;
    teller.asked(format_args!("PUT {group_path}, with the intermediate's certificate"))?;
    teller.answered(Tone::Good, &format!("group `{GROUP}` is there and enabled"))?;
    teller.because("a device is believed when its certificate leads to the intermediate.")?;
    teller.say("No device was named. Each will start with the tag line = 4 and interval = 60.")
}

/// Scene 4: every device registers over TLS with its certificate.
pub(super) async fn register_all(
    stage: &Stage,
    teller: &mut Teller<'_>,
) -> Result<Assignments, Failure> {
    let devices = &stage.factory.devices;
    teller.chapter(&format!("All {} devices register", devices.len()))?;
    let bar = teller.bar(devices.len());
    let registrations = devices.iter().map(async |files| {
        let settled = register_one(stage, files).await?;
        bar.inc(1);
        Ok::<_, Failure>((files.id.clone(), expect_assigned(&files.id, &settled)?))
    });
    let assignments: Assignments =
        stream::iter(registrations).buffer_unordered(AT_ONCE).try_collect().await?;
    bar.finish_and_clear();
    let first = devices.first().map(|device| device.id.as_str()).unwrap_or_default();
    teller.asked(format_args!(
        "PUT /{}/registrations/{first}/register, and so on, each over TLS with its certificate",
        stage.id_scope()
    ))?;
    teller
        .answered(Tone::Good, &format!("assigned, {} of {}", assignments.len(), devices.len()))?;
    teller.because(format_args!(
        "group `{GROUP}` admits them, and their names decide between the hubs:"
    ))?;
    for (name, host) in HUBS {
        let assigned = assignments.values().filter(|hub| *hub == host).count();
        let there = count_devices(stage, name).await?;
        expect_that(
            assigned == there,
            &format!("{host} should hold the {assigned} devices assigned to it, and holds {there}"),
        )?;
        teller.say(format_args!("          {there:>5}  devices in {host}"))?;
    }
    let twin = stage.hub(&assignments[first]).await?.get(&path(["twins", first])).await?;
    expect(
        at(&twin, "tags.line").map(Json::to_string).as_deref() == Some("4")
            && at(&twin, "properties.desired.interval").map(Json::to_string).as_deref()
                == Some("60"),
        "the twin should start as the group says",
        &twin,
    )?;
    Ok(assignments)
}

/// Scene 5: every device connects to the hub it was told, and reports.
pub(super) async fn connect_all(
    stage: &Stage,
    assignments: &Assignments,
    connections: &mut Connections,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let devices = &stage.factory.devices;
    teller.chapter("They connect to their hubs and report")?;
    let bar = teller.bar(devices.len());
    for device in devices {
        connections.open(stage, device, assigned_hub(assignments, &device.id)?).await?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let (n_events, heard) = events::of_all_devices(stage, devices.len()).await?;
    expect_that(
        connections.n_open() == devices.len(),
        &format!("{} devices should be connected", devices.len()),
    )?;
    let (first, said) = heard.first_key_value().ok_or_else(|| Failure::new("Nobody reported."))?;
    expect(said.get("temperature").is_some(), "the report should be the device's own", said)?;
    let first_hub = assigned_hub(assignments, first)?;
    teller.asked(format_args!("CONNECT by MQTT, each to its hub, with the same certificate"))?;
    teller.answered(Tone::Good, &format!("accepted, {} of {}", heard.len(), devices.len()))?;
    teller.asked(format_args!(
        "GET /induct/v1/events in {}",
        HUBS.map(|(_, host)| host).join(" and ")
    ))?;
    teller.answered(Tone::Good, &format!("{n_events} events, from {} devices", heard.len()))?;
    teller.say(format_args!("          {first} to {first_hub}: {said}"))
}

/// Scene 6: one device is to be shut out, and is connected.
pub(super) async fn shut_out(
    stage: &Stage,
    assignments: &Assignments,
    connections: &mut Connections,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let id = stage.excluded().id.as_str();
    let hub = assigned_hub(assignments, id)?;
    teller.chapter(&format!("{id} is stolen, and shut out"))?;
    let enrollment = path(["enrollments", id]);
    let keys = ("symmetricKey", Json::empty_object());
    let document = members([
        ("registrationId", Json::from(id)),
        ("attestation", members([("type", Json::from("symmetricKey")), keys])),
        ("provisioningStatus", Json::from("disabled")),
    ]);
    let created = stage.service().await?.put(&enrollment, None, &document).await?;
    expect(
        text(at(&created, "provisioningStatus")) == "disabled",
        "the exclusion should be a disabled enrollment",
        &created,
    )?;
    teller.asked(format_args!("PUT {enrollment}: an enrollment for {id} alone, disabled"))?;
    teller.answered(Tone::Good, "it is there; no certificate was needed for it")?;

    let identity = path(["devices", id]);
    let api = stage.hub(hub).await?;
    api.delete(&identity, Some("\"*\"")).await?;
    let answered = Instant::now();
    let ended = connections.end_of(id).await?;
    expect_missing(api.get(&identity).await, id, hub)?;
    teller.asked(format_args!("DELETE {identity} in {hub}"))?;
    teller.answered(Tone::Good, &format!("{id} is no longer a device of {hub}"))?;
    teller.because("shutting the door does not throw out who is inside: that takes both steps.")?;
    let seen = match ended.checked_duration_since(answered) {
        None => "before the operator had the answer".to_owned(),
        Some(later) => {
            format!("{:.1} ms after the operator had the answer", later.as_secs_f64() * 1e3)
        }
    };
    teller.say(format_args!("{id} was connected. It saw its connection end {seen}."))?;
    only_others_are_heard(stage, assignments, teller).await
}

/// The neighbour goes on reporting, and the excluded device does not.
async fn only_others_are_heard(
    stage: &Stage,
    assignments: &Assignments,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let (id, witness) = (stage.excluded().id.as_str(), stage.witness().id.as_str());
    let hub = assigned_hub(assignments, id)?;
    let mut excluded = Reader::from_now_on(stage, hub).await?;
    let mut others = Reader::from_now_on(stage, assigned_hub(assignments, witness)?).await?;
    // Devices report every second: after two reports of the neighbour the other one is overdue.
    for _ in 0..2 {
        let heard = others.until(witness).await?;
        expect_that(!heard.iter().any(|device| device == id), &format!("{id} should be silent"))?;
    }
    let heard = excluded.now().await?;
    expect_that(
        heard.iter().all(|event| event.device_id != id),
        &format!("nothing of {id} should be taken by {hub}"),
    )?;
    teller.say(format_args!("{witness} goes on reporting; of {id} nothing more is heard."))
}

/// Scene 7: it is refused, and nobody else is.
pub(super) async fn refused(
    stage: &Stage,
    assignments: &Assignments,
    connections: &mut Connections,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let (excluded, witness) = (stage.excluded(), stage.witness());
    let id = excluded.id.as_str();
    let hub = assigned_hub(assignments, id)?;
    teller.chapter(&format!("{id} tries again, and so does its neighbour {}", witness.id))?;
    match connections.open(stage, excluded, hub).await {
        Err(Trouble::Refused(_)) => {}
        other => return Err(Failure::new(format!("{hub} should refuse {id}, and said {other:?}"))),
    }
    teller.asked(format_args!("{id}, to {hub}: let me connect again"))?;
    teller.answered(Tone::Bad, "not authorized: the hub does not know it")?;
    let settled = register_one(stage, excluded).await?;
    expect_that(
        settled.status == "disabled" && settled.hub.is_none(),
        &format!("{id} should be refused as disabled, and was told {settled:?}"),
    )?;
    let record = stage.service().await?.get(&path(["registrations", id])).await?;
    expect(text(at(&record, "status")) == "disabled", "the refusal should be on record", &record)?;
    expect_missing(stage.hub(hub).await?.get(&path(["devices", id])).await, id, hub)?;
    teller.asked(format_args!("{id}, with its valid certificate: register me"))?;
    teller.answered(Tone::Bad, "disabled: refused, and no hub has it")?;
    teller.because(format_args!(
        "its own enrollment is looked at before the group's, and says no."
    ))?;

    let settled = register_one(stage, witness).await?;
    let again = expect_assigned(&witness.id, &settled)?;
    expect_that(
        again == assigned_hub(assignments, &witness.id)?,
        &format!("{} should stay in its hub, and was sent to {again}", witness.id),
    )?;
    teller.asked(format_args!("{}: register me", witness.id))?;
    teller.answered(Tone::Good, &format!("assigned to {again}, as before"))?;
    teller.because(format_args!("nothing about group `{GROUP}` has changed."))
}

/// Scene 8: the exclusion is lifted.
pub(super) async fn let_back_in(
    stage: &Stage,
    assignments: &Assignments,
    connections: &mut Connections,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let excluded = stage.excluded();
    let id = excluded.id.as_str();
    teller.chapter(&format!("{id} is found, and let back in"))?;
    let enrollment = path(["enrollments", id]);
    stage.service().await?.delete(&enrollment, Some("*")).await?;
    teller.asked(format_args!("DELETE {enrollment}"))?;
    teller.answered(Tone::Good, "the exclusion is gone")?;
    let settled = register_one(stage, excluded).await?;
    let hub = expect_assigned(id, &settled)?;
    expect_that(
        hub == assigned_hub(assignments, id)?,
        &format!("{id} should come back to its hub, and was sent to {hub}"),
    )?;
    let identity = stage.hub(&hub).await?.get(&path(["devices", id])).await?;
    expect(
        text(at(&identity, "status")) == "enabled",
        "the device should be in its hub again",
        &identity,
    )?;
    let substatus = settled.substatus.as_deref().unwrap_or("no substatus");
    teller.asked(format_args!("{id}: register me"))?;
    teller.answered(Tone::Good, &format!("assigned to {hub} ({substatus}): it is back"))?;
    teller.because(format_args!("only group `{GROUP}` speaks for it now, and says yes."))?;
    let mut reader = Reader::from_now_on(stage, &hub).await?;
    connections.open(stage, excluded, &hub).await?;
    reader.until(id).await?;
    let (n_open, n_devices) = (connections.n_open(), stage.factory.devices.len());
    expect_that(
        n_open == n_devices,
        &format!("{n_devices} devices should be connected, not {n_open}"),
    )?;
    teller.asked(format_args!("{id}, to {hub}: let me connect"))?;
    teller.answered(Tone::Good, &format!("accepted, and {hub} hears its reports again"))
}

/// The end: where everything is, and what to try.
pub(super) fn summary(
    stage: &Stage,
    assignments: &Assignments,
    exit: bool,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    let n_devices = stage.factory.devices.len();
    teller.line("")?;
    teller.line(&format!(
        "All of this was asked and answered over TLS: {n_devices} devices provisioned and \
         connected, one shut out, cut off, refused, and let back in."
    ))?;
    if exit {
        return Ok(());
    }
    let data = quoted(&stage.data());
    let factory = &stage.factory.folder;
    let id = stage.excluded().id.as_str();
    let hub = assigned_hub(assignments, id)?;
    let program = std::env::current_exe().map(|path| quoted(&path));
    let program = program.unwrap_or_else(|_| "induct".to_owned());
    teller.line("")?;
    teller.line(&format!(
        "The service and its devices stay up. In another terminal, with induct={program}:"
    ))?;
    let commands = [
        "connection-string show".to_owned(),
        format!("enrollment-group registration list --gid {GROUP} -o table"),
        "hub device-identity list -n hub-1 -o table".to_owned(),
        format!("hub monitor-events -n {hub} -m 3"),
        format!("hub invoke-device-method -n {hub} -d {id} --mn status"),
        format!("enrollment-group update --gid {GROUP} --provisioning-status disabled"),
        format!("enrollment-group show --gid {GROUP}"),
    ];
    for command in commands {
        teller.line(&format!("  $induct {command} --data {data}"))?;
    }
    teller.line("")?;
    teller.line("And as a device:")?;
    teller.line(&format!(
        "  curl --cacert {} --cert {} --key {} \\\n    -X PUT -H 'Content-Type: application/json' -d '{{\"registrationId\":\"{id}\"}}' \\\n    \
         'https://localhost:{}/{}/registrations/{id}/register?api-version=2021-06-01'",
        quoted(&stage.data().join("tls/ca.pem")),
        quoted(&factory.join(format!("{id}.pem"))),
        quoted(&factory.join(format!("{id}.key"))),
        stage.address.port(),
        stage.id_scope(),
    ))?;
    teller.line("")?;
    teller.line("Ctrl-C ends it and removes the temporary folder.")
}

/// A device registers over HTTPS and asks until it is settled.
async fn register_one(stage: &Stage, device: &Made) -> Result<Settled, Failure> {
    Ok(register(&stage.network, &device.identity, Over::Https).await?)
}

async fn count_devices(stage: &Stage, hub: &str) -> Result<usize, Failure> {
    let query = members([("query", Json::from("SELECT * FROM devices"))]);
    match stage.hub(hub).await?.list("/devices/query", Some(&query), Top::ALL).await? {
        Json::Array(devices) => Ok(devices.len()),
        other => Err(Failure::new(format!("{hub} should list its devices, and said {other}"))),
    }
}

fn expect_assigned(id: &str, settled: &Settled) -> Result<String, Failure> {
    let ours = |hub: &&String| HUBS.iter().any(|(_, host)| host == hub);
    match settled.hub.as_ref().filter(ours) {
        Some(hub) if settled.status == "assigned" && settled.device_id.as_deref() == Some(id) => {
            Ok(hub.clone())
        }
        _ => {
            Err(Failure::new(format!("{id} should be assigned to a hub, and was told {settled:?}")))
        }
    }
}

fn expect_missing(found: Result<Json, Complaint>, id: &str, hub: &str) -> Result<(), Failure> {
    match found {
        Err(complaint) if complaint.kind == Kind::NotFound => Ok(()),
        Err(other) => Err(other.into()),
        Ok(identity) => Err(Failure::new(format!("{hub} should not have {id}: {identity}"))),
    }
}

fn expect(holds: bool, what: &str, answer: &Json) -> Result<(), Failure> {
    expect_that(holds, &format!("{what}, and the service answered {answer}"))
}

fn expect_that(holds: bool, what: &str) -> Result<(), Failure> {
    if holds {
        Ok(())
    } else {
        Err(Failure::new(format!("The demo did not go as it should: {what}.")))
    }
}

fn assigned_hub<'a>(assignments: &'a Assignments, id: &str) -> Result<&'a str, Failure> {
    let hub = assignments.get(id).map(String::as_str);
    hub.ok_or_else(|| Failure::new(format!("{id} never registered.")))
}

fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    path.split('.').try_fold(json, |json, name| json.get(name))
}

fn text(json: Option<&Json>) -> &str {
    json.and_then(Json::as_str).unwrap_or_default()
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(hub: &str, device_id: &str) -> Settled {
        Settled {
            status: "assigned".to_owned(),
            hub: Some(hub.to_owned()),
            device_id: Some(device_id.to_owned()),
            substatus: None,
        }
    }

    #[test]
    fn only_the_right_device_in_a_hub_of_ours_counts_as_assigned() {
        let check = |settled: Settled, expected: Option<&str>| {
            let hub = expect_assigned("press-1", &settled).ok();
            assert_eq!(hub.as_deref(), expected, "{settled:?}");
        };
        check(assigned("hub-1.localhost", "press-1"), Some("hub-1.localhost"));
        check(assigned("hub-9.localhost", "press-1"), None);
        check(assigned("hub-1.localhost", "press-2"), None);
        let status = "disabled".to_owned();
        check(Settled { status, ..assigned("hub-1.localhost", "press-1") }, None);
        check(Settled::default(), None);
    }

    #[test]
    fn a_device_is_missing_only_when_its_hub_says_so() {
        let check = |found, missing| {
            assert_eq!(expect_missing(found, "press-1", "hub-1").is_ok(), missing);
        };
        check(Err(Complaint::of_answer(404, b"", "GET /devices/press-1")), true);
        check(Err(Complaint::of_answer(401, b"", "GET /devices/press-1")), false);
        check(Ok(Json::empty_object()), false);
    }
}
