//! A request that has begun and goes on when a test says so.

use std::{fs, net::Ipv4Addr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use super::{Server, handshake};

/// A request whose body has not arrived yet.
pub(crate) struct Half {
    stream: TlsStream<TcpStream>,
}

impl Server {
    /// Sends a request's head, waits until the server asks for the body, and holds it back.
    pub(crate) async fn half_a_request(&self) -> Half {
        let ca = fs::read_to_string(self.data.join("tls/ca.pem")).expect("the CA");
        let here = Ipv4Addr::LOCALHOST.into();
        let mut stream = handshake(here, self.address(), &[&ca]).await;
        let head = "PUT /enrollments/x?api-version=2021-10-01 HTTP/1.1\r\nHost: localhost\r\n\
                    Content-Type: application/json\r\nContent-Length: 2\r\n\
                    Expect: 100-continue\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut asked = [0; 25];
        stream.read_exact(&mut asked).await.expect("an interim answer");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
        Half { stream }
    }
}

impl Half {
    /// Sends the body and reads the answer to its end.
    pub(crate) async fn finish(mut self) -> String {
        self.stream.write_all(b"{}").await.expect("written");
        let mut answer = String::new();
        // A server that ends the connection without a goodbye has answered all the same.
        let _ = self.stream.read_to_string(&mut answer).await;
        answer
    }
}
