//! Where the configuration file and the data folder are.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{Given, Problem, Problems};
use crate::ports::Environment;

/// The largest configuration file we read, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// The file's usual name.
const FILE_NAME: &str = "induct.toml";

/// The data folder as far as it can be known before a configuration file is read: `--data`, or
/// `INDUCT_DATA__FOLDER`, or the default.
fn find_data_folder(given: &Given, environment: &Environment) -> Option<PathBuf> {
    let named = given.data.as_deref();
    named
        .or_else(|| environment.find("INDUCT_DATA__FOLDER").map(Path::new))
        .map(|path| environment.working_folder.join(path))
        .or_else(|| default_data_folder(environment))
}

/// `$XDG_DATA_HOME/induct`, or `~/.local/share/induct`. A relative `XDG_DATA_HOME` is ignored, as
/// its specification says.
pub(super) fn default_data_folder(environment: &Environment) -> Option<PathBuf> {
    let xdg = environment.find("XDG_DATA_HOME").map(Path::new).filter(|path| path.is_absolute());
    let home = || environment.find("HOME").map(|home| Path::new(home).join(".local/share"));
    Some(xdg.map(Path::to_path_buf).or_else(home)?.join("induct"))
}

pub(super) fn no_home() -> Problem {
    Problem {
        in_environment: true,
        path: "HOME".to_owned(),
        text: "is not set, so there is no default data folder; pass `--data FOLDER`".to_owned(),
    }
}

/// The configuration file: one that was asked for must exist, the others are taken if they do.
pub(super) fn find_file(
    given: &Given,
    environment: &Environment,
) -> Result<Option<PathBuf>, Problems> {
    if let Some(path) = &given.config {
        return Ok(Some(path.clone()));
    }
    if let Some(path) = environment.find("INDUCT_CONFIG") {
        return Ok(Some(PathBuf::from(path)));
    }
    if environment.working_folder.join(FILE_NAME).is_file() {
        return Ok(Some(PathBuf::from(FILE_NAME)));
    }
    let in_data = find_data_folder(given, environment).map(|folder| folder.join(FILE_NAME));
    Ok(in_data.filter(|path| path.is_file()))
}

pub(super) fn read_file(path: &Path) -> Result<String, Problems> {
    let problem = |text: String| Problems::with_file(path, text);
    let size = fs::metadata(path).map_err(|error| problem(cannot_read(&error)))?.len();
    if size > MAX_FILE_BYTES {
        return Err(problem(format!(
            "has {size} bytes; a configuration file has at most {MAX_FILE_BYTES}"
        )));
    }
    fs::read_to_string(path).map_err(|error| problem(cannot_read(&error)))
}

fn cannot_read(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "does not exist; `induct.example.toml` shows every setting".to_owned()
        }
        io::ErrorKind::InvalidData => "is not UTF-8 text".to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}
