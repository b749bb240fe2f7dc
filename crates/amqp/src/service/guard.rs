//! Who may use the service side of a hub: whoever holds the key of a policy with ServiceConnect
//! (H §2.2), shown as a token on the token links or as the password of SASL PLAIN (H §4.3.2).
//!
//! Nothing of it is remembered. Each message asks again, so a policy that changed, a token that
//! expired and an IP rule take effect at once, and what is asked counts as it does over HTTPS.

use std::sync::Arc;

use app::No;
use model::{HubName, HubRefusal, Right, SasToken, Timestamp};

use crate::{
    address::without_port,
    door::one_line,
    driver::Shared,
    sasl::{Login, payload::PlainUser},
};

/// Watches over one link.
#[derive(Clone)]
pub(super) struct Guard {
    shared: Arc<Shared>,
    hub: HubName,
    path: Arc<[String]>,
}

/// What a guard comes back with: until when the token is good.
pub(super) type Checked = Result<Timestamp, No<HubRefusal>>;

impl Guard {
    /// For a link to this path. The hub is the one that its address names; without one, the one
    /// that a token was shown for, that the client opened the connection to, or that TLS was asked
    /// for.
    pub(super) async fn find(
        shared: &Arc<Shared>,
        host: Option<&str>,
        path: &[&str],
    ) -> Result<Self, No<HubRefusal>> {
        let of_token = shared.tokens.service_hub().or_else(|| password_of(shared)?.hub());
        let opened = shared.hostname.get().map(String::as_str);
        let asked = shared.peer.server_name.as_deref();
        let hosts = match host {
            Some(host) => [Some(host), None, None],
            None => [of_token.as_ref().map(HubName::as_str), opened, asked],
        };
        for host in hosts.into_iter().flatten() {
            if let Some(hub) = shared.app.find_hub(host).await? {
                let path = path.iter().map(|segment| (*segment).to_owned()).collect();
                return Ok(Self { shared: Arc::clone(shared), hub, path });
            }
        }
        let named = hosts.into_iter().flatten().next().unwrap_or_default();
        Err(No::Refused(HubRefusal::HubNotFound(one_line(named))))
    }

    pub(super) const fn hub(&self) -> &HubName {
        &self.hub
    }

    /// Whether something may be done that counts as a call.
    pub(super) async fn admit(&self) -> Checked {
        self.shared.app.admit_to_hub(self.shared.peer.address.ip()).await?;
        self.check().await
    }

    /// Whether the link may stay.
    pub(super) async fn check(&self) -> Checked {
        let Some(token) = self.token() else {
            let why = "no token for the service side of this hub was shown";
            return Err(No::Refused(HubRefusal::Unauthorized(why.to_owned())));
        };
        let (app, address) = (&self.shared.app, self.shared.peer.address.ip());
        app.authorize_hub(&self.hub, &token, &self.path, Right::ServiceConnect, address).await?;
        let skew = app.settings().register.attest.clock_skew_secs;
        Ok(Timestamp::from_unix_secs(token.expiry_unix_secs.saturating_add(skew)))
    }

    /// The latest token that was shown for this hub.
    fn token(&self) -> Option<SasToken> {
        self.shared.tokens.service(&self.hub).or_else(|| {
            let password = password_of(&self.shared)?;
            (password.hub().as_ref() == Some(&self.hub)).then_some(password.token)
        })
    }
}

/// The password of a policy's user name.
struct Password<'a> {
    /// What the user name calls the hub: the first label of its name, or all of it.
    label: &'a str,
    token: SasToken,
}

fn password_of(shared: &Shared) -> Option<Password<'_>> {
    let Login::Plain { user, password } = &shared.login else { return None };
    let Ok(PlainUser::Policy { policy, hub }) = PlainUser::parse(user) else { return None };
    let token = wire::sas::parse(password.text()).ok()?;
    let is_of_policy = token.key_name.as_deref() == Some(policy);
    is_of_policy.then_some(Password { label: hub, token })
}

impl Password<'_> {
    /// The hub that the token is for, if the user name means the same.
    fn hub(&self) -> Option<HubName> {
        let resource = &*self.token.resource;
        let bare = resource.split_once("://").map_or(resource, |(_, rest)| rest);
        let host = bare.split('/').next().unwrap_or_default();
        let hub = HubName::parse(without_port(host)).ok()?;
        let full = hub.as_str();
        let first = full.split('.').next().unwrap_or(full);
        let is_meant = [first, full].iter().any(|name| name.eq_ignore_ascii_case(self.label));
        is_meant.then_some(hub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_for_the_hub_of_its_user_name() {
        let check = |label: &str, resource: &str, expected: Option<&str>| {
            let token = SasToken {
                resource_raw: resource.to_owned(),
                resource: resource.to_owned(),
                expiry_raw: "1".to_owned(),
                expiry_unix_secs: 1,
                signature: Vec::new(),
                key_name: Some("service".to_owned()),
            };
            let hub = Password { label, token }.hub();
            assert_eq!(hub.as_ref().map(HubName::as_str), expected, "{label} {resource}");
        };
        let hub = Some("hub-1.example.test");
        check("hub-1", "hub-1.example.test", hub);
        check("HUB-1", "https://hub-1.example.test:5671/messages", hub);
        check("hub-1.example.test", "hub-1.example.test", hub);
        check("hub-2", "hub-1.example.test", None);
        check("hub", "hub-1.example.test", None);
        check("hub-1", "", None);
    }
}
