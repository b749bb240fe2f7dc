//! Connection strings: `HostName=…;SharedAccessKeyName=…;SharedAccessKey=…` (O §1.4).

use std::fmt;

use model::{BadKey, SymmetricKey};
use thiserror::Error;

/// The longest connection string we look at, in bytes.
const MAX_TEXT_BYTES: usize = 4 * 1024;

const HOST_NAME: &str = "HostName";
const KEY_NAME: &str = "SharedAccessKeyName";
const KEY: &str = "SharedAccessKey";

/// What stands for a key that is not shown.
pub const MASK: &str = "****";

/// Where a shared access policy opens, its name and one of its keys.
///
/// `Debug` prints no key; [`ConnectionString::reveal`] prints all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// The host, with a port if one was given.
    pub host_name: String,
    /// The policy's name.
    pub key_name: String,
    /// The policy's key.
    pub key: SymmetricKey,
}

/// What a connection string opens; named in complaints as the vendor's CLI names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// The provisioning service.
    Service,
    /// A hub.
    Hub,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Service => "IoT DPS",
            Self::Hub => "IoT Hub",
        })
    }
}

/// Why a text is not a connection string. Never holds the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BadConnectionString {
    /// A part is missing or empty.
    #[error("{0} connection string has missing property: {1}")]
    Missing(Target, &'static str),
    /// A part is there more than once.
    #[error("{0} connection string has {1} more than once")]
    Repeated(Target, &'static str),
    /// The key is not one.
    #[error("{0} connection string has a bad SharedAccessKey: {1}")]
    Key(Target, BadKey),
    /// The text is longer than any connection string.
    #[error("{0} connection string is longer than {MAX_TEXT_BYTES} bytes")]
    TooLong(Target),
}

impl ConnectionString {
    /// Parses a connection string. Names of parts compare without case, their order is free,
    /// unknown parts are ignored, white space around parts as well.
    ///
    /// # Errors
    /// [`BadConnectionString`], in the words of the vendor's CLI where it has some (O §4.3).
    pub fn parse(text: &str, target: Target) -> Result<Self, BadConnectionString> {
        let parsed = Masked::parse(text, target)?;
        let key = part(text, KEY, target)?;
        Ok(Self {
            host_name: parsed.host_name,
            key_name: parsed.key_name,
            key: parse_key(key, target)?,
        })
    }

    /// The connection string, key included: for the one who asked for it and nobody else.
    #[must_use]
    pub fn reveal(&self) -> String {
        let Self { host_name, key_name, key } = self;
        format!("{HOST_NAME}={host_name};{KEY_NAME}={key_name};{KEY}={}", key.reveal())
    }
}

/// A connection string whose key may be left out or masked, as answers show it (O §0.17).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Masked {
    /// The host, with a port if one was given.
    pub host_name: String,
    /// The policy's name.
    pub key_name: String,
    /// The policy's key, unless it is masked or not there.
    pub key: Option<SymmetricKey>,
}

impl Masked {
    /// Parses a connection string as [`ConnectionString::parse`] does, but takes one without a
    /// key, or with [`MASK`] for one.
    ///
    /// # Errors
    /// [`BadConnectionString`]
    pub fn parse_maskable(text: &str, target: Target) -> Result<Self, BadConnectionString> {
        let parsed = Self::parse(text, target)?;
        match part(text, KEY, target) {
            Ok(MASK) | Err(BadConnectionString::Missing(..)) => Ok(parsed),
            Ok(key) => Ok(Self { key: Some(parse_key(key, target)?), ..parsed }),
            Err(bad) => Err(bad),
        }
    }

    fn parse(text: &str, target: Target) -> Result<Self, BadConnectionString> {
        if text.len() > MAX_TEXT_BYTES {
            return Err(BadConnectionString::TooLong(target));
        }
        Ok(Self {
            host_name: part(text, HOST_NAME, target)?.to_owned(),
            key_name: part(text, KEY_NAME, target)?.to_owned(),
            key: None,
        })
    }
}

