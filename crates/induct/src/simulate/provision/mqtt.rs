//! Over MQTT (D §2).

use bytes::Bytes;
use model::Json;
use mqtt::{
    proto::{Delivery, Packet, Publish},
    topic::RESPONSE_FILTER,
};
use tokio::time::timeout;

use super::{API_VERSION, Answer, QOS, Question, pause, token};
use crate::{
    device_link::{DeviceLink, DeviceLinkError, connect_packet},
    simulate::{
        Identity, Network, Trouble,
        carrier::Carrier,
        network::{PATIENCE, slow},
    },
};

/// How long the device may be silent between two questions, in seconds.
const KEEP_ALIVE_SECS: u16 = 60;

/// A device that asks over MQTT.
pub(super) struct Mqtt {
    link: DeviceLink<Carrier>,
    id: Box<str>,
    n_asked: u32,
}

impl Mqtt {
    pub(super) async fn open(network: &Network, identity: &Identity) -> Result<Self, Trouble> {
        let id = &*identity.id;
        let user_name = format!(
            "{}/registrations/{id}/api-version={API_VERSION}&ClientVersion=induct%2Fsimulate",
            network.id_scope()
        );
        let password = token(network, identity);
        let connect = connect_packet(id, &user_name, password.as_deref(), true, KEEP_ALIVE_SECS)
            .map_err(DeviceLinkError::from)?;
        let mut link = network.mqtt(network.service_host(), identity, connect).await?;
        let subscribed = timeout(PATIENCE, link.subscribe(&[RESPONSE_FILTER])).await;
        subscribed.map_err(|_| slow("answer a SUBSCRIBE"))??;
        Ok(Self { link, id: id.into(), n_asked: 0 })
    }

    pub(super) async fn ask(&mut self, question: Question<'_>) -> Result<Answer, Trouble> {
        self.n_asked += 1;
        let rid = self.n_asked;
        let (topic, body) = match question {
            Question::Register => (
                format!("$dps/registrations/PUT/iotdps-register/?$rid={rid}"),
                format!("{{\"registrationId\":\"{}\"}}", self.id),
            ),
            Question::Poll(operation) => (
                format!(
                    "$dps/registrations/GET/iotdps-get-operationstatus/?$rid={rid}&operationId={}",
                    wire::percent::encode(operation)
                ),
                // The vendor's SDKs send a space (D §2.3).
                " ".to_owned(),
            ),
        };
        let asked = timeout(PATIENCE, async {
            self.link.publish(&topic, Bytes::from(body), QOS).await?;
            self.answer(rid).await
        });
        asked.await.map_err(|_| slow("answer"))?
    }

    /// Waits for the answer of this name.
    async fn answer(&mut self, rid: u32) -> Result<Answer, Trouble> {
        loop {
            match self.link.receive().await? {
                Packet::PubAck(_) => {}
                Packet::Publish(Publish { topic, payload, delivery, .. }) => {
                    if let Delivery::AtLeastOnce { id, .. } = delivery {
                        self.link.send(&Packet::PubAck(Some(id))).await?;
                    }
                    if let Some((status, retry_after)) = read_topic(&topic, rid) {
                        let body = json::parse_bytes(&payload).unwrap_or(Json::Null);
                        return Ok(Answer { status, body, retry_after: pause(retry_after) });
                    }
                }
                other => return Err(DeviceLinkError::Unexpected(Box::new(other)).into()),
            }
        }
    }

    /// Leaves in order. What it asked was answered, so it does not matter whether that succeeds.
    pub(super) async fn close(mut self) {
        let _ = timeout(PATIENCE, self.link.send(&Packet::Disconnect)).await;
    }
}

/// Status and `retry-after` of an answer of this name:
/// `$dps/registrations/res/{status}/?$rid={rid}[&retry-after={seconds}]`.
fn read_topic(topic: &str, rid: u32) -> Option<(u16, Option<&str>)> {
    let (status, query) = topic.strip_prefix("$dps/registrations/res/")?.split_once("/?")?;
    let value =
        |name: &str| query.split('&').filter_map(|m| m.split_once('=')).find(|(n, _)| *n == name);
    if value("$rid")?.1 != rid.to_string() {
        return None;
    }
    Some((status.parse().ok()?, value("retry-after").map(|(_, secs)| secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_known_by_its_name() {
        let check = |status, rid, retry_after: Option<u32>, expected| {
            let topic = mqtt::topic::provisioning_response(status, rid, retry_after);
            assert_eq!(read_topic(&topic, 7), expected, "{topic}");
        };
        check(202, "7", Some(3), Some((202, Some("3"))));
        check(200, "7", None, Some((200, None)));
        check(200, "77", None, None);
        assert_eq!(read_topic("$iothub/twin/res/200/?$rid=7", 7), None);
    }
}
