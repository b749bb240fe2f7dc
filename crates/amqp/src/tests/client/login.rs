//! Headers and SASL.

use std::panic::Location;

use bytes::{Bytes, BytesMut};
use testkit::tpm::SoftTpm;

use super::Client;
use crate::proto::{self, Decoded, Limits, ProtocolHeader, SaslFrame, SaslInit, SaslOutcome};

impl Client {
    /// Sends a header and expects the same in return.
    #[track_caller]
    pub(crate) fn header(&mut self, header: ProtocolHeader) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            self.send_header(header).await;
            let answer = self.read_header().await;
            assert_eq!(answer, Some(header), "{caller}");
        }
    }

    /// Sends a header.
    pub(crate) async fn send_header(&mut self, header: ProtocolHeader) {
        let mut bytes = BytesMut::new();
        proto::encode_header(header, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// The next header; `None` at the end of the stream.
    pub(crate) async fn read_header(&mut self) -> Option<ProtocolHeader> {
        loop {
            if let Some(header) = proto::decode_header(&mut self.received).expect("a header") {
                return Some(header);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Sends a SASL frame.
    pub(crate) async fn send_sasl(&mut self, frame: &SaslFrame) {
        let mut bytes = BytesMut::new();
        proto::encode_sasl(frame, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    /// The next SASL frame; `None` at the end of the stream.
    pub(crate) async fn read_sasl(&mut self) -> Option<SaslFrame> {
        loop {
            match proto::decode_sasl(&mut self.received, &Limits::SASL).expect("a SASL frame") {
                Decoded::Item(frame) => return Some(frame),
                Decoded::Empty | Decoded::Incomplete { .. } => {}
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// Begins the SASL layer with a mechanism, up to the door's next word.
    pub(crate) async fn sasl_init(&mut self, mechanism: &str, response: Option<&[u8]>) {
        self.header(ProtocolHeader::Sasl).await;
        match self.read_sasl().await {
            Some(SaslFrame::Mechanisms(_)) => {}
            other => panic!("expected mechanisms: {other:?}"),
        }
        let init = SaslInit {
            mechanism: mechanism.to_owned(),
            initial_response: response.map(Bytes::copy_from_slice),
            hostname: Some("ignored.example.test".to_owned()),
        };
        self.send_sasl(&SaslFrame::Init(init)).await;
    }

    /// Expects the outcome.
    pub(crate) async fn sasl_outcome(&mut self) -> SaslOutcome {
        match self.read_sasl().await {
            Some(SaslFrame::Outcome(outcome)) => outcome,
            other => panic!("expected an outcome: {other:?}"),
        }
    }

    /// Logs in with a mechanism that has one response at most.
    pub(crate) async fn sasl(&mut self, mechanism: &str, response: Option<&[u8]>) -> SaslOutcome {
        self.sasl_init(mechanism, response).await;
        self.sasl_outcome().await
    }

    /// Logs in with PLAIN.
    pub(crate) async fn sasl_plain(&mut self, user: &str, password: &str) -> SaslOutcome {
        self.sasl("PLAIN", Some(format!("\0{user}\0{password}").as_bytes())).await
    }

    /// Expects a challenge.
    pub(crate) async fn sasl_challenge(&mut self) -> Bytes {
        match self.read_sasl().await {
            Some(SaslFrame::Challenge(challenge)) => challenge,
            other => panic!("expected a challenge: {other:?}"),
        }
    }

    /// Sends a response of a whole: the control byte 0 and this.
    pub(crate) async fn sasl_respond(&mut self, data: &[u8]) {
        let response = Bytes::from([&[0], data].concat());
        self.send_sasl(&SaslFrame::Response(response)).await;
    }

    /// Sends one piece of a response.
    pub(crate) async fn sasl_respond_piece(&mut self, control: u8, data: &[u8]) {
        let response = Bytes::from([&[control], data].concat());
        self.send_sasl(&SaslFrame::Response(response)).await;
    }

    /// Runs the exchange of a TPM up to its token, checks it as Java's client does (D §3.3), and
    /// lets the TPM take the key out of the blob.
    pub(crate) async fn sasl_tpm_challenge(&mut self, tpm: &mut SoftTpm, scope: &str, id: &str) {
        let init = [b"\0", scope.as_bytes(), b"\0", id.as_bytes(), b"\0", &*tpm.endorsement_key()]
            .concat();
        self.sasl_init("TPM", Some(&init)).await;
        assert_eq!(self.sasl_challenge().await, [0][..]);
        self.sasl_respond(&tpm.storage_root_key()).await;
        let first = self.sasl_challenge().await;
        assert_eq!(first[0], 0x80);
        self.sasl_respond(b"").await;
        let second = self.sasl_challenge().await;
        assert_eq!(second[0], 0xc1);
        tpm.activate(&[&first[1..], &second[1..]].concat()).expect("our blob");
    }

    /// Answers the challenge with a token.
    pub(crate) async fn sasl_tpm_answer(&mut self, token: &str) -> SaslOutcome {
        self.sasl_respond(token.as_bytes()).await;
        self.sasl_outcome().await
    }
}
