//! Revocation lists (RFC 5280 §5): whom a CA has taken its word back from, and where we hear it.
//!
//! A list is about one CA, a name and a key (docs/decisions/0006). It comes from a file, or from a
//! URL that is asked again and again, and is signed, so that who carries it need not be trusted.

use std::sync::Arc;

use crate::{EnrolledCertificate, Etag, PathCertificate, StaleCrl, Timestamp, Version, hex};

/// The largest list that is looked at, in bytes of DER: 32 MiB.
pub const MAX_CRL_BYTES: usize = 32 * 1024 * 1024;

/// The most entries of a list: a million.
pub const MAX_CRL_ENTRIES: usize = 1_000_000;

/// The most lists that are kept: one for each CA that we can know of has room (D §6).
pub const MAX_CRLS: usize = 1024;

/// How long a list is good that does not say when there will be a newer one: thirty days, in
/// seconds. RFC 5280 §5.1.2.5 demands that it says so; one that were good for ever would hide that
/// newer ones do not come.
pub const UNDATED_CRL_LIFE_SECS: i64 = 30 * 24 * 3600;

/// The longest URL that is followed, in bytes.
pub const MAX_CRL_URL_BYTES: usize = 2048;

/// The longest serial number, in bytes: more than the 20 that RFC 5280 §4.1.2.2 allows, because
/// not every CA keeps to it.
pub const MAX_SERIAL_BYTES: usize = 64;

/// How often a URL may be asked at most: once a minute.
pub const MIN_CRL_EVERY_SECS: u32 = 60;

/// How often a URL must be asked at least: every thirty days.
pub const MAX_CRL_EVERY_SECS: u32 = 30 * 24 * 3600;

/// What we know of one CA's revocation list. The serial numbers are kept apart from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// The CA: whose name is the list's issuer, and whose key signs it.
    pub ca: EnrolledCertificate,
    /// The list that counts; absent while its URL was never fetched.
    pub list: Option<CrlList>,
    /// Where newer ones come from by themselves.
    pub source: Option<CrlSource>,
    /// The version mark.
    pub etag: Etag,
    /// When it was first written.
    pub created: Timestamp,
    /// When list or source were last written.
    pub last_updated: Timestamp,
    /// The store's version of the row; 0 for one that was never stored.
    pub version: Version,
}

impl Crl {
    /// What the list is found by: its name in the API. [`CaKeys::subject_and_key`] in lower-case
    /// hex.
    ///
    /// [`CaKeys::subject_and_key`]: crate::CaKeys::subject_and_key
    #[must_use]
    pub fn id(&self) -> String {
        crl_id(&self.ca.keys.subject_and_key)
    }

    /// Whether the list's time is over, so that it may lack serial numbers by now. One that was
    /// never fetched lacks them all.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.list.as_ref().is_none_or(|list| list.end() < now)
    }
}

/// The name of the list of the CA with this [`CaKeys::subject_and_key`].
///
/// [`CaKeys::subject_and_key`]: crate::CaKeys::subject_and_key
#[must_use]
pub fn crl_id(subject_and_key: &[u8; 32]) -> String {
    hex::lower(subject_and_key)
}

/// The [`CaKeys::subject_and_key`] that a name stands for, if it is one, in either letter case.
///
/// [`CaKeys::subject_and_key`]: crate::CaKeys::subject_and_key
#[must_use]
pub fn parse_crl_id(id: &str) -> Option<[u8; 32]> {
    if id.len() != 64 {
        return None;
    }
    hex_bytes(id)?.try_into().ok()
}

/// What a list says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlList {
    /// SHA-256 of its DER: the same list again changes nothing.
    pub sha256: [u8; 32],
    /// Its number, if it has one.
    pub number: Option<CrlNumber>,
    /// SHA-256 of the DER of its issuing distribution point, if it has one: which part of the CA's
    /// certificates it covers.
    pub scope: Option<[u8; 32]>,
    /// When the CA made it.
    pub this_update: Timestamp,
    /// When there is a newer one at the latest; `None` when the CA does not say.
    pub next_update: Option<Timestamp>,
    /// How many serial numbers it revokes.
    pub n_revoked: u64,
    /// When we took it in.
    pub taken_in: Timestamp,
}

impl CrlList {
    /// When it is out of date: when there is a newer one at the latest, or
    /// [`UNDATED_CRL_LIFE_SECS`] after it was made, where the CA does not say.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        end(self.this_update, self.next_update)
    }
}

