//! The operator's own certificate, and its successor.

use std::{fs, net::Ipv4Addr, path::Path, time::Duration};

use app::ports::Clock;
use induct::ports::SystemClock;
use listen::authority;
use rustls_pki_types::{CertificateDer, pem::PemObject};
use tokio::time::{interval, timeout};

use crate::harness::{Home, PATIENCE, handshake, leaf};

/// How often a new handshake is tried.
const LOOK: Duration = Duration::from_millis(50);

/// A CA and the server certificate it issued, which is now in the files.
struct Issued {
    ca: String,
    leaf: CertificateDer<'static>,
}

fn issue(folder: &Path) -> Issued {
    let names = ["localhost".to_owned()];
    let made = authority::create(&names, SystemClock.now().unix_secs()).expect("made");
    fs::write(folder.join("server.key"), &made.key_pem).expect("written");
    fs::write(folder.join("server.pem"), &made.chain_pem).expect("written");
    let leaf = CertificateDer::from_pem_slice(made.chain_pem.as_bytes()).expect("PEM");
    Issued { ca: made.ca_pem, leaf }
}

#[tokio::test]
async fn replaced_certificate_files_are_used_without_a_restart() {
    let home = Home::new();
    let old = issue(home.path());
    let server = home.start_with(&[
        ("INDUCT_TLS__CERTIFICATE", "server.pem"),
        ("INDUCT_TLS__KEY", "server.key"),
        ("INDUCT_TLS__RELOAD_SECS", "1"),
    ]);
    let here = Ipv4Addr::LOCALHOST.into();
    let before = handshake(here, server.address(), &[&old.ca]).await;
    assert_eq!(leaf(&before), old.leaf);

    let new = issue(home.path());
    let presented = async {
        let mut looks = interval(LOOK);
        loop {
            looks.tick().await;
            let stream = handshake(here, server.address(), &[&old.ca, &new.ca]).await;
            if leaf(&stream) != old.leaf {
                return leaf(&stream);
            }
        }
    };
    let presented = timeout(PATIENCE, presented).await.expect("the new certificate in time");
    assert_eq!(presented, new.leaf);
    drop(before);
    assert!(server.stop().status.success());
}
