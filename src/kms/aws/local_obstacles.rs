//! What keeps the server from the network on its own machine: a setting of its service, a container's profile, a firewall. The
//! error of a call says so only by its number, and if a name could not be resolved, not even by that.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use nix::errno::Errno;

use super::text::chain;

/// The error of the operating system, and what an operator can look at on this machine, if that is the reason for `error`.
pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<String> {
    let known = chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
    match known.into_iter().find(|error| error.raw_os_error().is_some()) {
        Some(error) => explained(error),
        None => of_every_socket(),
    }
}

/// The same, if it keeps this server from the network whatever is called.
pub(super) fn of_every_socket() -> Option<String> {
    explained(&no_socket()?)
}

fn explained(error: &io::Error) -> Option<String> {
    setting(error.raw_os_error()?).map(|setting| format!("{error}: {setting}"))
}

/// The likely setting behind an error of `socket` or `connect`, by its number.
fn setting(number: i32) -> Option<&'static str> {
    match Errno::from_raw(number) {
        Errno::EAFNOSUPPORT => Some("RestrictAddressFamilies= of the server's service must allow AF_INET and AF_INET6"),
        Errno::EPERM => Some(
            "this machine forbids it: SystemCallFilter= or IPAddressDeny= of the server's service, its container, or a \
             firewall",
        ),
        Errno::EACCES => Some(
            "this machine forbids it: SELinux (setsebool -P mysql_connect_http on), AppArmor, or the server's container",
        ),
        Errno::ENETUNREACH | Errno::ENETDOWN => Some(
            "this machine has no way there: its network is not up, or PrivateNetwork= of the server's service is on",
        ),
        _ => None,
    }
}

/// Why no socket can be connected to anywhere. Nothing is sent: to connect a UDP socket only looks for the way. The addresses
/// are those that documents use.
fn no_socket() -> Option<io::Error> {
    let ways: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    let [v4, v6] =
        ways.map(|(own, other)| UdpSocket::bind((own, 0)).and_then(|socket| socket.connect((other, DISCARD))));
    // A machine may have one of them only.
    v6.err().and(v4.err())
}

const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_an_error_tells_the_setting() {
        let wrapped = |number| io::Error::other(io::Error::from_raw_os_error(number));
        for (number, expected) in [
            (libc::EAFNOSUPPORT, "RestrictAddressFamilies="),
            (libc::EPERM, "SystemCallFilter="),
            (libc::EACCES, "SELinux"),
            (libc::ENETUNREACH, "PrivateNetwork="),
        ] {
            let told = behind(&wrapped(number)).unwrap_or_default();
            assert!(told.contains(expected), "{number}: {told}");
        }
    }

    #[test]
    fn what_another_machine_has_answered_is_no_obstacle_here() {
        for number in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH] {
            assert_eq!(behind(&io::Error::from_raw_os_error(number)), None, "{number}");
        }
    }
}
