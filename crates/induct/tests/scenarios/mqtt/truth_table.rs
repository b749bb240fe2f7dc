//! The operator's truth table (O §2), row by row, with a device that is connected to its hub while
//! the operator acts: once as the vendor's service does it, and once with
//! `disenroll_ends_sessions`. The connection is held open over the whole act, and what the device
//! may do afterwards, at its hub and at the next registration, is looked at.

use serde_json::{Value, json};
use testkit::{Ca, Credential};

use super::{
    hub::HUB,
    line::{Line, Way},
    sdk,
};
use crate::world::{
    Answer, Device, Identity, Next, Record, Scene, Tls, World,
    check::{check, check_without_registering},
    device::Proof,
    enrollments::{by_certificate, by_key, disabled, group, group_by_ca, individual},
    within,
};

const ID: &str = "press-17";
const ASSIGNED: Record = Record::With("assigned");
const DISABLED: Record = Record::With("disabled");
const CERTIFICATE: &str = "/induct/v1/certificates/works-root";

/// What the operator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    DisableIndividual,
    DeleteIndividual,
    /// An enabled group matches as well.
    DeleteIndividualOfGroup,
    /// It excluded the device from an enabled group: so the exclusion is lifted.
    DeleteDisabledIndividual,
    DisableGroup,
    /// The device has an enabled individual enrollment of its own.
    DisableGroupBesideIndividual,
    DeleteGroup,
    /// The group of the CA above it stays.
    DeleteGroupBelowAnother,
    /// A disabled individual enrollment for one device of the group.
    Exclude,
    DeleteRecord,
    RemoveCaCertificate,
    DisableIdentity,
    DeleteIdentity,
}

/// What comes of it.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    next: Next,
    /// Before the device asks again, and after.
    record: (Record, Record),
    /// Likewise.
    identity: (Identity, Identity),
    /// Whether the session ends: as the vendor's does it, and with the setting.
    ends: (bool, bool),
}

/// The table. A row that says `ends: (_, true)` where the vendor keeps the session is what the
/// setting is for.
fn outcome(act: Act) -> Outcome {
    use Identity::{Disabled as Off, Enabled as On, Gone};
    use Next::{Assigned, Disabled, Unauthorized};
    let row = |next, record, identity, ends| Outcome { next, record, identity, ends };
    match act {
        Act::DisableIndividual => row(Disabled, (ASSIGNED, DISABLED), (On, On), (false, true)),
        Act::DeleteIndividual => {
            row(Unauthorized, (Record::None, Record::None), (On, On), (false, true))
        }
        Act::DeleteIndividualOfGroup => {
            row(Assigned, (Record::None, ASSIGNED), (On, On), (false, true))
        }
        // It was out, and is not any more: its session rests on the group all the while.
        Act::DeleteDisabledIndividual => {
            row(Assigned, (Record::None, ASSIGNED), (On, On), (false, false))
        }
        Act::DisableGroup => row(Disabled, (ASSIGNED, DISABLED), (On, On), (false, true)),
        Act::DisableGroupBesideIndividual => {
            row(Assigned, (ASSIGNED, ASSIGNED), (On, On), (false, false))
        }
        Act::DeleteGroup => row(Unauthorized, (ASSIGNED, ASSIGNED), (On, On), (false, true)),
        Act::DeleteGroupBelowAnother => {
            row(Assigned, (ASSIGNED, ASSIGNED), (On, On), (false, true))
        }
        // The group stands, and the session rests on it until the device registers and hears
        // `disabled`, which ends it with the setting. `induct deprovision` ends it at once.
        Act::Exclude => row(Disabled, (ASSIGNED, DISABLED), (On, On), (false, false)),
        Act::DeleteRecord => row(Assigned, (Record::None, ASSIGNED), (On, On), (false, false)),
        Act::RemoveCaCertificate => {
            row(Unauthorized, (ASSIGNED, ASSIGNED), (On, On), (false, true))
        }
        Act::DisableIdentity => row(Assigned, (ASSIGNED, ASSIGNED), (Off, Off), (true, true)),
        Act::DeleteIdentity => row(Assigned, (ASSIGNED, ASSIGNED), (Gone, On), (true, true)),
    }
}

