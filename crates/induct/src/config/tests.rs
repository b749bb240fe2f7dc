use super::*;

const EXAMPLE: &str = include_str!("../../../../induct.example.toml");

fn environment(variables: &[(&str, &str)]) -> Environment {
    let home = [("HOME", "/home/ana")];
    Environment {
        variables: home
            .iter()
            .chain(variables)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        working_folder: PathBuf::from("/srv"),
    }
}

fn load_text(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
    let file = Path::new("/etc/induct/induct.toml");
    parse(text, Some(file), &Given::default(), &environment(variables))
}

/// The text parses, and the configuration has this property.
#[track_caller]
fn check<T: PartialEq + std::fmt::Debug>(
    text: &str,
    variables: &[(&str, &str)],
    of: impl FnOnce(Config) -> T,
    expected: T,
) {
    let loaded = load_text(text, variables).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(of(loaded.config), expected);
}

/// The problems are these, all of them, in the form that people see.
#[track_caller]
fn check_problems(text: &str, variables: &[(&str, &str)], expected: &str) {
    let problems = load_text(text, variables).expect_err("problems");
    assert_eq!(problems.to_string(), expected);
}

#[test]
fn the_example_file_holds_the_defaults_and_every_setting() {
    let example = load_text(EXAMPLE, &[]).unwrap_or_else(|problems| panic!("{problems}"));
    let nothing = load_text("", &[]).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(example.config, nothing.config);
    let left_out: Vec<_> = example
        .settings
        .iter()
        // Its default is a place, which no file can hold for everyone.
        .filter(|setting| setting.path != "data.folder" && setting.origin != Origin::File)
        .map(|setting| setting.path.as_str())
        .collect();
    assert_eq!(left_out, [""; 0]);
    let paths = |loaded: &Loaded| -> Vec<_> {
        loaded.settings.iter().map(|setting| setting.path.clone()).collect()
    };
    assert_eq!(paths(&example), paths(&nothing));
}

#[test]
fn what_is_shown_can_be_loaded_again_and_means_the_same() {
    let text = "[listen]\nhttps = ['[::1]:0']\n[[hubs]]\nhost = 'a.b'\n[[hubs]]\nhost = 'c.d'\n";
    let loaded = load_text(text, &[("INDUCT_LOG__LEVEL", "debug")]).expect("legal");
    let shown = to_toml(&loaded.settings);
    let again = load_text(&shown, &[]).unwrap_or_else(|problems| panic!("{shown}\n{problems}"));
    assert_eq!(again.config, loaded.config);
}

#[test]
fn all_problems_are_reported_together_by_path() {
    check_problems(
        "
            [listen]
            https = ['localhost:8443', '127.0.0.1:70000']
            max_connections = 0
            port = 1
            [service]
            allocation_policy = 'custom'
            host_names = ['localhost:8443', 'ok.example.com', 'no_no']
            [tls]
            certificate = 'a.pem'
            [hubs2]
            [[hubs]]
            host = 'nodot'
            weight = 'heavy'
            [[hubs]]
            name = 'b'
            host = 'ok.example.com'
            [log]
            level = 3
        ",
        &[("INDUCT_LIMITS__REGISTRATIONS", "many"), ("INDUCT_STORE__SPEED", "9")],
        "/etc/induct/induct.toml: 13 problems
  service.host_names: `localhost:8443` has a port; write `localhost` here and the port into listen.https
  service.host_names: `no_no` is not a host name such as provisioning.example.com
  service.allocation_policy: `custom` is not one of `hashed`, `geoLatency`, `static`
  listen.https: `localhost:8443` is not an address with a port, such as 127.0.0.1:8443 or [::]:443
  listen.https: `127.0.0.1:70000` is not an address with a port, such as 127.0.0.1:8443 or [::]:443
  listen.max_connections: 0 is not within 1 to 1000000
  listen.port: is not a setting; there are https, mqtt, amqp, max_connections, max_connections_per_address, max_mqtt_connections, max_mqtt_connections_per_address, max_amqp_connections, max_amqp_connections_per_address, handshake_timeout_secs, header_timeout_secs, request_timeout_secs, idle_timeout_secs, max_headers, max_header_bytes, max_body_bytes, max_body_bytes_in_flight, shutdown_grace_secs
  tls.key: is missing; `certificate` needs its private key
  hubs[0].host: `nodot` is not a host name such as hub-1.localhost: letters, digits and dashes, with at least one dot
  hubs[0].weight: is a whole number, not string
  hubs[1].host: `ok.example.com` is a name of the provisioning service as well; the name a client calls must tell which of them it means
  log.level: is a text in quotes, not integer
  hubs2: is not a section; there are service, listen, tls, data, attestation, mqtt, amqp, events, messages, registrations, deprovision, limits, rates, attempts, secrets, webhook, crls, remote_hubs, log, store, hubs
environment: 2 problems
  INDUCT_LIMITS__REGISTRATIONS: `many` is not a whole number
  INDUCT_STORE__SPEED: is not a setting; `induct config show` lists all of them, and INDUCT_LISTEN__HTTPS stands for listen.https",
    );
}

