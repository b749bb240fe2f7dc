//! Runs the binary to its end.

use std::process::Command;

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code.
    pub(crate) code: i32,
    /// All it wrote to standard output.
    pub(crate) stdout: String,
    /// All it wrote to standard error.
    pub(crate) stderr: String,
}

impl Finished {
    /// Standard output as JSON, of a command that succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The command failed with this code and told this.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, told: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(told), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

/// The binary with these arguments, in an environment of nothing but a home that does not exist.
pub(crate) fn induct(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_induct"));
    command.args(arguments).env_clear().env("HOME", "/nonexistent/home");
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) -> Finished {
    let output = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    Finished {
        code: output.status.code().expect("not killed"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// Sends a signal, such as `TERM`.
pub(crate) fn signal(pid: u32, name: &str) {
    // The shell's own `kill`: there need not be another one.
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).status();
    assert!(sent.expect("the shell runs").success(), "SIG{name} was sent");
}
