//! Draws the house from the manifests: which crate leans on which, and what each has never heard
//! of. A new arrow is a change here and in `ARCHITECTURE.md`, in the same commit.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "in a test program, what cannot go on is a failed test, in helpers as well"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use toml::Table;

/// Crate, what of ours it leans on, and which libraries it has never heard of.
const HOUSE: [(&str, &[&str], &[&str]); 14] = [
    ("model", &[], &["serde", "serde_json", "tokio", "hyper", "http", "rusqlite", "tracing"]),
    ("json", &["model"], &["tokio", "hyper", "http", "rusqlite", "tracing"]),
    ("testkit", &["model"], &["serde", "serde_json", "tokio", "hyper", "http", "rusqlite"]),
    (
        "attest",
        &["model"],
        &["serde", "serde_json", "tokio", "hyper", "http", "rusqlite", "rustls", "tracing"],
    ),
    (
        "decide",
        &["attest", "model"],
        &["serde", "serde_json", "tokio", "hyper", "http", "rusqlite", "rustls", "tracing"],
    ),
    ("store", &["model"], &["serde", "serde_json", "hyper", "http", "rusqlite", "rustls"]),
    ("store-sqlite", &["json", "model", "store"], &["hyper", "http", "rustls"]),
    (
        "app",
        &["decide", "model", "store"],
        // Of tokio it takes the channels, which need no runtime: see the test below.
        &["serde", "serde_json", "hyper", "http", "rusqlite", "rustls"],
    ),
    ("wire", &["json", "model"], &["tokio", "hyper", "http", "rusqlite", "rustls"]),
    ("listen", &[], &["serde", "serde_json", "hyper", "http", "rusqlite"]),
    ("http", &["app", "listen", "model", "wire"], &["rusqlite", "rustls", "serde_json"]),
    (
        "mqtt",
        &["app", "listen", "model", "wire"],
        &["rusqlite", "hyper", "http", "rustls", "serde", "serde_json"],
    ),
    (
        "amqp",
        &["app", "listen", "model", "wire"],
        &["rusqlite", "hyper", "http", "rustls", "serde", "serde_json"],
    ),
    (
        "induct",
        &[
            "amqp",
            "app",
            "attest",
            "decide",
            "http",
            "json",
            "listen",
            "model",
            "mqtt",
            "store",
            "store-sqlite",
            "wire",
        ],
        &["rusqlite"],
    ),
];

/// What features bring in that are for tests only: a store's suite, and scenes made of test
/// material. Nothing that ships may ask for these features.
const FOR_TESTS: [(&str, &[&str]); 2] =
    [("store", &["tokio", "futures-util", "proptest"]), ("decide", &["testkit"])];
const FEATURES_FOR_TESTS: [&str; 2] = ["suite", "scenes"];

fn crates() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn manifest(path: &Path) -> Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

/// Our own crates, by the name they are depended on: `http-door` is in the folder `http`.
fn ours() -> BTreeMap<String, String> {
    let workspace = manifest(&crates().join("../Cargo.toml"));
    let dependencies = workspace["workspace"]["dependencies"].as_table().expect("a table");
    let folder = |value: &toml::Value| {
        value.get("path")?.as_str()?.strip_prefix("crates/").map(str::to_owned)
    };
    dependencies.iter().filter_map(|(name, value)| Some((name.clone(), folder(value)?))).collect()
}

/// The names in one of a manifest's tables of dependencies, optional ones apart.
fn dependencies(manifest: &Table, table: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let empty = Table::new();
    let table = manifest.get(table).and_then(toml::Value::as_table).unwrap_or(&empty);
    let is_optional =
        |value: &toml::Value| value.get("optional").and_then(toml::Value::as_bool).unwrap_or(false);
    let (optional, always): (Vec<_>, Vec<_>) =
        table.iter().partition(|(_, value)| is_optional(value));
    let names =
        |list: Vec<(&String, &toml::Value)>| list.into_iter().map(|(n, _)| n.clone()).collect();
    (names(always), names(optional))
}

#[test]
fn every_crate_leans_on_what_the_picture_shows_and_on_nothing_else() {
    let ours = ours();
    for (name, leans_on, _) in HOUSE {
        let manifest = manifest(&crates().join(name).join("Cargo.toml"));
        let (always, _) = dependencies(&manifest, "dependencies");
        let arrows: BTreeSet<&str> =
            always.iter().filter_map(|d| Some(ours.get(d)?.as_str())).collect();
        let picture: BTreeSet<&str> = leans_on.iter().copied().collect();
        assert_eq!(arrows, picture, "the arrows from `{name}`");
    }
}

#[test]
fn no_crate_has_heard_of_what_it_must_not_know() {
    for (name, _, never_heard_of) in HOUSE {
        let manifest = manifest(&crates().join(name).join("Cargo.toml"));
        let (always, optional) = dependencies(&manifest, "dependencies");
        for unheard_of in never_heard_of {
            assert!(!always.contains(*unheard_of), "`{name}` has heard of `{unheard_of}`");
        }
        let may: &[&str] =
            FOR_TESTS.iter().find(|(of, _)| *of == name).map_or(&[], |(_, names)| *names);
        for library in &optional {
            assert!(may.contains(&library.as_str()), "`{name}` may not have `{library}`");
        }
    }
}

#[test]
fn the_use_cases_take_channels_from_tokio_and_neither_timers_nor_tasks() {
    let mut folders = vec![crates().join("app/src")];
    let mut n_uses = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = fs::read_to_string(&path).expect("a source file");
            for used in text.split("tokio::").skip(1) {
                assert!(used.starts_with("sync"), "{path:?} uses tokio::{}", &used[..8]);
                n_uses += 1;
            }
        }
    }
    assert!(n_uses > 0, "it is looked at");
}

#[test]
fn the_picture_shows_every_crate() {
    let folders: BTreeSet<String> = fs::read_dir(crates())
        .expect("the folder of crates")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    let picture: BTreeSet<String> = HOUSE.iter().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(folders, picture);
}

#[test]
fn arrows_point_down() {
    let rank = |name: &str| HOUSE.iter().position(|(of, ..)| *of == name);
    for (name, leans_on, _) in HOUSE {
        for below in leans_on {
            assert!(rank(below) < rank(name), "`{name}` leans on `{below}`");
        }
    }
}

#[test]
fn the_material_for_tests_stays_below_decide_and_out_of_what_ships() {
    for (name, ..) in HOUSE {
        let manifest = manifest(&crates().join(name).join("Cargo.toml"));
        let (always, _) = dependencies(&manifest, "dependencies");
        assert!(!always.contains("testkit"), "`{name}` ships it");
        let table = manifest["dependencies"].as_table().expect("a table");
        for (library, wanted) in table {
            let features = wanted.get("features").and_then(toml::Value::as_array);
            for feature in features.into_iter().flatten().filter_map(toml::Value::as_str) {
                assert!(
                    !FEATURES_FOR_TESTS.contains(&feature),
                    "`{name}` ships the feature `{feature}` of `{library}`"
                );
            }
        }
        let defaults = manifest.get("features").and_then(|features| features.get("default"));
        assert_eq!(defaults, None, "`{name}` has features that are on by themselves");
    }
    let testkit = manifest(&crates().join("testkit/Cargo.toml"));
    let (of_tests, _) = dependencies(&testkit, "dev-dependencies");
    for above in ["decide", "store", "app", "wire", "http-door", "induct"] {
        assert!(!of_tests.contains(above), "`testkit` leans on `{above}` in its tests");
    }
}
