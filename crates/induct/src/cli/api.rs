//! Asking a server: requests, pages and errors, as the vendor's CLI makes and reads them (O §4.3).

use std::{cell::RefCell, error::Error, time::Duration};

use clap::Args;
use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use model::Json;

use super::complaint::Complaint;
use crate::{
    client::{ClientError, Response, Streamed},
    login::{Login, Session},
};

/// The largest answer we parse, in bytes, and how many values it may hold: a page of a thousand
/// twins fits many times.
const ANSWER_LIMITS: json::Limits =
    json::Limits { max_bytes: 64 * 1024 * 1024, max_depth: 128, max_values: 8_000_000 };
/// The most items we ask for at once; servers give no more.
const MAX_PAGE: u64 = 1000;
/// The api-version of the provisioning service that the vendor's CLI uses (O §1.1).
const SERVICE_API: &str = "2021-10-01";
/// The api-version of the hub's API that the vendor's CLI uses (O §4.4).
const HUB_API: &str = "2024-03-31";

/// Where Induct's own API begins: its version is in its paths.
const OWN_API: &str = "/induct/v1/";

/// How many items of a list to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub(crate) struct Top {
    /// How many to show; -1 for all.
    #[arg(long, value_name = "N", default_value_t = -1, allow_negative_numbers = true,
          value_parser = clap::value_parser!(i64).range(-1..))]
    pub(crate) top: i64,
}

impl Top {
    /// Everything.
    pub(crate) const ALL: Self = Self { top: -1 };

    fn limit(self) -> Option<u64> {
        u64::try_from(self.top).ok()
    }
}

/// A server to ask, and what it said on the side.
pub(crate) struct Api {
    session: Session,
    api_version: &'static str,
    draws_progress: bool,
    notes: RefCell<Vec<String>>,
}

/// Why an answer that goes on did not begin.
#[derive(Debug)]
pub(crate) enum NoStream {
    /// The server cannot be reached or has too much to do: it may be otherwise in a moment.
    NotNow(Complaint),
    /// The server refused.
    Refused(Complaint),
}

/// A path of these segments, each percent-encoded, beginning with a slash.
#[must_use]
pub(crate) fn path<'a>(segments: impl IntoIterator<Item = &'a str>) -> String {
    segments.into_iter().map(|segment| format!("/{}", wire::percent::encode(segment))).collect()
}

/// A path in Induct's own API.
#[must_use]
pub(crate) fn own_path<'a>(segments: impl IntoIterator<Item = &'a str>) -> String {
    path(["induct", "v1"].into_iter().chain(segments))
}

/// A path with those of these options that were given.
#[must_use]
pub(crate) fn with_options(path: &str, options: &[(&str, Option<&str>)]) -> String {
    let given = options.iter().filter_map(|(name, value)| Some((name, (*value)?)));
    let mut text = path.to_owned();
    for (i, (name, value)) in given.enumerate() {
        text.push(if i == 0 { '?' } else { '&' });
        text.push_str(&format!("{name}={}", wire::percent::encode(value)));
    }
    text
}

impl Api {
    /// The provisioning service's API.
    ///
    /// # Errors
    /// The login names no server that could be called.
    pub(crate) fn of_service(login: Login, draws_progress: bool) -> Result<Self, ClientError> {
        Self::new(login, SERVICE_API, draws_progress)
    }

    /// A hub's API.
    ///
    /// # Errors
    /// The login names no server that could be called.
    pub(crate) fn of_hub(login: Login, draws_progress: bool) -> Result<Self, ClientError> {
        Self::new(login, HUB_API, draws_progress)
    }

    fn new(
        login: Login,
        api_version: &'static str,
        draws_progress: bool,
    ) -> Result<Self, ClientError> {
        let session = login.open()?;
        Ok(Self { session, api_version, draws_progress, notes: RefCell::default() })
    }

    /// Who we are to the server.
    #[must_use]
    pub(crate) const fn login(&self) -> &Login {
        self.session.login()
    }

