//! User names: who connects, and to what. No part of them is proven.

use thiserror::Error;

use super::query;

/// The longest user name that is taken, in bytes.
pub const MAX_USER_NAME_BYTES: usize = 8 * 1024;

/// Who connects, by its user name. The first segment tells where to: a hub's name has a dot, an ID
/// scope has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UserName {
    /// To provisioning (D §2.1).
    Provisioning(ProvisioningUser),
    /// To a hub (H §4.2.1).
    Hub(HubUser),
}

/// `{idScope}/registrations/{registrationId}/api-version={v}[&ClientVersion={v}]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvisioningUser {
    /// The ID scope as written; never empty, without a dot or a slash.
    pub id_scope: String,
    /// The registration ID as written; never empty, without a slash.
    pub registration_id: String,
    /// `api-version`, decoded.
    pub api_version: Option<String>,
    /// `ClientVersion`, decoded: what the client says of itself.
    pub client_version: Option<String>,
}

/// `{host}/{deviceId}[/{moduleId}][/][?api-version={v}&…]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubUser {
    /// The hub's name in lower case, without a port; never empty, with a dot.
    pub host: String,
    /// The device ID as written; never empty, without a slash.
    pub device_id: String,
    /// The module ID as written; never empty, without a slash.
    pub module_id: Option<String>,
    /// `api-version`, decoded.
    pub api_version: Option<String>,
    /// `DeviceClientType`, decoded: what the client says of itself.
    pub client_type: Option<String>,
    /// `model-id`, decoded: which model the device follows.
    pub model_id: Option<String>,
    /// `auth-chain`, decoded: the gateways a device connects through.
    pub auth_chain: Option<String>,
}

/// Why a user name says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadUserName {
    /// It has more than [`MAX_USER_NAME_BYTES`].
    #[error("{0} bytes, 8192 are allowed")]
    TooLong(usize),
    /// It begins with neither an ID scope nor a host.
    #[error("it begins with neither an ID scope nor a hub's name")]
    NoScopeOrHost,
    /// After an ID scope something else stands than `registrations`.
    #[error("after the ID scope `registrations` must follow")]
    NoRegistrations,
    /// After `registrations` stands no registration ID.
    #[error("there is no registration ID")]
    NoRegistrationId,
    /// After a host stands no device ID.
    #[error("there is no device ID")]
    NoDeviceId,
    /// After a device ID an empty module ID stands.
    #[error("the module ID is empty")]
    NoModuleId,
    /// After a device's and a module's ID more segments stand.
    #[error("there are more segments than a device ID and a module ID")]
    TooManySegments,
}

impl UserName {
    /// Takes a user name apart.
    ///
    /// Only the values after the IDs are percent-decoded, because IDs are sent as they are. One
    /// with an illegal escape stays as written: it names a client, not who it is, and an
    /// api-version with one is none that exists. Of a key that stands there twice the first
    /// counts; unknown keys are passed over.
    ///
    /// # Errors
    /// [`BadUserName`] says what is missing. Whether the IDs are legal is not looked at.
    ///
    /// Source: D §2.1, H §4.2.1.
    pub fn parse(text: &str) -> Result<Self, BadUserName> {
        if text.len() > MAX_USER_NAME_BYTES {
            return Err(BadUserName::TooLong(text.len()));
        }
        let first = text.split('/').next().unwrap_or_default();
        // A short form may have its query right after the device ID, never before it.
        match first {
            "" => Err(BadUserName::NoScopeOrHost),
            host if host.contains('.') => parse_hub(text).map(Self::Hub),
            _ => parse_provisioning(text).map(Self::Provisioning),
        }
    }
}

fn parse_provisioning(text: &str) -> Result<ProvisioningUser, BadUserName> {
    let mut segments = text.splitn(4, '/');
    let id_scope = segments.next().unwrap_or_default();
    if !segments.next().is_some_and(|word| word.eq_ignore_ascii_case("registrations")) {
        return Err(BadUserName::NoRegistrations);
    }
    let registration_id = segments.next().filter(|id| !id.is_empty());
    let tail = segments.next().unwrap_or_default();
    Ok(ProvisioningUser {
        id_scope: id_scope.to_owned(),
        registration_id: registration_id.ok_or(BadUserName::NoRegistrationId)?.to_owned(),
        api_version: value(tail, "api-version"),
        client_version: value(tail, "ClientVersion"),
    })
}

