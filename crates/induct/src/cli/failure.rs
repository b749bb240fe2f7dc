//! How a command fails, and the exit code that says so (O §4).

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

/// A command failed.
#[derive(Debug)]
pub enum Failure {
    /// The arguments make no sense together: exit code 2.
    Usage(String),
    /// What was asked for does not exist: exit code 3.
    NotFound(String),
    /// Something else: exit code 1. Causes are printed below it.
    Failed(Box<dyn Error + Send + Sync>),
}

impl Failure {
    /// A failure that has no cause but what the sentence says.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into().into())
    }

    /// The exit code that tells scripts.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::from(1),
            Self::Usage(_) => ExitCode::from(2),
            Self::NotFound(_) => ExitCode::from(3),
        }
    }

    /// Whether the reader of our output went away, as `head` does. That is no failure of ours.
    #[must_use]
    pub fn is_closed_pipe(&self) -> bool {
        let Self::Failed(error) = self else { return false };
        let error = error.downcast_ref::<io::Error>();
        error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Prints what happened, causes included.
    ///
    /// # Errors
    /// Standard error is gone.
    pub fn print(&self, err: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Usage(text) | Self::NotFound(text) => writeln!(err, "ERROR: {text}"),
            Self::Failed(error) => {
                writeln!(err, "ERROR: {error}")?;
                let mut cause = error.source();
                while let Some(error) = cause {
                    writeln!(err, "  because: {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Failed(Box::new(error))
    }
}
