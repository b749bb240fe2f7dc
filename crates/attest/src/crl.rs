//! Revocation lists: read, bounded, verified with the key of the CA that they speak for.
//!
//! A list is believed only after its signature was checked, and its entries are read only then:
//! who cannot sign costs us no more than a look at the frame. Whether a list is newer than the one
//! that counts, and what becomes of devices, is not known here.
//!
//! Read are complete lists of one CA (RFC 5280 §5), version 1 and 2. A list that is not complete
//! (a delta, one of some reasons only) or not of one CA (an indirect one) is refused, because it
//! would be taken for more than it says.

use model::{
    AttestFailure, CrlNumber, EnrolledCertificate, Serials, Timestamp,
    crl::{MAX_CRL_BYTES, MAX_CRL_ENTRIES, MAX_SERIAL_BYTES},
};
use thiserror::Error;
use webpki::ALL_VERIFICATION_ALGS;
use x509_parser::{prelude::FromDer as _, time::ASN1Time, x509::X509Name};

use crate::certificate::{self, BadCertificate, Parsed};
use der::{Bad, Reader, Tag};

mod der;
mod extensions;

use extensions::Scope;

/// How far the clock of a CA may be ahead of ours, in seconds: five minutes.
pub const MAX_AHEAD_SECS: i64 = 300;

/// Why bytes are not a revocation list that counts.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadCrl {
    /// More bytes than we look at.
    #[error("a revocation list has at most {MAX_CRL_BYTES} bytes, this one has {0}")]
    TooLarge(usize),
    /// More entries than we look at.
    #[error("a revocation list has at most {MAX_CRL_ENTRIES} entries, this one has more")]
    TooMany,
    /// Not a DER revocation list.
    #[error("it is not a DER revocation list: {0}")]
    Unparsable(&'static str),
    /// A kind of list that cannot be used by itself.
    #[error("{0}")]
    Unfit(String),
    /// It is another CA's.
    #[error("its issuer is `{issuer}`, not `{ca}`")]
    OtherIssuer {
        /// Its issuer.
        issuer: String,
        /// The CA.
        ca: String,
    },
    /// The CA may not sign lists, or cannot be read.
    #[error("`{ca}` cannot vouch for it: {why}")]
    UnfitCa {
        /// The CA.
        ca: String,
        /// Why.
        why: String,
    },
    /// The CA's key did not sign it.
    #[error("the key of `{0}` did not sign it, or signed with an algorithm that is not accepted")]
    WrongSignature(String),
    /// It is from the future.
    #[error("it was made after the present moment; is the clock here right?")]
    NotYetValid,
}

impl From<Bad> for BadCrl {
    fn from(Bad(why): Bad) -> Self {
        Self::Unparsable(why)
    }
}

/// The frame of a list, which nobody has verified.
#[derive(Debug, Clone)]
pub struct Unverified<'a> {
    der: &'a [u8],
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    /// What follows the issuer.
    rest: Reader<'a>,
    is_version_2: bool,
}

/// A list whose CA signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified(Contents);

impl Verified {
    /// What it says.
    #[must_use]
    pub const fn contents(&self) -> &Contents {
        &self.0
    }

    /// What it says.
    #[must_use]
    pub fn into_contents(self) -> Contents {
        self.0
    }
}

/// What a list says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// SHA-256 of its DER.
    pub sha256: [u8; 32],
    /// Its number, if it has one.
    pub number: Option<CrlNumber>,
    /// SHA-256 of the DER of its issuing distribution point, if it has one.
    pub scope: Option<[u8; 32]>,
    /// When the CA made it.
    pub this_update: Timestamp,
    /// When there is a newer one at the latest.
    pub next_update: Option<Timestamp>,
    /// Whom it revokes.
    pub revoked: Serials,
}