#[test]
fn the_environment_stands_above_the_file() {
    let text = "[listen]\nhttps = ['127.0.0.1:1']\nmax_connections = 5\n";
    let variables = [("INDUCT_LISTEN__HTTPS", "127.0.0.1:0, [::1]:0")];
    let addresses = |config: Config| {
        let texts: Vec<_> = config.listen.https.iter().map(ToString::to_string).collect();
        (texts.join(" "), config.listen.max_connections)
    };
    check(text, &variables, addresses, ("127.0.0.1:0 [::1]:0".to_owned(), 5));
}

#[test]
fn hubs_can_come_from_the_environment() {
    let variables = [("INDUCT_HUBS", "[{name = 'a', host = 'a.example'}, {host = 'B.example'}]")];
    let hubs = |config: Config| {
        let hubs = config.hubs.iter().map(|hub| format!("{}={}", hub.name, hub.host));
        hubs.collect::<Vec<_>>().join(" ")
    };
    check("", &variables, hubs, "a=a.example b=b.example".to_owned());
    check_problems(
        "",
        &[("INDUCT_HUBS", "hub-1")],
        "environment: 1 problem
  INDUCT_HUBS: is not a TOML array such as [{name = \"hub-1\", host = \"hub-1.localhost\"}]",
    );
}

#[test]
fn hubs_are_told_apart_by_name_and_host() {
    check_problems(
        "[[hubs]]\nname = 'a'\nhost = 'a.b'\n[[hubs]]\nname = 'A'\nhost = 'A.B'\n[[hubs]]\n",
        &[],
        "/etc/induct/induct.toml: 3 problems
  hubs[1].name: another hub is called `A` already
  hubs[1].host: another hub has the host name `a.b` already
  hubs[2].host: is needed: what devices are told, such as hub-1.localhost",
    );
    check_problems(
        "hubs = []",
        &[],
        "/etc/induct/induct.toml: 1 problem\n  hubs: has 0 hubs; there may be 1 to 50",
    );
}

#[test]
fn a_forgotten_underscore_is_noticed_and_other_programs_variables_are_not() {
    check_problems(
        "",
        &[("INDUCT_LOG_LEVEL", "debug"), ("INDUCT_BIN", "/x"), ("INDUCT_CONFIG", "/y")],
        "environment: 1 problem
  INDUCT_LOG_LEVEL: is not a setting; two underscores stand between section and key: INDUCT_LOG__LEVEL",
    );
}

#[test]
fn what_kubernetes_sets_for_a_service_called_induct_is_left_alone() {
    let variables = [
        ("INDUCT_SERVICE_HOST", "10.0.171.239"),
        ("INDUCT_SERVICE_PORT", "443"),
        ("INDUCT_SERVICE_PORT_HTTPS", "443"),
        ("INDUCT_PORT", "tcp://10.0.171.239:443"),
        ("INDUCT_PORT_443_TCP", "tcp://10.0.171.239:443"),
        ("INDUCT_PORT_443_TCP_ADDR", "10.0.171.239"),
        // Of services called `induct-listen` and `induct-store`.
        ("INDUCT_LISTEN_SERVICE_HOST", "10.0.171.240"),
        ("INDUCT_STORE_PORT", "tcp://10.0.171.241:443"),
    ];
    let of = |config: Config| config.service.host_names;
    check("", &variables, of, vec!["localhost".to_owned()]);
    check_problems(
        "",
        &[("INDUCT_SERVICE_HOST_NAMES", "dps.example.com"), ("INDUCT_SERVICE_HOST", "10.0.0.1")],
        "environment: 1 problem
  INDUCT_SERVICE_HOST_NAMES: is not a setting; two underscores stand between section and key: INDUCT_SERVICE__HOST_NAMES",
    );
}

#[test]
fn there_must_be_room_for_one_body() {
    check_problems(
        "[listen]\nmax_body_bytes = 1000000\nmax_body_bytes_in_flight = 999999\n",
        &[],
        "/etc/induct/induct.toml: 1 problem
  listen.max_body_bytes_in_flight: is less than `max_body_bytes`, 1000000, which one body may have",
    );
}

#[test]
fn mqtt_and_amqp_stand_beside_the_https_door_unless_somebody_says() {
    let texts = |addresses: &[SocketAddr]| -> Vec<String> {
        addresses.iter().map(ToString::to_string).collect()
    };
    let addresses = |config: Config| texts(&config.listen.mqtt);
    let amqp_addresses = |config: Config| texts(&config.listen.amqp);
    let beside = |https: &str, expected: &[&str]| {
        let expected = expected.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        check(&format!("[listen]\nhttps = {https}\n"), &[], addresses, expected);
    };
    beside("['127.0.0.1:8443']", &["127.0.0.1:8883"]);
    beside("['0.0.0.0:443', '[::1]:8443']", &["0.0.0.0:8883", "[::1]:8883"]);
    beside("['127.0.0.1:443', '127.0.0.1:8443']", &["127.0.0.1:8883"]);
    beside("['127.0.0.1:0']", &["127.0.0.1:0"]);
    beside("['127.0.0.1:0']\nmqtt = ['[::]:1883']", &["[::]:1883"]);
    beside("['127.0.0.1:0']\nmqtt = []", &[]);
    check("", &[("INDUCT_LISTEN__MQTT", "")], addresses, Vec::new());
    let two = vec!["127.0.0.1:1".to_owned(), "127.0.0.1:2".to_owned()];
    check("", &[("INDUCT_LISTEN__MQTT", "127.0.0.1:1, 127.0.0.1:2")], addresses, two);
    check("", &[], amqp_addresses, vec!["127.0.0.1:5671".to_owned()]);
    check("[listen]\nhttps = ['[::]:0']\n", &[], amqp_addresses, vec!["[::]:0".to_owned()]);
    check("[listen]\namqp = []\n", &[], amqp_addresses, Vec::new());
}

#[test]
fn two_doors_cannot_have_one_address() {
    check_problems(
        "[listen]\nhttps = ['127.0.0.1:1', '127.0.0.1:1']\nmqtt = ['127.0.0.1:1', '[::1]:2', '[::1]:2', 'x']\namqp = ['127.0.0.1:1', '[::1]:2', '[::1]:5']\n",
        &[],
        "/etc/induct/induct.toml: 6 problems
  listen.mqtt: `x` is not an address with a port, such as 127.0.0.1:8883 or [::]:8883
  listen.https: 127.0.0.1:1 stands there twice
  listen.mqtt: 127.0.0.1:1 stands in `https` as well
  listen.mqtt: [::1]:2 stands there twice
  listen.amqp: 127.0.0.1:1 stands in `https` as well
  listen.amqp: [::1]:2 stands in `mqtt` as well",
    );
    check_problems(
        "[listen]\nhttps = []\n",
        &[],
        "/etc/induct/induct.toml: 1 problem\n  listen.https: is empty; name at least one",
    );
    check_problems(
        "",
        &[("INDUCT_LISTEN__HTTPS", "")],
        "environment: 1 problem\n  INDUCT_LISTEN__HTTPS: is empty; name at least one",
    );
}

#[test]
fn what_hubs_keep_is_counted_in_the_units_people_think_in() {
    let text = "
        [events]
        partitions = 8
        retention_hours = 168
        max_megabytes_per_partition = 2
        [messages]
        max_waiting = 5
        default_ttl_secs = 60
        max_ttl_secs = 60
        max_deliveries = 1
    ";
    let events = Events { partitions: 8, max_age_secs: 604_800, max_partition_bytes: 2_097_152 };
    let messages =
        Messages { max_waiting: 5, default_ttl_secs: 60, max_ttl_secs: 60, max_deliveries: 1 };
    check(text, &[], |config| (config.events, config.messages), (events, messages));
    check_problems(
        "[events]\npartitions = 33\nretention_hours = 169\nage = 1\n[messages]\ndefault_ttl_secs = 172801\n[mqtt]\nmax_connect_bytes = 1\nqos = 2\n",
        &[],
        "/etc/induct/induct.toml: 6 problems
  mqtt.max_connect_bytes: 1 is not within 2048 to 65536
  mqtt.qos: is not a setting; there are websockets, connect_timeout_secs, keep_alive_cap_secs, provisioning_idle_cap_secs, packet_timeout_secs, write_timeout_secs, max_connect_bytes, max_provisioning_packet_bytes, max_hub_packet_bytes, max_in_flight_events, max_in_flight_messages, max_buffered_bytes
  events.partitions: 33 is not within 1 to 32
  events.retention_hours: 169 is not within 1 to 168
  events.age: is not a setting; there are partitions, retention_hours, max_megabytes_per_partition
  messages.default_ttl_secs: is more than `max_ttl_secs`, 172800, which no message may outlast",
    );
}

#[test]
fn orphans_expire_when_told_to_and_else_never() {
    let expiry = |config: Config| config.registrations.orphan_expiry_secs;
    check("", &[], expiry, None);
    check("[registrations]\norphan_expiry_hours = 0\n", &[], expiry, None);
    check("[registrations]\norphan_expiry_hours = 720\n", &[], expiry, Some(2_592_000));
    check("", &[("INDUCT_REGISTRATIONS__ORPHAN_EXPIRY_HOURS", "1")], expiry, Some(3_600));
    check_problems(
        "[registrations]\norphan_expiry_hours = -1\norphan_expiry = 1\n",
        &[],
        "/etc/induct/induct.toml: 2 problems
  registrations.orphan_expiry_hours: -1 is not within 0 to 87600
  registrations.orphan_expiry: is not a setting; there are orphan_expiry_hours",
    );
}

#[test]
fn text_that_is_no_toml_is_the_only_problem() {
    let problems = load_text("[listen\nhttps = 1", &[]).expect_err("no TOML").to_string();
    assert!(
        problems.starts_with("/etc/induct/induct.toml: 1 problem\n  is not TOML: "),
        "{problems}"
    );
}

#[test]
fn paths_are_meant_from_the_file_and_in_variables_from_here() {
    let files = |config: Config| config.tls.files.map(|files| (files.certificate, files.key));
    let text = "[tls]\ncertificate = 'server.pem'\nkey = '/keys/server.key'\n";
    let expected = (PathBuf::from("/etc/induct/server.pem"), PathBuf::from("/keys/server.key"));
    check(text, &[], files, Some(expected));
    let variables = [("INDUCT_TLS__CERTIFICATE", "c.pem"), ("INDUCT_TLS__KEY", "k.pem")];
    check("", &variables, files, Some((PathBuf::from("/srv/c.pem"), PathBuf::from("/srv/k.pem"))));
}

#[test]
fn the_data_folder_is_where_somebody_says_or_where_it_belongs() {
    let folder = |config: Config| config.data_folder.display().to_string();
    check("", &[], folder, "/home/ana/.local/share/induct".to_owned());
    check("", &[("XDG_DATA_HOME", "/xdg")], folder, "/xdg/induct".to_owned());
    check("", &[("XDG_DATA_HOME", "relative")], folder, "/home/ana/.local/share/induct".to_owned());
    check("[data]\nfolder = 'd'\n", &[], folder, "/etc/induct/d".to_owned());
    let variables = [("INDUCT_DATA__FOLDER", "/var/lib/induct")];
    check("[data]\nfolder = 'd'\n", &variables, folder, "/var/lib/induct".to_owned());
    let given = Given { data: Some(PathBuf::from("here")), config: None };
    let loaded = parse("", None, &given, &environment(&variables)).expect("legal");
    assert_eq!(loaded.config.data_folder, Path::new("/srv/here"));
}

#[test]
fn without_a_home_the_data_folder_must_be_named() {
    let environment = Environment::default();
    let problems = parse("", None, &Given::default(), &environment).expect_err("no home");
    assert_eq!(
        problems.to_string(),
        "environment: 1 problem
  HOME: is not set, so there is no default data folder; pass `--data FOLDER`"
    );
}

#[test]
fn the_file_is_found_in_the_data_folder_and_one_that_was_named_must_exist() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("induct.toml");
    std::fs::write(&file, "[log]\nlevel = 'warn'\n").expect("written");
    let given = Given { data: Some(folder.path().to_owned()), config: None };
    let loaded = load(&given, &environment(&[])).expect("legal");
    assert_eq!((loaded.file, loaded.config.log.level), (Some(file.clone()), LogLevel::Warn));

    let missing = folder.path().join("missing.toml");
    let given = Given { config: Some(missing.clone()), data: None };
    assert_eq!(
        load(&given, &environment(&[])).expect_err("missing").to_string(),
        format!(
            "{}: 1 problem\n  does not exist; `induct.example.toml` shows every setting",
            missing.display()
        )
    );
}

#[test]
fn the_master_key_comes_from_one_place() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let given = MasterKey::parse(key).expect("a key");
    let source = |config: Config| config.master_key;
    check("", &[], source, MasterKeySource::DataFolder);
    let text = "[secrets]\nmaster_key_file = 'k'\n";
    check(text, &[], source, MasterKeySource::File(PathBuf::from("/etc/induct/k")));
    let command = MasterKeySource::Command("op read key".to_owned());
    check("[secrets]\nmaster_key_command = 'op read key'\n", &[], source, command);
    check("", &[("INDUCT_MASTER_KEY", key)], source, MasterKeySource::Environment(given));
    check_problems(
        "[secrets]\nmaster_key_file = 'k'\nmaster_key_command = 'c'\n",
        &[("INDUCT_MASTER_KEY", "secret")],
        "/etc/induct/induct.toml: 1 problem
  secrets.master_key_command: stands beside master_key_file; keep the one that holds the master key
environment: 2 problems
  INDUCT_MASTER_KEY: stands beside a setting in [secrets]; keep the one that holds the master key
  INDUCT_MASTER_KEY: a master key must be 32 bytes, written as 64 hex digits or as base64",
    );
}

