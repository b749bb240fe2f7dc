//! Who is there: the SASL layer, or none (D §3.1–3.3, H §4.3.1, 4.3.2).
//!
//! What can be told without the store is told by the outcome; who signed a token, and whether its
//! device is enrolled, is told where the links are attached. A TPM is challenged here, and its
//! answer checked; whether it is enrolled is told as everybody else's. What deliberately does not
//! live here: what the payloads consist of ([`payload`]).

pub mod payload;

use std::fmt;

use app::{
    App, No,
    limits::DeviceCall,
    visits::{Introduction, Visit},
};
use bytes::Bytes;
use model::{
    AttestFailure, DeviceRefusal, Door, Evidence, RegistrationId, SasToken, TpmChallenge, TpmKeys,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};
use tracing::error;
use wire::sas::MAX_TOKEN_BYTES;

use self::payload::{BadPayload, Plain, PlainUser, TpmInit, TpmPiece};
use crate::{
    AmqpSettings, Peer,
    door::{chain_of, one_line},
    proto::{ProtocolHeader, SaslFrame, SaslInit, SaslMechanisms, SaslOutcome},
    stream::{Broken, FrameStream},
};

/// What we offer, in this order (H §4.3.1).
const MECHANISMS: [&str; 5] = ["PLAIN", "TPM", "ANONYMOUS", "EXTERNAL", "MSSBCBS"];
/// How many pieces one answer of a TPM may come in; each has 470 bytes and more.
const MAX_PIECES: usize = 20;

/// How a client introduced itself.
#[derive(Debug)]
pub(crate) enum Login {
    /// Without SASL.
    Bare,
    /// As nobody; it may have tokens for us later, or a certificate.
    Anonymous,
    /// By its certificate.
    External,
    /// As nobody, with the promise of tokens.
    Mssbcbs,
    /// With a name and a password, which is a token that nobody has verified yet.
    Plain {
        /// The name, as written.
        user: String,
        /// The password.
        password: Secret,
    },
    /// By a TPM's answer to a challenge.
    Tpm(Box<TpmLogin>),
}

/// A TPM that answered its challenge: whoever it is, it has the two keys.
#[derive(Debug)]
pub(crate) struct TpmLogin {
    /// The ID scope, as written.
    pub(crate) scope: String,
    /// What it was asked, and under which ID it registers.
    pub(crate) challenge: TpmChallenge,
    /// What it answered; good when it came.
    pub(crate) token: SasToken,
}

/// A text that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Login {
    /// For the log.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Bare => "no SASL",
            Self::Anonymous => "ANONYMOUS",
            Self::External => "EXTERNAL",
            Self::Mssbcbs => "MSSBCBS",
            Self::Plain { .. } => "PLAIN",
            Self::Tpm(_) => "TPM",
        }
    }
}

