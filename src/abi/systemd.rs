//! A start that waits tells systemd, which would end it after `TimeoutStartSec`. Of the protocol of sd_notify(3) this is
//! one datagram: the crate `sd-notify` knows no abstract sockets, and its send may block.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The start goes on for another minute at least. To be called again and again; says it only now and then. Without
/// `NOTIFY_SOCKET`, as outside of systemd, it does nothing.
pub(super) fn extend_start() {
    static LAST: Mutex<Option<Instant>> = Mutex::new(None);
    let Ok(mut last) = LAST.try_lock() else { return };
    if last.is_some_and(|last| last.elapsed() < TELL_EVERY) {
        return;
    }
    *last = Some(Instant::now());
    if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
        // A message that systemd does not take is followed by others, and nothing else depends on it.
        let _ = tell(&socket, &format!("EXTEND_TIMEOUT_USEC={}\nSTATUS={STATUS}\n", EXTENSION.as_micros()));
    }
}

fn tell(socket: &OsStr, message: &str) -> io::Result<()> {
    let address = match socket.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(socket)?,
    };
    let sender = UnixDatagram::unbound()?;
    sender.set_nonblocking(true)?;
    sender.send_to_addr(message.as_bytes(), &address).map(drop)
}

/// systemd ends the start if it hears nothing for so long. The server says it too, while InnoDB recovers; between two of
/// its messages may lie half a minute.
const EXTENSION: Duration = Duration::from_secs(60);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Shown by `systemctl status`, until the server says that it is up.
const STATUS: &str = "aws_key_management waits for KMS or for the key files; see the error log";

#[cfg(all(test, not(miri)))]
mod tests {
    #![allow(clippy::expect_used)] // clippy sees no tests in the helpers

    use super::*;

    fn message_to(address: &SocketAddr, socket: &OsStr) -> String {
        let receiver = UnixDatagram::bind_addr(address).expect("a socket");
        receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        tell(socket, "EXTEND_TIMEOUT_USEC=60000000\n").expect("sent");
        let mut buffer = [0; 100];
        let length = receiver.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_message_reaches_a_socket_in_a_folder_and_an_abstract_one() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("notify");
        let address = SocketAddr::from_pathname(&path).expect("an address");
        assert_eq!(message_to(&address, path.as_os_str()), "EXTEND_TIMEOUT_USEC=60000000\n");
        let name = format!("aws_key_management/test/{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("an address");
        assert_eq!(message_to(&address, OsStr::new(&format!("@{name}"))), "EXTEND_TIMEOUT_USEC=60000000\n");
    }

    #[test]
    fn a_socket_that_nobody_has_is_an_error_and_blocks_nobody() {
        assert!(tell(OsStr::new("/there/is/no/such/socket"), "EXTEND_TIMEOUT_USEC=1\n").is_err());
        assert!(tell(OsStr::new("@there/is/no/such/socket"), "EXTEND_TIMEOUT_USEC=1\n").is_err());
        assert!(tell(OsStr::new(""), "EXTEND_TIMEOUT_USEC=1\n").is_err());
    }
}
