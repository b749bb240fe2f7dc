//! Bans that are written while a device is decided about: between the facts and the commit. Those on
//! the device count, those on others disturb nobody.

use decide::pending::LEASE_SECS;
use induct_app::{No, device::Earlier};
use model::{
    AuthenticationKind, Change, ChangeSet, ConnectRefusal, DeviceAuthentication, DeviceRefusal,
    PendingAssignment, RegistrationId, RegistrationRecord, RegistrationStatus, Reprovision,
    ban::SubjectDraft,
};
use store::Store as _;
use testkit::{Ca, Credential};
use tokio::task::JoinHandle;

use crate::{
    bans::{alone, ban, certificate, group_of, register, register_as},
    gated::{At, Like},
    stage::Stage,
};

const DEVICE: &str = "press-17";

fn registration(text: &str) -> RegistrationId {
    RegistrationId::parse(text).unwrap()
}

/// Who is decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    /// A device that registers.
    Register,
    /// One that connects to its hub.
    Connect,
    /// One that shows something newer on its connection.
    Renew,
    /// One that waits to be assigned.
    Pending,
}

/// Each door, and where it is held up.
const PLACES: [(Door, At); 6] = [
    (Door::Register, At::Asked),
    (Door::Connect, At::FactsRead),
    (Door::Connect, At::Asked),
    (Door::Renew, At::FactsRead),
    (Door::Renew, At::Asked),
    (Door::Pending, At::Asked),
];

/// What became of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    In,
    Banned,
}

impl Door {
    /// What its decision writes when the device gets in.
    fn writes(self) -> Like {
        match self {
            Self::Register => |change| matches!(change, Change::PutRecord(_)),
            Self::Connect => |change| matches!(change, Change::Connect { .. }),
            Self::Renew => |change| matches!(change, Change::Touch { .. }),
            Self::Pending => {
                |change| matches!(change, Change::PutRecord(record) if record.pending.is_none())
            }
        }
    }
}

/// A device of a group whose CA is below a root.
struct Scene {
    stage: Stage,
    root: Ca,
    line: Ca,
    press: Credential,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let root = Ca::root("root");
        let line = root.intermediate("line");
        let press = line.leaf(DEVICE);
        group_of(&stage, &line).await;
        // While there is no ban at all, the first one is about everybody.
        ban(&stage, SubjectDraft::Registration(registration("stranger"))).await;
        Self { stage, root, line, press }
    }

    /// The device at this door, up to where it is held up.
    async fn knock(&self, door: Door, at: At) -> (JoinHandle<Outcome>, crate::gated::Held) {
        let Self { stage, press, .. } = self;
        let stage = stage.clone();
        let evidence = || alone(press);
        if door != Door::Register {
            register(&stage, evidence()).await.unwrap();
        }
        let connecting = || stage.connecting(DEVICE, evidence(), Earlier::Forgotten);
        let mut connected = None;
        match door {
            Door::Register | Door::Connect => {}
            Door::Renew => {
                connected = Some(stage.app.connect_device(connecting()).await.unwrap());
            }
            Door::Pending => {
                let record = self.record().await;
                let waiting = ChangeSet::new().with(Change::PutRecord(Box::new(waiting(record))));
                stage.store.commit(waiting).await.unwrap();
            }
        }
        let (connecting, evidence) = (connecting(), evidence());
        let mut held = stage.store.hold(at, door.writes());
        let task = tokio::spawn(async move {
            match door {
                Door::Register => match register(&stage, evidence).await {
                    Ok(RegistrationStatus::Assigned) => Outcome::In,
                    Err(No::Refused(DeviceRefusal::Banned { .. })) => Outcome::Banned,
                    other => panic!("{other:?}"),
                },
                Door::Connect => match stage.app.connect_device(connecting).await {
                    Ok(_) => Outcome::In,
                    Err(No::Refused(ConnectRefusal::Banned(_))) => Outcome::Banned,
                    Err(other) => panic!("{other:?}"),
                },
                Door::Renew => match connected.unwrap().0.renew(evidence).await {
                    Ok(_) => Outcome::In,
                    Err(No::Refused(ConnectRefusal::Banned(_))) => Outcome::Banned,
                    Err(other) => panic!("{other:?}"),
                },
                Door::Pending => {
                    stage.app.work_off().await.unwrap();
                    let found = stage.store.find_record(&registration(DEVICE)).await;
                    match found.unwrap().unwrap().status {
                        RegistrationStatus::Assigned => Outcome::In,
                        RegistrationStatus::Failed => Outcome::Banned,
                        other => panic!("{other:?}"),
                    }
                }
            }
        });
        held.reached().await;
        (task, held)
    }

    async fn record(&self) -> RegistrationRecord {
        self.stage.store.find_record(&registration(DEVICE)).await.unwrap().unwrap()
    }
}

