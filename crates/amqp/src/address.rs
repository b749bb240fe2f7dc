//! Where a link leads, as text (D §3.4, H §4.3.4).
//!
//! Clients write addresses relative, with a slash before them, or as a whole URL. Paths compare
//! without regard to letter case, IDs are taken as they are. What deliberately does not live here:
//! whether the IDs are legal and who may attach.

/// The longest address that is looked into, in bytes; three IDs of 128 bytes, each of them escaped,
/// and a host take less.
const MAX_BYTES: usize = 2048;

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `{scope}/registrations/{id}`: provisioning.
    Provisioning {
        /// The ID scope as written; never empty.
        scope: String,
        /// The registration ID, unescaped; never empty.
        registration_id: String,
    },
    /// `$cbs`: tokens.
    Cbs,
    /// `/devices/{id}[/modules/{id}]/…`: one device or module.
    Device {
        /// The host of a whole URL, in lower case and without its port.
        host: Option<String>,
        /// The device ID, unescaped; never empty.
        device_id: String,
        /// The module ID, unescaped; never empty.
        module_id: Option<String>,
        /// What of it.
        resource: DeviceResource,
    },
    /// `/messages/devicebound`: where a service sends messages for devices.
    MessagesDevicebound {
        /// As of [`Address::Device`].
        host: Option<String>,
    },
    /// `/messages/serviceBound/feedback`: what became of them.
    Feedback {
        /// As of [`Address::Device`].
        host: Option<String>,
    },
    /// `/messages/serviceBound/filenotifications`: uploaded files, of which there are none.
    FileNotifications {
        /// As of [`Address::Device`].
        host: Option<String>,
    },
    /// Anything else, as written, but no more of it than a line of a log may hold.
    Other(String),
}

/// What of a device a link is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DeviceResource {
    /// `messages/events`: what the device sends. What a module receives there are its inputs.
    Events,
    /// `messages/devicebound`: what is sent to it.
    Devicebound,
    /// `twin`
    Twin,
    /// `methods/devicebound`
    Methods,
}

/// Which links of a connection belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EndpointKey {
    /// Those of provisioning.
    Provisioning,
    /// The token links.
    Cbs,
    /// Those of one device, by its ID, or of one module, by `device/module`. An ID that holds a
    /// slash, which only an escaped one can, is legal for neither.
    Device(String),
    /// Those of the service side.
    Service,
    /// There is nobody at this address.
    None,
}

impl Address {
    /// Takes an address apart.
    ///
    /// An illegal escape stays as written, because a device ID may hold a `%`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.len() > MAX_BYTES {
            return Self::other(text);
        }
        let (host, path) = split_authority(text);
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut segments = [""; 7];
        let mut n_segments = 0;
        for segment in path.split('/') {
            match segments.get_mut(n_segments) {
                Some(slot) => *slot = segment,
                None => return Self::other(text),
            }
            n_segments += 1;
        }
        let known = match &segments[..n_segments] {
            [cbs] if is(cbs, "$cbs") => Some(Self::Cbs),
            [messages, devicebound]
                if is(messages, "messages") && is(devicebound, "devicebound") =>
            {
                Some(Self::MessagesDevicebound { host })
            }
            [messages, service, what]
                if is(messages, "messages") && is(service, "servicebound") =>
            {
                match *what {
                    feedback if is(feedback, "feedback") => Some(Self::Feedback { host }),
                    files if is(files, "filenotifications") => {
                        Some(Self::FileNotifications { host })
                    }
                    _ => None,
                }
            }
            [devices, id, modules, module_id, rest @ ..]
                if is(devices, "devices") && is(modules, "modules") =>
            {
                device(host, id, Some(module_id), rest)
            }
            [devices, id, rest @ ..] if is(devices, "devices") => device(host, id, None, rest),
            [scope, registrations, id] if is(registrations, "registrations") => {
                (!scope.is_empty() && !id.is_empty()).then(|| Self::Provisioning {
                    scope: (*scope).to_owned(),
                    registration_id: unescaped(id),
                })
            }
            _ => None,
        };
        known.unwrap_or_else(|| Self::other(text))
    }

    /// Who answers it.
    #[must_use]
    pub fn endpoint_key(&self) -> EndpointKey {
        match self {
            Self::Provisioning { .. } => EndpointKey::Provisioning,
            Self::Cbs => EndpointKey::Cbs,
            Self::Device { device_id, module_id: None, .. } => {
                EndpointKey::Device(device_id.clone())
            }
            Self::Device { device_id, module_id: Some(module_id), .. } => {
                EndpointKey::Device(format!("{device_id}/{module_id}"))
            }
            Self::MessagesDevicebound { .. }
            | Self::Feedback { .. }
            | Self::FileNotifications { .. } => EndpointKey::Service,
            Self::Other(_) => EndpointKey::None,
        }
    }

    fn other(text: &str) -> Self {
        Self::Other(crate::door::one_line(text))
    }
}

/// The host of a whole URL, if it is one, and the path.
fn split_authority(text: &str) -> (Option<String>, &str) {
    let rest = ["amqps://", "amqp://"].into_iter().find_map(|scheme| {
        let start = text.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &text[scheme.len()..])
    });
    let Some(rest) = rest else { return (None, text) };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = without_port(authority);
    ((!host.is_empty()).then(|| host.to_ascii_lowercase()), path)
}

/// A host without the port that some clients write behind it (D §3.1).
pub(crate) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

fn device(
    host: Option<String>,
    id: &str,
    module_id: Option<&str>,
    rest: &[&str],
) -> Option<Address> {
    let resource = match rest {
        [messages, events] if is(messages, "messages") && is(events, "events") => {
            DeviceResource::Events
        }
        [messages, bound] if is(messages, "messages") && is(bound, "devicebound") => {
            DeviceResource::Devicebound
        }
        [twin] if is(twin, "twin") => DeviceResource::Twin,
        [methods, bound] if is(methods, "methods") && is(bound, "devicebound") => {
            DeviceResource::Methods
        }
        _ => return None,
    };
    if id.is_empty() || module_id.is_some_and(str::is_empty) {
        return None;
    }
    Some(Address::Device {
        host,
        device_id: unescaped(id),
        module_id: module_id.map(unescaped),
        resource,
    })
}

fn is(segment: &str, word: &str) -> bool {
    segment.eq_ignore_ascii_case(word)
}

fn unescaped(id: &str) -> String {
    wire::percent::decode(id).unwrap_or_else(|_| id.to_owned())
}

#[cfg(test)]
mod tests;