/// The device and those who vouch for it.
struct Cast {
    root: Ca,
    line: Ca,
    leaf: Credential,
    device: Device,
}

impl Cast {
    fn new() -> Self {
        let root = Ca::root("Works Root");
        let line = root.intermediate("line-4");
        let leaf = line.leaf(ID);
        let device = Device::with_certificate(ID, &leaf);
        Self { root, line, leaf, device }
    }

    /// What is enrolled before the operator acts.
    async fn enroll(&self, act: Act, world: &World) {
        let service = world.service();
        let line = group_by_ca("line-4", &self.line);
        match act {
            Act::DisableIndividual | Act::DeleteIndividual => {
                service.create(&individual(ID), &by_certificate(ID, &self.leaf)).await;
            }
            Act::DeleteIndividualOfGroup | Act::DisableGroupBesideIndividual => {
                service.create(&individual(ID), &by_certificate(ID, &self.leaf)).await;
                service.create(&group("line-4"), &line).await;
            }
            Act::DeleteGroupBelowAnother => {
                service.create(&group("line-4"), &line).await;
                service.create(&group("works"), &group_by_ca("works", &self.root)).await;
            }
            Act::RemoveCaCertificate => {
                let body = json!({"certificate": self.root.pem(), "isVerified": true});
                service.create(CERTIFICATE, &body).await;
                let by_reference = json!({
                    "enrollmentGroupId": "works",
                    "attestation":
                        {"type": "x509", "x509": {"caReferences": {"primary": "works-root"}}}
                });
                service.create(&group("works"), &by_reference).await;
            }
            Act::DeleteDisabledIndividual
            | Act::DisableGroup
            | Act::DeleteGroup
            | Act::Exclude
            | Act::DeleteRecord
            | Act::DisableIdentity
            | Act::DeleteIdentity => {
                service.create(&group("line-4"), &line).await;
            }
        }
    }

    /// Connects to the hub with the certificate that the device was provisioned by.
    async fn dial(&self, world: &World) -> Line {
        let sdk = &sdk::NODE;
        let Proof::Certificates(chain, key) = &self.device.proof else {
            panic!("it has a certificate")
        };
        let credential = |tls: Tls| sdk.tls(tls.credential(chain.clone(), key.clone()));
        Line::new(Way::Tls.open(world, HUB, credential).await)
    }

    fn hello(&self) -> mqtt::proto::Connect {
        sdk::NODE.hub_connect(HUB, ID, None, sdk::TTL_SECS)
    }
}

impl Act {
    const ALL: [Self; 13] = [
        Self::DisableIndividual,
        Self::DeleteIndividual,
        Self::DeleteIndividualOfGroup,
        Self::DeleteDisabledIndividual,
        Self::DisableGroup,
        Self::DisableGroupBesideIndividual,
        Self::DeleteGroup,
        Self::DeleteGroupBelowAnother,
        Self::Exclude,
        Self::DeleteRecord,
        Self::RemoveCaCertificate,
        Self::DisableIdentity,
        Self::DeleteIdentity,
    ];

