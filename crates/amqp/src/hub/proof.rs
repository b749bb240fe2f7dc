//! Who attaches a device's first link, and what shows it (H §4.3.2, §4.3.3).
//!
//! In this order: a token of the device's own that the connection was shown, a policy's token, the
//! password of the SASL layer, the client certificate. Whether any of it is good is decided when
//! the device connects.

use model::{DeviceId, Evidence, HubName, SasToken};
use thiserror::Error;

use crate::{
    address::without_port,
    cbs::Held,
    driver::Shared,
    sasl::{Login, payload::PlainUser},
};

/// What shows who attaches.
pub(super) struct Proof {
    pub(super) hub: HubName,
    pub(super) evidence: Evidence,
    /// The token's number, of those that the connection was shown; 0 for anything else.
    pub(super) number: u64,
    /// Whether it was good before.
    pub(super) was_accepted: bool,
}

/// Why nothing shows it. The device hears that it is not authorized; this is for the log.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NoProof {
    #[error("no token of it was shown on this connection, and no certificate")]
    Nothing,
    #[error("neither its address nor the connection names a hub")]
    NoHub,
    #[error("what was shown on this connection is for another hub")]
    OtherHub,
    #[error("the password is for somebody else")]
    OtherUser,
    #[error("the password is no token: {0}")]
    NoToken(#[from] wire::sas::BadToken),
}

/// Finds it. `host` is that of the link's address, if it names one.
pub(super) fn find(
    shared: &Shared,
    host: Option<&str>,
    device_id: &DeviceId,
) -> Result<Proof, NoProof> {
    let asked = host.map(|host| HubName::parse(host).map_err(|_| NoProof::NoHub)).transpose()?;
    if let Some(Held { hub, token, number }) = shared.tokens.device(device_id, asked.as_ref()) {
        let evidence = Evidence::Sas(token);
        return Ok(Proof { hub, evidence, number, was_accepted: true });
    }
    if let Login::Plain { user, password } = &shared.login {
        let token = wire::sas::parse(password.text())?;
        return by_password(user, token, asked.as_ref(), device_id);
    }
    if shared.peer.client_chain.is_empty() {
        return Err(match shared.tokens.device(device_id, None) {
            Some(_) => NoProof::OtherHub,
            None => NoProof::Nothing,
        });
    }
    let names = [shared.hostname.get(), shared.peer.server_name.as_ref()];
    let named =
        || names.into_iter().flatten().find_map(|name| HubName::parse(without_port(name)).ok());
    let hub = asked.or_else(named).ok_or(NoProof::NoHub)?;
    let evidence = Evidence::X509(shared.peer.client_chain.clone());
    Ok(Proof { hub, evidence, number: 0, was_accepted: false })
}

/// The user name has only the first label of the hub's name; the token has all of it.
fn by_password(
    user: &str,
    token: SasToken,
    asked: Option<&HubName>,
    device_id: &DeviceId,
) -> Result<Proof, NoProof> {
    let label = match PlainUser::parse(user) {
        Ok(PlainUser::Device { device_id: of, hub }) if of == device_id.as_str() => hub,
        Ok(PlainUser::Policy { policy, hub }) if token.key_name.as_deref() == Some(policy) => hub,
        _ => return Err(NoProof::OtherUser),
    };
    let bare = token.resource.split_once("://").map_or(&*token.resource, |(_, rest)| rest);
    let host = bare.split('/').next().unwrap_or_default();
    let hub = HubName::parse(without_port(host)).map_err(|_| NoProof::NoHub)?;
    let first = hub.as_str().split('.').next().unwrap_or_default();
    let is_meant = label.eq_ignore_ascii_case(first) || label.eq_ignore_ascii_case(hub.as_str());
    if !is_meant || asked.is_some_and(|asked| *asked != hub) {
        return Err(NoProof::OtherHub);
    }
    Ok(Proof { hub, evidence: Evidence::Sas(token), number: 0, was_accepted: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SR: &str = "hub-1.example.test/devices/dev1";

    #[track_caller]
    fn check(
        user: &str,
        (sr, policy): (&str, Option<&str>),
        asked: Option<&str>,
        expected: Result<(), NoProof>,
    ) {
        let token = SasToken {
            resource_raw: sr.to_owned(),
            resource: sr.to_owned(),
            expiry_raw: "1".to_owned(),
            expiry_unix_secs: 1,
            signature: Vec::new(),
            key_name: policy.map(str::to_owned),
        };
        let asked = asked.map(|host| HubName::parse(host).expect("legal"));
        let id = DeviceId::parse("dev1").expect("legal");
        let found = by_password(user, token, asked.as_ref(), &id);
        let expected = expected.map(|()| "hub-1.example.test".to_owned());
        assert_eq!(found.map(|proof| proof.hub.to_string()), expected, "{user}");
    }

    #[test]
    fn a_password_is_for_the_device_and_the_hub_of_its_user_name() {
        check("dev1@sas.hub-1", (SR, None), None, Ok(()));
        check("dev1@sas.HUB-1", (SR, None), Some("hub-1.example.test"), Ok(()));
        check("dev1@sas.hub-1.example.test", (SR, None), None, Ok(()));
        check("dev2@sas.hub-1", (SR, None), None, Err(NoProof::OtherUser));
        check("dev1@sas.hub-2", (SR, None), None, Err(NoProof::OtherHub));
        check("dev1@sas.hub-1", (SR, None), Some("hub-2.example.test"), Err(NoProof::OtherHub));
        check("dev1@sas.hub-1", ("hub", None), None, Err(NoProof::NoHub));
    }

    #[test]
    fn a_policys_password_names_its_policy() {
        let hub = ("hub-1.example.test", Some("device"));
        check("device@sas.root.hub-1", hub, None, Ok(()));
        check("iothubowner@sas.root.hub-1", hub, None, Err(NoProof::OtherUser));
        check("device@sas.root.hub-1", (SR, None), None, Err(NoProof::OtherUser));
        check("0ne00000001/registrations/dev1", hub, None, Err(NoProof::OtherUser));
    }
}
