//! An operator: of the provisioning service (O §1) or of a hub (H §2, §3).

use serde_json::{Value, json};
use testkit::ServiceToken;

use super::{Policy, Reply, SERVICE, World, now_unix_secs};

/// An operator who holds the owner policy of one host.
#[derive(Clone, Copy)]
pub(crate) struct Operator<'a> {
    world: &'a World,
    policy: &'a Policy,
}

impl<'a> Operator<'a> {
    pub(super) fn new(world: &'a World, host: &str) -> Self {
        Self { world, policy: world.policy_of(host) }
    }

    /// A token for this host, valid for so many seconds from now.
    pub(crate) fn token(&self, ttl_secs: i64) -> String {
        let Policy { host, name, key } = self.policy;
        let expiry_unix_secs = now_unix_secs() + ttl_secs;
        ServiceToken { resource_raw: host, policy: name, key, expiry_unix_secs }.text()
    }

    /// A path with the api-version of this host's API.
    pub(crate) fn versioned(&self, path: &str) -> String {
        let version = if self.policy.host == SERVICE { "2021-10-01" } else { "2021-04-12" };
        let and = if path.contains('?') { '&' } else { '?' };
        format!("{path}{and}api-version={version}")
    }

    /// Sends exactly this: path and query as given, and no header but these.
    pub(crate) async fn send_raw(
        &self,
        method: &str,
        path_and_query: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let mut connection = self.world.tls().connect(&self.policy.host).await;
        connection.send(method, path_and_query, headers, body.into()).await
    }

    /// Sends a request with a good token.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        if_match: Option<&str>,
        body: impl Into<Vec<u8>>,
    ) -> Reply {
        let token = self.token(600);
        let mut headers =
            vec![("authorization", token.as_str()), ("content-type", "application/json")];
        headers.extend(if_match.map(|etag| ("if-match", etag)));
        self.send_raw(method, &self.versioned(path), &headers, body).await
    }

    /// What is there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        self.send("GET", path, None, "").await.expect(200)
    }

    /// What is there, if anything is.
    pub(crate) async fn find(&self, path: &str) -> Option<Value> {
        let reply = self.send("GET", path, None, "").await;
        (reply.status != 404).then(|| reply.expect(200))
    }

    /// Creates.
    pub(crate) async fn create(&self, path: &str, body: &Value) -> Value {
        self.send("PUT", path, None, body.to_string()).await.expect(200)
    }

    /// Replaces what is there, whatever its etag.
    pub(crate) async fn replace(&self, path: &str, body: &Value) -> Value {
        self.send("PUT", path, Some("*"), body.to_string()).await.expect(200)
    }

    /// Reads what is there, changes it, and puts it back with its etag: what a console does.
    pub(crate) async fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) -> Value {
        let mut body = self.get(path).await;
        let etag = body["etag"].as_str().expect("an etag").to_owned();
        change(&mut body);
        self.send("PUT", path, Some(&etag), body.to_string()).await.expect(200)
    }

    /// Deletes what is there.
    pub(crate) async fn delete(&self, path: &str) {
        let reply = self.send("DELETE", path, Some("*"), "").await;
        assert_eq!((reply.status, reply.body.len()), (204, 0), "DELETE {path}: {reply:?}");
    }

    /// All items of a query, page by page.
    pub(crate) async fn query(&self, path: &str) -> Vec<Value> {
        let body = json!({"query": "SELECT *"}).to_string();
        let mut items = Vec::new();
        let mut continuation = String::new();
        loop {
            let token = self.token(600);
            let mut headers =
                vec![("authorization", token.as_str()), ("content-type", "application/json")];
            if !continuation.is_empty() {
                headers.push(("x-ms-continuation", &continuation));
            }
            let path = self.versioned(path);
            let reply = self.send_raw("POST", &path, &headers, body.clone()).await;
            let page = reply.expect(200);
            items.extend(page.as_array().expect("an array").iter().cloned());
            continuation = reply.header("x-ms-continuation").to_owned();
            if continuation.is_empty() {
                return items;
            }
        }
    }
}
