//! Distinguished names as people read them.

use model::hex;
use x509_parser::{
    asn1_rs::Tag,
    oid_registry::asn1_rs::Oid,
    x509::{AttributeTypeAndValue, X509Name},
};

/// A name, the last part first, as the vendor's tools show it: `CN=press-17, OU=Line 4, O=Works`.
///
/// Values that hold a separator stand in quotation marks; values that are no text are `#` and hex.
pub(super) fn text(name: &X509Name<'_>) -> String {
    let parts: Vec<String> = name
        .iter_rdn()
        .map(|part| {
            let values: Vec<String> = part.iter().map(attribute).collect();
            values.join(" + ")
        })
        .collect();
    parts.into_iter().rev().collect::<Vec<_>>().join(", ")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let value = value(attribute).map_or_else(
        || format!("#{}", hex::upper(attribute.as_slice())),
        |text| {
            if needs_quotes(&text) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
        },
    );
    match short_name(attribute.attr_type()) {
        Some(short) => format!("{short}={value}"),
        None => format!("OID.{}={value}", attribute.attr_type()),
    }
}

fn needs_quotes(text: &str) -> bool {
    text.is_empty()
        || text.starts_with([' ', '#'])
        || text.ends_with(' ')
        || text.contains([',', '+', '=', '"', '\n', '<', '>', ';'])
}

fn short_name(oid: &Oid<'_>) -> Option<&'static str> {
    Some(match oid.to_id_string().as_str() {
        "2.5.4.3" => "CN",
        "2.5.4.5" => "SERIALNUMBER",
        "2.5.4.6" => "C",
        "2.5.4.7" => "L",
        "2.5.4.8" => "S",
        "2.5.4.9" => "STREET",
        "2.5.4.10" => "O",
        "2.5.4.11" => "OU",
        "0.9.2342.19200300.100.1.25" => "DC",
        "1.2.840.113549.1.9.1" => "E",
        _ => return None,
    })
}

/// An attribute's value as text, in any of the string types that names are written in.
pub(super) fn value(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let bytes = attribute.as_slice();
    match attribute.attr_value().tag() {
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            std::str::from_utf8(bytes).ok().map(str::to_owned)
        }
        // In practice Latin-1, whatever the standard says.
        Tag::TeletexString => Some(bytes.iter().copied().map(char::from).collect()),
        Tag::BmpString if bytes.len().is_multiple_of(2) => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).collect::<Result<String, _>>().ok()
        }
        _ => None,
    }
}
