//! Two writers at once: exactly one wins, and the others are told.

use serde_json::json;
use tokio::task::JoinSet;

use super::Victim;
use crate::world::{
    Answer, Connection, Device, HUBS, Reply, SERVICE,
    device::accepted,
    enrollments::{by_key, group, group_by_key, individual, primary_key},
};

/// How many try at once.
const N_WRITERS: usize = 20;

/// A request that is ready to go: its connection is open.
struct Ready {
    connection: Connection,
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Ready {
    async fn new(
        victim: &Victim,
        method: &'static str,
        path: &str,
        if_match: Option<&str>,
        body: String,
    ) -> Self {
        Self::on(victim, SERVICE, method, path, if_match, body).await
    }

    async fn on(
        victim: &Victim,
        host: &str,
        method: &'static str,
        path: &str,
        if_match: Option<&str>,
        body: String,
    ) -> Self {
        let operator = victim.world.hub(host);
        let mut headers = vec![
            ("authorization", operator.token(600)),
            ("content-type", "application/json".to_owned()),
        ];
        headers.extend(if_match.map(|etag| ("if-match", etag.to_owned())));
        let connection = victim.world.tls().connect(host).await;
        Self { connection, method, path: operator.versioned(path), headers, body }
    }

    async fn send(mut self) -> Reply {
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.connection.send(self.method, &self.path, &headers, self.body.into_bytes()).await
    }
}

/// Sends all of them at once; returns the answers, the good ones apart.
async fn race(requests: Vec<Ready>) -> (Vec<Reply>, Vec<Reply>) {
    let mut racing = JoinSet::new();
    for request in requests {
        racing.spawn(request.send());
    }
    racing.join_all().await.into_iter().partition(|reply| reply.status < 300)
}

#[tokio::test]
async fn of_two_replacements_with_the_same_etag_exactly_one_wins() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    for path in ["/enrollments/press-1", "/enrollmentGroups/line-4"] {
        for _ in 0..10 {
            let body = service.get(path).await;
            let etag = body["etag"].as_str().expect("an etag");
            let mut requests = Vec::new();
            for writer in ["ana", "ben"] {
                let mut body = body.clone();
                body["initialTwin"] = json!({"tags": {"writer": writer}});
                requests.push(Ready::new(&victim, "PUT", path, Some(etag), body.to_string()).await);
            }
            let (won, lost) = race(requests).await;
            let ([won], [lost]) = (won.as_slice(), lost.as_slice()) else {
                panic!("one wins and one loses: {won:?} {lost:?}");
            };
            assert!(lost.refused(412_000).contains("ETag is invalid"));
            let (won, kept) = (won.expect(200), service.get(path).await);
            assert_eq!(kept["initialTwin"], won["initialTwin"], "the winner's is kept");
            assert_eq!(kept["etag"], won["etag"]);
        }
    }
    victim.device.register(&victim.world).await.assigned();
}

