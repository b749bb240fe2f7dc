//! Bans on certificates hold however a certificate's signature is written: who has an ECDSA
//! certificate can write its signature in another way that is as good, without any key.

use decide::scenes::{client, draft, signing};
use induct_app::{No, bans::Wet, device::Earlier};
use model::{
    ApiVersion, Ban, BanSubject, CertificateDer, ConnectRefusal, DeviceRefusal, EnrollmentGroupId,
    Evidence, GroupDraft, IndividualDraft, Precondition, RegisterRequest, RegistrationId,
    RegistrationStatus,
    ban::{BanDraft, SubjectDraft, Thumbprint},
};
use testkit::{Ca, Credential, with_other_signature};

use crate::{
    instance::{SCOPE, by},
    stage::{self, Stage},
};

const DEVICE: &str = "press-17";

/// A device below the CA of a group, whose group holds the root or the CA.
struct Scene {
    stage: Stage,
    line: Ca,
    press: Credential,
}

impl Scene {
    async fn new() -> Self {
        let stage = Stage::new().await;
        let root = Ca::root("root");
        let line = root.intermediate("line");
        let press = line.leaf(DEVICE);
        let group_id = EnrollmentGroupId::parse("line-4").unwrap();
        let draft = GroupDraft { group_id, draft: draft(signing(Some(root.der()), None)) };
        stage.app.put_group(draft, &Precondition::None, &by()).await.unwrap();
        Self { stage, line, press }
    }

    fn own(&self) -> Evidence {
        Evidence::X509(self.press.chain())
    }

    /// With another signature under the leaf.
    fn rewritten(&self) -> Evidence {
        let mut chain = self.press.chain();
        chain[0] = with_other_signature(&chain[0].0);
        Evidence::X509(chain)
    }

    async fn register(&self, evidence: Evidence) -> Result<RegistrationStatus, No<DeviceRefusal>> {
        let request = RegisterRequest {
            registration_id: RegistrationId::parse(DEVICE).unwrap(),
            evidence,
            payload: None,
            api_version: ApiVersion::V2021_06_01,
        };
        self.stage.app.register(SCOPE, request).await.map(|registered| registered.record.status)
    }

    async fn ban(&self, subject: SubjectDraft) -> Ban {
        let draft = BanDraft { subject, reason: None, expires: None };
        self.stage.app.put_ban(&draft, Wet::Done, &by()).await.unwrap()
    }

    async fn ban_of(&self, ban: &Ban) -> Ban {
        self.stage.app.get_ban(&ban.subject.key()).await.unwrap()
    }

    /// The device registers, and is kept out by a ban, or admitted.
    async fn check(&self, evidence: Evidence, is_kept_out: bool) {
        let outcome = self.register(evidence).await;
        match outcome {
            Ok(status) => {
                assert_eq!(status, RegistrationStatus::Assigned);
                assert!(!is_kept_out, "it is admitted");
            }
            Err(No::Refused(DeviceRefusal::Banned { .. })) => assert!(is_kept_out),
            Err(no) => panic!("{no:?}"),
        }
    }
}

fn sha256(der: &CertificateDer) -> Thumbprint {
    let known = attest::certificate::describe(&der.0).unwrap();
    Thumbprint::parse(&known.info.sha256_thumbprint).unwrap()
}

fn sha1(der: &CertificateDer) -> Thumbprint {
    let known = attest::certificate::describe(&der.0).unwrap();
    Thumbprint::parse(&known.info.sha1_thumbprint).unwrap()
}

#[tokio::test]
async fn a_ban_by_a_certificates_file_holds_for_its_other_signature() {
    let scene = Scene::new().await;
    scene.check(scene.rewritten(), false).await;
    let ban = scene.ban(SubjectDraft::Certificate(scene.press.der().to_vec())).await;
    scene.check(scene.own(), true).await;
    scene.check(scene.rewritten(), true).await;
    // Its name is the thumbprint all the same, and lifting it admits both.
    assert!(ban.subject.key().starts_with("sha256:"));
    scene.stage.app.lift_ban(&ban.subject.key(), Wet::Done, &by()).await.unwrap();
    scene.check(scene.own(), false).await;
    scene.check(scene.rewritten(), false).await;
}

#[tokio::test]
async fn a_ban_by_the_thumbprint_of_a_certificate_that_is_known_holds_for_its_other_signature() {
    let thumbprints: [fn(&CertificateDer) -> Thumbprint; 2] = [sha256, sha1];
    for thumbprint in thumbprints {
        let shown = Scene::new().await;
        shown.check(shown.own(), false).await;
        // An individual enrollment of another device holds it.
        let enrolled = Scene::new().await;
        let individual = IndividualDraft {
            registration_id: RegistrationId::parse("other").unwrap(),
            device_id: None,
            optional_device_information: None,
            draft: draft(client(Some(enrolled.press.der()), None)),
        };
        let none = Precondition::None;
        enrolled.stage.app.put_individual(individual, &none, &by()).await.unwrap();
        for scene in [shown, enrolled] {
            let leaf = &scene.press.alone()[0];
            let ban = scene.ban(SubjectDraft::Thumbprint(thumbprint(leaf))).await;
            assert!(ban.subject.tbs().is_some(), "{ban:?}");
            scene.check(scene.rewritten(), true).await;
            scene.check(scene.own(), true).await;
        }
    }
}

#[tokio::test]
async fn a_ban_by_the_thumbprint_of_an_unknown_certificate_learns_it_when_it_is_shown() {
    let scene = Scene::new().await;
    let leaf = &scene.press.alone()[0];
    let ban = scene.ban(SubjectDraft::Thumbprint(sha256(leaf))).await;
    assert_eq!(ban.subject.tbs(), None);
    // Nobody can know what it is about before.
    scene.check(scene.rewritten(), false).await;
    scene.check(scene.own(), true).await;
    let learned = scene.ban_of(&ban).await;
    assert!(learned.subject.tbs().is_some());
    assert_eq!(Ban { subject: ban.subject.clone(), version: ban.version, ..learned.clone() }, ban);
    scene.check(scene.rewritten(), true).await;
    // Once.
    scene.check(scene.own(), true).await;
    assert_eq!(scene.ban_of(&ban).await.version, learned.version);
}

#[tokio::test]
async fn a_ca_that_devices_showed_is_banned_as_a_ca_by_its_thumbprint() {
    let scene = Scene::new().await;
    let line = CertificateDer(scene.line.der().to_vec());
    scene.check(scene.own(), false).await;
    let ban = scene.ban(SubjectDraft::Thumbprint(sha256(&line))).await;
    assert!(matches!(ban.subject, BanSubject::Ca(_)), "{ban:?}");
    let mut chain = scene.press.chain();
    chain[1] = with_other_signature(&chain[1].0);
    scene.check(Evidence::X509(chain), true).await;
}

#[tokio::test]
async fn a_ban_keeps_the_other_signature_off_the_hub_and_ends_its_session() {
    let scene = Scene::new().await;
    scene.check(scene.rewritten(), false).await;
    let connect = async || {
        let connecting = scene.stage.connecting(DEVICE, scene.rewritten(), Earlier::Forgotten);
        scene.stage.app.connect_device(connecting).await
    };
    let (session, _commands) = connect().await.unwrap();
    scene.ban(SubjectDraft::Certificate(scene.press.der().to_vec())).await;
    assert!(stage::at_once(session.ended()).await.is_some(), "its session ends");
    let again = connect().await.map(drop);
    assert!(matches!(again, Err(No::Refused(ConnectRefusal::Banned(_)))), "{again:?}");
}
