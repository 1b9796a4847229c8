//! What keeps the server from the network on its own machine: a setting of its service, a container's profile, SELinux. The
//! error of a call says so only by its number, and if a name could not be resolved, not even by that.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use nix::errno::Errno;
use tokio::net::TcpSocket;

use super::text::chain;

/// The error of the operating system, and what an operator can look at on this machine, if that is the reason for `error`.
pub(super) fn behind(error: &(dyn Error + 'static)) -> Option<String> {
    let known = chain(error).filter_map(|error| error.downcast_ref::<io::Error>());
    match known.into_iter().find(|error| error.raw_os_error().is_some()) {
        Some(error) => explained(error),
        None => of_every_socket()
            .or_else(|| without_network().map(|setting| format!("{}: {setting}", io::Error::from(Errno::ENETUNREACH)))),
    }
}

/// The same, if this machine refuses every socket or every connection, whatever is called.
pub(super) fn of_every_socket() -> Option<String> {
    explained(&refusal()?)
}

/// What to look at, if there is no network but the machine's own.
pub(super) fn without_network() -> Option<&'static str> {
    let v4 = std::fs::read_to_string(ROUTES_V4).ok()?;
    // Not there on a machine without IPv6.
    let v6 = std::fs::read_to_string(ROUTES_V6).unwrap_or_default();
    if leads_out(&v4, &v6) { None } else { setting(Errno::ENETUNREACH) }
}

fn explained(error: &io::Error) -> Option<String> {
    setting(Errno::from_raw(error.raw_os_error()?)).map(|setting| format!("{error}: {setting}"))
}

/// The likely setting behind an error of `socket` or `connect`, by its number.
fn setting(number: Errno) -> Option<&'static str> {
    match number {
        Errno::EAFNOSUPPORT => Some("RestrictAddressFamilies= of the server's service must allow AF_INET and AF_INET6"),
        // Not of a firewall, nor of IPAddressDeny=: these drop the packets of a connection, which times out.
        Errno::EPERM => {
            Some("this machine forbids it: SystemCallFilter= of the server's service, or the profile of its container")
        }
        Errno::EACCES => Some(
            "forbidden by SELinux (setsebool -P mysql_connect_http on; for a proxy or another port mysql_connect_any), \
             AppArmor or the container",
        ),
        // A router may have answered so, too.
        Errno::ENETUNREACH | Errno::ENETDOWN => Some(
            "the network is not up, PrivateNetwork= of the service is on, or a route is missing, here or on a router",
        ),
        _ => None,
    }
}

/// What may be behind a connection that is not made in time.
pub(super) const DROPPED: &str =
    "a firewall, a security group, or IPAddressDeny= of the server's service may drop the packets";

/// Why no socket can be made, or none can be connected to anywhere. Nothing is sent: to connect a UDP socket only looks for the
/// way. The addresses are those that documents use. That no way leads there counts for nothing: a machine may know those to a
/// proxy or to an endpoint alone.
fn refusal() -> Option<io::Error> {
    // A machine may have one of them only.
    if let (Err(error), Err(_)) = (TcpSocket::new_v4(), TcpSocket::new_v6()) {
        return Some(error).filter(is_refused);
    }
    let ways: [(IpAddr, IpAddr); 2] = [
        (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::new(192, 0, 2, 1).into()),
        (Ipv6Addr::UNSPECIFIED.into(), Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into()),
    ];
    // A profile that forbids UDP alone tells nothing of KMS.
    let sockets = ways.into_iter().filter_map(|(own, other)| Some((UdpSocket::bind((own, 0)).ok()?, other)));
    let refusals = sockets.map(|(socket, other)| socket.connect((other, DISCARD)).err().filter(is_refused));
    refusals.collect::<Option<Vec<_>>>()?.into_iter().next()
}

/// Not of a network that is not there.
fn is_refused(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EAFNOSUPPORT | Errno::EPERM | Errno::EACCES))
}

/// Whether the kernel's tables have a route to other machines.
fn leads_out(v4: &str, v6: &str) -> bool {
    let v4 = v4.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    // An interface gives itself an address for its neighbours as soon as it is up.
    let v6 = v6.lines().filter(|line| !line.starts_with("fe80") && !line.starts_with("ff"));
    let v6 = v6.filter_map(|line| line.split_whitespace().last());
    // What "*" takes is thrown away.
    v4.chain(v6).any(|interface| !["lo", "*"].contains(&interface))
}

