//! What commands take: JSON as a text or a file, certificates, switches.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use model::{Json, Timestamp};

use super::complaint::Complaint;

/// The largest file a command reads, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// How many ticks make a millisecond.
const TICKS_PER_MILLI: i64 = Timestamp::TICKS_PER_SECOND / 1_000;

/// What stands in every PEM file with a private key.
const PRIVATE_KEY: &[u8] = b"PRIVATE KEY";

/// A value of a switch that may stand alone: `--ee` is `--ee true`.
pub(crate) fn switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Ok(true),
        "false" | "f" | "no" | "n" | "0" => Ok(false),
        _ => Err("write true or false".to_owned()),
    }
}

/// A JSON object given as a text, as a path, or as `@path`; `None` for an empty text, which means
/// “no content”.
///
/// # Errors
/// Says which option it was and what is wrong with it.
pub(crate) fn object(option: &str, given: &str) -> Result<Option<Json>, Complaint> {
    let Some((json, from)) = any_json(option, given)? else { return Ok(None) };
    match json {
        Json::Object(_) => Ok(Some(json)),
        _ => Err(Complaint::new(format!("{option} must be a JSON object, and {from} holds none."))),
    }
}

/// A JSON list, given as [`object`] is.
///
/// # Errors
/// Says which option it was and what is wrong with it.
pub(crate) fn list(option: &str, given: &str) -> Result<Json, Complaint> {
    match any_json(option, given)? {
        Some((json @ Json::Array(_), _)) => Ok(json),
        None => Err(Complaint::new(format!("{option} is empty; an empty list is []."))),
        Some((_, from)) => {
            Err(Complaint::new(format!("{option} must be a JSON list, and {from} holds none.")))
        }
    }
}

/// JSON and where it came from, in words.
fn any_json(option: &str, given: &str) -> Result<Option<(Json, String)>, Complaint> {
    let text = given.trim();
    if text.is_empty() {
        return Ok(None);
    }
    if let Some(path) = text.strip_prefix('@') {
        Ok(Some((read_json(option, Path::new(path))?, format!("the file {path}"))))
    } else if text.starts_with(['{', '[', '"']) {
        let json = json::parse(text).map_err(|bad| {
            Complaint::new(format!("{option} is not valid JSON: {bad}.")).with_remedy(
                "In a shell, put the JSON in single quotes; or write it into a file and pass @FILE.",
            )
        })?;
        Ok(Some((json, "the text".to_owned())))
    } else if Path::new(text).exists() {
        Ok(Some((read_json(option, Path::new(text))?, format!("the file {text}"))))
    } else {
        Err(Complaint::new(format!("{option} is neither JSON nor a file that exists: {text}"))
            .with_remedy("Pass JSON such as '{\"key\": \"value\"}', a path, or @PATH."))
    }
}

fn read_json(option: &str, path: &Path) -> Result<Json, Complaint> {
    let bytes = read_file(option, path)?;
    // Editors on some systems begin a file with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    json::parse_bytes(bytes).map_err(|bad| {
        Complaint::new(format!("{option}: {} is not valid JSON: {bad}.", path.display()))
    })
}

/// A certificate file as the service takes it: PEM text, or DER in base64 (O §1.6).
///
/// # Errors
/// The file cannot be read, or holds a private key: that must never leave this machine.
pub(crate) fn certificate(option: &str, path: &Path) -> Result<Json, Complaint> {
    match String::from_utf8(public_file(option, path)?) {
        Ok(text) => Ok(Json::String(text.trim_end().to_owned())),
        Err(error) => Ok(Json::String(STANDARD.encode(error.as_bytes()))),
    }
}

/// A short text from a file, without white space around it.
///
/// # Errors
/// The file cannot be read.
pub(crate) fn text(option: &str, path: &Path) -> Result<String, Complaint> {
    let text = String::from_utf8(read_file(option, path)?);
    let not_text = |_| Complaint::new(format!("{option}: {} is no text.", path.display()));
    Ok(text.map_err(not_text)?.trim().to_owned())
}

/// A file's bytes, whatever they are.
///
/// # Errors
/// The file cannot be read, or is too large.
pub(crate) fn bytes(option: &str, path: &Path) -> Result<Vec<u8>, Complaint> {
    read_file(option, path)
}

/// JSON given as a text or as `@path`; anything else is a JSON string of its own, so that a plain
/// word need not be quoted twice.
///
/// # Errors
/// What was meant as JSON is none, or the file cannot be read.
pub(crate) fn json_or_text(option: &str, given: &str) -> Result<Json, Complaint> {
    if given.trim_start().starts_with(['{', '[', '"', '@']) {
        let json = any_json(option, given)?.map(|(json, _)| json);
        return Ok(json.unwrap_or(Json::Null));
    }
    Ok(json::parse(given.trim()).unwrap_or_else(|_| Json::from(given)))
}

/// A moment as the API takes it, given so or as milliseconds since 1970.
///
/// # Errors
/// Says what is wrong, in words.
pub(crate) fn moment(given: &str) -> Result<String, String> {
    let is_number = !given.is_empty() && given.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        // Past the year 9999 no clock of ours goes.
        let millis = given.parse::<i64>().ok().filter(|millis| *millis < 253_402_300_800_000);
        let millis = millis.ok_or_else(|| format!("`{given}` milliseconds is too far away"))?;
        return Ok(wire::time::wire(Timestamp::from_ticks(millis * TICKS_PER_MILLI)));
    }
    match wire::time::parse(given) {
        Ok(_) => Ok(given.to_owned()),
        Err(_) => Err(format!(
            "`{given}` is no time; write milliseconds since 1970, or 2026-03-01T00:00:00Z"
        )),
    }
}

