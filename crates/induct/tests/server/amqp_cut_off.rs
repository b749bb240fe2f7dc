//! Off means off for one of many devices on one connection: its links and its session end, nothing
//! of it is kept after the operator's answer, and its neighbours go on (H §4.5.3).

use std::{collections::BTreeMap, future::Future, pin::pin, time::Duration};

use amqp::proto::{Body, Performative, WireError};
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    amqp_client::{RECEIVER, SENDER, accepted, json_event},
    amqp_scene::{
        Amqp, Dialer, KEY, Service, channel_of, create_device, create_devices, delete_device,
        id_of, logs, put_device, token_of,
    },
    harness::{Api, Home, PATIENCE},
};

const N_DEVICES: usize = 100;
/// How long a device may stay connected after it was cut off, at the very most (H §4.5.3). How
/// long it takes is measured by `benches/cut_off.rs`.
const CONTRACT: Duration = Duration::from_secs(20);
/// How many messages the device that is cut off has under way at any moment.
const N_IN_FLIGHT: u32 = 8;
/// After so many acknowledged messages the operator acts.
const N_BEFORE: u32 = 40;
const NEW_KEY: &str = "MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=";

/// What the operator of the hub does.
#[derive(Debug, Clone, Copy)]
enum Cut {
    Disable,
    Delete,
    ChangeKeys,
}

impl Cut {
    /// Returns when the operator has their answer.
    async fn act(self, hub: &Api, id: &str) {
        match self {
            Self::Disable => put_device(hub, id, "disabled", KEY).await,
            Self::Delete => delete_device(hub, id).await,
            Self::ChangeKeys => put_device(hub, id, "enabled", NEW_KEY).await,
        }
    }

    /// Lets the device in again, with the key it had.
    async fn undo(self, hub: &Api, id: &str) {
        match self {
            Self::Disable | Self::ChangeKeys => put_device(hub, id, "enabled", KEY).await,
            Self::Delete => create_device(hub, id).await,
        }
    }

    /// What the links and the session of the device end with.
    const fn condition(self) -> &'static str {
        match self {
            Self::Disable | Self::Delete => "amqp:not-found",
            Self::ChangeKeys => "amqp:unauthorized-access",
        }
    }

    /// How its token is answered from then on. Who is not in the registry is not told so, unless
    /// the connection was let in as that device before (H §4.3.3).
    const fn status(self) -> i32 {
        match self {
            Self::Disable | Self::Delete => 404,
            Self::ChangeKeys => 401,
        }
    }
}

/// A device that sends numbers without pause, while the operator is at work.
struct Flood<'a> {
    client: &'a mut Amqp,
    channel: u16,
    /// How many messages its session sent before.
    base: u32,
    n_sent: u32,
    n_accepted: u32,
    /// The links that were detached, by handle, and why.
    detached: BTreeMap<u32, WireError>,
    /// Why the session ended.
    ended: Option<WireError>,
}

impl<'a> Flood<'a> {
    async fn start(client: &'a mut Amqp, channel: u16) -> Self {
        let (base, detached, ended) = (client.n_sent(channel), BTreeMap::new(), None);
        let (n_sent, n_accepted) = (0, 0);
        let mut flood = Self { client, channel, base, n_sent, n_accepted, detached, ended };
        for _ in 0..N_IN_FLIGHT {
            flood.send().await;
        }
        flood
    }

    /// A client may send until it has ended the session itself; the server passes it over.
    async fn send(&mut self) {
        self.client.send(self.channel, SENDER, &json_event(self.n_sent.to_string())).await;
        self.n_sent += 1;
    }

    /// Goes on until this is done.
    async fn during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = self.hear() => {}
            }
            self.refill().await;
        }
    }

    /// Goes on until there is enough.
    async fn until(&mut self, is_enough: impl Fn(&Self) -> bool) {
        while !is_enough(self) {
            self.hear().await;
            self.refill().await;
        }
    }

    /// Hears one frame. Nothing is lost when this is dropped halfway.
    async fn hear(&mut self) {
        let frame = self.client.heard().await;
        assert_eq!(frame.channel, self.channel, "of this device: {frame:?}");
        match &frame.performative {
            Performative::Disposition(_) => {
                let (_, numbers) = accepted(&frame).expect("no event is refused");
                assert_eq!(*numbers.start(), self.base + self.n_accepted, "in order");
                assert!(self.detached.is_empty() && self.ended.is_none(), "{frame:?}");
                self.n_accepted = numbers.end() + 1 - self.base;
            }
            Performative::Detach(detach) => {
                assert!(detach.closed && self.ended.is_none(), "{detach:?}");
                let error = detach.error.clone().expect("why");
                assert!(self.detached.insert(detach.handle, error).is_none(), "{detach:?}");
            }
            Performative::End(end) => self.ended = Some(end.error.clone().expect("why")),
            other => panic!("{other:?}"),
        }
    }

    /// Keeps as many under way as there may be.
    async fn refill(&mut self) {
        while self.ended.is_none() && self.n_sent < self.n_accepted + N_IN_FLIGHT {
            self.send().await;
        }
    }
}

/// Each device but this one sends this event, and it is accepted.
async fn others_send(client: &mut Amqp, but: usize, text: &str) {
    let event = json_event(format!("{text:?}"));
    let mut under_way = BTreeMap::new();
    for n in (0..N_DEVICES).filter(|n| *n != but) {
        let number = client.send(channel_of(n), SENDER, &event).await;
        under_way.insert(channel_of(n), number);
    }
    while !under_way.is_empty() {
        let frame = client.heard().await;
        let (channel, numbers) = accepted(&frame).unwrap_or_else(|| panic!("{frame:?}"));
        let sent = under_way.remove(&channel).expect("sent");
        assert_eq!(numbers, sent..=sent);
    }
}

