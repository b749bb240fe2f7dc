//! What attestation costs: `cargo bench -p induct-attest`.
#![expect(
    clippy::expect_used,
    reason = "a bench whose evidence does not hold measures nothing and had better stop"
)]

use std::collections::HashSet;

use divan::{Bencher, black_box};
use induct_attest::{
    certificate,
    chain::{self, Limits, Presented},
    sas,
};
use model::{CertificateDer, EnrolledCertificate, SasToken, SymmetricKey, SymmetricKeys};
use testkit::{Ca, ClientStyle, DeviceToken, KeyKind, NOW, Profile, entropy};

fn main() {
    divan::main();
}

/// A leaf below an intermediate below a root, all with keys of one kind.
fn chain_of(kind: KeyKind) -> (Vec<CertificateDer>, EnrolledCertificate) {
    let root = Ca::create(Profile::ca("root").key(kind));
    let line = root.issue_ca(Profile::ca("line-4").key(kind));
    let leaf = line.issue(Profile::leaf("press-17").key(kind));
    (leaf.chain(), certificate::describe(root.der()).expect("a certificate"))
}

fn presented(chain: &[CertificateDer]) -> Presented {
    Presented::parse(chain, &Limits::default()).expect("within limits")
}

/// Taking leaf and intermediate apart.
#[divan::bench]
fn parse_chain(bencher: Bencher<'_, '_>) {
    let (chain, _) = chain_of(KeyKind::P256);
    bencher.bench_local(|| presented(black_box(&chain)));
}

/// Path validation, parsing excluded: two signatures.
#[divan::bench(args = [KeyKind::P256, KeyKind::Rsa2048])]
fn validate_chain(bencher: Bencher<'_, '_>, kind: KeyKind) {
    let (chain, anchor) = chain_of(kind);
    let presented = presented(&chain);
    bencher.bench_local(|| {
        chain::validate(black_box(&presented), &[&anchor], &anchor, &HashSet::new(), NOW)
            .expect("valid")
    });
}

/// The walk of a chain that belongs to none of 100 enrolled CAs.
#[divan::bench]
fn walk_without_match(bencher: Bencher<'_, '_>) {
    let (chain, _) = chain_of(KeyKind::P256);
    let presented = presented(&chain);
    let enrolled: Vec<_> = (0..100)
        .map(|i| certificate::describe(Ca::root(&format!("other-{i}")).der()).expect("CA"))
        .collect();
    let enrolled: Vec<_> = enrolled.iter().collect();
    assert_eq!(chain::walk(&presented, &enrolled).expect("a path").len(), 1);
    bencher.bench_local(|| chain::walk(black_box(&presented), &enrolled));
}

fn keys(seed: u64) -> SymmetricKeys {
    SymmetricKeys {
        primary: SymmetricKey::generated(&entropy::bytes(seed, "primary")),
        secondary: SymmetricKey::generated(&entropy::bytes(seed, "secondary")),
    }
}

fn token(key: &SymmetricKey) -> SasToken {
    DeviceToken {
        style: ClientStyle::Python,
        id_scope: "0ne00ABCDEF",
        registration_id: "press-17",
        key,
        expiry_unix_secs: NOW.unix_secs() + 3600,
    }
    .parsed()
}

/// One token against both keys of an individual enrollment.
#[divan::bench]
fn verify_sas(bencher: Bencher<'_, '_>) {
    let keys = keys(1);
    let token = token(&keys.secondary);
    bencher.bench_local(|| sas::verify_signature(black_box(&token), &keys).expect("fits"));
}

/// A token that fits none of 100 symmetric-key groups: two keys derived and tried in each.
#[divan::bench]
fn derived_keys_of_100_groups(bencher: Bencher<'_, '_>) {
    let groups: Vec<_> = (0..100).map(keys).collect();
    let token = token(&keys(100).primary);
    let id = model::RegistrationId::parse("press-17").expect("id");
    bencher.bench_local(|| {
        let found = groups.iter().find_map(|g| sas::match_derived(&token, g, &id));
        assert_eq!(found, None);
    });
}
