//! Answers that go on for as long as somebody listens.

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use tokio::time::timeout;

use super::{Client, ClientError, Response};

/// An answer whose body is read piece by piece. Dropping it ends its connection.
#[derive(Debug)]
pub struct Streamed {
    /// The status code.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    body: Incoming,
    server: String,
    max_answer_bytes: usize,
    /// Keeps the connection open.
    _sender: SendRequest<Full<Bytes>>,
}

impl Client {
    /// Sends a request without a body, on a connection of its own, and waits for the head of its
    /// answer, whatever its status. There is no time limit to the body.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open(
        &self,
        method: Method,
        path_and_query: &str,
        headers: &[(&str, &str)],
    ) -> Result<Streamed, ClientError> {
        let request = self.compose(&method, path_and_query, headers, Bytes::new())?;
        let mut sender = self.connect().await?;
        let limit = self.settings.request_timeout;
        let server = self.server();
        let answer = timeout(limit, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Slow { server: server.clone(), what: "answer", limit })?;
        let (head, body) = answer.map_err(|error| self.broken(error))?.into_parts();
        Ok(Streamed {
            status: head.status,
            headers: head.headers,
            body,
            server,
            max_answer_bytes: self.settings.max_answer_bytes,
            _sender: sender,
        })
    }
}

impl Streamed {
    /// Waits for the next piece of the body; nothing when the body is complete.
    ///
    /// # Errors
    /// [`ClientError::Broken`].
    pub async fn next_piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => {
                    let (server, source) = (self.server.clone(), source.into());
                    return Err(ClientError::Broken { server, source });
                }
                Some(Ok(frame)) => {
                    if let Ok(piece) = frame.into_data() {
                        return Ok(Some(piece));
                    }
                }
            }
        }
    }

    /// Reads the rest of the body, for an answer that ends by itself.
    ///
    /// # Errors
    /// [`ClientError::Broken`], also for a body that is too large.
    pub async fn whole(self) -> Result<Response, ClientError> {
        let Self { status, headers, body, server, max_answer_bytes, .. } = self;
        let body = Limited::new(body, max_answer_bytes).collect().await;
        let body = body.map_err(|source| ClientError::Broken { server, source })?.to_bytes();
        Ok(Response { status, headers, body })
    }
}
