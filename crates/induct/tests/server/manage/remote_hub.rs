//! Two processes: one provisions into the other as a remote hub.

use http::StatusCode;

use super::{is, wait_for_registration};
use crate::harness::{Api, Home, Server, listed_devices};

const HUBS: &str = "[{name = 'plant', host = 'plant.localhost'}]";

/// The process whose hub is linked, and the one that provisions into it.
struct Pair {
    plant: Home,
    home: Home,
    ca: String,
}

impl Pair {
    fn new() -> Self {
        let (plant, home) = (Home::new(), Home::new());
        let ca = plant.data().join("tls/ca.pem").to_str().expect("UTF-8").to_owned();
        Self { plant, home, ca }
    }

    /// Starts the remote one, on the port that the other knows it by.
    fn start_plant(&self, port: u16) -> Server {
        let address = format!("127.0.0.1:{port}");
        self.plant.start_with(&[("INDUCT_HUBS", HUBS), ("INDUCT_LISTEN__HTTPS", &address)])
    }

    fn start_home(&self) -> Server {
        self.home.start_with(&[("INDUCT_REMOTE_HUBS__CA_FILE", &self.ca)])
    }

    fn connection_string(&self) -> String {
        let shown = self.plant.run(&["connection-string", "show", "--hub", "plant"]).json();
        shown["connectionString"].as_str().expect("text").to_owned()
    }

    /// Links the remote hub, and enrolls a group whose devices go there.
    async fn link(&self, server: &Server) -> Api {
        let text = self.connection_string();
        self.home.run(&["linked-hub", "create", "--connection-string", &text]).json();
        let service = Api::service(&self.home, server);
        service.enroll_group("line-4").await;
        let command = ["enrollment-group", "update", "--gid", "line-4", "--ap", "static"];
        self.home.run(&[&command[..], &["--ih", "plant.localhost"]].concat()).json();
        service
    }
}

#[tokio::test]
async fn a_device_is_provisioned_into_another_process_whatever_is_killed_meanwhile() {
    let pair = Pair::new();
    let plant = pair.start_plant(0);
    let port = plant.address().port();
    let server = pair.start_home();
    let service = pair.link(&server).await;
    let probe = pair.home.run(&["linked-hub", "probe", "--lh", "plant.localhost"]).json();
    assert_eq!(probe["status"], "healthy");

    let answer = Api::devices(&server).register("press-1").await.expect("an answer");
    assert_eq!(answer.status, StatusCode::ACCEPTED);
    let record = wait_for_registration(&service, "press-1", is("assigned")).await;
    assert_eq!(record["assignedHub"], "plant.localhost");

    // The remote is gone: devices wait.
    plant.kill();
    pair.home
        .run(&["linked-hub", "probe", "--lh", "plant.localhost"])
        .refused(1, "plant.localhost cannot be reached");
    for id in ["press-2", "press-3"] {
        let answer = Api::devices(&server).register(id).await.expect("an answer");
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{answer:?}");
        assert_eq!(answer.json().expect("JSON")["status"], "assigning");
    }
    // So is the one that has to tell it: what it has to tell is in its store.
    server.kill();
    let server = pair.start_home();
    let service = Api::service(&pair.home, &server);
    let record = service.registration("press-2").await.json().expect("JSON");
    assert_eq!(record["status"], "assigning");

    let plant = pair.start_plant(port);
    for id in ["press-2", "press-3"] {
        let record = wait_for_registration(&service, id, is("assigned")).await;
        assert_eq!(record["assignedHub"], "plant.localhost");
    }
    let devices = listed_devices(&Api::hub(&pair.plant, &plant, "plant")).await;
    let expected = ["press-1", "press-2", "press-3"].map(str::to_owned);
    assert_eq!(devices, expected.into());
}

#[tokio::test]
async fn a_probe_tells_stale_credentials_before_a_device_does() {
    let pair = Pair::new();
    let _plant = pair.start_plant(0);
    let server = pair.start_home();
    pair.link(&server).await;
    let owner = ["--hub", "plant.localhost", "--pn", "iothubowner", "--primary-key", ""];
    pair.plant.run(&[&["policy", "update"][..], &owner].concat()).json();
    let probe = ["linked-hub", "probe", "--lh", "plant.localhost"];
    pair.home.run(&probe).refused(1, "refuses our credentials");
    let text = pair.connection_string();
    pair.home.run(&["linked-hub", "update", "--lh", "plant.localhost", "--cs", &text]).json();
    assert_eq!(pair.home.run(&probe).json()["status"], "healthy");
}