fn parse_hub(text: &str) -> Result<HubUser, BadUserName> {
    // A device ID may hold a question mark but no slash, so `/?` is looked for first.
    let cut =
        text.find("/?").map(|at| (at, at + 2)).or_else(|| text.find('?').map(|at| (at, at + 1)));
    let (path, query) = match cut {
        Some((path_end, query_start)) => (&text[..path_end], &text[query_start..]),
        None => (text, ""),
    };
    let mut segments = path.strip_suffix('/').unwrap_or(path).split('/');
    let host = segments.next().map(without_port).unwrap_or_default();
    if !host.contains('.') {
        return Err(BadUserName::NoScopeOrHost);
    }
    let device_id = segments.next().filter(|id| !id.is_empty()).ok_or(BadUserName::NoDeviceId)?;
    let module_id = segments.next();
    if module_id.is_some_and(str::is_empty) {
        return Err(BadUserName::NoModuleId);
    }
    if segments.next().is_some() {
        return Err(BadUserName::TooManySegments);
    }
    Ok(HubUser {
        host: host.to_ascii_lowercase(),
        device_id: device_id.to_owned(),
        module_id: module_id.map(str::to_owned),
        api_version: value(query, "api-version"),
        client_type: value(query, "DeviceClientType"),
        model_id: value(query, "model-id"),
        auth_chain: value(query, "auth-chain"),
    })
}

