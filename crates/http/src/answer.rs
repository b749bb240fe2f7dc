//! An answer before it becomes an HTTP response.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, STRICT_TRANSPORT_SECURITY},
};
use http_body_util::Full;
use model::{Json, RegistrationId};

/// The exact text the service sends; some clients compare it (D §1.6, O §1.3).
const JSON_TYPE: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
const TRANSPORT_SECURITY: HeaderValue =
    HeaderValue::from_static("max-age=31536000; includeSubDomains");

/// The name of the header that carries the tracking ID (D §1.6, H §2.1).
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");

/// A response, without what every response has.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Option<String>,
    /// What the log says of it, when it is an error.
    pub(crate) trouble: Option<Trouble>,
    /// Whom the request was about, for the log.
    pub(crate) registration_id: Option<RegistrationId>,
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
        Self { body: Some(document.to_string()), ..Self::empty(status) }
    }

    /// 200 and a JSON document.
    pub(crate) fn ok(document: &Json) -> Self {
        Self::json(StatusCode::OK, document)
    }

    /// 204, without content and content type (O §1.11).
    pub(crate) fn no_content() -> Self {
        Self::empty(StatusCode::NO_CONTENT)
    }

    fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: None, trouble: None, registration_id: None }
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
    pub(crate) fn into_response(self, tracking_id: &str) -> Response<Full<Bytes>> {
        let has_body = self.body.is_some();
        let mut response = Response::new(Full::from(self.body.unwrap_or_default()));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        let headers = response.headers_mut();
        headers.insert(STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
        if let Ok(id) = HeaderValue::from_str(tracking_id) {
            headers.insert(REQUEST_ID, id);
        }
        if has_body {
            headers.insert(CONTENT_TYPE, JSON_TYPE);
        }
        response
    }
}
