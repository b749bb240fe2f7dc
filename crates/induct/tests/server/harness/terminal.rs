//! A person at a terminal, who answers what they are asked.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use super::{Finished, Home};

/// Where the tools of the system are.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Home {
    /// Runs a command on the data folder at a terminal of its own, at which these lines are typed.
    /// What the terminal showed is in `stdout`, the lines that were typed included.
    ///
    /// Wants `script` of Debian's util-linux (bsdutils).
    pub(crate) fn run_at_terminal(&self, arguments: &[&str], typed: &str) -> Finished {
        let data = self.data();
        let words = [env!("CARGO_BIN_EXE_induct")].iter().chain(arguments).copied();
        let words = words.chain(["--data", data.to_str().expect("UTF-8")]);
        let quoted: Vec<String> = words.map(|word| format!("'{word}'")).collect();
        let mut script = Command::new("script")
            .args(["--quiet", "--return", "--command", &quoted.join(" "), "/dev/null"])
            .current_dir(self.path())
            .env_clear()
            .envs([("PATH", PATH), ("HOME", "/nonexistent/home"), ("TERM", "xterm")])
            .envs([("SHELL", "/bin/sh")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("apt-get install bsdutils");
        // The terminal keeps it until it is read. Dropped, it is at its end.
        let mut keyboard = script.stdin.take().expect("piped");
        keyboard.write_all(typed.as_bytes()).expect("typed");
        drop(keyboard);
        let output = script.wait_with_output().expect("it ends");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
        Finished {
            code: output.status.code().expect("not killed"),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}
