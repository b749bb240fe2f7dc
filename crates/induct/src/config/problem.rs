//! What is wrong with a configuration, all of it at once.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Whether it stands in the environment rather than in the file.
    pub in_environment: bool,
    /// The setting's path, or the variable's name; empty when the whole file is meant.
    pub path: String,
    /// What is wrong with it, and what would be right.
    pub text: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, if there was one.
    pub file: Option<PathBuf>,
    /// What is wrong, in the order it was found.
    pub list: Vec<Problem>,
}

impl Problems {
    /// Problems of this file and of the environment.
    #[must_use]
    pub fn of(file: Option<&Path>, list: Vec<Problem>) -> Self {
        Self { file: file.map(Path::to_path_buf), list }
    }

    /// One problem with a whole file.
    #[must_use]
    pub fn with_file(file: &Path, text: impl Into<String>) -> Self {
        let problem = Problem { in_environment: false, path: String::new(), text: text.into() };
        Self::of(Some(file), vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (environment, file): (Vec<_>, Vec<_>) =
            self.list.iter().partition(|problem| problem.in_environment);
        let file_name = match &self.file {
            Some(path) => path.display().to_string(),
            None => "configuration".to_owned(),
        };
        let groups = [(file_name, file), ("environment".to_owned(), environment)];
        let mut first = true;
        for (place, problems) in groups.iter().filter(|(_, problems)| !problems.is_empty()) {
            if !first {
                writeln!(f)?;
            }
            first = false;
            let s = if problems.len() == 1 { "" } else { "s" };
            write!(f, "{place}: {} problem{s}", problems.len())?;
            for problem in problems {
                // A text of several lines, such as a syntax error's, keeps its indentation.
                let text = problem.text.trim_end().replace('\n', "\n    ");
                match problem.path.as_str() {
                    "" => write!(f, "\n  {text}")?,
                    path => write!(f, "\n  {path}: {text}")?,
                }
            }
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