/// When a list is out of date that was made at the first moment, and that says the second of itself.
#[must_use]
pub fn end(this_update: Timestamp, next_update: Option<Timestamp>) -> Timestamp {
    next_update.unwrap_or_else(|| this_update.plus_secs(UNDATED_CRL_LIFE_SECS))
}

/// A list's number: as many as 20 bytes, compared as numbers (RFC 5280 §5.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CrlNumber(Serial);

impl CrlNumber {
    /// From big-endian bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(Serial::from_bytes(bytes))
    }

    /// From hex, as [`Self::to_hex`] writes it; nothing when it is not that.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        Serial::from_hex(text).map(Self)
    }

    /// Upper-case hex without leading zeros; `0` for zero.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.to_hex()
    }
}

impl PartialOrd for CrlNumber {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CrlNumber {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        // Without leading zeros the longer number is the larger one.
        let (ours, theirs) = (self.0.bytes(), other.0.bytes());
        ours.len().cmp(&theirs.len()).then_with(|| ours.cmp(theirs))
    }
}

/// Where newer lists come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlSource {
    /// The URL.
    pub url: String,
    /// How often it is asked, in seconds.
    pub every_secs: u32,
    /// The entity tag of the last list that came from there, to ask only for a newer one.
    pub entity_tag: Option<String>,
    /// When it is asked next.
    pub due: Timestamp,
    /// When it last answered with a list that counts, or that there is no newer one.
    pub last_success: Option<Timestamp>,
    /// Why the last attempt failed; absent when it did not.
    pub last_error: Option<String>,
    /// How many attempts in a row failed.
    pub n_failures: u32,
}

/// A serial number, without leading zero bytes; empty for zero.
///
/// Only the bytes count: a negative serial number, which no CA should issue, is taken for the
/// positive one of the same bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// From the contents of the DER integer.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(without_zeros(bytes).to_vec())
    }

    /// From hex as [`PathCertificate::serial`] has it; nothing when it is no hex.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_bytes(text).map(|bytes| Self::from_bytes(&bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Upper-case hex without leading zeros; `0` for zero.
    #[must_use]
    pub fn to_hex(&self) -> String {
        serial_hex(&self.0)
    }
}

/// A serial number as people and [`PathCertificate::serial`] have it: upper-case hex without
/// leading zeros; `0` for zero.
#[must_use]
pub fn serial_hex(bytes: &[u8]) -> String {
    let text = hex::upper(without_zeros(bytes));
    match text.strip_prefix('0') {
        Some(rest) => rest.to_owned(),
        None if text.is_empty() => "0".to_owned(),
        None => text,
    }
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

/// The bytes of a hex text of any length, in either letter case.
fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let digits = text.bytes().map(digit).collect::<Option<Vec<u8>>>()?;
    let (first, rest) = digits.split_at(digits.len() % 2);
    let pairs = rest.chunks_exact(2).filter_map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    Some(first.iter().copied().chain(pairs).collect())
}

/// Many serial numbers, each once, in order, packed: a list may have a million.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Serials {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<u32>,
}

impl std::fmt::Debug for Serials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} serial numbers", self.len())
    }
}

impl Serials {
    /// From the contents of DER integers, in any order.
    #[must_use]
    pub fn from_unsorted<'a>(serials: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut sorted: Vec<&[u8]> = serials.into_iter().map(without_zeros).collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted.into_iter().collect()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Whether this one is among them; leading zeros do not matter.
    #[must_use]
    pub fn contains(&self, serial: &[u8]) -> bool {
        let serial = without_zeros(serial);
        let (mut from, mut to) = (0, self.len());
        while from < to {
            let middle = from + (to - from) / 2;
            match self.get(middle).cmp(serial) {
                std::cmp::Ordering::Equal => return true,
                std::cmp::Ordering::Less => from = middle + 1,
                std::cmp::Ordering::Greater => to = middle,
            }
        }
        false
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|at| self.get(at))
    }

    /// Those that the other does not have.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        // Both are in order, so one pass over both is enough.
        let mut others = other.iter().peekable();
        self.iter()
            .filter(|serial| {
                while others.next_if(|other| other < serial).is_some() {}
                others.peek() != Some(serial)
            })
            .collect()
    }

    /// All of them, in order, in parts of at most so many, at least one each.
    pub fn chunks(&self, size: usize) -> impl Iterator<Item = Self> {
        let size = size.max(1);
        let part = move |from: usize| {
            let to = from.saturating_add(size).min(self.len());
            (from..to).map(|at| self.get(at)).collect()
        };
        (0..self.len()).step_by(size).map(part)
    }

    /// Adds one that comes after all others and has no leading zeros.
    pub fn push_last(&mut self, serial: &[u8]) {
        self.bytes.extend_from_slice(serial);
        // A million serial numbers of 64 bytes have fewer bytes than 4 GiB.
        self.ends.push(u32::try_from(self.bytes.len()).unwrap_or(u32::MAX));
    }

    fn get(&self, at: usize) -> &[u8] {
        let end = |at: usize| self.ends.get(at).map_or(0, |end| *end as usize);
        let from = at.checked_sub(1).map_or(0, end);
        self.bytes.get(from..end(at)).unwrap_or_default()
    }
}

