//! The data-plane commands, run against a running server: what they answer, what they refuse and
//! in which words, and what scripts are told.

mod enrollments;
mod groups;
mod hub;
mod lists;
mod records;
mod tpm;
mod words;

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::harness::{Finished, Home, Server};

/// A home with a running server in it.
struct Scene {
    home: Home,
    server: Server,
}

fn scene() -> Scene {
    let home = Home::new();
    let server = home.start();
    Scene { home, server }
}

impl Scene {
    /// Runs a command line; words are separated by single spaces, so none may hold one.
    fn run(&self, line: &str) -> Finished {
        self.home.run(&line.split(' ').collect::<Vec<_>>())
    }

    /// Runs a command that succeeds and answers in JSON.
    #[track_caller]
    fn json(&self, line: &str) -> Value {
        self.run(line).json()
    }

    /// Runs a command that succeeds and has nothing to say.
    #[track_caller]
    fn silent(&self, line: &str) {
        let finished = self.run(line);
        assert_eq!((finished.code, finished.stdout.as_str()), (0, ""), "{line}: {finished:?}");
    }

    /// Runs a command that fails with this code and says this first.
    #[track_caller]
    fn refused(&self, line: &str, code: i32, message: &str) -> Finished {
        let finished = self.run(line);
        assert_eq!((finished.code, finished.stdout.as_str()), (code, ""), "{line}: {finished:?}");
        let first = finished.stderr.lines().next().unwrap_or_default();
        assert_eq!(first, format!("ERROR: {message}"), "{line}: {finished:?}");
        finished
    }

    /// Writes a file and returns its path, which holds no space.
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path: PathBuf = self.home.path().join(name);
        fs::write(&path, content).expect("written");
        path.to_str().expect("UTF-8").to_owned()
    }
}