/// Each device but this one is sent this message, and gets it.
async fn others_receive(client: &mut Amqp, service: &mut Service, but: usize, text: &str) {
    let others = || (0..N_DEVICES).filter(|n| *n != but);
    for n in others() {
        service.send(&id_of(n), &format!("{text} {n}")).await;
    }
    let mut got = BTreeMap::new();
    while got.len() < others().count() {
        let frame = client.heard().await;
        let (channel, message) = client.take_message(frame).await;
        let Body::Data(pieces) = message.body else { panic!("{:?}", message.body) };
        assert!(got.insert(channel, pieces.concat()).is_none(), "{channel} gets it once");
    }
    for n in others() {
        assert_eq!(got[&channel_of(n)], format!("{text} {n}").into_bytes());
    }
}

async fn log_of(hub: &Api, id: &str) -> Vec<(u64, Value)> {
    logs(hub).await.remove(id).unwrap_or_default()
}

/// What the device sent in this flood, of all that is in its log.
fn numbers(log: &[(u64, Value)]) -> Vec<u64> {
    log.iter().filter_map(|(_, body)| body.as_u64()).collect()
}

/// Cuts the device off in the middle of sending, and lets it in again.
async fn check(cut: Cut, n: usize, client: &mut Amqp, service: &mut Service, hub: &Api) {
    let (id, channel) = (id_of(n), channel_of(n));
    let mut flood = Flood::start(client, channel).await;
    flood.until(|flood| flood.n_accepted >= N_BEFORE).await;
    flood.during(cut.act(hub, &id)).await;
    // The operator has the answer.
    let n_before = u64::from(flood.n_sent);
    let before = flood.during(log_of(hub, &id)).await;
    let ended = flood.until(|flood| flood.ended.is_some());
    timeout(CONTRACT, ended).await.unwrap_or_else(|_| panic!("{cut:?}: cut off in time"));
    // Until the client has ended the session as well, it may say more, which nobody hears.
    for _ in 0..N_IN_FLIGHT {
        flood.send().await;
    }
    let Flood { n_accepted, detached, ended, .. } = flood;
    client.end(channel).await;
    assert_eq!(detached.keys().copied().collect::<Vec<_>>(), [SENDER, RECEIVER], "{cut:?}");
    for error in detached.values().chain(&ended) {
        assert_eq!(error.condition, cut.condition(), "{cut:?}: {error:?}");
    }

    // The others go on.
    others_send(client, n, &format!("after {cut:?}")).await;
    others_receive(client, service, n, &format!("after {cut:?}")).await;

    // Nothing of it came after the operator's answer; each event that was accepted is there, once
    // and in order, unless the log went with the device.
    let log = log_of(hub, &id).await;
    assert_eq!(log, before, "{cut:?}");
    let kept = numbers(&log);
    let n_kept = u64::try_from(kept.len()).expect("few");
    assert_eq!(kept, (0..n_kept).collect::<Vec<_>>(), "{cut:?}");
    assert!(n_kept <= n_before, "{cut:?}: {n_kept} are kept, {n_before} were sent before");
    assert!(n_kept >= u64::from(n_accepted), "{cut:?}: {n_accepted} accepted, {n_kept} kept");

    // It stays out…
    let token = token_of(&id, KEY);
    assert_eq!(client.put_token(&token).await, cut.status(), "{cut:?}");
    client.begin(channel).await;
    let error = client.attach_events(channel, &id).await.expect_err("it is off");
    assert_eq!(error.condition, cut.condition(), "{cut:?}: {error:?}");
    // … and comes back on the same connection when it may.
    cut.undo(hub, &id).await;
    assert_eq!(client.put_token(&token).await, 200, "{cut:?}");
    client.attach_events(channel, &id).await.expect("let in");
    client.attach_messages(channel, &id).await.expect("let in");
    others_send(client, N_DEVICES, &format!("back {cut:?}")).await;
    others_receive(client, service, N_DEVICES, &format!("back {cut:?}")).await;
    let log = log_of(hub, &id).await;
    assert_eq!(log.last().expect("an event").1, format!("back {cut:?}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_a_hundred_devices_on_a_connection_is_cut_off_and_the_others_go_on() {
    let home = Home::new();
    let server = home.start();
    let hub = Api::hub(&home, &server, "hub-1");
    create_devices(&hub, N_DEVICES).await;
    let dialer = Dialer::amqp(&home, &server);
    let mut service = dialer.service(&home).await;
    let ids: Vec<String> = (0..N_DEVICES).map(id_of).collect();
    let mut client = dialer.gateway(&ids).await;
    for (n, id) in ids.iter().enumerate() {
        client.attach_messages(channel_of(n), id).await.expect("let in");
    }
    others_receive(&mut client, &mut service, N_DEVICES, "first").await;
    let cuts = [Cut::Disable, Cut::Delete, Cut::ChangeKeys];
    for (n, cut) in [(37, cuts[0]), (0, cuts[1]), (N_DEVICES - 1, cuts[2])] {
        let checked = check(cut, n, &mut client, &mut service, &hub);
        timeout(PATIENCE, checked).await.unwrap_or_else(|_| panic!("{cut:?} takes too long"));
    }
    drop((client, service));
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
}
