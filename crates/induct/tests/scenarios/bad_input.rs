//! Bad input over the wire: each is answered with a clear error, nothing is lost or changed, and
//! the server goes on.

mod certificates;
mod chains;
mod connections;
mod device_requests;
mod operator_requests;
mod races;

use serde_json::Value;
use testkit::Ca;

use crate::world::{
    Device, Scene, World,
    enrollments::{by_key, group, group_by_ca, individual, primary_key},
};

/// A server with something to lose: an enrollment, a group, and a registered device of each.
struct Victim {
    world: World,
    ca: Ca,
    device: Device,
    before: Value,
}

impl Victim {
    async fn new() -> Self {
        Self::of(Scene::new()).await
    }

    async fn of(scene: Scene) -> Self {
        let world = scene.start().await;
        let service = world.service();
        let enrollment = service.create(&individual("press-1"), &by_key("press-1")).await;
        let device = Device::with_key("press-1", primary_key(&enrollment));
        device.register(&world).await.assigned();
        let ca = Ca::root("Works Root").intermediate("line-4");
        service.create(&group("line-4"), &group_by_ca("line-4", &ca)).await;
        let of_group = Device::with_certificate("press-2", &ca.leaf("press-2"));
        of_group.register(&world).await.assigned();
        let before = world.everything().await;
        Self { world, ca, device, before }
    }

    /// Whatever was thrown at the server, nothing has changed and everything still works.
    async fn assert_unharmed(&self) {
        self.world.assert_healthy().await;
        assert_eq!(self.world.everything().await, self.before, "nobody wrote anything");
        self.device.register(&self.world).await.assigned();
    }
}
