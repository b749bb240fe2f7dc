//! What the first start makes and says, and that later ones keep it.

use std::fs;

use crate::harness::{Home, Server, induct, run};

/// What every start says at its end.
fn announced(server: &Server) -> String {
    let (https, mqtt) = (server.address(), server.mqtt_address());
    let amqp = server.amqp_address();
    format!(
        "Listening on https://{https}\nListening on mqtts://{mqtt}\n\
         Listening on amqps://{amqp}\n"
    )
}

#[test]
fn the_first_start_says_what_it_made_and_the_second_is_silent_and_keeps_it() {
    let home = Home::new();
    let server = home.start();
    let listening = server.listening().clone();
    let connection_strings = || {
        let of_service = home.run(&["connection-string", "show", "--all"]).json();
        let of_hub = home.run(&["connection-string", "show", "--all", "--hub", "hub-1"]).json();
        let without_ports =
            |value: serde_json::Value| value.to_string().replace(char::is_numeric, "");
        (without_ports(of_service), without_ports(of_hub))
    };
    let before = connection_strings();
    let first = server.stop();
    assert!(first.status.success(), "{first:?}");
    let data = home.data().canonicalize().expect("made");
    for told in [
        data.display().to_string(),
        listening.id_scope.clone(),
        data.join("tls/ca.pem").display().to_string(),
        "provisioningserviceowner".to_owned(),
        "hub-1.localhost, with the policies iothubowner, service, device".to_owned(),
        format!("induct connection-string show --data {}", data.display()),
        format!("induct hub monitor-events --data {}", data.display()),
        format!("Listening on https://{}", listening.https[0]),
        format!("Listening on mqtts://{}", listening.mqtt[0]),
        format!("Listening on amqps://{}", listening.amqp[0]),
    ] {
        assert!(first.stdout.contains(&told), "{told:?} in {first:?}");
    }

    let ca = fs::read(data.join("tls/ca.pem")).expect("the CA");
    let server = home.start();
    let addresses = announced(&server);
    assert_eq!(server.listening().id_scope, listening.id_scope);
    assert_eq!(connection_strings(), before);
    let second = server.stop();
    assert_eq!(second.stdout, addresses);
    assert_eq!(fs::read(data.join("tls/ca.pem")).expect("the CA"), ca);
}

#[test]
fn a_hub_that_is_added_later_is_told_in_one_line() {
    let home = Home::new();
    home.start().stop();
    let hubs = "[{name='hub-1', host='hub-1.localhost'}, {name='hub-2', host='hub-2.localhost'}]";
    let server = home.start_with(&[("INDUCT_HUBS", hubs)]);
    let addresses = announced(&server);
    let ended = server.stop();
    let told = "New hub hub-2 (hub-2.localhost), with the policies iothubowner, service, device, \
                registryRead, registryReadWrite.";
    assert_eq!(ended.stdout, format!("{told}\n{addresses}"));
}

#[test]
fn nothing_that_is_printed_or_logged_holds_a_secret() {
    let home = Home::new();
    let server = home.start_with(&[("INDUCT_LOG__LEVEL", "trace")]);
    let mut secrets = Vec::new();
    for which in [&[][..], &["--hub", "hub-1"]] {
        for key_type in ["primary", "secondary"] {
            let command = ["connection-string", "show", "--all", "--kt", key_type];
            let answer = home.run(&[&command, which].concat()).json();
            for text in answer["connectionString"].as_array().expect("a list") {
                let text = text.as_str().expect("text");
                let (_, key) = text.split_once("SharedAccessKey=").expect("a key");
                secrets.push(key.to_owned());
            }
        }
    }
    assert_eq!(secrets.len(), 2 + 2 * 5);
    for key in ["ca.key", "server.key", "server-rsa.key"] {
        let pem = fs::read_to_string(home.data().join("tls").join(key)).expect(key);
        secrets.push(pem.lines().nth(1).expect("a PEM body").to_owned());
    }
    let ended = server.stop();
    assert!(ended.stderr.contains("serving ID scope"), "{ended:?}");
    let all = ended.stdout + &ended.stderr;
    for secret in secrets {
        assert!(secret.len() >= 16);
        assert!(!all.contains(&secret), "a secret was told");
    }
}

#[cfg(unix)]
#[test]
fn the_data_folder_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let server = home.start();
    let mode = |name: &str| {
        let path = home.data().join(name);
        fs::metadata(path).expect(name).permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    assert_eq!(mode("tls"), 0o700);
    for name in ["induct.db", "induct.db-wal", "tls/ca.key", "run/listen.json"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    server.stop();
}

#[test]
fn before_the_first_start_there_is_no_connection_string() {
    let home = Home::new();
    home.run(&["connection-string", "show"])
        .refused(1, "`induct serve` makes one at its first start");
}

#[test]
fn a_connection_string_has_the_port_of_the_running_server_or_the_configured_one() {
    let home = Home::new();
    let server = home.start();
    let port = server.address().port();
    let host_name = |variables: &[(&str, &str)]| {
        let mut command = induct(&["dps", "connection-string", "show", "--data"]);
        let finished = run(command.arg(home.data()).envs(variables.iter().copied()));
        let answer = finished.json();
        let text = answer["connectionString"].as_str().expect("text");
        text.split(';').next().expect("a first part").to_owned()
    };
    assert_eq!(host_name(&[]), format!("HostName=localhost:{port}"));
    server.stop();
    assert_eq!(host_name(&[]), "HostName=localhost:8443");
    assert_eq!(host_name(&[("INDUCT_LISTEN__HTTPS", "0.0.0.0:443")]), "HostName=localhost");
}