/// The record of a device that is to be assigned what it had.
fn waiting(record: RegistrationRecord) -> RegistrationRecord {
    let pending = PendingAssignment {
        assignment: record.assignment.clone().unwrap(),
        from: None,
        rule: Reprovision::Never,
        authentication: DeviceAuthentication {
            kind: AuthenticationKind::SelfSigned,
            keys: None,
            primary_thumbprint: Some("AB".repeat(32)),
            secondary_thumbprint: None,
        },
        iot_edge: false,
        initial_twin: None,
        n_failures: 0,
        due: record.last_updated.plus_secs(-LEASE_SECS),
        last_error: None,
    };
    let status = RegistrationStatus::Assigning;
    RegistrationRecord { status, pending: Some(Box::new(pending)), ..record }
}

#[tokio::test]
async fn a_ban_that_comes_while_a_device_is_decided_about_wins_at_every_door() {
    for (door, at) in PLACES {
        for n in 0..4 {
            let scene = Scene::new().await;
            let (task, held) = scene.knock(door, at).await;
            let subject = match n {
                0 => SubjectDraft::Registration(registration(DEVICE)),
                1 => SubjectDraft::Certificate(scene.press.der().to_vec()),
                2 => certificate(&scene.line),
                _ => certificate(&scene.root),
            };
            ban(&scene.stage, subject).await;
            held.release();
            assert_eq!(task.await.unwrap(), Outcome::Banned, "{door:?}, {at:?}, ban {n}");
        }
    }
}

/// Nobody tells a session that is not there yet, and the ban is on what it did not look for.
#[tokio::test]
async fn a_registration_that_comes_to_share_the_identity_is_banned_with_it() {
    for at in [At::FactsRead, At::Asked] {
        let scene = Scene::new().await;
        let (task, held) = scene.knock(Door::Connect, at).await;
        let registration_id = registration("press-99");
        let record = RegistrationRecord { registration_id, ..scene.record().await };
        let shared = ChangeSet::new().with(Change::PutRecord(Box::new(record)));
        scene.stage.store.commit(shared).await.unwrap();
        ban(&scene.stage, SubjectDraft::Registration(registration("press-99"))).await;
        held.release();
        assert_eq!(task.await.unwrap(), Outcome::Banned, "{at:?}");
    }
}

/// A decision that was taken anew would be held up a second time.
#[tokio::test]
async fn a_ban_on_another_device_makes_nobody_be_decided_about_anew() {
    for (door, at) in PLACES {
        let scene = Scene::new().await;
        let other = scene.line.leaf("press-18");
        register_as(&scene.stage, "press-18", alone(&other)).await.unwrap();
        let (mut task, held) = scene.knock(door, at).await;
        for subject in [
            SubjectDraft::Registration(registration("press-18")),
            SubjectDraft::Certificate(other.der().to_vec()),
            SubjectDraft::EndorsementKey(vec![7; 32]),
        ] {
            ban(&scene.stage, subject).await;
        }
        let held = match at {
            At::FactsRead => {
                let mut asked = scene.stage.store.hold(At::Asked, door.writes());
                held.release();
                asked.reached().await;
                asked
            }
            _ => held,
        };
        let mut again = scene.stage.store.hold(At::Asked, door.writes());
        held.release();
        tokio::select! {
            outcome = &mut task => {
                assert_eq!(outcome.unwrap(), Outcome::In, "{door:?}, {at:?}");
            }
            () = again.reached() => panic!("{door:?}, {at:?} was decided about anew"),
        }
    }
}