/// From serial numbers in order, each once, without leading zeros.
impl<'a> FromIterator<&'a [u8]> for Serials {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(sorted: I) -> Self {
        let mut serials = Self::default();
        for serial in sorted {
            serials.push_last(serial);
        }
        serials
    }
}

/// How the serial numbers of a list change: what the store writes, and what live sessions that
/// rest on a certificate hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevokedChange {
    /// The CA, by [`CaKeys::subject_and_key`](crate::CaKeys::subject_and_key).
    pub ca: [u8; 32],
    /// SHA-256 of its name's DER: the issuer of the certificates that are revoked. With it and a
    /// serial number goes the key of [`PathCertificate::ban_keys`].
    pub issuer: [u8; 32],
    /// Those that are revoked from now on.
    pub added: Arc<Serials>,
    /// Those that are not any more (a certificate on hold, or one that is past its end).
    pub removed: Arc<Serials>,
    /// Whether that is all.
    pub step: RevokedStep,
}

/// A list may have a million serial numbers, and nobody else is to wait so long for the store. So
/// many of them are written in parts, each in a change set of its own, before the list counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokedStep {
    /// All at once: they are written, and whoever rests on them hears of it.
    Whole,
    /// Some of them are written. Nobody hears of it yet, and no decision is taken anew: that comes
    /// with the last step.
    Part,
    /// Nothing is written: whoever rests on those that the list revokes hears of all of them, which
    /// were written in parts before. Goes with the list.
    Last,
}

impl RevokedChange {
    /// The same in parts of at most so many serial numbers, at least one each: first those that are
    /// revoked, so that what is cut off keeps out whom the newer list revokes.
    pub fn parts(&self, size: usize) -> impl Iterator<Item = Self> {
        let part = |added: Serials, removed: Serials| Self {
            ca: self.ca,
            issuer: self.issuer,
            added: Arc::new(added),
            removed: Arc::new(removed),
            step: RevokedStep::Part,
        };
        let added = self.added.chunks(size).map(move |added| part(added, Serials::default()));
        let removed =
            self.removed.chunks(size).map(move |removed| part(Serials::default(), removed));
        added.chain(removed)
    }
}

/// Of a list, what is known when devices register or connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrlFacts {
    /// The CA's certificate: what it is found by, and its key.
    pub ca: EnrolledCertificate,
    /// When the list is out of date ([`CrlList::end`]); `None` while there is none: one that was
    /// never fetched revokes nobody and is out of date.
    pub end: Option<Timestamp>,
    /// Those of the serial numbers asked for that the list revokes, as
    /// [`PathCertificate::serial`] has them.
    pub revoked: Vec<String>,
}

impl CrlFacts {
    /// Whether the list's time is over, or there is none yet.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.end.is_none_or(|end| end < now)
    }

    /// Whether the list is that of the issuer of this certificate, as far as names tell.
    #[must_use]
    pub fn is_of_issuer_name(&self, certificate: &PathCertificate) -> bool {
        self.ca.keys.subject == certificate.issuer
    }

    /// Whether the list revokes this certificate, once it is known that the list is its issuer's.
    #[must_use]
    pub fn revokes(&self, certificate: &PathCertificate) -> bool {
        self.revoked.contains(&certificate.serial)
    }
}

