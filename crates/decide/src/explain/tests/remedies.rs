//! What to do about every refusal.

use model::ConnectRefusal;

use super::*;

/// The remedy of a refused registration of `press-17` that the group `line-4` decided.
fn remedy_of(refusal: DeviceRefusal, steps: &[Step]) -> String {
    let group = EnrollmentRef::Group(name::group("line-4"));
    let outcome = AttemptOutcome::Refused(refusal);
    explain(&asked("press-17"), steps, &outcome, Some(&group)).remedy.expect("a remedy")
}

/// Refusals with their remedies; it does not compile before it has a row for each variant.
macro_rules! table {
    ($type:ident: $(
        $variant:ident $(($value:expr))? $({ $($member:ident: $its:expr),* })? => $remedy:expr,
    )*) => {{
        const _: fn(&$type) = |one| match one { $($type::$variant { .. } => {})* };
        [$(($type::$variant $(($value))? $({ $($member: $its),* })?, $remedy)),*]
    }};
}

#[test]
fn every_refused_registration_has_its_remedy() {
    let text = || "text".to_owned();
    let all = table!(DeviceRefusal:
        UnknownIdScope =>
            "Give the device this service's ID scope.",
        NotEnrolled =>
            "Create an individual enrollment of `press-17`.",
        TpmNotEnrolled =>
            "Create an individual enrollment of `press-17` with the TPM's endorsement key, or a \
             group with the certificate of the TPM's vendor.",
        NotAttested(AttestFailure::NoEvidence) =>
            "The device has to show a certificate or a token: see that TLS is not ended in front of \
             this service.",
        Banned { ban: "registration:press-17".to_owned(), is_tpm: false } =>
            "Lift the ban `registration:press-17` if the device is to come back; nothing else undoes \
             it.",
        UnknownOperation =>
            "The device has to register anew: operations can be polled for an hour.",
        NotRegistered =>
            "The device has to register before it can be looked up.",
        Conflict =>
            "The device will succeed when it asks again; if it never does, something keeps writing \
             its registration.",
        TooManyRegistrations(7) =>
            "Delete registration records that nobody needs, orphaned ones first, or raise the limit.",
        AddressRefused("192.0.2.7".to_owned()) =>
            "Change the IP rule that keeps `192.0.2.7` out.",
        Throttled(5) =>
            "The device has to wait; see what makes it ask so often.",
        BadRequest(text()) =>
            "The device's software has to send another request.",
    );
    for (refusal, expected) in all {
        assert_eq!(remedy_of(refusal, &[]), expected);
    }
}

#[test]
fn every_proof_that_fails_has_its_remedy_whoever_asks_for_it() {
    let ca = || "CN=root".to_owned();
    let all = table!(AttestFailure:
        NoEvidence =>
            "The device has to show a certificate or a token: see that TLS is not ended in front of \
             this service.",
        WrongKind =>
            "Give the device the kind of credential that the group `line-4` wants, or change what it \
             wants.",
        WrongResource =>
            "The device has to sign its token for its own registration ID and this ID scope.",
        TokenExpired =>
            "Set the device's clock, or have it make a new token.",
        BadSignature =>
            "Give the device the primary or the secondary key of the group `line-4`.",
        CommonName(ca()) =>
            "Register the device under the common name of its certificate, or issue it one with its \
             registration ID.",
        WrongThumbprint =>
            "Put the device's present certificate into the group `line-4`, as the secondary if need \
             be.",
        NotYetValid(ca()) =>
            "Compare the clocks of the CA and of this service; or wait.",
        Expired(ca()) => "Issue a new certificate.",
        BadCertificate(ca()) =>
            "Issue a certificate within the rules of RFC 5280 and this service's limits.",
        TooLarge(ca()) =>
            "Issue a certificate within the rules of RFC 5280 and this service's limits.",
        BadChain(ca()) =>
            "See that the device presents every certificate between its own and the one in the group \
             `line-4`, and that each was signed by the next.",
        TpmNotChallenged =>
            "The device has to answer the challenge, over HTTPS or AMQP.",
        BadTpmKey(ca()) =>
            "The TPM has to show RSA keys of 2048 bits, made by the usual templates.",
        WrongEndorsementKey =>
            "Put the endorsement key of the TPM that the device has now into the group `line-4`.",
        Revoked(ca()) =>
            "Issue a new certificate; what a CA has revoked stays revoked.",
        StaleCrl(ca()) =>
            "Import the present revocation list of `CN=root`, or let the group `line-4` admit \
             devices while it is out of date.",
        NotEndorsed(ca()) =>
            "See that the endorsement key's certificate is there and leads to a certificate in the \
             group `line-4`.",
    );
    for (failure, expected) in all {
        assert_eq!(remedy_of(DeviceRefusal::NotAttested(failure.clone()), &[]), expected);
        // A TPM is told nothing of why; the operator is.
        let steps = [Step::AttestationFailed(failure)];
        assert_eq!(remedy_of(DeviceRefusal::TpmNotEnrolled, &steps), expected);
    }
}

