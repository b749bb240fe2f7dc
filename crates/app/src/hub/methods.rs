//! An operator calls a method on a connected device (H §4.2.9).
//!
//! Time limits are the door's: nothing here waits by the clock.

use decide::hub::method::MethodCall;
use model::{DeviceId, HubName, HubRefusal};
use tokio::sync::oneshot;

use crate::{
    App, No,
    live::{Command, MethodAnswer, MethodInvocation},
};

/// A method that was handed to the device; dropping this gives up on the answer.
#[derive(Debug)]
pub struct MethodReply(oneshot::Receiver<MethodAnswer>);

impl MethodReply {
    /// Waits for the device's answer; `None` when there will be none, because the session ended.
    pub async fn wait(self) -> Option<MethodAnswer> {
        self.0.await.ok()
    }
}

impl App {
    /// Calls a method on a device that is connected and takes methods.
    ///
    /// # Errors
    /// [`HubRefusal::DeviceNotFound`], [`HubRefusal::DeviceNotOnline`], or a fault.
    pub async fn call_method(
        &self,
        hub: &HubName,
        id: &DeviceId,
        call: &MethodCall,
    ) -> Result<MethodReply, No<HubRefusal>> {
        self.get_device(hub, id).await?;
        let offline = || No::Refused(HubRefusal::DeviceNotOnline(id.to_string()));
        let seat = self.live.find_for_methods(hub, id).ok_or_else(offline)?;
        let (reply, answer) = oneshot::channel();
        let (name, payload) = (call.name.clone(), call.payload.clone());
        seat.tell(Command::Method(MethodInvocation { name, payload, reply }));
        Ok(MethodReply(answer))
    }

    /// Waits until the device is connected and takes methods.
    pub async fn until_takes_methods(&self, hub: &HubName, id: &DeviceId) {
        let mut arrivals = self.live.arrivals();
        while self.live.find_for_methods(hub, id).is_none() {
            if arrivals.changed().await.is_err() {
                // The index lives as long as we do.
                std::future::pending::<()>().await;
            }
        }
    }
}
