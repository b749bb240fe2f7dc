//! Names and how they parse. Each is a type of its own, so that a hub's name cannot be passed
//! where a device's is wanted.

use std::{cmp::Ordering, fmt, hash};

use thiserror::Error;

use crate::hex;

/// The longest id in bytes, for registration IDs, enrollment group IDs and device IDs.
///
/// Source: D §0.2, H §2.4.
pub const MAX_ID_BYTES: usize = 128;

/// Why a text is not an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadId {
    /// The text is empty.
    #[error("an ID must not be empty")]
    Empty,
    /// The text has more bytes than [`MAX_ID_BYTES`].
    #[error("an ID has at most 128 characters, this one has {0}")]
    TooLong(usize),
    /// The first character that is not allowed.
    #[error("character {0:?} is not allowed in an ID")]
    Character(char),
    /// The last character is neither a letter, a digit nor a dash.
    #[error("an ID must end in a letter, a digit or `-`, not in {0:?}")]
    LastCharacter(char),
}

macro_rules! caseless_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name {
            text: Box<str>,
            key: Box<str>,
        }

        impl $name {
            /// Parses an id: 1 to 128 bytes of ASCII letters, digits and `-._:`, the last one a
            /// letter, a digit or `-`.
            ///
            /// # Errors
            /// [`BadId`] names the first offending character, or the length in bytes.
            ///
            /// Source: D §0.2; where the texts disagree we follow the looser one and accept a
            /// dash at the end. See `docs/divergences.md`, "registration ID".
            pub fn parse(text: &str) -> Result<Self, BadId> {
                check_caseless(text)?;
                Ok(Self { text: text.into(), key: text.to_ascii_lowercase().into() })
            }

            /// The id in the spelling it was given in.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.text
            }

            /// The id in lower case: what two spellings of one id share.
            #[must_use]
            pub fn key(&self) -> &str {
                &self.key
            }
        }

        impl PartialEq for $name {
            fn eq(&self, other: &Self) -> bool {
                self.key == other.key
            }
        }

        impl Eq for $name {}

        impl hash::Hash for $name {
            fn hash<H: hash::Hasher>(&self, state: &mut H) {
                self.key.hash(state);
            }
        }

        impl PartialOrd for $name {
            fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
                Some(self.cmp(other))
            }
        }

        impl Ord for $name {
            fn cmp(&self, other: &Self) -> Ordering {
                self.key.cmp(&other.key)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", self.text)
            }
        }
    };
}

caseless_id! {
    /// The name a device registers under: 1 to 128 bytes of ASCII letters, digits and `-._:`.
    ///
    /// Two names that differ only in letter case belong to the same device.
    RegistrationId
}

caseless_id! {
    /// The name of an enrollment group. The same alphabet and length as a registration ID.
    EnrollmentGroupId
}

fn check_caseless(text: &str) -> Result<(), BadId> {
    if text.len() > MAX_ID_BYTES {
        return Err(BadId::TooLong(text.len()));
    }
    for c in text.chars() {
        if !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':')) {
            return Err(BadId::Character(c));
        }
    }
    match text.chars().next_back() {
        None => Err(BadId::Empty),
        Some(c) if c.is_ascii_alphanumeric() || c == '-' => Ok(()),
        Some(c) => Err(BadId::LastCharacter(c)),
    }
}

/// The name of a device in a hub's registry. Letter case matters.
///
/// The registry, the live sessions and the event log keep a module (H §2.8) under a name of its
/// own, `device/module`. No client can give such a name: [`DeviceId::parse`] refuses the slash.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Box<str>);

impl DeviceId {
    /// Parses a device ID: 1 to 128 bytes of ASCII letters, digits and `-.+%_#*?!(),=@$':`.
    ///
    /// # Errors
    /// [`BadId`] names the first offending character, or the length in bytes.
    ///
    /// Source: H §2.4. The colon is in some revisions of the vendor's page only; registration IDs
    /// may hold it, so we accept it.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        check_cased(text)?;
        Ok(Self(text.into()))
    }

    /// Takes a name back from where it was stored: a device's, or `device/module`.
    ///
    /// # Errors
    /// As for [`DeviceId::parse`] and [`ModuleId::parse`].
    pub fn parse_stored(text: &str) -> Result<Self, BadId> {
        match text.split_once(MODULE_MARK) {
            None => Self::parse(text),
            Some((device, module)) => {
                Ok(Self::of_module(&Self::parse(device)?, &ModuleId::parse(module)?))
            }
        }
    }

    /// The name under which a module of `device` is kept. The module of a module is one of the
    /// device's own.
    #[must_use]
    pub fn of_module(device: &Self, module: &ModuleId) -> Self {
        Self(format!("{}{MODULE_MARK}{module}", device.device()).into())
    }

    /// The name as it is kept: the device's ID, for a module `device/module`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The device's ID, for a module that of the device it belongs to.
    #[must_use]
    pub fn device(&self) -> &str {
        self.0.split_once(MODULE_MARK).map_or(&*self.0, |(device, _)| device)
    }

    /// The module's ID, when this is a module.
    #[must_use]
    pub fn module(&self) -> Option<&str> {
        self.0.split_once(MODULE_MARK).map(|(_, module)| module)
    }

    /// The name of the device that a module belongs to, when this is a module.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        self.0.split_once(MODULE_MARK).map(|(device, _)| Self(device.into()))
    }
}

