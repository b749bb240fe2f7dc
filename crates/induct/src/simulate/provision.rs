//! How a device is provisioned: register, then ask until it is settled (D §1, §2).

mod https;
mod mqtt;

use std::time::Duration;

use ::mqtt::proto::Qos;
use model::Json;
use tokio::time::{sleep, timeout};

use super::{Identity, Network, Trouble, network::slow};
use crate::cli::complaint::Complaint;

/// The api-version devices speak (D §0.4).
const API_VERSION: &str = "2021-06-01";
/// How often a device asks before it gives up.
const MAX_POLLS: usize = 40;
/// How long a device waits between two questions when the service does not say.
const DEFAULT_PAUSE: Duration = Duration::from_secs(3);
/// How long the whole may take, in questions and answers.
const LONGEST: Duration = Duration::from_secs(300);

/// What provisioning is asked over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// HTTPS.
    Https,
    /// MQTT.
    Mqtt,
}

/// How a registration ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// `assigned`, `disabled` or `failed`.
    pub status: String,
    /// The hub the device shall use.
    pub hub: Option<String>,
    /// The name it has there.
    pub device_id: Option<String>,
    /// How it came to be assigned.
    pub substatus: Option<String>,
}

/// What the service answered to one question.
struct Answer {
    status: u16,
    body: Json,
    /// When to ask again.
    retry_after: Duration,
}

/// What a device asks.
enum Question<'a> {
    Register,
    /// What became of this operation.
    Poll(&'a str),
}

/// A way to ask.
enum Asker {
    Https(Box<https::Https>),
    Mqtt(Box<mqtt::Mqtt>),
}

/// Registers a device, and asks until the registration is settled. The first question after the
/// registration goes out at once; real devices wait for a few seconds.
///
/// # Errors
/// [`Trouble`] when the service refused to register the device at all, or never settled.
pub async fn register(
    network: &Network,
    identity: &Identity,
    over: Over,
) -> Result<Settled, Trouble> {
    let registered = timeout(LONGEST, async {
        let mut asker = match over {
            Over::Https => Asker::Https(Box::new(https::Https::new(network, identity)?)),
            Over::Mqtt => Asker::Mqtt(Box::new(mqtt::Mqtt::open(network, identity).await?)),
        };
        let settled = settle(&mut asker).await;
        if let Asker::Mqtt(mqtt) = asker {
            mqtt.close().await;
        }
        settled
    });
    registered.await.unwrap_or_else(|_| Err(slow("settle the registration")))
}

async fn settle(asker: &mut Asker) -> Result<Settled, Trouble> {
    let answer = asker.ask(Question::Register).await?;
    let operation = text(&answer.body, "operationId").ok_or_else(|| {
        Trouble::Failed(format!("the service answered {} and named no operation", answer.status))
    })?;
    for _ in 0..MAX_POLLS {
        let answer = asker.ask(Question::Poll(&operation)).await?;
        let status = text(&answer.body, "status").unwrap_or_default();
        if status != "assigning" {
            let state = answer.body.get("registrationState").cloned().unwrap_or(Json::Null);
            return Ok(Settled {
                status,
                hub: text(&state, "assignedHub"),
                device_id: text(&state, "deviceId"),
                substatus: text(&state, "substatus"),
            });
        }
        sleep(answer.retry_after).await;
    }
    Err(Trouble::Failed(format!("it asked {MAX_POLLS} times and was still being assigned")))
}

impl Asker {
    async fn ask(&mut self, question: Question<'_>) -> Result<Answer, Trouble> {
        let answer = match self {
            Self::Https(https) => https.ask(question).await?,
            Self::Mqtt(mqtt) => mqtt.ask(question).await?,
        };
        match answer.status {
            200..=299 => Ok(answer),
            status => Err(refusal(status, &answer.body)),
        }
    }
}

/// Too many requests and trouble of the server's own are no refusals of the device (D §4).
fn refusal(status: u16, body: &Json) -> Trouble {
    let body = body.to_string();
    let said = Complaint::of_answer(status, body.as_bytes(), "").message;
    let text = format!("provisioning answered {status}: {said}");
    match status {
        408 | 429 | 500..=599 => Trouble::Failed(text),
        _ => Trouble::Refused(text),
    }
}

fn pause(told: Option<&str>) -> Duration {
    let secs = told.and_then(|text| text.parse::<u8>().ok());
    secs.map_or(DEFAULT_PAUSE, |secs| Duration::from_secs(u64::from(secs)))
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.get(name).and_then(Json::as_str).map(str::to_owned)
}

/// What the service takes for the device's password, or nothing.
fn token(network: &Network, identity: &Identity) -> Option<String> {
    let resource = format!("{}/registrations/{}", network.id_scope(), identity.id);
    identity.token(&resource, Some("registration"))
}

/// With which QoS devices ask: the vendor's SDKs use this one (D §2.3).
const QOS: Qos = Qos::AtLeastOnce;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_service_refuses_nobody() {
        let body = json::parse(r#"{"errorCode":1,"message":"no"}"#).expect("legal");
        let check = |status, expected: fn(String) -> Trouble| {
            let text = format!("provisioning answered {status}: no");
            assert_eq!(refusal(status, &body), expected(text));
        };
        check(401, Trouble::Refused);
        check(404, Trouble::Refused);
        check(429, Trouble::Failed);
        check(503, Trouble::Failed);
    }

    #[test]
    fn a_pause_that_nobody_told_is_the_usual_one() {
        assert_eq!(pause(Some("2")), Duration::from_secs(2));
        for told in [None, Some("soon"), Some("99999")] {
            assert_eq!(pause(told), DEFAULT_PAUSE);
        }
    }
}