    /// What is worth saying beside the answer.
    pub(crate) fn take_notes(&self) -> Vec<String> {
        self.notes.take()
    }

    /// Reads.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn get(&self, path: &str) -> Result<Json, Complaint> {
        json_of(&self.ask(Method::GET, path, &[], None).await?)
    }

    /// Creates, or replaces what `if_match` says.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn put(
        &self,
        path: &str,
        if_match: Option<&str>,
        document: &Json,
    ) -> Result<Json, Complaint> {
        let headers: Vec<_> = if_match.map(|etag| ("if-match", etag)).into_iter().collect();
        json_of(&self.ask(Method::PUT, path, &headers, Some(document)).await?)
    }

    /// Creates or replaces by a file of this kind, which takes as long as this.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn put_file(
        &self,
        limit: Duration,
        path: &str,
        kind: &str,
        file: Vec<u8>,
    ) -> Result<Json, Complaint> {
        let headers = [("content-type", kind)];
        let sent = self.session.request(Some(limit), Method::PUT, path, &headers, file).await;
        let response = sent.map_err(|error| unreachable_server(&error))?;
        match response.status.is_success() {
            true => json_of(&response),
            false => Err(complaint(&Method::PUT, path, &response)),
        }
    }

    /// Merges.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn patch(
        &self,
        path: &str,
        if_match: &str,
        document: &Json,
    ) -> Result<Json, Complaint> {
        let headers = [("if-match", if_match)];
        json_of(&self.ask(Method::PATCH, path, &headers, Some(document)).await?)
    }

    /// Asks for something that is no resource of its own.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn post(
        &self,
        path: &str,
        document: Option<&Json>,
    ) -> Result<Json, Complaint> {
        json_of(&self.ask(Method::POST, path, &[], document).await?)
    }

    /// Deletes.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn delete(&self, path: &str, if_match: Option<&str>) -> Result<(), Complaint> {
        let headers: Vec<_> = if_match.map(|etag| ("if-match", etag)).into_iter().collect();
        self.ask(Method::DELETE, path, &headers, None).await.map(|_| ())
    }

    /// As [`post`](Self::post), on what is as `if_match` says.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn post_to(
        &self,
        path: &str,
        if_match: &str,
        document: Option<&Json>,
    ) -> Result<Json, Complaint> {
        json_of(&self.ask(Method::POST, path, &[("if-match", if_match)], document).await?)
    }

    /// As [`post`](Self::post), for what takes as long as this.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn post_within(
        &self,
        limit: Duration,
        path: &str,
        document: &Json,
    ) -> Result<Json, Complaint> {
        let asked = self.ask_within(Some(limit), Method::POST, path, &[], Some(document));
        json_of(&asked.await?)
    }

    /// Deletes something of which there is no version, and hears what is gone.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn clear(&self, path: &str) -> Result<Json, Complaint> {
        json_of(&self.ask(Method::DELETE, path, &[], None).await?)
    }

    /// Deletes the next batch, and hears how many that were and where to go on, if there is more.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn delete_batch(
        &self,
        path: &str,
        if_match: Option<&str>,
        continuation: Option<&str>,
    ) -> Result<(Json, Option<String>), Complaint> {
        let mut headers: Vec<_> = if_match.map(|etag| ("if-match", etag)).into_iter().collect();
        headers.extend(continuation.map(|token| ("x-ms-continuation", token)));
        let response = self.ask(Method::DELETE, path, &headers, None).await?;
        let next = response.header("x-ms-continuation").filter(|token| !token.is_empty());
        Ok((json_of(&response)?, next.map(str::to_owned)))
    }

    /// Reads what goes on for as long as somebody listens, in Induct's own API.
    ///
    /// # Errors
    /// [`NoStream`].
    pub(crate) async fn stream(&self, path: &str) -> Result<Streamed, NoStream> {
        let opened = self.session.open(path, &[("accept", "text/event-stream")]).await;
        let stream = opened.map_err(|error| NoStream::NotNow(unreachable_server(&error)))?;
        let status = stream.status;
        if status.is_success() {
            return Ok(stream);
        }
        let answer = stream.whole().await;
        let answer = answer.map_err(|error| NoStream::NotNow(unreachable_server(&error)))?;
        let complaint = complaint(&Method::GET, path, &answer);
        let is_for_now = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
        Err(if is_for_now { NoStream::NotNow(complaint) } else { NoStream::Refused(complaint) })
    }

    /// As [`delete`](Self::delete), where the server has something to say about what that means.
    ///
    /// # Errors
    /// What the server answered.
    pub(crate) async fn delete_and_hear(
        &self,
        path: &str,
        if_match: &str,
    ) -> Result<Option<Json>, Complaint> {
        let response = self.ask(Method::DELETE, path, &[("if-match", if_match)], None).await?;
        if response.body.is_empty() { Ok(None) } else { json_of(&response).map(Some) }
    }

    /// Something worth saying beside the answer.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.notes.borrow_mut().push(text.into());
    }

    /// As [`list`](Self::list), for what is read with GET and these options.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(crate) async fn list_with(
        &self,
        path: &str,
        options: &[(&str, Option<&str>)],
        top: Top,
    ) -> Result<Json, Complaint> {
        let mut items = Vec::new();
        let path = with_options(path, options);
        self.pages(Method::GET, &path, None, top.limit(), &mut items).await?;
        Ok(Json::Array(items))
    }

    /// Reads a list page by page, until `is_enough` says so of a page.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(crate) async fn look_through(
        &self,
        path: &str,
        mut is_enough: impl FnMut(&[Json]) -> bool,
    ) -> Result<(), Complaint> {
        let bar = self.progress();
        let (mut continuation, mut n_seen) = (None, 0);
        loop {
            let (page, next) =
                self.page(Method::GET, path, None, None, continuation.as_deref()).await?;
            n_seen += page.len() as u64;
            bar.set_position(n_seen);
            let is_done = is_enough(&page) || next.is_none();
            if !is_done && page.is_empty() && next == continuation {
                return Err(endless());
            }
            if is_done {
                bar.finish_and_clear();
                return Ok(());
            }
            continuation = next;
        }
    }

    /// Lists page by page, all of it or as many as `top` says.
    ///
    /// # Errors
    /// What the server answered, or pages that never end.
    pub(crate) async fn list(
        &self,
        path: &str,
        query: Option<&Json>,
        top: Top,
    ) -> Result<Json, Complaint> {
        let mut items = Vec::new();
        self.pages(Method::POST, path, query, top.limit(), &mut items).await?;
        Ok(Json::Array(items))
    }

    /// As [`list`](Self::list), for commands whose default shows only the first thousand: says so
    /// when there are more.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub(crate) async fn list_loudly(
        &self,
        path: &str,
        query: &Json,
        top: Top,
    ) -> Result<Json, Complaint> {
        let mut items = Vec::new();
        if self.pages(Method::POST, path, Some(query), top.limit(), &mut items).await? {
            self.note(format!(
                "WARNING: These are the first {}; there are more. Use --top -1 to see all.",
                items.len()
            ));
        }
        Ok(Json::Array(items))
    }

    /// Fetches pages; says whether there is more than was asked for.
    async fn pages(
        &self,
        method: Method,
        path: &str,
        query: Option<&Json>,
        limit: Option<u64>,
        items: &mut Vec<Json>,
    ) -> Result<bool, Complaint> {
        let bar = self.progress();
        let mut continuation: Option<String> = None;
        loop {
            let wanted = limit.map(|limit| limit.saturating_sub(items.len() as u64));
            if wanted == Some(0) {
                return Ok(continuation.is_some());
            }
            let size = wanted.map(|wanted| wanted.min(MAX_PAGE));
            let (page, next) =
                self.page(method.clone(), path, query, size, continuation.as_deref()).await?;
            let is_empty = page.is_empty();
            items.extend(page);
            if let Some(limit) = limit {
                items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            }
            bar.set_position(items.len() as u64);
            match next {
                None => {
                    bar.finish_and_clear();
                    return Ok(false);
                }
                Some(next) if is_empty && continuation.as_ref() == Some(&next) => {
                    return Err(endless());
                }
                Some(next) => continuation = Some(next),
            }
        }
    }

    /// Fetches one page, of so many items if it is said, and where the next one begins.
    async fn page(
        &self,
        method: Method,
        path: &str,
        query: Option<&Json>,
        size: Option<u64>,
        continuation: Option<&str>,
    ) -> Result<(Vec<Json>, Option<String>), Complaint> {
        let size = size.map(|size| size.to_string());
        let mut headers = vec![("cache-control", "no-cache, must-revalidate")];
        headers.extend(size.as_deref().map(|size| ("x-ms-max-item-count", size)));
        headers.extend(continuation.map(|token| ("x-ms-continuation", token)));
        let response = self.ask(method, path, &headers, query).await?;
        let Json::Array(page) = json_of(&response)? else {
            return Err(Complaint::new(
                "The server answered a query with something else than a list.",
            ));
        };
        let next = response.header("x-ms-continuation").filter(|token| !token.is_empty());
        Ok((page, next.map(str::to_owned)))
    }

    /// A counter of what has arrived; it shows only when a list takes longer than a moment.
    pub(crate) fn progress(&self) -> ProgressBar {
        if !self.draws_progress {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{spinner} {pos} so far {msg}");
        ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()))
    }

    /// A bar of what is done of so many; it shows only where someone looks.
    pub(crate) fn progress_of(&self, total: u64) -> ProgressBar {
        if !self.draws_progress {
            return ProgressBar::hidden();
        }
        let style = ProgressStyle::with_template("{bar:40} {pos} of {len}");
        ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4))
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Response, Complaint> {
        self.ask_within(None, method, path, headers, body).await
    }

    async fn ask_within(
        &self,
        limit: Option<Duration>,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Json>,
    ) -> Result<Response, Complaint> {
        let target = match path.starts_with(OWN_API) {
            true => path.to_owned(),
            false => format!("{path}?api-version={}", self.api_version),
        };
        let body = body.map(Json::to_string).unwrap_or_default();
        let sent = self.session.request(limit, method.clone(), &target, headers, body).await;
        let response = sent.map_err(|error| unreachable_server(&error))?;
        if response.status.is_success() {
            Ok(response)
        } else {
            Err(complaint(&method, path, &response))
        }
    }
}