impl DeviceId {
    /// Whether the two differ in letter case only.
    #[must_use]
    pub fn is_same_name(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

/// What stands between device and module; in the alphabet of neither.
const MODULE_MARK: char = '/';

fn check_cased(text: &str) -> Result<(), BadId> {
    if text.is_empty() {
        return Err(BadId::Empty);
    }
    if text.len() > MAX_ID_BYTES {
        return Err(BadId::TooLong(text.len()));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-.+%_#*?!(),=@$':".contains(c);
    text.chars().find(|c| !allowed(*c)).map_or(Ok(()), |c| Err(BadId::Character(c)))
}

/// The name of a module of a device. Letter case matters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(Box<str>);

impl ModuleId {
    /// Parses a module ID: the alphabet and the length of a device ID, and no `$` in front. Names
    /// such as `$edgeAgent` are the vendor's own (H §2.8); Induct has none of them.
    ///
    /// # Errors
    /// [`BadId`] names the first offending character, or the length in bytes.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        check_cased(text)?;
        if text.starts_with('$') {
            return Err(BadId::Character('$'));
        }
        Ok(Self(text.into()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Every registration ID is a legal device ID: its alphabet is a subset.
impl From<&RegistrationId> for DeviceId {
    fn from(id: &RegistrationId) -> Self {
        Self(id.as_str().into())
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The name of a deprovisioning: of its plan and of the receipt it becomes. A GUID.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptId(Box<str>);

impl ReceiptId {
    /// From 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(guid(random).into())
    }

    /// Parses one: 36 characters, lower-case hex digits and hyphens.
    ///
    /// # Errors
    /// [`BadId`]
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.len() > 36 {
            return Err(BadId::TooLong(text.len()));
        }
        match text.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f' | '-')) {
            Some(c) => Err(BadId::Character(c)),
            None if text.is_empty() => Err(BadId::Empty),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ReceiptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// The host name of a hub, in lower case: what `assignedHub` tells a device.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubName(Box<str>);

impl HubName {
    /// Parses a host name of 1 to 253 bytes with at least one dot (C clients split it there,
    /// H §1.1), made of labels of letters, digits and dashes.
    ///
    /// # Errors
    /// [`BadId`] names the first offending character, or the length in bytes.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.is_empty() {
            return Err(BadId::Empty);
        }
        if text.len() > 253 {
            return Err(BadId::TooLong(text.len()));
        }
        if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-.".contains(*c))) {
            return Err(BadId::Character(c));
        }
        if !text.contains('.') || text.starts_with('.') || text.contains("..") {
            return Err(BadId::Character('.'));
        }
        if text.ends_with(['.', '-']) {
            return Err(BadId::LastCharacter(text.chars().next_back().unwrap_or('.')));
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }

    /// The host name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// Which provisioning instance a device asks for, such as `0ne00ABCDEF`. Letter case does not
/// matter (D appendix D23: one client lower-cases it inside its token).
#[derive(Debug, Clone)]
pub struct IdScope(Box<str>);

impl IdScope {
    /// Parses an ID scope: 1 to 64 ASCII letters or digits.
    ///
    /// # Errors
    /// [`BadId`] names the first offending character, or the length in bytes.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.is_empty() {
            return Err(BadId::Empty);
        }
        if text.len() > 64 {
            return Err(BadId::TooLong(text.len()));
        }
        match text.chars().find(|c| !c.is_ascii_alphanumeric()) {
            Some(c) => Err(BadId::Character(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// Makes the scope of a new instance: `0ne` and eight upper-case hex digits (O §3.2).
    #[must_use]
    pub fn from_random(random: [u8; 4]) -> Self {
        Self(format!("0ne{:08X}", u32::from_be_bytes(random)).into())
    }

    /// The scope as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PartialEq for IdScope {
    fn eq(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl Eq for IdScope {}

impl fmt::Display for IdScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The version mark of an enrollment or a registration record, as it stands in JSON: base64 of a
/// quoted text (O §0.4). Clients never look inside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(Box<str>);

impl Etag {
    /// Makes an etag from 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        use base64::Engine;
        let quoted = format!("\"{}\"", guid(random));
        Self(base64::engine::general_purpose::STANDARD.encode(quoted).into())
    }

    /// Takes an etag back from where it was stored.
    #[must_use]
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The etag as it stands in JSON.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Sixteen bytes in the usual form of a GUID, `8-4-4-4-12` lower-case hex digits, with the
/// version and variant bits of a random one.
#[must_use]
pub fn guid(random: [u8; 16]) -> String {
    let mut b = random;
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    format!(
        "{}-{}-{}-{}-{}",
        hex::lower(&b[..4]),
        hex::lower(&b[4..6]),
        hex::lower(&b[6..8]),
        hex::lower(&b[8..10]),
        hex::lower(&b[10..])
    )
}

/// One register request, polled until it settles. Made of `[0-9a-zA-Z.-]` only, because some
/// clients put it into paths and topics unescaped (D §0.2).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct OperationId(Box<str>);

impl OperationId {
    /// Makes an operation ID: one digit, the instance's partition in 16 hex digits, a GUID.
    #[must_use]
    pub fn from_random(scope: &IdScope, random: [u8; 16]) -> Self {
        // FNV-1a over the scope: stable per instance and nothing more is asked of it.
        let partition = scope.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(b.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01b3)
        });
        Self(format!("4.{partition:016x}.{}", guid(random)).into())
    }

    /// Parses an operation ID a client sends back: at most 128 of `[0-9a-zA-Z.-]`.
    ///
    /// # Errors
    /// [`BadId`] names the first offending character, or the length in bytes.
    pub fn parse(text: &str) -> Result<Self, BadId> {
        if text.is_empty() {
            return Err(BadId::Empty);
        }
        if text.len() > MAX_ID_BYTES {
            return Err(BadId::TooLong(text.len()));
        }
        match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-.".contains(*c))) {
            Some(c) => Err(BadId::Character(c)),
            None => Ok(Self(text.into())),
        }
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registration_ids_compare_without_case_and_keep_their_spelling() {
        let a = RegistrationId::parse("Dev:01.x_y-").expect("legal");
        assert_eq!(a, RegistrationId::parse("dev:01.X_Y-").expect("legal"));
        assert_eq!(a.as_str(), "Dev:01.x_y-");
    }

    #[test]
    fn a_bad_registration_id_names_its_first_offence() {
        let check = |text: &str, bad: BadId| {
            assert_eq!(RegistrationId::parse(text).expect_err(text), bad);
        };
        check("", BadId::Empty);
        check(&"x".repeat(129), BadId::TooLong(129));
        check("a/b", BadId::Character('/'));
        check("grün", BadId::Character('ü'));
        check("press.", BadId::LastCharacter('.'));
    }

    #[test]
    fn a_device_id_may_hold_what_the_hub_allows_and_no_slash() {
        assert!(DeviceId::parse("a+b%_#*?!(),=@$'").is_ok());
        assert_eq!(DeviceId::parse("invalid/name"), Err(BadId::Character('/')));
    }

    #[test]
    fn a_module_has_a_name_that_no_device_can_have() {
        let device = DeviceId::parse("press-17").expect("legal");
        let module = ModuleId::parse("camera").expect("legal");
        let id = DeviceId::of_module(&device, &module);
        assert_eq!(id.as_str(), "press-17/camera");
        assert_eq!((id.device(), id.module()), ("press-17", Some("camera")));
        assert_eq!(id.parent(), Some(device.clone()));
        assert_eq!(DeviceId::parse(id.as_str()), Err(BadId::Character('/')));
        assert_eq!(DeviceId::parse_stored(id.as_str()), Ok(id.clone()));
        assert_eq!(DeviceId::of_module(&id, &module), id);
        assert_eq!((device.device(), device.module(), device.parent()), ("press-17", None, None));
        assert_eq!(DeviceId::parse_stored("press-17"), Ok(device));
    }

    #[test]
    fn a_module_id_is_a_device_id_without_a_dollar_in_front() {
        assert_eq!(ModuleId::parse("a$b").expect("legal").as_str(), "a$b");
        assert_eq!(ModuleId::parse("$edgeAgent"), Err(BadId::Character('$')));
        assert_eq!(ModuleId::parse("a/b"), Err(BadId::Character('/')));
        assert_eq!(ModuleId::parse(""), Err(BadId::Empty));
        assert_eq!(ModuleId::parse(&"m".repeat(129)), Err(BadId::TooLong(129)));
        for broken in ["a/", "/m", "a/b/c", "a/$m", "/"] {
            assert!(DeviceId::parse_stored(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_hub_name_needs_a_dot_and_loses_its_case() {
        assert_eq!(HubName::parse("Hub-1.Localhost").expect("legal").as_str(), "hub-1.localhost");
        assert_eq!(HubName::parse("hub"), Err(BadId::Character('.')));
        assert_eq!(HubName::parse("hub..x"), Err(BadId::Character('.')));
    }

    #[test]
    fn an_operation_id_is_safe_in_paths_and_topics() {
        let scope = IdScope::from_random([0, 1, 2, 0xff]);
        assert_eq!(scope.as_str(), "0ne000102FF");
        let id = OperationId::from_random(&scope, [7; 16]);
        assert_eq!(OperationId::parse(id.as_str()), Ok(id));
    }
}
