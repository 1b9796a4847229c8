//! Runs a program to which the kernel refuses some system calls, as systemd's `SystemCallFilter=`, `RestrictAddressFamilies=`
//! and a container's profile do: by seccomp(2).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Which calls, and what to run.
#[derive(clap::Args)]
pub struct Options {
    /// A call, and the error that it fails with: NAME=ERROR
    #[arg(long = "call", value_name = "NAME=ERROR", required = true)]
    calls: Vec<String>,
    /// The program and its arguments
    #[arg(last = true, required = true)]
    words: Vec<OsString>,
}

/// Becomes that program.
pub fn run(options: &Options) -> Result<()> {
    let filters: Vec<BpfProgram> = options.calls.iter().map(|call| filter(call)).collect::<Result<_>>()?;
    for filter in &filters {
        seccompiler::apply_filter(filter)?;
    }
    let (program, arguments) = options.words.split_first().context("there is no program")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("running {}", program.display()))
}

fn filter(call: &str) -> Result<BpfProgram> {
    let (name, error) = call.split_once('=').with_context(|| format!("'{call}' is not NAME=ERROR"))?;
    let Some((_, number, rules)) = calls()?.into_iter().find(|(known, ..)| *known == name) else {
        bail!("the call {name} is not known here");
    };
    let error = ERRORS.iter().find(|(known, _)| *known == error).with_context(|| format!("no error {error}"))?.1;
    let refused = SeccompAction::Errno(error.try_into()?);
    let rules = BTreeMap::from([(number, rules)]);
    let architecture = std::env::consts::ARCH.try_into()?;
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refused, architecture)?.try_into()?)
}

/// The calls that can be refused: name, number, and when; without a rule always.
fn calls() -> Result<Vec<(&'static str, i64, Vec<SeccompRule>)>> {
    let family = |family: i32| -> Result<SeccompRule> {
        let is_it = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, u64::try_from(family)?)?;
        Ok(SeccompRule::new(vec![is_it])?)
    };
    Ok(vec![
        // The families of the internet.
        ("inet-socket", libc::SYS_socket, vec![family(libc::AF_INET)?, family(libc::AF_INET6)?]),
        ("connect", libc::SYS_connect, vec![]),
        ("epoll_create1", libc::SYS_epoll_create1, vec![]),
        ("fcntl", libc::SYS_fcntl, vec![]),
        ("flock", libc::SYS_flock, vec![]),
        ("fsync", libc::SYS_fsync, vec![]),
        ("getrandom", libc::SYS_getrandom, vec![]),
        ("linkat", libc::SYS_linkat, vec![]),
        ("madvise", libc::SYS_madvise, vec![]),
        ("memfd_create", libc::SYS_memfd_create, vec![]),
        ("mlock", libc::SYS_mlock, vec![]),
        ("renameat2", libc::SYS_renameat2, vec![]),
    ])
}

const ERRORS: [(&str, i32); 6] = [
    ("EACCES", libc::EACCES),
    ("EAFNOSUPPORT", libc::EAFNOSUPPORT),
    ("EINVAL", libc::EINVAL),
    ("ENOSYS", libc::ENOSYS),
    ("EPERM", libc::EPERM),
    ("EROFS", libc::EROFS),
];
