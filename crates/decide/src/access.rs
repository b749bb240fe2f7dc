//! Who may do what: shared access policies. Access starts from no; silence is a no.

use attest::sas;
use model::{AccessPolicy, Right, SasToken, Timestamp};

/// Why access is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// The token is for another resource.
    WrongResource {
        /// What the token is for, cut to a bounded length.
        resource: String,
    },
    /// The token's time is over.
    Expired,
    /// No such policy, or a signature that fits neither of its keys: told apart to nobody, or
    /// policy names could be guessed.
    BadToken,
    /// The policy lacks the right.
    Lacks {
        /// The policy.
        policy: String,
        /// The right.
        right: Right,
    },
}

/// What a caller addresses: the host names that mean it, and the path below.
#[derive(Debug, Clone)]
pub struct Audience<'a> {
    /// Host names, in lower case and without port, that a token may be for.
    pub hosts: &'a [String],
    /// The requested path's segments, decoded.
    pub path: &'a [String],
}

/// Whether this token opens this right on this audience.
///
/// `policy` is the one the token names, if the store has it. Order: resource, expiry, signature,
/// right; the signature is compared in constant time with both keys.
///
/// # Errors
/// [`Denied`].
///
/// Source: O §1.4, §1.5, H §2.2.
pub fn check(
    token: &SasToken,
    policy: Option<&AccessPolicy>,
    audience: &Audience<'_>,
    right: Right,
    now: Timestamp,
    clock_skew_secs: i64,
) -> Result<(), Denied> {
    if !covers(&token.resource, audience) {
        let resource = token.resource.chars().take(128).collect();
        return Err(Denied::WrongResource { resource });
    }
    sas::check_expiry(token, now, clock_skew_secs).map_err(|_| Denied::Expired)?;
    let policy = policy.ok_or(Denied::BadToken)?;
    sas::verify_signature(token, &policy.keys).map_err(|_| Denied::BadToken)?;
    if policy.rights.allow(right) {
        Ok(())
    } else {
        Err(Denied::Lacks { policy: policy.name.clone(), right })
    }
}

/// Whether a token's resource covers the audience: the same host (letter case and port do not
/// matter), and a path that is a prefix by whole segments.
fn covers(resource: &str, audience: &Audience<'_>) -> bool {
    let bare = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    let mut segments = bare.split('/').filter(|s| !s.is_empty());
    let Some(host) = segments.next() else {
        return false;
    };
    let host = without_port(host).to_ascii_lowercase();
    audience.hosts.contains(&host)
        && segments
            .zip(audience.path.iter().map(Some).chain(std::iter::repeat(None)))
            .all(|(wanted, asked)| asked.is_some_and(|asked| asked == wanted))
}

/// Whether a token's resource names the audience's whole path (a device's own token, H §4.1.1);
/// letter case matters in the path.
pub(crate) fn covers_exactly(resource: &str, audience: &Audience<'_>) -> bool {
    let bare = resource.split_once("://").map_or(resource, |(_, rest)| rest);
    let n_segments = bare.split('/').filter(|s| !s.is_empty()).count();
    n_segments == audience.path.len() + 1 && covers(resource, audience)
}

/// A host name without its port; an IPv6 address keeps its brackets.
#[must_use]
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_cover(resource: &str, path: &[&str], expected: bool) {
        let path: Vec<String> = path.iter().map(|s| (*s).to_owned()).collect();
        let hosts = ["hub.example.test".to_owned()];
        let audience = Audience { hosts: &hosts, path: &path };
        assert_eq!(covers(resource, &audience), expected, "{resource} on {path:?}");
    }

    #[test]
    fn a_token_covers_its_host_and_whole_segments_below_it() {
        check_cover("hub.example.test", &["devices", "a"], true);
        check_cover("HUB.example.test:8443", &["devices"], true);
        check_cover("https://hub.example.test/", &["devices"], true);
        check_cover("hub.example.test/devices/a", &["devices", "a", "modules"], true);
        check_cover("hub.example.test/devices/a", &["devices", "ab"], false);
        check_cover("hub.example.test/devices/a", &["devices"], false);
        check_cover("hub.example.test.evil", &["devices"], false);
        check_cover("other.example.test", &[], false);
        check_cover("", &[], false);
    }
}