#[tokio::test]
async fn of_many_creations_of_one_enrollment_exactly_one_wins() {
    let victim = Victim::new().await;
    for (path, body, code) in
        [(individual("new"), by_key("new"), 409_201), (group("new"), group_by_key("new"), 409_202)]
    {
        let mut requests = Vec::new();
        for _ in 0..N_WRITERS {
            requests.push(Ready::new(&victim, "PUT", &path, None, body.to_string()).await);
        }
        let (won, lost) = race(requests).await;
        let [won] = won.as_slice() else { panic!("{} won", won.len()) };
        assert_eq!(lost.len(), N_WRITERS - 1);
        for lost in &lost {
            assert!(lost.refused(code).contains("already exists"));
        }
        // The keys that the winner was told are the keys that count.
        let path = format!("{path}/attestationmechanism");
        let kept = victim.world.service().send("POST", &path, None, "").await.expect(200);
        assert_eq!(kept, won.expect(200)["attestation"]);
    }
    victim.world.service().delete(&individual("new")).await;
    victim.world.service().delete(&group("new")).await;
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn of_many_deletions_of_one_enrollment_exactly_one_wins() {
    let victim = Victim::new().await;
    victim.world.service().create(&individual("new"), &by_key("new")).await;
    let mut requests = Vec::new();
    for _ in 0..N_WRITERS {
        requests.push(
            Ready::new(&victim, "DELETE", "/enrollments/new", Some("*"), String::new()).await,
        );
    }
    let (won, lost) = race(requests).await;
    assert_eq!((won.len(), lost.len()), (1, N_WRITERS - 1));
    for lost in &lost {
        lost.refused(404_201);
    }
    victim.assert_unharmed().await;
}

#[tokio::test]
async fn many_registrations_of_one_device_at_once_leave_one_record_and_one_identity() {
    let victim = Victim::new().await;
    let enrollment = victim.world.service().create(&individual("new"), &by_key("new")).await;
    let device = Device::with_key("new", primary_key(&enrollment));
    let scope = victim.world.id_scope().to_owned();
    let mut racing = JoinSet::new();
    for _ in 0..N_WRITERS {
        let (device, scope) = (device.clone(), scope.clone());
        let mut connection = victim.world.tls().connect(SERVICE).await;
        racing.spawn(async move {
            device.send(&mut connection, &scope, "PUT", "/register", "{}").await
        });
    }
    let (admitted, refused): (Vec<_>, Vec<_>) =
        racing.join_all().await.into_iter().partition(|reply| reply.status == 202);
    assert!(!admitted.is_empty());
    for reply in &refused {
        // The only refusal that concurrency may cause (D §1.8).
        assert_eq!(reply.refused(409_203), "Precondition failed.");
    }
    let state = device.register(&victim.world).await.assigned();
    let record = victim.world.record("new").await.expect("a record");
    assert_eq!(record["etag"], state["etag"]);
    let identities = victim.world.hub(HUBS[0]).get("/devices").await;
    let identities = identities.as_array().expect("an array").iter();
    assert_eq!(identities.filter(|identity| identity["deviceId"] == "new").count(), 1);
}

#[tokio::test]
async fn a_registration_that_races_a_disabling_never_outlives_it() {
    let victim = Victim::new().await;
    let service = victim.world.service();
    for _ in 0..10 {
        let mut body = service.get("/enrollments/press-1").await;
        body["provisioningStatus"] = json!("disabled");
        let body = body.to_string();
        let disabling = Ready::new(&victim, "PUT", "/enrollments/press-1", Some("*"), body).await;
        let mut connection = victim.world.tls().connect(SERVICE).await;
        let (disabled, registered) =
            tokio::join!(disabling.send(), victim.device.start(&victim.world, &mut connection));
        assert_eq!(disabled.status, 200, "{disabled:?}");
        assert!(matches!(registered.status, 202 | 409), "{registered:?}");
        // Whoever came first, from now on the device is out.
        let Answer::Settled(state) = victim.device.register(&victim.world).await else {
            panic!("a disabled enrollment settles the operation");
        };
        assert_eq!(state["status"], "disabled");
        let enable = |body: &mut serde_json::Value| body["provisioningStatus"] = json!("enabled");
        service.edit("/enrollments/press-1", enable).await;
        victim.device.register(&victim.world).await.assigned();
    }
}

#[tokio::test]
async fn of_two_replacements_of_an_identity_with_the_same_etag_exactly_one_wins() {
    let victim = Victim::new().await;
    let hub = victim.world.hub(HUBS[0]);
    let path = "/devices/press-1";
    for _ in 0..10 {
        let body = hub.get(path).await;
        let etag = format!("\"{}\"", body["etag"].as_str().expect("an etag"));
        let mut requests = Vec::new();
        for writer in ["ana", "ben"] {
            let mut body = body.clone();
            body["statusReason"] = json!(writer);
            let (etag, body) = (Some(etag.as_str()), body.to_string());
            requests.push(Ready::on(&victim, HUBS[0], "PUT", path, etag, body).await);
        }
        let (won, lost) = race(requests).await;
        let ([won], [lost]) = (won.as_slice(), lost.as_slice()) else {
            panic!("one wins and one loses: {won:?} {lost:?}");
        };
        assert_eq!((lost.status, lost.header("iothub-errorcode")), (412, "PreconditionFailed"));
        assert_eq!(hub.get(path).await["statusReason"], won.expect(200)["statusReason"]);
    }
}

#[tokio::test]
async fn patches_of_one_twin_at_the_same_time_are_all_kept() {
    let victim = Victim::new().await;
    let mut requests = Vec::new();
    for n in 0..N_WRITERS {
        let body = json!({"tags": {format!("t{n}"): n}}).to_string();
        requests.push(Ready::on(&victim, HUBS[0], "PATCH", "/twins/press-1", None, body).await);
    }
    let (won, lost) = race(requests).await;
    assert!(lost.is_empty(), "without a precondition nobody loses (H §2.6): {lost:?}");
    let twin = victim.world.twin(HUBS[0], "press-1").await;
    assert_eq!(twin["tags"].as_object().map(serde_json::Map::len), Some(won.len()));
    // Each accepted write is a version of its own.
    let versions: std::collections::BTreeSet<_> =
        won.iter().map(|reply| reply.expect(200)["version"].to_string()).collect();
    assert_eq!(versions.len(), won.len());
}

#[tokio::test]
async fn many_devices_register_at_once_and_each_is_assigned() {
    let victim = Victim::new().await;
    let mut racing = JoinSet::new();
    for n in 0..3 * N_WRITERS {
        let id = format!("lathe-{n}");
        let device = Device::with_certificate(&id, &victim.ca.leaf(&id));
        let (scope, tls) = (victim.world.id_scope().to_owned(), device.tls(&victim.world));
        racing.spawn(async move {
            let mut connection = tls.connect(SERVICE).await;
            device.send(&mut connection, &scope, "PUT", "/register", "{}").await
        });
    }
    for reply in racing.join_all().await {
        accepted(&reply);
    }
    let records = victim.world.service().query("/registrations/line-4/query").await;
    assert_eq!(records.len(), 3 * N_WRITERS + 1);
    assert!(records.iter().all(|record| record["status"] == "assigned"));
}