/// A file of which everybody may know everything.
///
/// # Errors
/// The file cannot be read, or holds a private key.
pub(crate) fn public_file(option: &str, path: &Path) -> Result<Vec<u8>, Complaint> {
    let bytes = read_file(option, path)?;
    if bytes.windows(PRIVATE_KEY.len()).any(|text| text == PRIVATE_KEY) {
        let message = format!("{option}: {} holds a private key.", path.display());
        return Err(Complaint::new(message).with_remedy(
            "Pass a file with the public part only; a private key stays with its owner.",
        ));
    }
    Ok(bytes)
}

fn read_file(option: &str, path: &Path) -> Result<Vec<u8>, Complaint> {
    let cannot =
        |why: String| Complaint::new(format!("{option}: cannot read {}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| cannot(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(cannot(format!("it has {size} bytes, at most {MAX_FILE_BYTES} are read")));
    }
    fs::read(path).map_err(|error| cannot(error.to_string()))
}

/// The paths of a primary and a secondary certificate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CertificatePaths<'a> {
    /// `--certificate-path`
    pub(crate) primary: Option<&'a PathBuf>,
    /// `--secondary-certificate-path`
    pub(crate) secondary: Option<&'a PathBuf>,
}

impl CertificatePaths<'_> {
    /// Whether neither was given.
    #[must_use]
    pub(crate) const fn is_empty(self) -> bool {
        self.primary.is_none() && self.secondary.is_none()
    }

    /// The slots that were given, `{"certificate": …}` each.
    ///
    /// # Errors
    /// As [`certificate`].
    pub(crate) fn read(self) -> Result<[(&'static str, Option<Json>); 2], Complaint> {
        let slot = |option: &str, path: Option<&PathBuf>| {
            path.map(|path| {
                let text = certificate(option, path)?;
                Ok(Json::Object(vec![("certificate".to_owned(), text)]))
            })
            .transpose()
        };
        Ok([
            ("primary", slot("--certificate-path", self.primary)?),
            ("secondary", slot("--secondary-certificate-path", self.secondary)?),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, content: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(name);
        fs::write(&path, content).expect("writable");
        (folder, path)
    }

    #[test]
    fn json_comes_as_text_path_or_at_path() {
        let (_folder, path) = file("tags.json", b"\xef\xbb\xbf{\"z\": 1.0, \"a\": 2}\n");
        let path = path.to_str().expect("UTF-8");
        let expected = json::parse(r#"{"z":1.0,"a":2}"#).expect("legal");
        for given in [r#" {"z":1.0,"a":2}"#, path, &format!("@{path}")] {
            assert_eq!(object("--tags", given), Ok(Some(expected.clone())), "{given}");
        }
        assert_eq!(object("--tags", " "), Ok(None));
    }

    #[test]
    fn what_is_no_json_object_is_named() {
        let check = |given: &str, message: &str| {
            let complaint = object("--tags", given).expect_err(given);
            assert!(complaint.message.starts_with(message), "{complaint}");
        };
        check("{'a': 1}", "--tags is not valid JSON: line 1, column 2: expected a member name");
        check("[1]", "--tags must be a JSON object");
        check("no-such-file", "--tags is neither JSON nor a file that exists: no-such-file");
        check("@no-such-file", "--tags: cannot read no-such-file: ");
    }

    #[test]
    fn a_payload_is_json_where_it_can_be_and_a_text_where_it_cannot() {
        let check = |given: &str, expected: &str| {
            let got = json_or_text("--mp", given).map_or_else(|c| c.message, |j| j.to_string());
            assert!(got.starts_with(expected), "{given}: {got}");
        };
        check(r#"{"z":1.0}"#, r#"{"z":1.0}"#);
        check("1.50", "1.50");
        check("null", "null");
        check("reboot", "\"reboot\"");
        check("a b ", "\"a b \"");
        check("{no", "--mp is not valid JSON: ");
        let (_folder, path) = file("payload.json", b"[1]");
        check(&format!("@{}", path.display()), "[1]");
    }

    #[test]
    fn a_moment_is_a_time_or_milliseconds() {
        let text = |text: &str| Ok(text.to_owned());
        assert_eq!(moment("0"), text("1970-01-01T00:00:00Z"));
        assert_eq!(moment("1767225600500"), text("2026-01-01T00:00:00.5Z"));
        assert_eq!(moment("2026-03-01T00:00:00+01:00"), text("2026-03-01T00:00:00+01:00"));
        for wrong in ["", "soon", "-1", "999999999999999", "99999999999999999999999"] {
            moment(wrong).expect_err(wrong);
        }
    }

    #[test]
    fn a_private_key_never_leaves_the_machine() {
        let (_folder, path) = file("both.pem", b"-----BEGIN PRIVATE KEY-----\nMIGH\n");
        let complaint = certificate("--certificate-path", &path).expect_err("refused");
        assert!(complaint.message.ends_with("holds a private key."), "{complaint}");
        assert!(!complaint.to_string().contains("MIGH"));
    }

    #[test]
    fn a_certificate_travels_as_pem_text_or_as_base64() {
        let (_folder, path) = file("c.pem", b"-----BEGIN CERTIFICATE-----\nx\n\n");
        assert_eq!(certificate("--cp", &path), Ok(Json::from("-----BEGIN CERTIFICATE-----\nx")));
        let (_folder, path) = file("c.cer", b"\x30\x82\xff\x00");
        assert_eq!(certificate("--cp", &path), Ok(Json::from("MIL/AA==")));
    }
}
