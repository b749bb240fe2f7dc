//! What one decision about a register request costs, without store and network.
//!
//! `cargo bench -p induct-decide --features scenes`
#![expect(clippy::expect_used, reason = "a bench of a scene that cannot be built is a mistake")]

use divan::{Bencher, black_box};
use induct_decide::{
    register::{self, Prepared},
    scenes::{World, chain, draft, keys, name, request, signing, token},
};
use model::RegisterRequest;
use testkit::Ca;

fn main() {
    divan::main();
}

fn run(bencher: Bencher<'_, '_>, world: &World, request: &RegisterRequest) {
    let random = testkit::fresh(1);
    let limits = &world.settings.attest.limits;
    let facts = world.facts(&Prepared::new(request.clone(), limits).expect("legal").query());
    bencher.bench(|| {
        let prepared = Prepared::new(black_box(request.clone()), limits).expect("legal");
        register::register(&facts, &prepared, &world.settings, world.now, &random)
    });
}

#[divan::bench]
fn x509_group(bencher: Bencher<'_, '_>) {
    let root = Ca::root("root");
    let intermediate = root.intermediate("line-4");
    let device = intermediate.leaf("press-17");
    let mut world = World::default();
    world.enroll_group("line-4", draft(signing(Some(intermediate.der()), None)));
    run(bencher, &world, &request("press-17", chain(device.chain())));
}

#[divan::bench]
fn individual_symmetric_key(bencher: Bencher<'_, '_>) {
    let mut world = World::default();
    world.enroll("press-17", draft(keys(&name::key(1), &name::key(2))));
    run(bencher, &world, &request("press-17", token("press-17", &name::key(1))));
}

#[divan::bench(args = [1, 10, 100])]
fn symmetric_key_groups(bencher: Bencher<'_, '_>, n_groups: u8) {
    let mut world = World::default();
    for n in 0..n_groups {
        let (primary, secondary) = (name::key(2 * n), name::key(2 * n + 1));
        world.enroll_group(&format!("group-{n:03}"), draft(keys(&primary, &secondary)));
    }
    let last = 2 * (n_groups - 1);
    let device_key = attest::sas::derive(&name::key(last), "press-17");
    run(bencher, &world, &request("press-17", token("press-17", &device_key)));
}