impl StaleCrl {
    /// Whether devices are refused.
    #[must_use]
    pub fn refuses(self) -> bool {
        self == Self::Refuse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_serial_is_the_same_with_leading_zeros_and_without() {
        let check = |bytes: &[u8], hex: &str| {
            assert_eq!(serial_hex(bytes), hex);
            assert_eq!(Serial::from_hex(hex), Some(Serial::from_bytes(bytes)), "{hex}");
        };
        check(&[], "0");
        check(&[0], "0");
        check(&[0, 0x0A], "A");
        check(&[0x00, 0x80], "80");
        check(&[0x01, 0x00], "100");
        check(&[0xDE, 0xAD], "DEAD");
        assert_eq!(Serial::from_hex("0x1"), None);
        assert_eq!(Serial::from_hex("00dead"), Serial::from_hex("DEAD"));
    }

    #[test]
    fn a_list_that_does_not_say_its_end_is_over_after_thirty_days() {
        let made = Timestamp::from_unix_secs(1_000_000);
        let list = |next_update: Option<Timestamp>| CrlList {
            sha256: [0; 32],
            number: None,
            scope: None,
            this_update: made,
            next_update,
            n_revoked: 0,
            taken_in: made.plus_secs(5),
        };
        assert_eq!(list(None).end(), made.plus_secs(30 * 86_400));
        assert_eq!(list(Some(made.plus_secs(90 * 86_400))).end(), made.plus_secs(90 * 86_400));
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        let number = |text: &str| CrlNumber::from_hex(text).expect("hex");
        assert!(number("FF") < number("100"));
        assert!(number("0100") == number("100"));
        assert!(number("101") > number("100"));
        assert!(number("0") < number("1"));
    }

    #[test]
    fn serials_are_found_whatever_their_order_and_zeros() {
        let sent: [&[u8]; 5] = [&[9, 9], &[0, 7], &[7], &[], &[1, 2, 3]];
        let serials = Serials::from_unsorted(sent);
        assert_eq!(serials.len(), 4);
        for one in sent {
            assert!(serials.contains(one), "{one:?}");
        }
        assert!(!serials.contains(&[8]) && !serials.contains(&[9]) && !serials.contains(&[1, 2]));
        let all: Vec<&[u8]> = serials.iter().collect();
        assert_eq!(all, [&[] as &[u8], &[1, 2, 3], &[7], &[9, 9]]);
    }

    #[test]
    fn a_change_of_many_is_the_change_of_all_its_parts() {
        let of = |from: u8, to: u8| {
            let bytes: Vec<u8> = (from..to).collect();
            Arc::new(Serials::from_unsorted(bytes.chunks(1)))
        };
        let step = RevokedStep::Whole;
        let (added, removed) = (of(1, 24), of(100, 101));
        let change = RevokedChange { ca: [1; 32], issuer: [2; 32], added, removed, step };
        let parts: Vec<RevokedChange> = change.parts(10).collect();
        let sizes: Vec<_> = parts.iter().map(|p| (p.added.len(), p.removed.len())).collect();
        assert_eq!(sizes, [(10, 0), (10, 0), (3, 0), (0, 1)]);
        let all: Vec<&[u8]> = parts.iter().flat_map(|part| part.added.iter()).collect();
        assert_eq!(all, change.added.iter().collect::<Vec<_>>());
        assert!(parts.iter().all(|part| part.step == RevokedStep::Part && part.ca == [1; 32]));
    }

    #[test]
    fn a_difference_has_what_the_other_lacks() {
        let of = |serials: &[u8]| Serials::from_unsorted(serials.chunks(1));
        assert_eq!(of(&[1, 2, 3]).without(&of(&[2])), of(&[1, 3]));
        assert!(of(&[2]).without(&of(&[1, 2, 3])).is_empty());
        assert_eq!(of(&[1, 5, 9]).without(&of(&[0, 2, 5, 200])), of(&[1, 9]));
        assert_eq!(of(&[1, 5]).without(&Serials::default()), of(&[1, 5]));
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let key = std::array::from_fn(|i| u8::try_from(i * 7 % 256).expect("a byte"));
        assert_eq!(parse_crl_id(&crl_id(&key)), Some(key));
        assert_eq!(parse_crl_id(&crl_id(&key).to_uppercase()), Some(key));
        assert_eq!(parse_crl_id("plant-ca"), None);
        assert_eq!(parse_crl_id(&"g".repeat(64)), None);
    }
}