    /// Returns when the operator has their answer.
    async fn perform(self, world: &World) {
        let (service, hub) = (world.service(), world.hub(HUB));
        let off = |body: &mut Value| body["provisioningStatus"] = json!("disabled");
        match self {
            Self::DisableIndividual => {
                service.edit(&individual(ID), off).await;
            }
            Self::DeleteIndividual | Self::DeleteIndividualOfGroup => {
                service.delete(&individual(ID)).await;
            }
            Self::DeleteDisabledIndividual => {
                service.create(&individual(ID), &disabled(by_key(ID))).await;
                service.delete(&individual(ID)).await;
            }
            Self::DisableGroup | Self::DisableGroupBesideIndividual => {
                service.edit(&group("line-4"), off).await;
            }
            Self::DeleteGroup | Self::DeleteGroupBelowAnother => {
                service.delete(&group("line-4")).await;
            }
            Self::Exclude => {
                service.create(&individual(ID), &disabled(by_key(ID))).await;
            }
            Self::DeleteRecord => service.delete(&format!("/registrations/{ID}")).await,
            Self::RemoveCaCertificate => {
                service.send("DELETE", CERTIFICATE, Some("*"), "").await.expect(200);
            }
            Self::DisableIdentity => {
                let off = |body: &mut Value| body["status"] = json!("disabled");
                hub.edit(&format!("/devices/{ID}"), off).await;
            }
            Self::DeleteIdentity => hub.delete(&format!("/devices/{ID}")).await,
        }
    }
}

/// Waits until the hub has written that nobody is connected: `check` compares identities.
async fn until_disconnected(world: &World) {
    let is_connected = async || {
        let identity = world.identity(HUB, ID).await;
        identity.is_some_and(|identity| identity["connectionState"] == "Connected")
    };
    within("a disconnected device", async {
        while is_connected().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

/// The device registers while it is connected, and hears `disabled`: with the setting that ends its
/// session, and its hub lets it in no more.
async fn check_hearing_disabled(world: &World, cast: &Cast, ends: bool) {
    let mut line = cast.dial(world).await;
    line.connect(cast.hello()).await;
    let answer = cast.device.register(world).await;
    let Answer::Settled(state) = &answer else { panic!("{answer:?}") };
    assert_eq!(state["status"], "disabled", "{state}");
    if ends {
        line.closed().await;
        cast.dial(world).await.refused(cast.hello()).await;
    } else {
        line.ping().await;
        line.leave().await;
    }
    until_disconnected(world).await;
}

/// One row of the table, with the setting or without it.
async fn check_row(act: Act, with_setting: bool) {
    let world = Scene::new().start().await;
    if with_setting {
        let body = json!({"disenrollEndsSessions": true}).to_string();
        world.service().send("PATCH", "/induct/v1/service", None, body).await.expect(200);
    }
    let cast = Cast::new();
    cast.enroll(act, &world).await;
    check(&world, &cast.device, Next::Assigned, ASSIGNED, Identity::Enabled).await;
    let mut line = cast.dial(&world).await;
    line.connect(cast.hello()).await;
    line.ping().await;

    act.perform(&world).await;

    let Outcome { next, record, identity, ends } = outcome(act);
    let ends = if with_setting { ends.1 } else { ends.0 };
    check_without_registering(&world, ID, record.0, identity.0).await;
    let again = cast.dial(&world).await;
    if ends {
        line.closed().await;
        // It does not come back by its hub's door either.
        again.refused(cast.hello()).await;
    } else {
        line.ping().await;
        let mut again = again;
        again.connect(cast.hello()).await;
        again.leave().await;
    }
    until_disconnected(&world).await;
    if next == Next::Disabled && !ends {
        check_hearing_disabled(&world, &cast, with_setting).await;
    }
    check(&world, &cast.device, next, record.1, identity.1).await;
    // Who is admitted anew is let in by its hub, whatever its old session ended for.
    if next == Next::Assigned && identity.1 == Identity::Enabled {
        let mut line = cast.dial(&world).await;
        line.connect(cast.hello()).await;
        line.ping().await;
    }
}

#[tokio::test]
async fn every_row_of_the_table_is_as_the_vendors_by_default() {
    for act in Act::ALL {
        check_row(act, false).await;
    }
}

#[tokio::test]
async fn with_the_setting_the_end_of_an_enrollment_ends_the_sessions_that_rest_on_it() {
    for act in Act::ALL {
        check_row(act, true).await;
    }
}
