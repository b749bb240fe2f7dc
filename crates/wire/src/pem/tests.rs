use super::*;

/// A self-signed P-256 certificate for `CN=press-17`, made with `openssl req -x509`.
const PEM: &str = "\
-----BEGIN CERTIFICATE-----
MIIBezCCASGgAwIBAgIUcKl3zVab4dYBYJbE8zDmCoqt9GcwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIcHJlc3MtMTcwHhcNMjYxMTIxMDIwMzQ0WhcNMzYxMTE4MDIw
MzQ0WjATMREwDwYDVQQDDAhwcmVzcy0xNzBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABJdNHO8rj6i/hhqYPL6vD6eFMH2NJQLSqXL6HLlsB0P+iRpVDDDl0Tl+ccax
nn15BY0Hg9Q81C2eGA5ztKAPjBKjUzBRMB0GA1UdDgQWBBQB3ArLJh8XJeMeBtnO
1Yan++z/FjAfBgNVHSMEGDAWgBQB3ArLJh8XJeMeBtnO1Yan++z/FjAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQCj4NAABtL4EHACpEYixjGayJoB
aDkrn/zuOFW7ALox/QIgTB3BfHK9jA7f0OxmEVMvHJf2bh68EGJauQOxn+7jSk8=
-----END CERTIFICATE-----
";

/// The base64 inside [`PEM`], in one line.
fn bare() -> String {
    PEM.lines().filter(|line| !line.starts_with("-----")).collect()
}

fn der() -> Vec<u8> {
    BASE64.decode(bare()).expect("base64")
}

fn check(text: &str) {
    assert_eq!(certificate(text), Ok(der()), "{text}");
}

fn check_refused(text: &str, expected: BadCertificateText) {
    assert_eq!(certificate(text), Err(expected), "{text}");
}

#[test]
fn pem_is_read_with_any_line_ends_and_text_around() {
    check(PEM);
    check(&PEM.replace('\n', "\r\n"));
    check(&PEM.replace('\n', " "));
    check(&format!("subject=CN=press-17\n{PEM}\nthat was all\n"));
    check(&PEM.replace("CERTIFICATE", "X509 CERTIFICATE"));
}

#[test]
fn base64_of_der_and_of_a_pem_file_is_read() {
    check(&bare());
    check(&format!("  {}\n", bare().replace("MIIB", "MII\nB")));
    check(&BASE64.encode(PEM));
}

#[test]
fn a_private_key_is_refused_wherever_it_stands_and_never_repeated() {
    let key = "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n";
    check_refused(key, BadCertificateText::PrivateKey);
    check_refused(&format!("{PEM}{key}"), BadCertificateText::PrivateKey);
    check_refused(&format!("{key}{PEM}"), BadCertificateText::PrivateKey);
    check_refused(&BASE64.encode(format!("{PEM}{key}")), BadCertificateText::PrivateKey);
    // PKCS#8 without armour: SEQUENCE { INTEGER 0, … }.
    check_refused(&BASE64.encode([0x30, 5, 2, 1, 0, 5, 0]), BadCertificateText::PrivateKey);
    let said = BadCertificateText::PrivateKey.to_string();
    assert!(said.starts_with("this holds a private key"), "{said}");
}

#[test]
fn several_certificates_are_refused_not_chosen_from() {
    check_refused(&format!("{PEM}{PEM}"), BadCertificateText::Several(2));
}

#[test]
fn broken_text_says_what_is_broken() {
    check_refused("", BadCertificateText::Empty);
    check_refused(" \n ", BadCertificateText::Empty);
    check_refused("certainly not!", BadCertificateText::NotBase64);
    check_refused("-----BEGIN CERTIFICATE-----\nMIIB", BadCertificateText::Unfinished);
    check_refused("-----BEGIN CERTIFICATE", BadCertificateText::Unfinished);
    check_refused(&PEM.replace("END CERT", "END CART"), BadCertificateText::Unfinished);
    check_refused(&PEM.replace("CERTIFICATE", "PUBLIC KEY"), BadCertificateText::OtherBlock);
    check_refused(&PEM.replace("MIIB", "M?IB"), BadCertificateText::NotBase64);
    check_refused("-----", BadCertificateText::OtherBlock);
    check_refused("AAAA", BadCertificateText::NotDer);
    check_refused(&BASE64.encode(&der()[..100]), BadCertificateText::NotDer);
    check_refused(&BASE64.encode([der(), vec![0]].concat()), BadCertificateText::NotDer);
    check_refused(&BASE64.encode([0x30, 0x83, 1]), BadCertificateText::NotDer);
    check_refused(&"A".repeat(70_000), BadCertificateText::TooLong(70_000));
}

proptest::proptest! {
    #[test]
    fn reading_never_panics(text: String, bytes: Vec<u8>) {
        let _ = certificate(&text);
        let _ = certificate(&format!("-----BEGIN {text}-----END {text}-----"));
        let _ = certificate(&BASE64.encode(bytes));
    }
}

#[test]
fn a_revocation_list_is_read_from_der_and_from_pem() {
    let check = |file: &[u8], expected: Result<&[u8], BadCrlText>| {
        assert_eq!(revocation_list(file), expected.map(<[u8]>::to_vec));
    };
    let block = |body: &str| format!("-----BEGIN X509 CRL-----\n{body}\n-----END X509 CRL-----\n");
    check(&[0x30, 1, 2], Ok(&[0x30, 1, 2]));
    check(block("MAEC").as_bytes(), Ok(&[0x30, 1, 2]));
    check(format!("a list:\r\n{}", block("MA\r\nEC")).as_bytes(), Ok(&[0x30, 1, 2]));
    check(b"", Err(BadCrlText::Empty));
    check(b"MAEC", Err(BadCrlText::Neither));
    check(&[0xFF, 0xFE], Err(BadCrlText::Neither));
    check(PEM.as_bytes(), Err(BadCrlText::Neither));
    check(b"-----BEGIN X509 CRL-----\nMAEC", Err(BadCrlText::Neither));
    check(block("!").as_bytes(), Err(BadCrlText::NotBase64));
    check([block("MAEC"), block("MAEC")].concat().as_bytes(), Err(BadCrlText::Several));
    let long = vec![0x30; MAX_CRL_TEXT_BYTES + 1];
    check(&long, Err(BadCrlText::TooLong(long.len())));
}