/// Clients that were told a port with the host's name leave it there (H §4.2.1).
fn without_port(host: &str) -> &str {
    match host.split_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn value(query: &str, key: &str) -> Option<String> {
    query::raw(query, key).map(|raw| query::decoded(raw).into_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check_provisioning(
        text: &str,
        ids: (&str, &str),
        api_version: Option<&str>,
        client_version: Option<&str>,
    ) {
        let user = ProvisioningUser {
            id_scope: ids.0.to_owned(),
            registration_id: ids.1.to_owned(),
            api_version: api_version.map(str::to_owned),
            client_version: client_version.map(str::to_owned),
        };
        assert_eq!(UserName::parse(text), Ok(UserName::Provisioning(user)), "{text}");
    }

    #[track_caller]
    fn check_hub(text: &str, host: &str, device_id: &str, more: HubUser) {
        let user = HubUser { host: host.to_owned(), device_id: device_id.to_owned(), ..more };
        assert_eq!(UserName::parse(text), Ok(UserName::Hub(user)), "{text}");
    }

    fn nothing_more() -> HubUser {
        HubUser {
            host: String::new(),
            device_id: String::new(),
            module_id: None,
            api_version: None,
            client_type: None,
            model_id: None,
            auth_chain: None,
        }
    }

    fn version(text: &str) -> HubUser {
        HubUser { api_version: Some(text.to_owned()), ..nothing_more() }
    }

    #[test]
    fn each_clients_way_to_provisioning_is_understood() {
        let ids = ("0ne00ABCDEF", "dev-1");
        for (tail, api_version, client_version) in [
            (
                "api-version=2019-03-31&ClientVersion=azure-iot-device-provisioning-py%2F2.14.0%28x%29",
                Some("2019-03-31"),
                Some("azure-iot-device-provisioning-py/2.14.0(x)"),
            ),
            ("api-version=2021-06-01&ClientVersion=1.15.0", Some("2021-06-01"), Some("1.15.0")),
            (
                "api-version=2019-03-31&ClientVersion=2019-03-31",
                Some("2019-03-31"),
                Some("2019-03-31"),
            ),
            ("api-version=2019-03-31", Some("2019-03-31"), None),
            ("ClientVersion=c/1/2&api-version=2019%2D03-31&x=y", Some("2019-03-31"), Some("c/1/2")),
            ("api-version=1&ClientVersion=100%", Some("1"), Some("100%")),
            ("api-version=1&api-version=2", Some("1"), None),
            ("api-version", Some(""), None),
            ("", None, None),
            // There is no question mark in this one (D §2.1).
            ("?api-version=2019-03-31", None, None),
        ] {
            let text = format!("0ne00ABCDEF/registrations/dev-1/{tail}");
            check_provisioning(&text, ids, api_version, client_version);
        }
    }

    #[test]
    fn ids_are_taken_as_they_are() {
        check_provisioning("S/Registrations/A:b.c%2F_-/", ("S", "A:b.c%2F_-"), None, None);
        check_provisioning("S/REGISTRATIONS/d", ("S", "d"), None, None);
        check_hub("h.x/A:b%2F!'", "h.x", "A:b%2F!'", nothing_more());
        check_hub("h.x/dev?ice/?api-version=1", "h.x", "dev?ice", version("1"));
    }

    #[test]
    fn each_clients_way_to_a_hub_is_understood() {
        let host = "hub-1.example.net";
        for text in [
            "hub-1.example.net/dev-1/?api-version=1",
            "hub-1.example.net/dev-1?api-version=1",
            "HUB-1.Example.net/dev-1/?api-version=1",
            "hub-1.example.net:8883/dev-1/?api-version=1",
            "hub-1.example.net/dev-1/?unknown&api-version=1&api-version=2",
        ] {
            check_hub(text, host, "dev-1", version("1"));
        }
        for text in ["hub-1.example.net/dev-1", "hub-1.example.net/dev-1/"] {
            check_hub(text, host, "dev-1", nothing_more());
        }
        let all = HubUser {
            module_id: Some("mod".to_owned()),
            client_type: Some("py-azure/2.0 (a;b)".to_owned()),
            model_id: Some("dtmi:com:x;1".to_owned()),
            auth_chain: Some("a;b".to_owned()),
            ..version("2021-04-12")
        };
        let text = "hub-1.example.net/dev-1/mod/?api-version=2021-04-12\
            &DeviceClientType=py-azure%2F2.0%20%28a%3Bb%29&model-id=dtmi%3Acom%3Ax%3B1\
            &auth-chain=a%3Bb";
        check_hub(text, host, "dev-1", all);
    }

    #[test]
    fn a_user_name_that_says_nothing_says_why() {
        use BadUserName::*;
        for (text, why) in [
            ("", NoScopeOrHost),
            ("/registrations/d/api-version=1", NoScopeOrHost),
            ("0ne", NoRegistrations),
            ("0ne/devices/d/api-version=1", NoRegistrations),
            ("0ne/registrations", NoRegistrationId),
            ("0ne/registrations//api-version=1", NoRegistrationId),
            ("h.x", NoDeviceId),
            ("h.x/", NoDeviceId),
            ("h.x?api-version=1", NoDeviceId),
            ("h.x//m", NoDeviceId),
            ("h.x/?api-version=1", NoDeviceId),
            ("h.x/d//", NoModuleId),
            ("h.x/d/m/n", TooManySegments),
            // The dot is in the query, so there is no host.
            ("h?x.y/d", NoScopeOrHost),
        ] {
            assert_eq!(UserName::parse(text), Err(why), "{text}");
        }
        let long = format!("0ne/registrations/d/x={}", "a".repeat(MAX_USER_NAME_BYTES));
        assert_eq!(UserName::parse(&long), Err(TooLong(long.len())));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[a-zA-Z.:/?&=%\\PC]{0,60}") {
            let _ = UserName::parse(&text);
        }

        #[test]
        fn what_a_client_writes_is_what_is_read(
            scope in "[a-zA-Z0-9]{1,11}",
            id in "[a-zA-Z0-9._:-]{1,128}",
            version in "\\PC{0,30}",
        ) {
            let escaped = wire::percent::encode(&version);
            let text = format!("{scope}/registrations/{id}/api-version={escaped}");
            let user = ProvisioningUser {
                id_scope: scope.clone(),
                registration_id: id.clone(),
                api_version: Some(version.clone()),
                client_version: None,
            };
            prop_assert_eq!(UserName::parse(&text), Ok(UserName::Provisioning(user)));
            let text = format!("{scope}.net/{id}/?DeviceClientType={escaped}");
            let user = HubUser {
                host: format!("{}.net", scope.to_ascii_lowercase()),
                device_id: id,
                client_type: Some(version),
                ..nothing_more()
            };
            prop_assert_eq!(UserName::parse(&text), Ok(UserName::Hub(user)));
        }
    }
}
