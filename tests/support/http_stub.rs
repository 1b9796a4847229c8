//! A server that gives each request the answer that a function picks, for what no emulator says.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

/// Answers for ever, in a thread of its own. `answer` gets the request, and gives the status and the body.
pub fn serve(address: &str, answer: impl Fn(&str) -> (u16, String) + Send + 'static) -> SocketAddr {
    serve_with("", address, answer)
}

/// The same, with more headers, each ended by `\r\n`.
pub fn serve_with(
    headers: &'static str,
    address: &str,
    answer: impl Fn(&str) -> (u16, String) + Send + 'static,
) -> SocketAddr {
    let service = TcpListener::bind(address).expect("a port");
    let bound = service.local_addr().expect("an address");
    std::thread::spawn(move || {
        for connection in service.incoming() {
            let Ok(mut connection) = connection else { continue };
            let mut request = vec![0; 20_000];
            let length = connection.read(&mut request).unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..length]).into_owned();
            let (status, body) = answer(&request);
            let _ = write!(
                connection,
                "HTTP/1.1 {status} Answer\r\nContent-Type: text/plain\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\
                 {headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    bound
}
