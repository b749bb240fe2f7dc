//! Commands that need no server.

use crate::harness::{Home, induct, run};

#[test]
fn wrong_use_exits_with_2_and_help_with_0() {
    for wrong in [&["nonsense"][..], &["serve", "--nonsense"], &["-o", "xml", "serve"], &["backup"]]
    {
        let finished = run(&mut induct(wrong));
        assert_eq!(finished.code, 2, "{finished:?}");
        assert_eq!(finished.stdout, "", "{finished:?}");
    }
    for help in [&["--help"][..], &["serve", "--help"], &["dps", "connection-string", "show", "-h"]]
    {
        let finished = run(&mut induct(help));
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains("Examples:"), "{finished:?}");
    }
}

#[test]
fn what_is_not_there_exits_with_3() {
    let home = Home::new();
    home.start().stop();
    home.run(&["connection-string", "show", "--hub", "hub-9"])
        .refused(3, "There is no hub `hub-9`; there are hub-1.");
    home.run(&["connection-string", "show", "--pn", "nobody"]).refused(
        3,
        "No policy found with name nobody for localhost; there are provisioningserviceowner.",
    );
}

/// The command is told the data folder alone; what the server is called is in a configuration it
/// does not look for.
#[test]
fn a_running_server_says_what_it_and_its_hubs_are_called() {
    let home = Home::new();
    let server = home.start_with(&[
        ("INDUCT_SERVICE__HOST_NAMES", "dps.example.test"),
        ("INDUCT_HUBS", "[{ name = \"east\", host = \"east.example.test\" }]"),
    ]);
    let shown = |more: &[&str]| {
        let command = [&["connection-string", "show"], more].concat();
        let json = home.run(&command).json();
        json["connectionString"].as_str().expect("a text").to_owned()
    };
    assert!(shown(&[]).starts_with("HostName=dps.example.test:"));
    assert!(shown(&["--hub", "east"]).starts_with("HostName=east.example.test:"));
    server.stop();
}

#[test]
fn the_configuration_is_shown_as_toml_json_or_a_table() {
    let home = Home::new();
    let toml = home.run(&["config", "show"]);
    assert_eq!(toml.code, 0, "{toml:?}");
    let parsed: toml::Table = toml::from_str(&toml.stdout).expect("TOML");
    assert_eq!(parsed["listen"]["max_connections"].as_integer(), Some(10_000));
    let json = home.run(&["config", "show", "-o", "json"]).json();
    assert_eq!(json["hubs"][0]["host"], "hub-1.localhost");
    let table = home.run(&["config", "show", "-o", "table"]).stdout;
    let folder = table.lines().find(|line| line.starts_with("data.folder")).expect("a line");
    assert!(folder.ends_with("command line"), "{folder}");
}

#[test]
fn a_completion_script_names_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let finished = run(&mut induct(&["completions", shell]));
        assert_eq!(finished.code, 0, "{finished:?}");
        assert!(finished.stdout.contains("connection-string"), "{shell}");
    }
}