fn complaint(method: &Method, path: &str, response: &Response) -> Complaint {
    let path = path.split('?').next().unwrap_or(path);
    let request = format!("{method} {path}");
    Complaint::of_answer(response.status.as_u16(), &response.body, &request)
}

fn unreachable_server(error: &ClientError) -> Complaint {
    let mut complaint = Complaint::new(error.to_string());
    let mut cause = error.source();
    while let Some(error) = cause {
        complaint.facts.push(format!("because: {error}"));
        cause = error.source();
    }
    complaint
}

fn endless() -> Complaint {
    Complaint::new("The server's pages do not end.")
        .with_remedy("That is a fault of the server: update it, or report it.")
}

fn json_of(response: &Response) -> Result<Json, Complaint> {
    ANSWER_LIMITS.parse(&response.body).map_err(|bad| {
        Complaint::new(format!("The server's answer is not JSON: {bad}."))
            .with_remedy("Is this an Induct server, or a proxy in front of one?")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_segment_of_a_path_is_encoded_once() {
        assert_eq!(path(["enrollments", "a:b/c%20"]), "/enrollments/a%3Ab%2Fc%2520");
        assert_eq!(own_path(["policies", "a/b"]), "/induct/v1/policies/a%2Fb");
    }

    #[test]
    fn options_that_were_not_given_are_not_sent() {
        let check = |options: &[(&str, Option<&str>)], expected: &str| {
            assert_eq!(with_options("/p", options), expected);
        };
        check(&[], "/p");
        check(&[("force", None)], "/p");
        check(&[("a", None), ("b", Some("x&y")), ("c", Some("1"))], "/p?b=x%26y&c=1");
    }
}
