use super::*;

const KEY: &str = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";

fn arguments(login: &str, ca_file: Option<&std::path::Path>) -> LoginArgs {
    LoginArgs {
        login: Some(login.to_owned()),
        ca_file: ca_file.map(std::path::Path::to_path_buf),
        ..LoginArgs::default()
    }
}

fn home(folder: &std::path::Path) -> Environment {
    let home = folder.display().to_string();
    Environment {
        variables: [("HOME".to_owned(), home)].into(),
        working_folder: folder.to_path_buf(),
    }
}

fn text(failure: Failure) -> String {
    let mut printed = Vec::new();
    failure.print(&mut printed).expect("printed");
    String::from_utf8(printed).expect("text")
}

#[tokio::test]
async fn a_connection_string_names_host_port_policy_and_key() {
    let folder = tempfile::tempdir().expect("folder");
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, "CA").expect("written");
    let environment = home(folder.path());
    let login = format!("HostName=localhost:8443;SharedAccessKeyName=owner;SharedAccessKey={KEY}");
    let found = Login::find_service(&arguments(&login, Some(&ca)), &environment).await;
    let found = found.unwrap_or_else(|failure| panic!("{}", text(failure)));
    assert_eq!(
        (found.host.as_str(), found.port, found.policy.as_str()),
        ("localhost", 8443, "owner")
    );
    assert_eq!((found.key.reveal(), found.ca_pem.as_str()), (KEY, "CA"));
    assert_eq!(
        found.token(Timestamp::from_unix_secs(1_000)),
        "SharedAccessSignature sr=localhost%3A8443&sig=\
         yF13QDUSWhno8mjh4Z3T2u1j%2FWN5VJrbq8YUY5RUiYQ%3D&se=1600&skn=owner"
    );
}

/// There is no login, and the person is told what to do.
async fn check_failure(login: Option<&str>, told: &str) {
    let folder = tempfile::tempdir().expect("folder");
    let arguments = LoginArgs { login: login.map(str::to_owned), ..LoginArgs::default() };
    let found = Login::find_hub(&arguments, None, &home(folder.path())).await;
    let text = text(found.map(|login| login.host).expect_err("failure"));
    assert!(text.contains(told), "{text}");
    assert!(!text.contains(KEY), "{text}");
}

#[tokio::test]
async fn without_a_login_a_server_must_run_here() {
    check_failure(None, "Start one with `induct serve`").await;
}

#[tokio::test]
async fn a_login_needs_a_ca_to_trust_and_all_its_parts() {
    let whole = format!("HostName=h;SharedAccessKeyName=o;SharedAccessKey={KEY}");
    check_failure(Some(&whole), "pass the server's CA with `--ca-file FILE`").await;
    check_failure(Some("HostName=h"), "missing property: SharedAccessKeyName").await;
    let bad_port = format!("HostName=h:x;SharedAccessKeyName=o;SharedAccessKey={KEY}");
    check_failure(Some(&bad_port), "`x` in `HostName=h:x` is not a port").await;
}

#[test]
fn a_hub_is_picked_by_name_or_host_and_the_only_one_without() {
    let hubs = [("hub-1", "hub-1.localhost"), ("hub-2", "hub-2.localhost")];
    let check = |n: usize, wanted: Option<&str>, expected: Result<&str, &str>| {
        let picked = pick_hub(hubs.iter().take(n).copied(), wanted);
        match (picked, expected) {
            (Ok(host), Ok(expected)) => assert_eq!(host, expected),
            (Err(failure), Err(told)) => assert!(text(failure).contains(told)),
            (picked, _) => panic!("{picked:?}"),
        }
    };
    check(2, Some("HUB-2"), Ok("hub-2.localhost"));
    check(2, Some("hub-1.localhost"), Ok("hub-1.localhost"));
    check(1, None, Ok("hub-1.localhost"));
    check(2, None, Err("name one with `--hub-name`: hub-1, hub-2"));
    check(2, Some("hub-3"), Err("There is no hub `hub-3`; there are hub-1, hub-2."));
}