impl<'a> Unverified<'a> {
    /// Reads a list's frame: who issued it, and what is signed how. The entries are not looked at.
    ///
    /// # Errors
    /// [`BadCrl::TooLarge`], [`BadCrl::Unparsable`].
    pub fn read(der: &'a [u8]) -> Result<Self, BadCrl> {
        if der.len() > MAX_CRL_BYTES {
            return Err(BadCrl::TooLarge(der.len()));
        }
        let mut outer = Reader::new(der);
        let mut list = outer.sequence()?;
        outer.end()?;
        let signed = list.element(Tag::SEQUENCE)?;
        let algorithm = list.element(Tag::SEQUENCE)?.contents;
        let signature = list.bits()?;
        list.end()?;

        let mut inner = Reader::new(signed.contents);
        // The version is left out of lists of version 1; 1 stands for version 2.
        let is_version_2 = match inner.optional(Tag::INTEGER)? {
            None => false,
            Some(version) if version.contents == [1] => true,
            Some(_) => return Err(BadCrl::Unparsable("its version is neither 1 nor 2")),
        };
        if inner.element(Tag::SEQUENCE)?.contents != algorithm {
            return Err(BadCrl::Unparsable("it names two different signature algorithms"));
        }
        let issuer = inner.element(Tag::SEQUENCE)?.whole;
        let signed = signed.whole;
        Ok(Self { der, signed, algorithm, signature, issuer, rest: inner, is_version_2 })
    }

    /// SHA-256 of the DER of the issuer's name: what the CA is found by
    /// ([`CaKeys::subject`](model::CaKeys::subject)).
    #[must_use]
    pub fn issuer(&self) -> [u8; 32] {
        certificate::sha256(&[self.issuer])
    }

    /// The issuer's name, for a message.
    #[must_use]
    pub fn issuer_name(&self) -> String {
        match X509Name::from_der(self.issuer) {
            Ok((_, name)) => certificate::shown_name(&name),
            Err(_) => "a name that cannot be read".to_owned(),
        }
    }

    /// Verifies the list with the CA's key, and reads whom it revokes.
    ///
    /// The CA's certificate may be past its validity: a list says whom not to believe any more,
    /// and to forget it would be the worse mistake.
    ///
    /// # Errors
    /// [`BadCrl`]
    ///
    /// Source: RFC 5280 §5, §6.3.3.
    pub fn verify(self, ca: &EnrolledCertificate, now: Timestamp) -> Result<Verified, BadCrl> {
        let name = || ca.info.subject_name.clone();
        if self.issuer() != ca.keys.subject {
            return Err(BadCrl::OtherIssuer { issuer: self.issuer_name(), ca: name() });
        }
        let unfit = |why: String| BadCrl::UnfitCa { ca: name(), why };
        let parsed = Parsed::of(&ca.der).map_err(|bad| unfit(told(bad)))?;
        if !self.is_signed_by(&parsed) {
            return Err(BadCrl::WrongSignature(name()));
        }
        // None of it means that the key may be used for anything.
        if let Ok(Some(usage)) = parsed.x509.key_usage()
            && !usage.value.crl_sign()
        {
            return Err(unfit("its key usage does not allow it to sign lists".to_owned()));
        }
        let contents = self.contents()?;
        if contents.this_update > now.plus_secs(MAX_AHEAD_SECS) {
            return Err(BadCrl::NotYetValid);
        }
        Ok(Verified(contents))
    }

