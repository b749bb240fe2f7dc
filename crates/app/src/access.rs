//! May this operator? Reads the policy a token names and asks `decide::access`.

use std::net::IpAddr;

use decide::access::{self, Audience, Denied};
use model::{
    Caller, HubAccess, HubName, HubRefusal, OperatorRefusal, PolicyScope, Right, SasToken,
};
use store::StoreFault;

use crate::{App, No};

impl App {
    /// Lets an operator in to the provisioning service.
    ///
    /// `addressed` is the host name the request was sent to (its `Host` header): a token may be
    /// for that name or for any configured one. `path` is the requested path, decoded; `address`
    /// is the caller's.
    ///
    /// # Errors
    /// [`OperatorRefusal::Unauthenticated`], [`OperatorRefusal::Forbidden`], or a fault.
    pub async fn authorize_service(
        &self,
        token: &SasToken,
        addressed: &str,
        path: &[String],
        right: Right,
        address: IpAddr,
    ) -> Result<Caller, No<OperatorRefusal>> {
        let mut hosts = self.settings.service_hosts.clone();
        hosts.push(access::without_port(addressed).to_ascii_lowercase());
        let audience = Audience { hosts: &hosts, path };
        self.check_access(token, &PolicyScope::Service, &audience, right, address).await?.map_err(
            |denied| {
                No::Refused(match denied {
                    Denied::Lacks { policy, right } => {
                        OperatorRefusal::Forbidden { policy, right: right.name() }
                    }
                    other => OperatorRefusal::Unauthenticated(explain(&other)),
                })
            },
        )
    }

    /// Lets an operator in to a hub's registry.
    ///
    /// # Errors
    /// [`HubRefusal::Unauthorized`] in every case (H §2.2), or a fault.
    pub async fn authorize_hub(
        &self,
        hub: &HubName,
        token: &SasToken,
        path: &[String],
        right: Right,
        address: IpAddr,
    ) -> Result<Caller, No<HubRefusal>> {
        let hosts = [hub.as_str().to_owned()];
        let audience = Audience { hosts: &hosts, path };
        self.check_access(token, &PolicyScope::Hub(hub.clone()), &audience, right, address)
            .await?
            .map_err(|denied| No::Refused(HubRefusal::Unauthorized(explain(&denied))))
    }

    /// The built-in hub a host name means, with or without port. Remote hubs are not answered for
    /// here.
    ///
    /// # Errors
    /// A fault of the store.
    pub async fn find_hub(&self, host: &str) -> Result<Option<HubName>, StoreFault> {
        let Ok(name) = HubName::parse(access::without_port(host)) else { return Ok(None) };
        // No built-in hub has a name of the service, so most requests need no look at the store.
        if self.settings.service_hosts.iter().any(|host| host == name.as_str()) {
            return Ok(None);
        }
        let hubs = self.store.service_facts().await?.hubs;
        let is_meant =
            |hub: &model::LinkedHub| hub.access == HubAccess::BuiltIn && hub.name == name;
        Ok(hubs.iter().any(is_meant).then_some(name))
    }

    async fn check_access<R>(
        &self,
        token: &SasToken,
        scope: &PolicyScope,
        audience: &Audience<'_>,
        right: Right,
        address: IpAddr,
    ) -> Result<Result<Caller, Denied>, No<R>> {
        let name = token.key_name.as_deref().unwrap_or_default();
        let policy = self.store.find_policy(scope, name).await?;
        let skew = self.settings.register.attest.clock_skew_secs;
        let checked =
            access::check(token, policy.as_ref(), audience, right, self.clock.now(), skew);
        let address = Some(address.to_canonical());
        Ok(checked.map(|()| Caller { policy: name.to_owned(), address }))
    }
}

/// What the operator is told. Whether a policy exists is told to nobody without its key.
fn explain(denied: &Denied) -> String {
    match denied {
        Denied::WrongResource { resource } => format!(
            "the token is for {resource:?}, not for this service; is it made from another \
             service's or hub's connection string?"
        ),
        Denied::Expired => "the token has expired; is the caller's clock right?".to_owned(),
        Denied::BadToken => {
            "no policy of this service has that name and that key; `induct connection-string \
             show` prints one that works"
                .to_owned()
        }
        Denied::Lacks { policy, right } => {
            format!("the policy `{policy}` lacks the right {}", right.name())
        }
    }
}
