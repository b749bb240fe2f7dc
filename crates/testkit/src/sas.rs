//! SAS tokens as the vendors' clients write them. They disagree on how the resource is encoded
//! and sign what they send (D §0.5).

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::STANDARD};
use model::{SasToken, SymmetricKey};

/// The eight ways in which clients write a token for the provisioning service (D §0.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientStyle {
    /// The Python SDK: no `skn`.
    Python,
    /// The Node SDK with a symmetric key: resource not encoded, `skn` before `se`.
    NodeSymmetric,
    /// The Node SDK with a TPM.
    NodeTpm,
    /// The C SDK: lower-case hex.
    C,
    /// The embedded C SDK: lower-case hex, no `skn`.
    EmbeddedC,
    /// The .NET SDK.
    CSharp,
    /// The Java SDK: resource not encoded, `skn` empty.
    Java,
    /// aziot-identityd: the whole resource in lower case.
    Identityd,
}

impl ClientStyle {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Python,
        Self::NodeSymmetric,
        Self::NodeTpm,
        Self::C,
        Self::EmbeddedC,
        Self::CSharp,
        Self::Java,
        Self::Identityd,
    ];

    /// `sr` as this client writes it.
    #[must_use]
    pub fn resource(self, id_scope: &str, registration_id: &str) -> String {
        let plain = format!("{id_scope}/registrations/{registration_id}");
        match self {
            Self::NodeSymmetric | Self::Java => plain,
            Self::Python | Self::NodeTpm | Self::CSharp => percent_encode(&plain, HexCase::Upper),
            Self::C | Self::EmbeddedC => percent_encode(&plain, HexCase::Lower),
            Self::Identityd => percent_encode(&plain.to_ascii_lowercase(), HexCase::Upper),
        }
    }

    fn hex_case(self) -> HexCase {
        match self {
            Self::C | Self::EmbeddedC => HexCase::Lower,
            _ => HexCase::Upper,
        }
    }
}

/// A device's token for the provisioning service.
#[derive(Debug, Clone)]
pub struct DeviceToken<'a> {
    /// Which client writes it.
    pub style: ClientStyle,
    /// The ID scope.
    pub id_scope: &'a str,
    /// The registration ID as the device spells it.
    pub registration_id: &'a str,
    /// The device's key, the derived one for a group.
    pub key: &'a SymmetricKey,
    /// Until when, in seconds since 1970.
    pub expiry_unix_secs: i64,
}

impl DeviceToken<'_> {
    /// The token as it travels, from `SharedAccessSignature` on.
    #[must_use]
    pub fn text(&self) -> String {
        let sr = self.style.resource(self.id_scope, self.registration_id);
        let se = self.expiry_unix_secs.to_string();
        let signature = STANDARD.encode(sign(self.key.bytes(), &sr, &se));
        let sig = percent_encode(&signature, self.style.hex_case());
        let members = match self.style {
            ClientStyle::Python | ClientStyle::EmbeddedC => format!("sr={sr}&sig={sig}&se={se}"),
            ClientStyle::NodeSymmetric => format!("sr={sr}&sig={sig}&skn=registration&se={se}"),
            ClientStyle::Java => format!("sr={sr}&sig={sig}&se={se}&skn="),
            ClientStyle::NodeTpm
            | ClientStyle::C
            | ClientStyle::CSharp
            | ClientStyle::Identityd => format!("sr={sr}&sig={sig}&se={se}&skn=registration"),
        };
        format!("SharedAccessSignature {members}")
    }

    /// The token as a reader takes it apart.
    #[must_use]
    pub fn parsed(&self) -> SasToken {
        let resource_raw = self.style.resource(self.id_scope, self.registration_id);
        let expiry_raw = self.expiry_unix_secs.to_string();
        let key_name = match self.style {
            ClientStyle::Python | ClientStyle::EmbeddedC | ClientStyle::Java => None,
            _ => Some("registration".to_owned()),
        };
        let plain = format!("{}/registrations/{}", self.id_scope, self.registration_id);
        SasToken {
            signature: sign(self.key.bytes(), &resource_raw, &expiry_raw).to_vec(),
            resource: match self.style {
                ClientStyle::Identityd => plain.to_ascii_lowercase(),
                _ => plain,
            },
            resource_raw,
            expiry_raw,
            expiry_unix_secs: self.expiry_unix_secs,
            key_name,
        }
    }
}