/// Why a client is not let in.
#[derive(Debug)]
pub(crate) enum LoginNo {
    /// It is told so, and the connection is closed.
    Refused {
        /// What it is told.
        outcome: SaslOutcome,
        /// The mechanism, as it wrote it; for the log.
        mechanism: String,
        /// Why, for the log; never a secret.
        reason: String,
    },
    /// It speaks something else.
    OtherProtocol(ProtocolHeader),
    /// It spoke out of turn, or was too slow.
    Cut(&'static str),
    /// Nothing can be said to it.
    Broken(Broken),
}

impl From<Broken> for LoginNo {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

/// What a mechanism comes to.
type Judged = Result<Login, Declined>;

/// A refusal without its mechanism.
struct Declined {
    outcome: SaslOutcome,
    reason: String,
}

impl From<BadPayload> for Declined {
    fn from(bad: BadPayload) -> Self {
        refused(&format_args!("its response: {bad}"))
    }
}

/// Runs the SASL layer, after the client's header for it.
pub(crate) async fn log_in<S>(
    app: &App,
    settings: &AmqpSettings,
    peer: &Peer,
    stream: &mut FrameStream<S>,
    tracking_id: &str,
) -> Result<Login, LoginNo>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.queue_header(ProtocolHeader::Sasl);
    let mechanisms = MECHANISMS.map(str::to_owned).into();
    stream.queue_sasl(&SaslFrame::Mechanisms(SaslMechanisms(mechanisms)));
    let init = match timeout(settings.connect_timeout, stream.read_sasl()).await {
        Ok(Ok(SaslFrame::Init(init))) => init,
        Ok(Ok(_)) => return Err(LoginNo::Cut("another SASL frame before its sasl-init")),
        Ok(Err(broken)) => return Err(broken.into()),
        Err(_) => return Err(LoginNo::Cut("no sasl-init in time")),
    };
    let visit = Visit { tracking_id, door: Door::Amqp, address: peer.address.ip() };
    let judged = match init.mechanism.as_str() {
        "PLAIN" => plain(app, &visit, &init),
        "ANONYMOUS" => Ok(Login::Anonymous),
        "MSSBCBS" => Ok(Login::Mssbcbs),
        "EXTERNAL" if peer.client_chain.is_empty() => {
            Err(refused(&"there is no client certificate"))
        }
        "EXTERNAL" => Ok(Login::External),
        "TPM" => {
            let exchange = Box::pin(tpm(app, &visit, stream, &init));
            match timeout(settings.tpm_timeout, exchange).await {
                Ok(judged) => judged?,
                Err(_) => return Err(LoginNo::Cut("its TPM did not answer in time")),
            }
        }
        _ => Err(refused(&"there is no such mechanism")),
    };
    match judged {
        Ok(login) => {
            stream.queue_sasl(&SaslFrame::Outcome(SaslOutcome::Ok));
            Ok(login)
        }
        Err(Declined { outcome, reason }) => {
            Err(LoginNo::Refused { outcome, mechanism: one_line(&init.mechanism), reason })
        }
    }
}

fn refused(reason: &dyn fmt::Display) -> Declined {
    Declined { outcome: SaslOutcome::Auth, reason: reason.to_string() }
}

/// Checks what can be told without the store: for which device the token is, and until when
/// (D §3.2). Tokens for hubs name nobody here: that is told when their links attach.
fn plain(app: &App, visit: &Visit<'_>, init: &SaslInit) -> Judged {
    let response = init.initial_response.as_deref().ok_or(BadPayload::Missing)?;
    let Plain { user, password } = Plain::parse(response)?;
    if let PlainUser::Registration { scope, registration_id } = PlainUser::parse(user)? {
        let id = registration(registration_id)?;
        let token = wire::sas::parse(password).map_err(|bad| refused(&bad))?;
        let checked = app.check_device_token(&token, scope, &id);
        let evidence = Evidence::Sas(token);
        checked.map_err(|why| not_attested(app, visit, (scope, &id, &evidence), why))?;
    }
    Ok(Login::Plain { user: user.to_owned(), password: Secret(password.to_owned()) })
}

/// A device that is refused here will not ask to be registered: this is its attempt.
fn not_attested(
    app: &App,
    visit: &Visit<'_>,
    (scope, registration_id, evidence): (&str, &RegistrationId, &Evidence),
    why: AttestFailure,
) -> Declined {
    let declined = refused(&why);
    // Its version comes with its links.
    let said = Introduction { registration_id, api_version: None, evidence };
    app.refused_at_the_door(visit, scope, said, &DeviceRefusal::NotAttested(why));
    declined
}

fn registration(text: &str) -> Result<RegistrationId, Declined> {
    RegistrationId::parse(text).map_err(|bad| refused(&format_args!("the registration ID: {bad}")))
}

/// The exchange with a TPM (D §3.3).
async fn tpm<S>(
    app: &App,
    visit: &Visit<'_>,
    stream: &mut FrameStream<S>,
    init: &SaslInit,
) -> Result<Judged, LoginNo>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match Box::pin(challenge(app, visit, stream, init)).await {
        Ok(login) => Ok(Ok(login)),
        Err(Stop::Refused(no)) => Ok(Err(no)),
        Err(Stop::Over(no)) => Err(no),
    }
}

/// Why an exchange stops.
enum Stop {
    Refused(Declined),
    Over(LoginNo),
}

impl From<Declined> for Stop {
    fn from(no: Declined) -> Self {
        Self::Refused(no)
    }
}