#[test]
fn whoever_matches_nothing_is_told_by_what_was_shown() {
    let groups = |kind: AttestationKind| Step::LookedUpGroups { kind, candidates: 0 };
    let ca = |name: &str| Step::CertificateWithoutGroup { subject: name.to_owned() };
    let ended = || Step::ChainEnded { subject: "CN=press-17".to_owned() };
    let check = |steps: &[Step], expected: &str| {
        assert_eq!(remedy_of(DeviceRefusal::NotEnrolled, steps), expected);
    };
    let x509 = || groups(AttestationKind::X509);
    check(
        &[x509(), ca("CN=line-4"), ca("CN=root"), ended()],
        "Create a group for one of these CAs: `CN=line-4`, `CN=root`; or an individual enrollment of \
         `press-17`.",
    );
    check(
        &[x509(), ended()],
        "Create a group for the CA that signed the device's certificate, or an individual \
         enrollment of `press-17`.",
    );
    check(
        &[x509()],
        "No certificate of the device's chain is known here: have the device present the \
         certificates between its own and an enrolled CA's, or enroll the CA that signed it, or \
         `press-17` itself.",
    );
    check(
        &[groups(AttestationKind::SymmetricKey)],
        "No group has the key that the device's was derived from, by this registration ID: give the \
         device the key of a group for `press-17`, or enroll it individually.",
    );
    let tpm = groups(AttestationKind::Tpm);
    check(&[tpm], "Create an individual enrollment of `press-17`.");
}

#[test]
fn every_refused_connection_has_its_remedy() {
    let text = || "text".to_owned();
    let all = table!(ConnectRefusal:
        UnknownHub(text()) =>
            "Give the device the host name of a hub of this service.",
        UnknownDevice =>
            "Let the device register again, or create it in the hub.",
        Disabled(None) =>
            "Enable the device in the hub.",
        Banned(text()) =>
            "Lift the ban if the device is to come back; nothing else undoes it.",
        Disenrolled(text()) =>
            "Enable or restore the enrollment that the device was provisioned by and let it register \
             again; or do not let the end of an enrollment end sessions.",
        WrongKind("a token") =>
            "Give the device the kind of credential that its identity wants.",
        NotAttested(AttestFailure::NoEvidence) =>
            "Give the device a credential of its identity, or let it register again.",
        PolicyRefused =>
            "Give the policy the right DeviceConnect, or the device a key of its own.",
        AddressRefused(text()) =>
            "Change the IP rule that keeps the address out.",
        Throttled(5) =>
            "The device has to wait; see what makes it connect so often.",
        Conflict =>
            "The device will succeed when it connects again; if it never does, something keeps \
             writing its identity.",
        Overtaken =>
            "See that no two devices use this identity; a device that asked again itself needs \
             nothing.",
    );
    let device_id = DeviceId::parse("press-17").expect("legal");
    let connect = AttemptAsked::Connect { hub: name::hub("hub-1"), device_id };
    for (refusal, expected) in all {
        // By the name that attempts keep.
        let told = explain(&connect, &[], &AttemptOutcome::of_connection(&refusal), None);
        assert_eq!(told.remedy.as_deref(), Some(expected), "{refusal:?}");
        assert_eq!(
            told.outcome,
            format!("`press-17`, on its way to `hub-1.example.test`, was not let in: {refusal}.")
        );
    }
    let of_another_release =
        AttemptOutcome::NotConnected { name: "Unheard".to_owned(), reason: text() };
    assert_eq!(explain(&connect, &[], &of_another_release, None).remedy, None);
}