    fn is_signed_by(&self, ca: &Parsed<'_>) -> bool {
        let spki = ca.x509.public_key();
        let Ok(key_algorithm) = Reader::new(spki.raw)
            .sequence()
            .and_then(|mut spki| spki.element(Tag::SEQUENCE))
            .map(|algorithm| algorithm.contents)
        else {
            return false;
        };
        ALL_VERIFICATION_ALGS
            .iter()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == self.algorithm)
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == key_algorithm)
            .any(|algorithm| {
                let key = &spki.subject_public_key.data;
                algorithm.verify_signature(key, self.signed, self.signature).is_ok()
            })
    }

    /// What the list says, whoever signed it: nothing to believe.
    ///
    /// # Errors
    /// [`BadCrl::Unparsable`], [`BadCrl::TooMany`], [`BadCrl::Unfit`].
    pub fn contents(mut self) -> Result<Contents, BadCrl> {
        let this_update = self.rest.time()?.ok_or(BadCrl::Unparsable("it does not say when"))?;
        let next_update = self.rest.time()?;
        if next_update.is_some_and(|next| next < this_update) {
            return Err(BadCrl::Unparsable("its end is before its beginning"));
        }
        let revoked = match self.rest.optional(Tag::SEQUENCE)? {
            None => Serials::default(),
            Some(entries) => entries_of(Reader::new(entries.contents), self.is_version_2)?,
        };
        let mut scope = Scope::default();
        if let Some(extensions) = self.rest.optional(Tag::context(0))? {
            if !self.is_version_2 {
                return Err(BadCrl::Unparsable("a list of version 1 has no extensions"));
            }
            let mut outer = Reader::new(extensions.contents);
            scope = extensions::of_list(outer.sequence()?)?;
            outer.end()?;
        }
        self.rest.end()?;
        Ok(Contents {
            sha256: certificate::thumbprint_sha256(self.der),
            number: scope.number,
            scope: scope.distribution_point,
            this_update,
            next_update,
            revoked,
        })
    }
}

fn entries_of(mut entries: Reader<'_>, may_be_extended: bool) -> Result<Serials, BadCrl> {
    let mut serials: Vec<&[u8]> = Vec::new();
    while !entries.is_at_end() {
        if serials.len() == MAX_CRL_ENTRIES {
            return Err(BadCrl::TooMany);
        }
        let mut entry = entries.sequence()?;
        let serial = entry.element(Tag::INTEGER)?.contents;
        if serial.is_empty() || serial.len() > MAX_SERIAL_BYTES {
            return Err(BadCrl::Unparsable("a serial number is too long, or empty"));
        }
        entry.time()?.ok_or(BadCrl::Unparsable("an entry does not say when"))?;
        if let Some(extensions) = entry.optional(Tag::SEQUENCE)? {
            if !may_be_extended {
                return Err(BadCrl::Unparsable("a list of version 1 has no extensions"));
            }
            extensions::check_entry(Reader::new(extensions.contents))?;
        }
        entry.end()?;
        serials.push(serial);
    }
    Ok(Serials::from_unsorted(serials))
}

/// Whether the CA's key signed the certificate: what ties a certificate whose path was not
/// followed to the list of its issuer.
///
/// Names are compared as well. Nothing else of either certificate is looked at.
#[must_use]
pub fn issued(ca: &EnrolledCertificate, certificate: &[u8]) -> bool {
    let (Ok(ca_parsed), Ok(child)) = (Parsed::of(&ca.der), Parsed::of(certificate)) else {
        return false;
    };
    if child.keys().issuer != ca.keys.subject {
        return false;
    }
    let signature = &child.x509.signature_value.data;
    let framed = Reader::new(certificate).sequence().and_then(|mut framed| {
        let signed = framed.element(Tag::SEQUENCE)?.whole;
        Ok((signed, framed.element(Tag::SEQUENCE)?.contents))
    });
    let Ok((signed, algorithm)) = framed else { return false };
    let frame = Unverified {
        der: certificate,
        signed,
        algorithm,
        signature,
        issuer: &[],
        rest: Reader::new(&[]),
        is_version_2: true,
    };
    frame.is_signed_by(&ca_parsed)
}

impl Reader<'_> {
    /// A time, if one comes next.
    fn time(&mut self) -> Result<Option<Timestamp>, BadCrl> {
        let utc = self.optional(Tag::UTC_TIME)?;
        let found = match utc {
            Some(utc) => Some(utc),
            None => self.optional(Tag::GENERALIZED_TIME)?,
        };
        let Some(element) = found else { return Ok(None) };
        match ASN1Time::from_der(element.whole) {
            Ok(([], time)) => Ok(Some(Timestamp::from_unix_secs(time.timestamp()))),
            _ => Err(BadCrl::Unparsable("a time cannot be read")),
        }
    }
}

fn told(bad: BadCertificate) -> String {
    AttestFailure::from(bad).to_string()
}

#[cfg(test)]
mod tests;