impl From<BadPayload> for Stop {
    fn from(bad: BadPayload) -> Self {
        Self::Refused(bad.into())
    }
}

async fn challenge<S>(
    app: &App,
    visit: &Visit<'_>,
    stream: &mut FrameStream<S>,
    init: &SaslInit,
) -> Result<Login, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let first = init.initial_response.clone().ok_or(BadPayload::Missing)?;
    let introduction = whole(stream, first).await?;
    let TpmInit { scope, registration_id, endorsement_key } = TpmInit::parse(&introduction)?;
    let id = registration(registration_id)?;
    // The work is ours, and anybody can ask for it.
    app.admit_device(visit.address, &id, DeviceCall::Poll).await.map_err(not_admitted)?;

    stream.queue_sasl(&SaslFrame::Challenge(Bytes::from_static(&payload::TPM_GO_ON)));
    let first = response(stream).await?;
    let answer = whole(stream, first).await?;
    let keys = TpmKeys {
        endorsement_key: endorsement_key.to_vec(),
        storage_root_key: Some(payload::storage_root_key(&answer)?.to_vec()),
        endorsement_certificates: Vec::new(),
    };
    let (challenge, blob) = app.challenge_tpm_here(&id, keys).map_err(|why| refused(&why))?;

    let [first_half, second_half] = payload::tpm_challenges(&blob)?;
    stream.queue_sasl(&SaslFrame::Challenge(first_half.into()));
    // It says nothing, only that it is ready for the rest.
    response(stream).await?;
    stream.queue_sasl(&SaslFrame::Challenge(second_half.into()));
    let first = response(stream).await?;
    let answer = whole(stream, first).await?;
    let token = wire::sas::parse(payload::tpm_token(&answer)?).map_err(|bad| refused(&bad))?;
    if let Err(why) = app.check_tpm_answer(&challenge, &token, scope) {
        let (challenge, token) = (Box::new(challenge), Box::new(token));
        let evidence = Evidence::TpmAnswer { challenge, token };
        return Err(not_attested(app, visit, (scope, &id, &evidence), why).into());
    }
    let scope = scope.to_owned();
    Ok(Login::Tpm(Box::new(TpmLogin { scope, challenge, token })))
}

fn not_admitted(no: No<DeviceRefusal>) -> Declined {
    match no {
        No::Refused(refusal @ DeviceRefusal::Throttled(_)) => {
            Declined { outcome: SaslOutcome::SysTemp, reason: refusal.to_string() }
        }
        No::Refused(refusal) => refused(&refusal),
        No::Fault(fault) => {
            let chain = chain_of(&fault);
            error!(error = %chain, "a TPM could not be challenged by our fault: {chain}");
            Declined {
                outcome: SaslOutcome::SysTemp,
                reason: "something of ours failed".to_owned(),
            }
        }
    }
}

async fn response<S>(stream: &mut FrameStream<S>) -> Result<Bytes, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match stream.read_sasl().await {
        Ok(SaslFrame::Response(response)) => Ok(response),
        Ok(_) => Err(Stop::Over(LoginNo::Cut("another SASL frame instead of its response"))),
        Err(broken) => Err(Stop::Over(broken.into())),
    }
}

/// All pieces of what a TPM says, of which the first is here.
async fn whole<S>(stream: &mut FrameStream<S>, first: Bytes) -> Result<Bytes, Stop>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut piece = first;
    let mut all = Vec::new();
    for _ in 0..MAX_PIECES {
        let TpmPiece { data, more } = TpmPiece::parse(&piece)?;
        all.extend_from_slice(data);
        if all.len() > MAX_TOKEN_BYTES {
            let (n_bytes, most) = (all.len(), MAX_TOKEN_BYTES);
            return Err(BadPayload::TooLong { what: "response", n_bytes, most }.into());
        }
        if !more {
            return Ok(all.into());
        }
        stream.queue_sasl(&SaslFrame::Challenge(Bytes::from_static(&payload::TPM_GO_ON)));
        piece = response(stream).await?;
    }
    Err(refused(&"its response comes in too many pieces").into())
}
