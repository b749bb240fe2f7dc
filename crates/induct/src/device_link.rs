//! The device's end of an MQTT connection: for the simulator, the demo and the whole-server tests.
//!
//! It frames packets and nothing more; what is said in them is the caller's business.

use std::io;

use bytes::{Bytes, BytesMut};
use mqtt::proto::{
    BadPacket, BadText, ConnAck, Connect, ConnectRefusal, Decoded, Delivery, Filter, Grant, Limits,
    Login, Packet, PacketId, Password, Publish, Qos, Subscribe, Text, Topic, Unencodable, decode,
    encode,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// How many bytes are read at a time.
const READ_BYTES: usize = 4 * 1024;

/// An MQTT connection over an open stream.
#[derive(Debug)]
pub struct DeviceLink<S> {
    stream: S,
    inbox: BytesMut,
    last_id: u16,
}

/// Why a connection is of no more use.
#[derive(Debug, Error)]
pub enum DeviceLinkError {
    /// The server does not let the device in.
    #[error("the server refused the connection: {0:?}")]
    Refused(ConnectRefusal),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// The network failed.
    #[error("the connection broke")]
    Broken(#[source] io::Error),
    /// What the server sent is no packet.
    #[error("the server sent what is not MQTT")]
    Malformed(#[from] BadPacket),
    /// What was to be sent cannot be.
    #[error("a packet cannot be sent")]
    Unencodable(#[from] Unencodable),
    /// A text that MQTT cannot carry.
    #[error("a text cannot be sent")]
    BadText(#[from] BadText),
    /// The server answered with another packet than the one waited for.
    #[error("the server sent {0:?}, which is no answer to what was asked")]
    Unexpected(Box<Packet>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceLink<S> {
    /// A connection on which nothing was said yet.
    pub fn new(stream: S) -> Self {
        Self { stream, inbox: BytesMut::new(), last_id: 0 }
    }

    /// Says CONNECT and hears the answer: whether the server remembers a session.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn connect(&mut self, connect: Connect) -> Result<bool, DeviceLinkError> {
        self.send(&Packet::Connect(Box::new(connect))).await?;
        match self.receive().await? {
            Packet::ConnAck(ConnAck::Accepted { session_present }) => Ok(session_present),
            Packet::ConnAck(ConnAck::Refused(why)) => Err(DeviceLinkError::Refused(why)),
            other => Err(DeviceLinkError::Unexpected(Box::new(other))),
        }
    }

    /// Subscribes, with QoS 1, and hears the answer. Nothing else may be under way.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn subscribe(&mut self, filters: &[&str]) -> Result<Vec<Grant>, DeviceLinkError> {
        let id = self.next_id();
        let filters = filters.iter().map(|text| Ok((Filter::new(*text)?, Qos::AtLeastOnce)));
        let filters = filters.collect::<Result<_, BadText>>()?;
        self.send(&Packet::Subscribe(Subscribe { id, filters })).await?;
        match self.receive().await? {
            Packet::SubAck(answer) if answer.id == Some(id) => Ok(answer.grants),
            other => Err(DeviceLinkError::Unexpected(Box::new(other))),
        }
    }

    /// Sends a message; with QoS 1, the answer is the packet identifier to be acknowledged.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn publish(
        &mut self,
        topic: &str,
        payload: impl Into<Bytes>,
        qos: Qos,
    ) -> Result<Option<PacketId>, DeviceLinkError> {
        let delivery = match qos {
            Qos::AtMostOnce => Delivery::AtMostOnce,
            Qos::AtLeastOnce => Delivery::AtLeastOnce { id: self.next_id(), dup: false },
            Qos::ExactlyOnce => Delivery::ExactlyOnce { id: self.next_id(), dup: false },
        };
        let (topic, payload) = (Topic::new(topic)?, payload.into());
        let id = delivery.id();
        self.send(&Packet::Publish(Publish { topic, payload, delivery, retain: false })).await?;
        Ok(id)
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn send(&mut self, packet: &Packet) -> Result<(), DeviceLinkError> {
        let mut bytes = BytesMut::new();
        encode(packet, &mut bytes)?;
        self.stream.write_all(&bytes).await.map_err(DeviceLinkError::Broken)?;
        self.stream.flush().await.map_err(DeviceLinkError::Broken)
    }

    /// The next packet. Nothing is lost when this is dropped halfway.
    ///
    /// # Errors
    /// [`DeviceLinkError`].
    pub async fn receive(&mut self) -> Result<Packet, DeviceLinkError> {
        loop {
            if let Decoded::Packet(packet) = decode(&mut self.inbox, &Limits::SESSION)? {
                if self.inbox.is_empty() {
                    // A device that waits holds no buffer.
                    self.inbox = BytesMut::new();
                }
                return Ok(packet);
            }
            self.inbox.reserve(READ_BYTES);
            match self.stream.read_buf(&mut self.inbox).await {
                Ok(0) => return Err(DeviceLinkError::Closed),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(DeviceLinkError::Closed);
                }
                Err(error) => return Err(DeviceLinkError::Broken(error)),
            }
        }
    }

    /// The stream below, for a caller who wants to break it.
    pub fn into_stream(self) -> S {
        self.stream
    }

    fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id.wrapping_add(1);
        PacketId::new(self.last_id).unwrap_or_else(|| {
            self.last_id = 1;
            PacketId::MIN
        })
    }
}

/// A CONNECT of a device. Without a password it shows its certificate.
///
/// # Errors
/// [`BadText`] for a text that MQTT cannot carry.
pub fn connect_packet(
    client_id: &str,
    user_name: &str,
    password: Option<&str>,
    clean_session: bool,
    keep_alive_secs: u16,
) -> Result<Connect, BadText> {
    let password = password.map(|text| Password::new(text.to_owned())).transpose()?;
    Ok(Connect {
        client_id: Text::new(client_id)?,
        clean_session,
        keep_alive_secs,
        will: None,
        login: Some(Login { user_name: Text::new(user_name)?, password }),
    })
}
