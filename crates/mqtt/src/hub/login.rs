//! From a CONNECT to who asks for what (H §4.2.1).

use app::device::{Connecting, Earlier, EventDraft};
use model::{DeviceId, Evidence, HubName, ModuleId, ids::BadId};
use thiserror::Error;
use tracing::info;
use wire::sas::BadToken;

use super::event;
use crate::{
    door::{Caller, one_line},
    proto::Will,
    topic::{HubRequest, HubUser},
};

/// A CONNECT that says what it should.
pub(super) struct Login {
    pub(super) connecting: Connecting,
    pub(super) will: Option<Box<EventDraft>>,
}

/// Why a CONNECT does not. The client hears 5 in every case (H §4.2.3). Never holds a secret.
#[derive(Debug, Error)]
pub(super) enum BadLogin {
    #[error("the user name's host is not a hub's name: {0}")]
    Hub(BadId),
    #[error("the user name's device ID is illegal: {0}")]
    Device(BadId),
    #[error("the user name's module ID is illegal: {0}")]
    Module(BadId),
    #[error("the client identifier is not who the user name says, `device` or `device/module`")]
    ClientId,
    #[error("the password is not text")]
    Password,
    #[error("the password is not a token: {0}")]
    Token(#[from] BadToken),
}

/// Reads a CONNECT. Takes the certificates; a password wins over them, as a token does over HTTPS.
pub(super) fn read(caller: &mut Caller, user: &HubUser) -> Result<Login, BadLogin> {
    let hub = HubName::parse(&user.host).map_err(BadLogin::Hub)?;
    let device_id = device_of(user)?;
    // A module's is `device/module` (H §4.2.1), which is how it is called here as well.
    if caller.connect.client_id.as_str() != device_id.as_str() {
        return Err(BadLogin::ClientId);
    }
    let evidence = match caller.password() {
        Some(password) => Evidence::Sas(wire::sas::parse(password.ok_or(BadLogin::Password)?)?),
        None => match std::mem::take(&mut caller.peer.client_chain) {
            chain if chain.is_empty() => Evidence::Nothing,
            chain => Evidence::X509(chain),
        },
    };
    let will = caller.connect.will.as_ref().and_then(|will| read_will(will, &device_id));
    let earlier = match caller.connect.clean_session {
        true => Earlier::Forgotten,
        false => Earlier::Restored,
    };
    let address = caller.peer.address.ip();
    let connecting = Connecting { hub, device_id, evidence, address, earlier };
    Ok(Login { connecting, will })
}

/// Who the user name says: a device or a module.
fn device_of(user: &HubUser) -> Result<DeviceId, BadLogin> {
    let device_id = DeviceId::parse(&user.device_id).map_err(BadLogin::Device)?;
    match &user.module_id {
        None => Ok(device_id),
        Some(module_id) => {
            let module_id = ModuleId::parse(module_id).map_err(BadLogin::Module)?;
            Ok(DeviceId::of_module(&device_id, &module_id))
        }
    }
}

/// The device's will. One for a topic that is not the device's own is forgotten: the sources are
/// silent, and a device that cannot connect for it is worse off than one without a will.
fn read_will(will: &Will, device_id: &DeviceId) -> Option<Box<EventDraft>> {
    if let HubRequest::Telemetry { bag } = HubRequest::of(&will.topic, device_id)
        && let Ok(draft) = event::draft(bag, &will.payload, will.retain)
    {
        return Some(Box::new(draft));
    }
    let topic = one_line(&will.topic);
    info!(device.id = %device_id, "the will of `{device_id}` is ignored: `{topic}` is not its own");
    None
}
