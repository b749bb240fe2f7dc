//! Nobody walks around the ban on a CA by what they present: by leaving certificates out, adding
//! some, sending them in another order, or making some up.
//!
//! The oracle knows who signed whom and asks nobody's code.

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

/// What a device may send behind its certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    Line,
    /// Another certificate of the same CA, from the same one above it.
    LineAgain,
    Works,
    Root,
    /// The names of the CAs, with other keys.
    FakeLine,
    FakeWorks,
    FakeRoot,
}

/// Root, works, line and device, each signed by the one before; certificates are made once.
struct Factory {
    /// From the line upward: level 1 to 3.
    cas: [Ca; 3],
    line_again: Ca,
    fakes: [Ca; 3],
    device: Credential,
}

fn factory() -> &'static Factory {
    static FACTORY: OnceLock<Factory> = OnceLock::new();
    FACTORY.get_or_init(|| {
        let root = Ca::root("root");
        let works = root.intermediate("works");
        let line = works.intermediate("line-4");
        Factory {
            line_again: line.cross_signed_by(&works),
            fakes: [Ca::root("line-4"), Ca::root("works"), Ca::root("root")],
            device: line.leaf("press-17"),
            cas: [line, works, root],
        }
    })
}

impl Factory {
    fn der(&self, piece: Piece) -> CertificateDer {
        der(match piece {
            Piece::Line => &self.cas[0],
            Piece::LineAgain => &self.line_again,
            Piece::Works => &self.cas[1],
            Piece::Root => &self.cas[2],
            Piece::FakeLine => &self.fakes[0],
            Piece::FakeWorks => &self.fakes[1],
            Piece::FakeRoot => &self.fakes[2],
        })
    }
}

#[derive(Debug, Clone)]
struct Scene {
    /// Whether line, works and root have a group.
    groups: [bool; 3],
    is_enrolled: bool,
    /// 0 for the device's certificate, then upward.
    ban: Option<usize>,
    sends: Vec<Piece>,
}

fn scenes() -> impl Strategy<Value = Scene> {
    let piece = prop_oneof![
        3 => Just(Piece::Line),
        1 => Just(Piece::LineAgain),
        3 => Just(Piece::Works),
        2 => Just(Piece::Root),
        1 => Just(Piece::FakeLine),
        1 => Just(Piece::FakeWorks),
        1 => Just(Piece::FakeRoot),
    ];
    let ban = prop::option::weighted(0.8, 0..4_usize);
    let sends = prop::collection::vec(piece, 0..8);
    (any::<[bool; 3]>(), prop::bool::weighted(0.3), ban, sends)
        .prop_map(|(groups, is_enrolled, ban, sends)| Scene { groups, is_enrolled, ban, sends })
}

impl Scene {
    fn sends_level(&self, level: usize) -> bool {
        let pieces: &[Piece] = match level {
            1 => &[Piece::Line, Piece::LineAgain],
            2 => &[Piece::Works],
            _ => &[Piece::Root],
        };
        self.sends.iter().any(|sent| pieces.contains(sent))
    }

    fn knows(&self, level: usize) -> bool {
        self.groups[level - 1] || self.sends_level(level)
    }

    /// What is to be heard.
    fn expected(&self) -> Heard {
        if self.ban.is_some_and(|level| level == 0 || self.sends_level(level)) {
            return Heard::Banned;
        }
        let first = (1..=3).find(|level| self.groups[level - 1]);
        let reached = first.filter(|group| (1..*group).all(|level| self.knows(level)));
        let anchor = match reached {
            _ if self.is_enrolled => 0,
            Some(group) => group,
            None => return Heard::Refused(DeviceRefusal::NotEnrolled),
        };
        // A banned CA brings its own certificate.
        let rests_on =
            |banned: usize| banned <= anchor || (anchor + 1..banned).all(|level| self.knows(level));
        if self.ban.is_some_and(rests_on) { Heard::Banned } else { Heard::Assigned }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn a_ban_on_a_ca_cannot_be_walked_around(scene in scenes()) {
        let factory = factory();
        let mut world = World::default();
        for (at, ca) in factory.cas.iter().enumerate().filter(|(at, _)| scene.groups[*at]) {
            world.enroll_group(&format!("group-{at}"), draft(signing(Some(ca.der()), None)));
        }
        if scene.is_enrolled {
            world.enroll("press-17", draft(client(Some(factory.device.der()), None)));
        }
        match scene.ban {
            None => {}
            Some(0) => world.ban(bans_on_certificate(&factory.device).remove(0), BanKind::Revoked),
            Some(level) => world.ban(ban_on(&factory.cas[level - 1]), BanKind::Revoked),
        }
        let mut sent = factory.device.alone();
        sent.extend(scene.sends.iter().map(|piece| factory.der(*piece)));
        let decision = world.register(request("press-17", chain(sent)));
        prop_assert_eq!(heard(decision), scene.expected(), "{:?}", scene);
    }
}

/// A chain of the forged fixtures, leaf first.
fn forged(names: &[&str]) -> Vec<CertificateDer> {
    let read = |name: &&str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/certificates/forged");
        CertificateDer(std::fs::read(format!("{folder}/{name}.der")).expect("a fixture"))
    };
    names.iter().map(read).collect()
}

#[test]
fn a_forged_certificate_does_not_step_around_a_ban() {
    let sent: [&[&str]; 12] = [
        &["leaf", "line"],
        &["leaf"],
        &["leaf", "plain"],
        &["leaf", "compressed"],
        &["leaf", "dsks"],
        &["leaf", "compressed", "line"],
        &["leaf", "dsks", "line"],
        &["leaf", "line", "dsks"],
        &["leaf2", "fakecell", "cell"],
        &["leaf2", "cell", "fakecell"],
        &["leaf2", "fakecell", "cell", "line"],
        &["leaf2", "fakecell", "cell", "compressed", "root"],
    ];
    let certificate = |name: &str| forged(&[name]).remove(0);
    let enroll = |world: &mut World, entry: &str| match entry {
        "individual" => {
            let (one, two) = (certificate("leaf"), certificate("leaf2"));
            world.enroll("press-17", draft(client(Some(&one.0), Some(&two.0))));
        }
        group => {
            let certificate = certificate(group);
            world.enroll_group(group, draft(signing(Some(&certificate.0), None)));
        }
    };
    for entries in [&["root"][..], &["line"], &["root", "line"], &["individual", "line"]] {
        for banned in ["line", "compressed"] {
            let mut world = World::default();
            entries.iter().for_each(|entry| enroll(&mut world, entry));
            let ban = attest::certificate::describe(&certificate(banned).0).expect("a certificate");
            world.ban(BanSubject::Ca(Box::new(ban)), BanKind::Revoked);
            for sent in sent {
                let decision = world.register(request("press-17", chain(forged(sent))));
                assert_ne!(heard(decision), Heard::Assigned, "{banned} {entries:?} {sent:?}");
            }
        }
    }
}
