//! What the operating system gives, and how far it goes.
#![cfg(target_os = "linux")]

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::harness::{Home, PATIENCE, handshake};

/// Nobody is cut while a test goes on, and all descriptors are for one door.
const PATIENT: [(&str, &str); 4] = [
    ("INDUCT_LISTEN__MQTT", ""),
    ("INDUCT_LISTEN__AMQP", ""),
    ("INDUCT_LISTEN__HANDSHAKE_TIMEOUT_SECS", "300"),
    ("INDUCT_LISTEN__HEADER_TIMEOUT_SECS", "300"),
];

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let home = Home::new();
    let few = [
        ("INDUCT_LISTEN__MAX_CONNECTIONS", "500"),
        ("INDUCT_LISTEN__MAX_MQTT_CONNECTIONS", "200"),
        ("INDUCT_LISTEN__MAX_AMQP_CONNECTIONS", "100"),
    ];
    let server = home.start_within("ulimit -Sn 200 && ulimit -Hn 900", &few);
    let limits = fs::read_to_string(format!("/proc/{}/limits", server.listening().pid));
    let limits = limits.expect("readable");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["900", "900"], "{line}");
    let ended = server.stop();
    assert!(!ended.stderr.contains("ulimit"), "{ended:?}");
}

#[tokio::test]
async fn idle_connections_of_one_address_leave_descriptors_for_the_others() {
    let home = Home::new();
    let server = home.start_within("ulimit -n 160", &PATIENT);
    // 85 of the 160 are for the server's own files.
    let flood: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(server.address()).expect("in the backlog at least"))
        .collect();
    let ca = fs::read_to_string(home.data().join("tls/ca.pem")).expect("the CA");
    let other = async {
        let from = Ipv4Addr::new(127, 0, 0, 2).into();
        let mut stream = handshake(from, server.address(), &[&ca]).await;
        let ask = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(ask.as_bytes()).await.expect("written");
        let mut answer = String::new();
        // A server that ends the connection without a goodbye has answered all the same.
        let _ = stream.read_to_string(&mut answer).await;
        answer
    };
    let answer = timeout(PATIENCE, other).await.expect("somebody else is let in");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(flood);
    let ended = server.stop();
    assert!(ended.status.success(), "{ended:?}");
    for told in [
        "this process may open 160 files, so 75 connections are let in at once instead of 10000, \
         from one address 37 instead of 1000; raise the limit to 10085 (`ulimit -n`",
        "the source has reached its limit of open connections",
    ] {
        assert!(ended.stderr.contains(told), "{told}: {}", ended.stderr);
    }
    assert!(!ended.stderr.contains("cannot accept"), "{}", ended.stderr);
}
