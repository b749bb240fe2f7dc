//! Provisioning with a TPM, in the manner of every SDK that speaks AMQP (D §3.3, §5.5).

use amqp::proto::{ProtocolHeader, SaslOutcome};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use testkit::tpm::SoftTpm;

use super::{
    line::{Line, Way},
    sasl,
    sdk::{self, Sdk},
    session::Session,
};
use crate::world::{
    HUBS, SERVICE, Scene, World,
    enrollments::{by_key, disabled, individual},
    now_unix_secs,
};

/// An individual enrollment with the TPM's endorsement key.
fn by_tpm(id: &str, tpm: &SoftTpm) -> Value {
    let key = STANDARD.encode(tpm.endorsement_key());
    json!({"registrationId": id, "attestation": {"type": "tpm", "tpm": {"endorsementKey": key}}})
}

/// A connection on which the TPM has answered its challenge.
async fn log_in(world: &World, sdk: &Sdk, way: Way, id: &str, tpm: &mut SoftTpm) -> Line {
    let mut line = way.open(world, SERVICE, |tls| tls).await;
    let outcome = sasl::tpm(&mut line, sdk, world.id_scope(), id, tpm).await;
    assert_eq!(outcome, SaslOutcome::Ok, "{id}");
    line.header(ProtocolHeader::Amqp).await;
    line
}

async fn open<'a>(
    world: &World,
    sdk: &'a Sdk,
    way: Way,
    id: &str,
    tpm: &mut SoftTpm,
) -> Session<'a> {
    let line = log_in(world, sdk, way, id, tpm).await;
    Session::begin(world, sdk, line, id).await.with_tpm(sasl::keys_json(tpm))
}

fn id_of(sdk: &Sdk, way: Way) -> String {
    format!("press-{}-{}", sdk.name, way.name())
}

#[tokio::test]
async fn every_sdk_registers_with_a_tpm_and_gets_the_key_for_its_hub() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let id = id_of(sdk, way);
            world.service().create(&individual(&id), &by_tpm(&id, &tpm)).await;
            let mut session = open(&world, sdk, way, &id, &mut tpm).await;
            let of_challenge = tpm.key();
            let operation = session.register().await;
            let state = session.poll(&operation).await;
            session.leave().await;
            let what = format!("{} by {way:?}", sdk.name);
            assert_eq!(state["status"], "assigned", "{what}: {state}");
            assert_eq!(state["assignedHub"], HUBS[0], "{what}: {state}");
            // Every SDK fails without it (D §8, 48).
            let blob = state["tpm"]["authenticationKey"].as_str().expect("a key for the hub");
            tpm.activate(&STANDARD.decode(blob).expect("base64")).expect("it is for this TPM");
            assert_ne!(tpm.key(), of_challenge, "{what}");
            let identity = world.identity(HUBS[0], &id).await.expect("an identity");
            let on_hub = &identity["authentication"]["symmetricKey"]["primaryKey"];
            assert_eq!(*on_hub, STANDARD.encode(tpm.key().expect("a key")), "{what}");
        }
    }
}

#[tokio::test]
async fn a_tpm_that_is_not_enrolled_answers_its_challenge_and_is_rejected_with_404201() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let id = id_of(sdk, way);
            let mut session = open(&world, sdk, way, &id, &mut tpm).await;
            let message = session.register_message();
            session.refused(&message, "amqp:not-found", 404_201).await;
            session.leave().await;
            assert_eq!(world.record(&id).await, None);
        }
    }
}

#[tokio::test]
async fn a_tpm_is_not_another_one_of_that_registration_id() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    let other = SoftTpm::new();
    let (by_other, by_key) = (by_tpm("press-1", &other), by_key("press-2"));
    world.service().create(&individual("press-1"), &by_other).await;
    world.service().create(&individual("press-2"), &by_key).await;
    let [way, _] = Way::both(&sdk::C_SHARP);
    for id in ["press-1", "press-2"] {
        let mut session = open(&world, &sdk::C_SHARP, way, id, &mut tpm).await;
        let message = session.register_message();
        let refused = session.ask(&message).await;
        let super::session::Ended::Rejected(error) = refused else { panic!("{refused:?}") };
        assert!(["amqp:not-found", "amqp:unauthorized-access"].contains(&error.condition.as_str()));
        session.leave().await;
        assert_eq!(world.record(id).await, None);
    }
}

#[tokio::test]
async fn a_disabled_tpm_is_told_so_after_its_proof() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    for sdk in sdk::ALL {
        let [way, _] = Way::both(sdk);
        let id = id_of(sdk, way);
        world.service().create(&individual(&id), &disabled(by_tpm(&id, &tpm))).await;
        let mut session = open(&world, sdk, way, &id, &mut tpm).await;
        let operation = session.register().await;
        let state = session.poll(&operation).await;
        assert_eq!(state["status"], "disabled", "{state}");
        assert_eq!(state["tpm"], Value::Null, "{state}");
        session.leave().await;
        assert_eq!(world.identity(HUBS[0], &id).await, None);
    }
}

#[tokio::test]
async fn a_wrong_signature_is_refused_by_sasl() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    for sdk in sdk::ALL {
        for way in Way::both(sdk) {
            let id = id_of(sdk, way);
            world.service().create(&individual(&id), &by_tpm(&id, &tpm)).await;
            // A token of the challenge before: the TPM has another key now.
            drop(log_in(&world, sdk, way, &id, &mut tpm).await);
            let old =
                tpm.sas_token(&sdk.style.resource(world.id_scope(), &id), 4_000_000_000, None);
            let mut line = way.open(&world, SERVICE, |tls| tls).await;
            let who = (world.id_scope(), id.as_str());
            let outcome = sasl::tpm_with(&mut line, sdk, who, &mut tpm, usize::MAX, |_| old).await;
            assert_eq!(outcome, SaslOutcome::Auth, "{id}");
            line.closed().await;
        }
    }
}

#[tokio::test]
async fn what_c_would_cut_into_pieces_is_put_together() {
    let world = Scene::new().start().await;
    let mut tpm = SoftTpm::from_fixture();
    for way in Way::both(&sdk::C) {
        let id = id_of(&sdk::C, way);
        world.service().create(&individual(&id), &by_tpm(&id, &tpm)).await;
        let resource = sdk::C.style.resource(world.id_scope(), &id);
        let sign =
            |tpm: &SoftTpm| tpm.sas_token(&resource, now_unix_secs() + 3600, Some("registration"));
        let mut line = way.open(&world, SERVICE, |tls| tls).await;
        let who = (world.id_scope(), id.as_str());
        // More than four pieces, so that their numbers begin again.
        let outcome = sasl::tpm_with(&mut line, &sdk::C, who, &mut tpm, 50, sign).await;
        assert_eq!(outcome, SaslOutcome::Ok, "{id}");
        line.header(ProtocolHeader::Amqp).await;
        let mut session = Session::begin(&world, &sdk::C, line, &id).await;
        let operation = session.register().await;
        assert_eq!(session.poll(&operation).await["status"], "assigned");
        session.leave().await;
    }
}