/// Those of the network that this process is in; `/sys` may show another one.
const ROUTES_V4: &str = "/proc/self/net/route";
const ROUTES_V6: &str = "/proc/self/net/ipv6_route";

const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kms::{Call, Class, KmsError};

    #[test]
    fn the_number_of_an_error_tells_the_setting() {
        let wrapped = |number| io::Error::other(io::Error::from_raw_os_error(number));
        for (number, expected) in [
            (libc::EAFNOSUPPORT, ["RestrictAddressFamilies=", "AF_INET6"]),
            (libc::EPERM, ["SystemCallFilter=", "container"]),
            (libc::EACCES, ["mysql_connect_http on", "mysql_connect_any"]),
            (libc::ENETUNREACH, ["PrivateNetwork=", "router"]),
        ] {
            let told = behind(&wrapped(number)).unwrap_or_default();
            assert!(expected.iter().all(|piece| told.contains(piece)), "{number}: {told}");
            let detail = format!("{told}; {}", "what the SDK says ".repeat(20));
            let message = KmsError::new(Call::GenerateDataKeyWithoutPlaintext, Class::Transient, detail).to_string();
            let (before_the_remedy, _) = message.split_once(". Check the network").unwrap_or_default();
            assert!(before_the_remedy.contains(&told), "{message}");
        }
    }

    #[test]
    fn a_connection_is_dropped_and_not_refused_by_a_firewall() {
        let told = behind(&io::Error::from_raw_os_error(libc::EPERM)).unwrap_or_default();
        assert!(!told.contains("firewall") && !told.contains("IPAddressDeny"), "{told}");
    }

    #[test]
    fn what_another_machine_has_answered_is_no_obstacle_here() {
        for number in [libc::ECONNREFUSED, libc::ECONNRESET, libc::ETIMEDOUT, libc::EHOSTUNREACH] {
            assert_eq!(behind(&io::Error::from_raw_os_error(number)), None, "{number}");
        }
    }

    #[test]
    fn sockets_that_are_refused_are_an_obstacle_and_others_none() {
        assert_eq!(of_every_socket(), None);
        // A thread that is refused them never gets them back.
        let told = std::thread::spawn(|| {
            let refused = seccompiler::SeccompAction::Errno(libc::EACCES as u32);
            let all = std::collections::BTreeMap::from([(libc::SYS_socket, Vec::new())]);
            let cpu = std::env::consts::ARCH.try_into().expect("a CPU with filters");
            let filter = seccompiler::SeccompFilter::new(all, seccompiler::SeccompAction::Allow, refused, cpu);
            let filter: seccompiler::BpfProgram = filter.and_then(TryInto::try_into).expect("a filter");
            seccompiler::apply_filter(&filter).expect("applied");
            of_every_socket()
        });
        let told = told.join().expect("no panic").unwrap_or_default();
        assert!(told.contains("Permission denied") && told.contains("SELinux"), "{told}");
    }

    #[test]
    fn a_network_without_a_default_route_is_one() {
        const LOCAL: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
            00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
        let v4 = |route| format!("{head}{route}\n");
        let v6 = |to: &str, interface| {
            format!(
                "{to}000000000000000000000000 40 {0} 00 {0} 00000100 1 0 00000001 {interface}\n{LOCAL}",
                "0".repeat(32)
            )
        };
        let by_proxy = v4("eth0\t0000090A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0");
        for (v4, v6, expected) in [
            (by_proxy.as_str(), LOCAL, true),
            (by_proxy.as_str(), "", true),
            (head, &v6("fd000000", "eth0"), true),
            (head, &v6("00000000", "eth0"), true),
            (head, LOCAL, false),
            (head, "", false),
            (head, &v6("fe800000", "eth0"), false),
            (head, &v6("ff000000", "eth0"), false),
            (&v4("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0"), LOCAL, false),
        ] {
            assert_eq!(leads_out(v4, v6), expected, "{v4}{v6}");
        }
    }
}
