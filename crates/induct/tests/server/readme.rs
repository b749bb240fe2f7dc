//! The README's commands do what it says, in the order it says, and its links lead somewhere.

use std::{env, fs, path::Path, process::Command};

use crate::harness::{Home, run};

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// The commands of the block that begins with this line.
fn block(readme: &str, first_line: &str) -> Vec<String> {
    let from = readme.find(first_line).expect("the block is there");
    readme[from..].lines().take_while(|line| *line != "```").map(str::to_owned).collect()
}

#[test]
fn the_commands_of_the_readme_work_as_written() {
    let readme = fs::read_to_string(root().join("README.md")).expect("the README");
    let home = Home::new();
    let server = home.start();
    let binary = Path::new(env!("CARGO_BIN_EXE_induct")).parent().expect("a folder");
    #[expect(clippy::disallowed_methods, reason = "the shell finds openssl by it")]
    let path = env::var("PATH").expect("a path");
    let mut commands = block(&readme, "induct enrollment create");
    commands.extend(block(&readme, "induct deprovision"));
    commands.extend(block(&readme, "induct simulate-change"));
    commands.extend(block(&readme, "induct linked-hub create"));
    assert!(commands.len() > 30, "{commands:?}");
    for command in commands {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .current_dir(home.path())
            .env("PATH", format!("{}:{path}", binary.display()))
            .env("INDUCT_DATA__FOLDER", home.data());
        let finished = run(&mut shell);
        assert_eq!(finished.code, 0, "{command}: {finished:?}");
    }
    server.stop();
}

#[test]
fn every_link_of_the_documents_leads_to_a_file() {
    let mut documents = vec![
        "README.md".to_owned(),
        "ARCHITECTURE.md".to_owned(),
        "CHANGELOG.md".to_owned(),
        "conformance/README.md".to_owned(),
    ];
    for folder in ["docs", "docs/decisions"] {
        let entries = fs::read_dir(root().join(folder)).expect("a folder");
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let names = names.map(|name| name.to_string_lossy().into_owned());
        documents.extend(names.filter(|n| n.ends_with(".md")).map(|n| format!("{folder}/{n}")));
    }
    let mut n_links = 0;
    for document in documents {
        let file = root().join(&document);
        let text = fs::read_to_string(&file).expect("a document");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.starts_with("http") || link.starts_with('#') {
                continue;
            }
            let target = link.split('#').next().unwrap_or(link);
            let target = file.parent().expect("a folder").join(target);
            assert!(target.exists(), "{document} links to {link}");
            n_links += 1;
        }
    }
    assert!(n_links >= 8, "{n_links} links");
}
