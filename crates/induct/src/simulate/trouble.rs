//! Why a device did not get what it wanted.

use std::{error::Error, fmt};

use mqtt::proto::ConnectRefusal;

use crate::{client::ClientError, device_link::DeviceLinkError};

/// Why a device did not get what it wanted, in a line without names or tracking IDs, so that the
/// same trouble of many devices reads the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// The server understood and said no: asking again leads to the same answer.
    Refused(String),
    /// Anything else, such as a network that breaks: it may be otherwise in a moment.
    Failed(String),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(text) | Self::Failed(text)) = self;
        f.write_str(text)
    }
}

impl Error for Trouble {}

impl Trouble {
    /// With all its causes.
    pub(super) fn failed(error: &dyn Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Failed(text)
    }
}

impl From<ClientError> for Trouble {
    fn from(error: ClientError) -> Self {
        Self::failed(&error)
    }
}

impl From<DeviceLinkError> for Trouble {
    fn from(error: DeviceLinkError) -> Self {
        match error {
            // “Not now”: the one refusal that says nothing about the device.
            DeviceLinkError::Refused(ConnectRefusal::ServerUnavailable) => Self::failed(&error),
            DeviceLinkError::Refused(code) => Self::Refused(format!(
                "the connection was refused (CONNACK {}: {code:?})",
                code as u8
            )),
            error => Self::failed(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn not_now_is_no_refusal_of_the_device() {
        let told = |code| Trouble::from(DeviceLinkError::Refused(code));
        assert!(matches!(told(ConnectRefusal::ServerUnavailable), Trouble::Failed(_)));
        let text = "the connection was refused (CONNACK 5: NotAuthorized)";
        assert_eq!(told(ConnectRefusal::NotAuthorized), Trouble::Refused(text.to_owned()));
    }

    #[test]
    fn a_failure_tells_its_causes() {
        let broken = DeviceLinkError::Broken(io::Error::other("cable pulled"));
        assert_eq!(Trouble::from(broken).to_string(), "the connection broke: cable pulled");
    }
}
