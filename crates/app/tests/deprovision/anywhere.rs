//! Wherever a device has been, under whatever device IDs, with whatever still under way: once it is
//! out, it is off on every hub, and what is revoked gets nowhere again.

use decide::pending::LEASE_SECS;
use model::{DeviceStatus, Evidence, Intent, Precondition, RegistrationStatus};
use proptest::{
    prelude::{Just, ProptestConfig, Strategy, any},
    prop_oneof, proptest,
};
use testkit::{ClientStyle, DeviceToken};

use crate::{
    fleet::{ids, registration},
    instance::{SCOPE, by},
    remote::Scene,
    stage::{key, token_until},
};

const DEVICE: &str = "saw-1";
/// The device IDs that its enrollment gives it; the first one is that of its registration.
const NAMES: [Option<&str>; 3] = [None, Some("line-saw"), Some("Line-Saw-2")];
const HUBS: [&str; 4] = ["hub-1", "hub-2", "far-1", "far-2"];
/// Its key.
const SEED: u8 = 3;

/// What operator, device and hubs do.
#[derive(Debug, Clone)]
enum Operation {
    Enroll {
        name: usize,
        hub: usize,
    },
    Register,
    DeleteRecord,
    DeleteIndividual,
    /// What remote hubs are due to be told is told.
    Work,
    Down(usize, bool),
    Wait,
}

fn operations(n: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Operation>> {
    let operation = prop_oneof![
        4 => (0..NAMES.len(), 0..HUBS.len())
            .prop_map(|(name, hub)| Operation::Enroll { name, hub }),
        6 => Just(Operation::Register),
        2 => Just(Operation::DeleteRecord),
        1 => Just(Operation::DeleteIndividual),
        4 => Just(Operation::Work),
        2 => (2..HUBS.len(), any::<bool>()).prop_map(|(hub, is_down)| Operation::Down(hub, is_down)),
        1 => Just(Operation::Wait),
    ];
    proptest::collection::vec(operation, n)
}

struct World {
    scene: Scene,
    down: Vec<&'static str>,
    secs: i64,
}

impl World {
    async fn new() -> Self {
        Self { scene: Scene::new().await, down: Vec::new(), secs: 0 }
    }

    async fn operate(&mut self, operation: &Operation) {
        let app = &self.scene.app;
        match operation {
            Operation::Enroll { name, hub } => {
                self.scene.enroll_as(DEVICE, NAMES[*name], HUBS[*hub], SEED).await;
            }
            Operation::Register => {
                let _ = self.register().await;
            }
            Operation::DeleteRecord => {
                let _ = app.delete_record(&registration(DEVICE), &Precondition::None, &by()).await;
            }
            Operation::DeleteIndividual => {
                let id = registration(DEVICE);
                let _ = app.delete_individual(&id, &Precondition::None, &by()).await;
            }
            Operation::Work => {
                app.work_off().await.unwrap();
            }
            Operation::Down(hub, is_down) => {
                self.down.retain(|down| *down != HUBS[*hub]);
                self.down.extend(is_down.then_some(HUBS[*hub]));
                self.scene.far.set_down(&self.down);
            }
            Operation::Wait => self.wait(),
        }
    }

    fn wait(&mut self) {
        self.secs += LEASE_SECS * 6;
        self.scene.fleet.stage.clock.advance(LEASE_SECS * 6);
    }

    async fn register(&self) -> Result<RegistrationStatus, String> {
        let token = DeviceToken {
            style: ClientStyle::Python,
            id_scope: SCOPE,
            registration_id: DEVICE,
            key: &key(SEED),
            expiry_unix_secs: testkit::NOW.unix_secs() + self.secs + 600,
        };
        self.scene.fleet.show(DEVICE, Evidence::Sas(token.parsed())).await
    }

    /// All hubs are there again, and all is told.
    async fn settle(&mut self) {
        self.scene.far.set_down(&[]);
        self.down.clear();
        for _ in 0..6 {
            self.wait();
            self.scene.app.work_off().await.unwrap();
        }
    }

    /// Where it is on.
    async fn on_at(&self) -> Vec<String> {
        let picture = self.scene.fleet.picture().await;
        let mut on = Vec::new();
        for name in NAMES.map(|name| name.unwrap_or(DEVICE)) {
            for hub in &HUBS[..2] {
                let at = format!("{hub}/{name}");
                if picture.get(&at).is_some_and(|status| status == "Enabled") {
                    on.push(at);
                }
                let evidence = token_until(hub, name, &key(SEED), None, self.secs + 600);
                if self.connects(hub, name, evidence).await {
                    on.push(format!("{hub}/{name} by its key"));
                }
            }
            for hub in &HUBS[2..] {
                let found = self.scene.far.look(hub, name);
                if found.is_some_and(|(status, _)| status == DeviceStatus::Enabled) {
                    on.push(format!("{hub}/{name}"));
                }
            }
        }
        on
    }

    async fn connects(&self, hub: &str, name: &str, evidence: Evidence) -> bool {
        let connecting = induct_app::device::Connecting {
            hub: crate::instance::hub_name(hub),
            device_id: crate::stage::id(name),
            evidence,
            address: [192, 0, 2, 1].into(),
            earlier: induct_app::device::Earlier::Restored,
        };
        self.scene.app.connect_device(connecting).await.is_ok()
    }
}

fn run(future: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn a_device_that_is_taken_out_is_off_wherever_it_has_been(
        before in operations(1..12),
        after in operations(1..6),
        intent in prop_oneof![
            Just(Intent::Suspend),
            Just(Intent::Retire),
            Just(Intent::Revoke),
        ],
    ) {
        run(async {
            let mut world = World::new().await;
            for operation in &before {
                world.operate(operation).await;
            }
            let receipt = world.scene.act(&ids(&[DEVICE]), intent).await;
            assert_eq!(receipt.counts.done, 1);
            world.settle().await;
            let told = world.scene.app.deprovisioning(&receipt.head.id).await.unwrap();
            let counts = told.counts;
            assert_eq!((counts.remote_pending, counts.remote_failed), (0, 0), "{before:?}");
            assert_eq!(world.on_at().await, [""; 0], "{intent:?} after {before:?}");
            // Enrolled anew it may come back, but for one that is revoked or suspended.
            if intent != Intent::Retire {
                for operation in &after {
                    world.operate(operation).await;
                }
                let shown = world.register().await;
                assert!(shown.is_err(), "{shown:?}: {intent:?} after {before:?}, {after:?}");
                world.settle().await;
                assert_eq!(world.on_at().await, [""; 0], "{before:?}, {after:?}");
            }
        });
    }
}

/// What is looked for is there before: by the same operations, without the last one, it is on.
#[test]
fn without_being_taken_out_it_is_on_at_every_place_that_it_was_left_at() {
    run(async {
        let mut world = World::new().await;
        for (name, hub) in [(1, 0), (2, 2), (0, 1), (1, 3)] {
            world.operate(&Operation::Enroll { name, hub }).await;
            assert!(world.register().await.is_ok());
            world.operate(&Operation::Work).await;
            world.operate(&Operation::DeleteRecord).await;
        }
        let on = world.on_at().await;
        let at = ["hub-1/line-saw", "hub-2/saw-1", "far-1/Line-Saw-2", "far-2/line-saw"];
        for at in at {
            assert!(on.iter().any(|one| one == at), "{at}: {on:?}");
        }
        world.scene.act(&ids(&[DEVICE]), Intent::Revoke).await;
        world.settle().await;
        assert_eq!(world.on_at().await, [""; 0]);
    });
}
