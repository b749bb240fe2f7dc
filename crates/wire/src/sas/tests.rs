use super::*;

const PLAIN: &str = "0ne00ABCDEF/registrations/Dev:01";
const UPPER: &str = "0ne00ABCDEF%2Fregistrations%2FDev%3A01";
const LOWER: &str = "0ne00ABCDEF%2fregistrations%2fDev%3a01";
const LOWERED: &str = "0ne00abcdef%2Fregistrations%2Fdev%3A01";

/// A client's token (D §0.5, with the signatures of D §B.1) is taken apart into these parts.
fn check(members: &str, raw: &str, resource: &str, signature: &str, key_name: Option<&str>) {
    let token = parse(&format!("SharedAccessSignature {members}")).expect(members);
    assert_eq!(token.resource_raw, raw);
    assert_eq!(token.resource, resource);
    assert_eq!(token.expiry_raw, "1893456000");
    assert_eq!(token.expiry_unix_secs, 1_893_456_000);
    assert_eq!(STANDARD.encode(&token.signature), signature);
    assert_eq!(token.key_name.as_deref(), key_name);
}

fn check_refused(text: &str, expected: BadToken) {
    assert_eq!(parse(text), Err(expected), "{text}");
}

#[test]
fn the_python_token_has_no_key_name() {
    check(
        "sr=0ne00ABCDEF%2Fregistrations%2FDev%3A01&sig=jOvKESnY%2FwFpy%2B%2BqKpZJKeaw0NcLil4LKsr78UhuvtM%3D&se=1893456000",
        UPPER,
        PLAIN,
        "jOvKESnY/wFpy++qKpZJKeaw0NcLil4LKsr78UhuvtM=",
        None,
    );
}

#[test]
fn the_node_token_is_unencoded_and_has_its_key_name_before_its_expiry() {
    check(
        "sr=0ne00ABCDEF/registrations/Dev:01&sig=U7lBAMmkt7%2B%2BzlglPFVLaGm8WAVAMwgby1VtR1XsO48%3D&skn=registration&se=1893456000",
        PLAIN,
        PLAIN,
        "U7lBAMmkt7++zlglPFVLaGm8WAVAMwgby1VtR1XsO48=",
        Some("registration"),
    );
}

#[test]
fn the_node_tpm_and_csharp_tokens_are_encoded_in_upper_case() {
    check(
        "sr=0ne00ABCDEF%2Fregistrations%2FDev%3A01&sig=jOvKESnY%2FwFpy%2B%2BqKpZJKeaw0NcLil4LKsr78UhuvtM%3D&se=1893456000&skn=registration",
        UPPER,
        PLAIN,
        "jOvKESnY/wFpy++qKpZJKeaw0NcLil4LKsr78UhuvtM=",
        Some("registration"),
    );
}

#[test]
fn the_c_token_is_encoded_in_lower_case() {
    check(
        "sr=0ne00ABCDEF%2fregistrations%2fDev%3a01&sig=EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn%2bDyeg%3d&se=1893456000&skn=registration",
        LOWER,
        PLAIN,
        "EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn+Dyeg=",
        Some("registration"),
    );
}

#[test]
fn the_embedded_c_token_may_leave_the_key_name_out() {
    check(
        "sr=0ne00ABCDEF%2fregistrations%2fDev%3a01&sig=EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn%2bDyeg%3d&se=1893456000",
        LOWER,
        PLAIN,
        "EzhsI2VQWIJWrOSSY1jKgkdUXhDZsngcQiYgHn+Dyeg=",
        None,
    );
}

#[test]
fn the_java_token_has_an_empty_key_name_which_counts_as_none() {
    check(
        "sr=0ne00ABCDEF/registrations/Dev:01&sig=U7lBAMmkt7%2B%2BzlglPFVLaGm8WAVAMwgby1VtR1XsO48%3D&se=1893456000&skn=",
        PLAIN,
        PLAIN,
        "U7lBAMmkt7++zlglPFVLaGm8WAVAMwgby1VtR1XsO48=",
        None,
    );
}

#[test]
fn the_identityd_token_is_in_lower_case_before_it_is_encoded() {
    check(
        "sr=0ne00abcdef%2Fregistrations%2Fdev%3A01&sig=RyOMkUrGWl9BIyZOdfyKtgqSxSH6Q6jZT7MY2rHs%2BN0%3D&se=1893456000&skn=registration",
        LOWERED,
        "0ne00abcdef/registrations/dev:01",
        "RyOMkUrGWl9BIyZOdfyKtgqSxSH6Q6jZT7MY2rHs+N0=",
        Some("registration"),
    );
}

#[test]
fn order_does_not_matter_and_unknown_members_are_ignored() {
    check(
        "foo=bar&se=1893456000&sig=U7lBAMmkt7++zlglPFVLaGm8WAVAMwgby1VtR1XsO48=&flag&skn=a%20b&sr=0ne00ABCDEF/registrations/Dev:01",
        PLAIN,
        PLAIN,
        "U7lBAMmkt7++zlglPFVLaGm8WAVAMwgby1VtR1XsO48=",
        Some("a b"),
    );
}

#[test]
fn what_is_no_token_says_why_and_never_repeats_it() {
    check_refused("", BadToken::OtherScheme);
    check_refused("SharedAccessSignature", BadToken::OtherScheme);
    check_refused("Bearer abc", BadToken::OtherScheme);
    check_refused("SharedAccessSignature x", BadToken::Missing("sr"));
    check_refused("SharedAccessSignature sr=a&sig=AAAA", BadToken::Missing("se"));
    check_refused("SharedAccessSignature sr=a&se=1", BadToken::Missing("sig"));
    check_refused("SharedAccessSignature sr=&se=1&sig=AAAA", BadToken::Missing("sr"));
    check_refused("SharedAccessSignature sr=a&sr=b&se=1&sig=AAAA", BadToken::Repeated("sr"));
    check_refused("SharedAccessSignature sr=%zz&se=1&sig=AAAA", BadToken::Escape("sr"));
    check_refused("SharedAccessSignature sr=a&se=-1&sig=AAAA", BadToken::Expiry);
    check_refused("SharedAccessSignature sr=a&se=1.5&sig=AAAA", BadToken::Expiry);
    check_refused("SharedAccessSignature sr=a&se=99999999999999999999&sig=AAAA", BadToken::Expiry);
    check_refused("SharedAccessSignature sr=a&se=1&sig=%3f%3f", BadToken::Signature);
    let long = format!("SharedAccessSignature sr={}&se=1&sig=AAAA", "a".repeat(9000));
    check_refused(&long, BadToken::TooLong(long.len()));
}

#[test]
fn a_token_made_here_is_understood_here() {
    let text = token_text("localhost%3A8443", b"\xfb\xff\xfe", 1_893_456_000, Some("owner"));
    assert_eq!(
        text,
        "SharedAccessSignature sr=localhost%3A8443&sig=%2B%2F%2F%2B&se=1893456000&skn=owner"
    );
    let token = parse(&text).expect("ours");
    assert_eq!(token.resource, "localhost:8443");
    assert_eq!(token.signature, b"\xfb\xff\xfe");
}

proptest::proptest! {
    #[test]
    fn parsing_never_panics(text: String) {
        let _ = parse(&text);
        let _ = parse(&format!("SharedAccessSignature {text}"));
    }

    #[test]
    fn members_of_any_text_never_panic(sr: String, sig: String, se: String) {
        let _ = parse(&format!("SharedAccessSignature sr={sr}&sig={sig}&se={se}"));
    }
}