/// The connection string with [`MASK`] for its key.
#[must_use]
pub fn masked(host_name: &str, key_name: &str) -> String {
    format!("{HOST_NAME}={host_name};{KEY_NAME}={key_name};{KEY}={MASK}")
}

/// The value of a part, which must be there once.
fn part<'a>(
    text: &'a str,
    wanted: &'static str,
    target: Target,
) -> Result<&'a str, BadConnectionString> {
    let mut found = text.split(';').filter_map(|part| {
        let (name, value) = part.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then_some(value.trim())
    });
    match (found.next().filter(|value| !value.is_empty()), found.next()) {
        (None, _) => Err(BadConnectionString::Missing(target, wanted)),
        (Some(_), Some(_)) => Err(BadConnectionString::Repeated(target, wanted)),
        (Some(value), None) => Ok(value),
    }
}

fn parse_key(text: &str, target: Target) -> Result<SymmetricKey, BadConnectionString> {
    SymmetricKey::parse(text).map_err(|bad| BadConnectionString::Key(target, bad))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY_TEXT: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn parse(text: &str) -> Result<ConnectionString, String> {
        ConnectionString::parse(text, Target::Service).map_err(|bad| bad.to_string())
    }

    #[test]
    fn parts_come_in_any_order_and_case_and_with_a_port() {
        let text = format!(
            "sharedaccesskey={KEY_TEXT};X=y; hostname = localhost:8443 ;SHAREDACCESSKEYNAME=owner;"
        );
        let parsed = parse(&text).expect("legal");
        assert_eq!(
            parsed.reveal(),
            format!("HostName=localhost:8443;SharedAccessKeyName=owner;SharedAccessKey={KEY_TEXT}")
        );
        assert_eq!(parse(&parsed.reveal()), Ok(parsed));
    }

    #[test]
    fn a_masked_or_missing_key_is_none_and_any_other_must_be_one() {
        let parse = |text: &str| Masked::parse_maskable(text, Target::Hub);
        let shown = masked("hub.example.test:8443", "owner");
        let parsed = parse(&shown).expect("legal");
        assert_eq!(parsed.host_name, "hub.example.test:8443");
        assert_eq!((parsed.key_name.as_str(), parsed.key), ("owner", None));
        assert_eq!(parse("HostName=h;SharedAccessKeyName=o").expect("legal").key, None);
        let whole = format!("HostName=h;SharedAccessKeyName=o;SharedAccessKey={KEY_TEXT}");
        assert!(parse(&whole).expect("legal").key.is_some());
        assert!(parse("HostName=h;SharedAccessKeyName=o;SharedAccessKey=***").is_err());
        assert!(parse("SharedAccessKeyName=o").is_err());
        assert!(ConnectionString::parse(&shown, Target::Hub).is_err());
    }

    #[test]
    fn debug_prints_no_key() {
        let text = format!("HostName=h;SharedAccessKeyName=o;SharedAccessKey={KEY_TEXT}");
        let printed = format!("{:?}", parse(&text).expect("legal"));
        assert!(!printed.contains("MDEy"), "{printed}");
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_vendors_cli() {
        let check = |text: &str, message: &str| {
            assert_eq!(parse(text).expect_err(text), message, "{text}");
        };
        check("", "IoT DPS connection string has missing property: HostName");
        check("HostName=h", "IoT DPS connection string has missing property: SharedAccessKeyName");
        check(
            "HostName=h;SharedAccessKeyName=o;SharedAccessKey=",
            "IoT DPS connection string has missing property: SharedAccessKey",
        );
        check(
            "HostName=h;HostName=i;SharedAccessKeyName=o;SharedAccessKey=x",
            "IoT DPS connection string has HostName more than once",
        );
        check(
            "HostName=h;SharedAccessKeyName=o;SharedAccessKey=????",
            "IoT DPS connection string has a bad SharedAccessKey: a symmetric key must be base64",
        );
        assert_eq!(
            ConnectionString::parse("x", Target::Hub).expect_err("bad").to_string(),
            "IoT Hub connection string has missing property: HostName"
        );
        assert!(parse(&"x".repeat(5000)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics(text: String) {
            let _ = parse(&text);
        }
    }
}
