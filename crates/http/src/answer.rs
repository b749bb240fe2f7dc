//! An answer before it becomes an HTTP response.

mod body;

use std::fmt;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, STRICT_TRANSPORT_SECURITY},
};
use model::{Json, RegistrationId};

pub use self::body::{AnswerBody, Streamed};

/// The exact text the service sends; some clients compare it (D §1.6, O §1.3).
const JSON_TYPE: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const TRANSPORT_SECURITY: HeaderValue =
    HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// The name of the header that carries the tracking ID (D §1.6, H §2.1).
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// A response, without what every response has.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    content: Content,
    /// What the log says of it, when it is an error.
    pub(crate) trouble: Option<Trouble>,
    /// Whom the request was about, for the log.
    pub(crate) registration_id: Option<RegistrationId>,
}

enum Content {
    Nothing,
    Document(String),
    Events(BoxStream<'static, Bytes>),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("Nothing"),
            Self::Document(text) => f.debug_tuple("Document").field(text).finish(),
            Self::Events(_) => f.debug_tuple("Events").finish_non_exhaustive(),
        }
    }
}

/// What the log says of an answer that is an error.
#[derive(Debug)]
pub(crate) struct Trouble {
    /// The code as the wire has it: a number, or a hub's name for it.
    pub(crate) code: String,
    /// Why. May say more than the caller was told, but never holds a secret.
    pub(crate) reason: String,
}

impl Answer {
    /// A JSON document.
    pub(crate) fn json(status: StatusCode, document: &Json) -> Self {
        Self { content: Content::Document(document.to_string()), ..Self::empty(status) }
    }

    /// 200 and a JSON document.
    pub(crate) fn ok(document: &Json) -> Self {
        Self::json(StatusCode::OK, document)
    }

    /// 200 and server-sent events, for as long as there are any and somebody listens.
    pub(crate) fn events(pieces: BoxStream<'static, Bytes>) -> Self {
        Self { content: Content::Events(pieces), ..Self::empty(StatusCode::OK) }
    }

    /// 204, without content and content type (O §1.11).
    pub(crate) fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            content: Content::Nothing,
            trouble: None,
            registration_id: None,
        }
    }

    /// An error: a JSON document, and what the log says.
    pub(crate) fn error(status: u16, document: &Json, code: String, reason: String) -> Self {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { trouble: Some(Trouble { code, reason }), ..Self::json(status, document) }
    }

    /// Adds a header. A value that no header can carry is left out.
    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(HeaderName::from_static(name), value);
        }
        self
    }

    /// Says, for the log, whom the request was about.
    pub(crate) fn about(self, id: Option<RegistrationId>) -> Self {
        Self { registration_id: id, ..self }
    }

    /// The response, with the headers that every response has.
    pub(crate) fn into_response(self, tracking_id: &str) -> Response<AnswerBody> {
        let mut headers = self.headers;
        headers.insert(STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
        if let Ok(id) = HeaderValue::from_str(tracking_id) {
            headers.insert(REQUEST_ID, id);
        }
        let body = match self.content {
            Content::Nothing => AnswerBody::whole(Bytes::new()),
            Content::Document(text) => {
                headers.insert(CONTENT_TYPE, JSON_TYPE);
                AnswerBody::whole(text)
            }
            Content::Events(pieces) => {
                headers.insert(CONTENT_TYPE, EVENT_STREAM);
                headers.insert(CACHE_CONTROL, NO_STORE);
                AnswerBody::stream(pieces)
            }
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = headers;
        response
    }
}
