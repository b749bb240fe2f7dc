//! `induct hub invoke-device-method` (O §4.4, H §4.2.9)

use std::time::Duration;

use clap::{Args, builder::NonEmptyStringValueParser};
use model::Json;

use super::DeviceName;
use crate::cli::{
    answer::{Answer, Sheet},
    api::{Api, path},
    complaint::Complaint,
    document::members,
    input::json_or_text,
};

/// How much longer than the device has we wait for the hub's answer.
const GRACE: Duration = Duration::from_secs(15);

/// Call a method on a connected device, and print what it answers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  induct hub invoke-device-method -d press-17 --mn reboot
  induct hub invoke-device-method -d press-17 --mn set-interval --mp '{\"secs\": 60}' --to 10
  induct hub invoke-device-method -d press-17 --mn reboot --timeout 60 --connect-timeout 60
      Waits up to a minute for the device to connect.

Prints the device's status and payload. Ends with 1 when the device does not answer in time, and
with 3 when it is not connected.")]
pub(super) struct InvokeDeviceMethod {
    #[command(flatten)]
    device: DeviceName,
    /// The method's name, as the device knows it.
    #[arg(long = "method-name", visible_alias = "mn", value_name = "NAME",
          value_parser = NonEmptyStringValueParser::new())]
    method_name: String,
    /// What the method is given: JSON text, a path, or @path; anything else is a text [default: {}].
    #[arg(long = "method-payload", visible_alias = "mp", value_name = "JSON")]
    method_payload: Option<String>,
    /// How many seconds the device has to answer.
    #[arg(long, visible_alias = "to", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(5..=300))]
    timeout: u64,
    /// How many seconds the device has to connect, if it is not connected.
    #[arg(long = "connect-timeout", value_name = "SECONDS", default_value_t = 0,
          value_parser = clap::value_parser!(u64).range(0..=300))]
    connect_timeout: u64,
}

impl InvokeDeviceMethod {
    pub(super) async fn ask(self, api: &Api) -> Result<Answer, Complaint> {
        let payload = match &self.method_payload {
            Some(given) => json_or_text("--method-payload", given)?,
            None => Json::empty_object(),
        };
        let call = members([
            ("methodName", Json::from(self.method_name.as_str())),
            ("payload", payload),
            ("responseTimeoutInSeconds", Json::from(self.timeout)),
            ("connectTimeoutInSeconds", Json::from(self.connect_timeout)),
        ]);
        let limit = Duration::from_secs(self.timeout + self.connect_timeout) + GRACE;
        let path = path(["twins", &self.device.device_id, "methods"]);
        let answer = api.post_within(limit, &path, &call).await?;
        Ok(Answer::new(answer, Sheet::Plain))
    }
}