/// An operator's token, for the provisioning service or for a hub (O §1.4, H §2.2).
#[derive(Debug, Clone)]
pub struct ServiceToken<'a> {
    /// `sr` exactly as it is to stand in the token, such as `hub.example.test`.
    pub resource_raw: &'a str,
    /// The policy's name, `skn`.
    pub policy: &'a str,
    /// The policy's key.
    pub key: &'a SymmetricKey,
    /// Until when, in seconds since 1970.
    pub expiry_unix_secs: i64,
}

impl ServiceToken<'_> {
    /// The token as it travels, from `SharedAccessSignature` on.
    #[must_use]
    pub fn text(&self) -> String {
        let se = self.expiry_unix_secs.to_string();
        let signature = STANDARD.encode(sign(self.key.bytes(), self.resource_raw, &se));
        format!(
            "SharedAccessSignature sr={}&sig={}&se={se}&skn={}",
            self.resource_raw,
            percent_encode(&signature, HexCase::Upper),
            self.policy
        )
    }
}

/// A group's device key as its owner computes it: HMAC-SHA256 of the registration ID (D §0.6).
#[must_use]
pub fn derive_device_key(group_key: &SymmetricKey, registration_id: &str) -> SymmetricKey {
    SymmetricKey::derived(&hmac_sha256(group_key.bytes(), registration_id.as_bytes()))
}

/// The signature of a token: HMAC-SHA256 of `sr`, a line feed and `se`, both as sent.
#[must_use]
pub fn sign(key: &[u8], resource_raw: &str, expiry_raw: &str) -> [u8; 32] {
    hmac_sha256(key, format!("{resource_raw}\n{expiry_raw}").as_bytes())
}

fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[derive(Clone, Copy)]
enum HexCase {
    Upper,
    Lower,
}

/// Percent-encodes all but letters, digits and `-._~`, as the clients do.
fn percent_encode(text: &str, hex: HexCase) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match (byte, hex) {
            (b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~', _) => {
                out.push(char::from(byte));
            }
            (_, HexCase::Upper) => out.push_str(&format!("%{byte:02X}")),
            (_, HexCase::Lower) => out.push_str(&format!("%{byte:02x}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

    fn check(style: ClientStyle, expected: &str) {
        let key = SymmetricKey::parse(KEY).expect("key");
        let token = DeviceToken {
            style,
            id_scope: "0ne00ABCDEF",
            registration_id: "Dev:01",
            key: &key,
            expiry_unix_secs: 1_893_456_000,
        };
        assert_eq!(token.text(), format!("SharedAccessSignature {expected}"));
    }

    #[test]
    fn each_client_writes_its_own_kind_of_token() {
        check(
            ClientStyle::Python,
            "sr=0ne00ABCDEF%2Fregistrations%2FDev%3A01\
             &sig=jOvKESnY%2FwFpy%2B%2BqKpZJKeaw0NcLil4LKsr78UhuvtM%3D&se=1893456000",
        );
        check(
            ClientStyle::NodeSymmetric,
            "sr=0ne00ABCDEF/registrations/Dev:01\
             &sig=U7lBAMmkt7%2B%2BzlglPFVLaGm8WAVAMwgby1VtR1XsO48%3D&skn=registration\
             &se=1893456000",
        );
        check(
            ClientStyle::C,
            "sr=0ne00ABCDEF%2fregistrations%2fDev%3a01\
             &sig=EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn%2bDyeg%3d&se=1893456000\
             &skn=registration",
        );
        check(
            ClientStyle::Java,
            "sr=0ne00ABCDEF/registrations/Dev:01\
             &sig=U7lBAMmkt7%2B%2BzlglPFVLaGm8WAVAMwgby1VtR1XsO48%3D&se=1893456000&skn=",
        );
        check(
            ClientStyle::Identityd,
            "sr=0ne00abcdef%2Fregistrations%2Fdev%3A01\
             &sig=RyOMkUrGWl9BIyZOdfyKtgqSxSH6Q6jZT7MY2rHs%2BN0%3D&se=1893456000\
             &skn=registration",
        );
    }

    #[test]
    fn a_device_key_is_derived_as_the_vendors_tools_derive_it() {
        let group = SymmetricKey::parse(
            "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==",
        )
        .expect("key");
        assert_eq!(
            derive_device_key(&group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6").reveal(),
            "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc="
        );
    }
}