#[test]
fn the_master_key_is_never_shown() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let loaded = load_text("", &[("INDUCT_MASTER_KEY", key)]).expect("legal");
    assert!(!to_toml(&loaded.settings).contains(key));
    assert!(!format!("{:?}", loaded.config).contains(key));
}

#[test]
fn a_rate_of_zero_is_no_rate() {
    let rates = |config: Config| (config.rates.registrations, config.rates.device_polls);
    check("", &[], rates, (None, None));
    let text = "[rates]\nregistrations_per_minute = 1000\ndevice_polls_per_10_secs = 5\n";
    let rate = |n, per_secs| Some(app::limits::Rate { n, per_secs });
    check(text, &[], rates, (rate(1000, 60), rate(5, 10)));
}

#[test]
fn how_fast_devices_are_taken_out_is_set_and_reaches_the_worker() {
    let pace = |config: Config| {
        let settings = crate::wiring::deprovisioning(&config);
        (settings.devices_per_second, settings.max_at_once)
    };
    check("", &[], pace, (500, 16));
    let text = "[deprovision]\ndevices_per_second = 20\nmax_at_once = 4\n";
    check(text, &[], pace, (20, 4));
    check(text, &[("INDUCT_DEPROVISION__DEVICES_PER_SECOND", "0")], pace, (0, 4));
    check_problems(
        "[deprovision]\ndevices_per_second = -1\nmax_at_once = 0\n",
        &[],
        "/etc/induct/induct.toml: 2 problems
  deprovision.devices_per_second: -1 is not within 0 to 1000000
  deprovision.max_at_once: 0 is not within 1 to 256",
    );
}
