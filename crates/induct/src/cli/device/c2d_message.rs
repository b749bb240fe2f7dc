//! `induct device c2d-message …` (O §4.4, H §2.9)

use std::path::PathBuf;

use base64::{Engine, engine::general_purpose::STANDARD};
use clap::{Args, Subcommand, builder::NonEmptyStringValueParser};
use model::Json;

use crate::cli::{
    Context, Failure,
    answer::{Answer, Sheet},
    api::{Api, own_path, path},
    complaint::Complaint,
    document::members,
    input::{bytes, moment},
    target::HubTarget,
};

/// Messages that wait at the hub until the device takes them.
#[derive(Debug, Args)]
pub(super) struct C2dMessage {
    #[command(flatten)]
    target: HubTarget,
    #[command(subcommand)]
    command: MessageCommand,
}

/// What to do with messages.
#[derive(Debug, Subcommand)]
enum MessageCommand {
    /// Put a message into a device's queue.
    #[command(after_help = "Examples:
  induct device c2d-message send -d press-17 --da 'open the door'
  induct device c2d-message send -d press-17 --da '{\"open\": true}' --ct application/json --ce utf-8
  induct device c2d-message send -d press-17 --data-file-path firmware.bin --props 'part=1;of=7'
  induct device c2d-message send -d press-17 --da hello --ack full --expiry 2026-03-01T00:00:00Z

The message waits until the device has acknowledged it, until it has expired, or until it was
delivered too often. With --ack the hub keeps word of that for whoever asks it for feedback.")]
    Send(Box<Send>),
    /// Remove all messages that wait for a device.
    #[command(after_help = "Example:
  induct device c2d-message purge -d press-17")]
    Purge(DeviceName),
}

/// `--device-id`
#[derive(Debug, Args)]
struct DeviceName {
    /// The device's name in the hub; upper and lower case differ.
    #[arg(short = 'd', long = "device-id", value_name = "ID",
          value_parser = NonEmptyStringValueParser::new())]
    device_id: String,
}

#[derive(Debug, Args)]
struct Send {
    #[command(flatten)]
    device: DeviceName,
    /// The message's body, a text [default: Ping from induct]. The vendor's tool calls it --data
    /// as well; here that is the data folder.
    #[arg(long, visible_alias = "da", value_name = "TEXT", conflicts_with = "data_file_path")]
    body: Option<String>,
    /// A file with the body, of any bytes.
    #[arg(long, visible_alias = "dfp", value_name = "FILE")]
    data_file_path: Option<PathBuf>,
    /// Properties of your own: key=value pairs, separated by semicolons.
    #[arg(short = 'p', long = "properties", visible_alias = "props", value_name = "K=V;K=V")]
    properties: Option<String>,
    /// Of what the hub keeps word: of delivered messages (positive), of others (negative), of all
    /// (full), or of none.
    #[arg(long, value_name = "WHEN", value_parser = ["none", "positive", "negative", "full"])]
    ack: Option<String>,
    /// When the message is given up: milliseconds since 1970, or a time such as
    /// 2026-03-01T00:00:00Z [default: as the hub is set, usually after an hour].
    #[arg(long = "expiry-time-utc", visible_alias = "expiry", value_name = "TIME")]
    expiry: Option<String>,
    /// The message's name [default: a random one].
    #[arg(long, visible_alias = "mid", value_name = "ID")]
    message_id: Option<String>,
    /// The name of the message that this one answers.
    #[arg(long, visible_alias = "cid", value_name = "ID")]
    correlation_id: Option<String>,
    /// Who sends it.
    #[arg(long, visible_alias = "uid", value_name = "ID")]
    user_id: Option<String>,
    /// What the body is, such as application/json.
    #[arg(long, visible_alias = "ct", value_name = "TYPE")]
    content_type: Option<String>,
    /// How the body is encoded, such as utf-8.
    #[arg(long, visible_alias = "ce", value_name = "ENCODING")]
    content_encoding: Option<String>,
}

impl C2dMessage {
    /// Does it, over the hub's API.
    ///
    /// # Errors
    /// What the options lack, or what the hub answered.
    pub(super) fn run(self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { target, command } = self;
        target.run(context, async |api| {
            let json = match command {
                MessageCommand::Send(send) => send.ask(api).await?,
                MessageCommand::Purge(device) => {
                    api.clear(&path(["devices", &device.device_id, "commands"])).await?
                }
            };
            Ok(Some(Answer::new(json, Sheet::Plain)))
        })
    }
}

impl Send {
    async fn ask(self, api: &Api) -> Result<Json, Complaint> {
        let path = own_path(["devices", &self.device.device_id, "messages"]);
        api.post(&path, Some(&self.document()?)).await
    }

    fn document(&self) -> Result<Json, Complaint> {
        let mut message = Json::empty_object();
        let expiry = self
            .expiry
            .as_deref()
            .map(moment)
            .transpose()
            .map_err(|why| Complaint::misuse(format!("--expiry-time-utc: {why}")))?;
        let texts = [
            ("messageId", &self.message_id),
            ("correlationId", &self.correlation_id),
            ("userId", &self.user_id),
            ("contentType", &self.content_type),
            ("contentEncoding", &self.content_encoding),
            ("expiryTimeUtc", &expiry),
            ("ack", &self.ack),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                message.set(name, Json::from(text.as_str()));
            }
        }
        if let Some(given) = &self.properties {
            message.set("properties", properties(given)?);
        }
        match &self.data_file_path {
            Some(path) => {
                let body = bytes("--data-file-path", path)?;
                message.set("bodyBase64", Json::String(STANDARD.encode(body)));
            }
            None => {
                let text = self.body.as_deref().unwrap_or("Ping from induct");
                message.set("bodyText", Json::from(text));
            }
        }
        Ok(message)
    }
}

/// `k=v;k=v` as an object. A value may hold an equals sign; an empty text is no property.
fn properties(given: &str) -> Result<Json, Complaint> {
    let mut object = members([]);
    for pair in given.split(';').filter(|pair| !pair.trim().is_empty()) {
        let Some((key, value)) = pair.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(Complaint::misuse(format!("--properties wants key=value, not `{pair}`."))
                .with_remedy("For example: --properties 'part=1;of=7'"));
        };
        if object.get(key).is_some() {
            return Err(Complaint::misuse(format!("--properties names `{key}` twice.")));
        }
        object.set(key, Json::from(value));
    }
    Ok(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(given: &str, expected: &str) {
        let got = properties(given).map_or_else(|c| c.message, |json| json.to_string());
        assert_eq!(got, expected, "{given}");
    }

    #[test]
    fn properties_are_pairs_separated_by_semicolons() {
        check("a=1;b=x=y;c=", r#"{"a":"1","b":"x=y","c":""}"#);
        check("a=1;", r#"{"a":"1"}"#);
        check("", "{}");
    }

    #[test]
    fn what_is_no_pair_is_named() {
        check("a=1;b", "--properties wants key=value, not `b`.");
        check("=1", "--properties wants key=value, not `=1`.");
        check("a=1;a=2", "--properties names `a` twice.");
    }
}
