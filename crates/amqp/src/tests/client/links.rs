//! Links: attach, credit, detach.

use std::panic::Location;

use super::{CREDIT, Client, WINDOW};
use crate::proto::{
    Attach, Detach, End, Flow, Frame, Pairs, Performative, ReceiverSettle, Role, SenderSettle,
    Terminus, Value, WireError,
};

/// A link as a client asks for it. Everything that is not said is as most clients have it.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    pub(crate) channel: u16,
    pub(crate) handle: u32,
    pub(crate) role: Role,
    pub(crate) name: String,
    /// The target of a client that sends, the source of one that receives.
    pub(crate) address: String,
    pub(crate) properties: Pairs,
    pub(crate) sender_settle: SenderSettle,
    pub(crate) receiver_settle: ReceiverSettle,
}

impl Wish {
    /// A link that sends to this address.
    pub(crate) fn sender(channel: u16, handle: u32, address: &str) -> Self {
        Self {
            channel,
            handle,
            role: Role::Sender,
            name: format!("to {address} ({handle})"),
            address: address.to_owned(),
            properties: Vec::new(),
            sender_settle: SenderSettle::Mixed,
            receiver_settle: ReceiverSettle::First,
        }
    }

    /// A link that receives from this address.
    pub(crate) fn receiver(channel: u16, handle: u32, address: &str) -> Self {
        let name = format!("from {address} ({handle})");
        Self { role: Role::Receiver, name, ..Self::sender(channel, handle, address) }
    }

    /// With a property, whose name is a symbol.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.properties.push((Value::Symbol(name.to_owned()), Value::String(value.to_owned())));
        self
    }

    /// Under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Its detach, for good.
    pub(crate) const fn detach(&self) -> Detach {
        Detach { handle: self.handle, closed: true, error: None }
    }

    /// Its attach.
    pub(crate) fn attach(&self) -> Attach {
        let terminus = Terminus { address: Some(self.address.clone()), ..Terminus::default() };
        let there = Some(terminus);
        let (source, target) = match self.role {
            Role::Sender => (Some(Terminus::default()), there),
            Role::Receiver => (there, Some(Terminus::default())),
        };
        Attach {
            name: self.name.clone(),
            handle: self.handle,
            role: self.role,
            sender_settle: self.sender_settle,
            receiver_settle: self.receiver_settle,
            source,
            target,
            initial_delivery_count: (self.role == Role::Sender).then_some(0),
            max_message_size: None,
            properties: self.properties.clone(),
            desired_capabilities: Vec::new(),
        }
    }
}

impl Client {
    /// Attaches a link that sends, and expects it to be accepted.
    #[track_caller]
    pub(crate) fn attach_sender(
        &mut self,
        channel: u16,
        handle: u32,
        address: &str,
    ) -> impl Future<Output = Attach> {
        self.attach(Wish::sender(channel, handle, address))
    }

    /// Attaches a link that receives, expects it to be accepted, and gives credit.
    #[track_caller]
    pub(crate) fn attach_receiver(
        &mut self,
        channel: u16,
        handle: u32,
        address: &str,
    ) -> impl Future<Output = Attach> {
        self.attach(Wish::receiver(channel, handle, address))
    }

    /// Attaches a link, and expects it to be accepted; gives credit on one that receives.
    #[track_caller]
    pub(crate) fn attach(&mut self, wish: Wish) -> impl Future<Output = Attach> {
        let caller = Location::caller();
        async move {
            self.send_attach(&wish).await;
            let attach = self.attached(&wish).await;
            let there = match wish.role {
                Role::Sender => &attach.target,
                Role::Receiver => &attach.source,
            };
            let address = there.as_ref().and_then(|terminus| terminus.address.as_deref());
            assert_eq!(address, Some(&*wish.address), "{caller}: it is refused, or not echoed");
            if wish.role == Role::Receiver {
                self.give_credit(wish.channel, wish.handle, CREDIT).await;
            }
            attach
        }
    }

    /// Attaches a link, and expects it to be refused with this condition.
    #[track_caller]
    pub(crate) fn attach_refused(
        &mut self,
        wish: Wish,
        condition: &str,
    ) -> impl Future<Output = WireError> {
        let caller = Location::caller();
        async move {
            self.send_attach(&wish).await;
            self.attached(&wish).await;
            let error = self.detached(wish.channel).await.1.expect("an error");
            assert_eq!(error.condition, condition, "{caller}: {error:?}");
            // What the door has detached, the client does too.
            self.send_detach(wish.channel, wish.handle).await;
            error
        }
    }

    /// Sends an attach.
    pub(crate) async fn send_attach(&mut self, wish: &Wish) {
        self.put(wish.channel, Performative::Attach(Box::new(wish.attach()))).await;
    }

    /// Expects the answer to an attach.
    pub(crate) async fn attached(&mut self, wish: &Wish) -> Attach {
        match self.frame().await.performative {
            Performative::Attach(attach) => {
                assert_eq!(attach.name, wish.name);
                assert_ne!(attach.role, wish.role);
                *attach
            }
            other => panic!("expected an attach: {other:?}"),
        }
    }

    /// Sends a detach, for good.
    pub(crate) async fn send_detach(&mut self, channel: u16, handle: u32) {
        let detach = Detach { handle, closed: true, error: None };
        self.put(channel, Performative::Detach(detach)).await;
    }

    /// Detaches a link, and expects the door's detach.
    pub(crate) async fn detach(&mut self, channel: u16, handle: u32) {
        self.send_detach(channel, handle).await;
        assert_eq!(self.detached(channel).await.1, None);
    }

    /// Expects a detach on this channel: the door's handle, and why.
    pub(crate) async fn detached(&mut self, channel: u16) -> (u32, Option<WireError>) {
        let Frame { channel: on, performative, .. } = self.frame().await;
        match performative {
            Performative::Detach(detach) => {
                assert_eq!(on, channel, "{detach:?}");
                assert!(detach.closed);
                (detach.handle, detach.error)
            }
            other => panic!("expected a detach: {other:?}"),
        }
    }

    /// Expects an end on this channel: why.
    pub(crate) async fn ended(&mut self, channel: u16) -> Option<WireError> {
        let Frame { channel: on, performative, .. } = self.frame().await;
        match performative {
            Performative::End(End { error }) => {
                assert_eq!(on, channel, "{error:?}");
                error
            }
            other => panic!("expected an end: {other:?}"),
        }
    }

    /// Takes so many more messages.
    pub(crate) async fn give_credit(&mut self, channel: u16, handle: u32, credit: u32) {
        self.send_flow(channel, handle, 0, credit, false).await;
    }

    /// Sends a flow for a link that receives, of which so many messages came.
    pub(crate) async fn send_flow(
        &mut self,
        channel: u16,
        handle: u32,
        delivery_count: u32,
        credit: u32,
        drain: bool,
    ) {
        let flow = self.flow_of(channel, handle, delivery_count, credit, drain);
        self.put(channel, Performative::Flow(flow)).await;
    }

    /// Such a flow.
    pub(crate) fn flow_of(
        &self,
        channel: u16,
        handle: u32,
        delivery_count: u32,
        credit: u32,
        drain: bool,
    ) -> Flow {
        Flow {
            next_incoming_id: Some(0),
            incoming_window: WINDOW,
            next_outgoing_id: self.next_delivery(channel),
            outgoing_window: WINDOW,
            handle: Some(handle),
            delivery_count: Some(delivery_count),
            link_credit: Some(credit),
            available: None,
            drain,
            echo: false,
        }
    }
}
