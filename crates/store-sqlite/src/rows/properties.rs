//! The properties of events and messages, as one document: the hub's own under their names on the
//! wire, the sender's in order. Most messages have few, and nothing looks for them by content.

use std::borrow::Cow;

use model::MessageProperties;
use rusqlite::Result;
use serde::{Deserialize, Serialize};

use crate::codec::{Binder, Columns};

/// The sender's own properties, or others that keep their order.
type Pairs = Vec<(String, Option<String>)>;

/// Binds the document, or null when there is nothing in it.
pub(crate) fn bind(
    binder: &mut Binder<'_, '_>,
    properties: &MessageProperties,
    application: &[(String, Option<String>)],
) -> Result<()> {
    if application.is_empty() && *properties == MessageProperties::default() {
        return binder.put(None::<String>);
    }
    binder.document(&PropertiesRow::new(properties, application))
}

/// Takes the document.
pub(crate) fn read(columns: &mut Columns<'_, '_>) -> Result<(MessageProperties, Pairs)> {
    let row: Option<PropertiesRow<'static>> = columns.optional_document()?;
    Ok(row.map(PropertiesRow::into_model).unwrap_or_default())
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct PropertiesRow<'a> {
    #[serde(rename = "mid", skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'a, str>>,
    #[serde(rename = "cid", skip_serializing_if = "Option::is_none")]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(rename = "uid", skip_serializing_if = "Option::is_none")]
    user_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    to: Option<Cow<'a, str>>,
    #[serde(rename = "ct", skip_serializing_if = "Option::is_none")]
    content_type: Option<Cow<'a, str>>,
    #[serde(rename = "ce", skip_serializing_if = "Option::is_none")]
    content_encoding: Option<Cow<'a, str>>,
    #[serde(rename = "exp", skip_serializing_if = "Option::is_none")]
    expiry: Option<Cow<'a, str>>,
    #[serde(rename = "ctime", skip_serializing_if = "Option::is_none")]
    creation_time: Option<Cow<'a, str>>,
    #[serde(rename = "on", skip_serializing_if = "Option::is_none")]
    output_name: Option<Cow<'a, str>>,
    #[serde(rename = "ifid", skip_serializing_if = "Option::is_none")]
    interface_id: Option<Cow<'a, str>>,
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    component: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_empty")]
    other: Cow<'a, [(String, Option<String>)]>,
    #[serde(rename = "app", skip_serializing_if = "is_empty")]
    application: Cow<'a, [(String, Option<String>)]>,
}

fn is_empty(pairs: &[(String, Option<String>)]) -> bool {
    pairs.is_empty()
}

impl<'a> PropertiesRow<'a> {
    fn new(of: &'a MessageProperties, application: &'a [(String, Option<String>)]) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        Self {
            message_id: text(&of.message_id),
            correlation_id: text(&of.correlation_id),
            user_id: text(&of.user_id),
            to: text(&of.to),
            content_type: text(&of.content_type),
            content_encoding: text(&of.content_encoding),
            expiry: text(&of.expiry),
            creation_time: text(&of.creation_time),
            output_name: text(&of.output_name),
            interface_id: text(&of.interface_id),
            component: text(&of.component),
            other: Cow::Borrowed(&of.other),
            application: Cow::Borrowed(application),
        }
    }

    fn into_model(self) -> (MessageProperties, Pairs) {
        let text = |text: Option<Cow<'_, str>>| text.map(Cow::into_owned);
        let properties = MessageProperties {
            message_id: text(self.message_id),
            correlation_id: text(self.correlation_id),
            user_id: text(self.user_id),
            to: text(self.to),
            content_type: text(self.content_type),
            content_encoding: text(self.content_encoding),
            expiry: text(self.expiry),
            creation_time: text(self.creation_time),
            output_name: text(self.output_name),
            interface_id: text(self.interface_id),
            component: text(self.component),
            other: self.other.into_owned(),
        };
        (properties, self.application.into_owned())
    }
}
