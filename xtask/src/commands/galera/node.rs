//! One node of the cluster: a server that finds the other one, and has credentials of its own for the KMS that both use.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::kms_emulator::Environment;
use crate::machine::paths;
use crate::rig::{self, Home, Rig, Server};
use crate::{interrupt, load};

/// Where a node runs, and how it is called.
pub struct Node<'a> {
    rig: &'a Rig,
    home: &'a Home,
    name: &'static str,
    ports: Ports,
    access_key: &'static str,
}

/// What a node listens at, all on this machine.
struct Ports {
    group: u16,
    incremental_transfer: u16,
    state_transfer: u16,
}

/// What a node is started as.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// The first node of the cluster.
    First,
    /// One that joins the other node, with this `wsrep_sst_method`, if it needs all its data.
    Joining(&'a Node<'a>, &'a str),
    /// By itself, as if there were no cluster.
    Alone,
}

impl<'a> Node<'a> {
    /// One in `home`, whose calls of KMS are signed by `access_key`.
    pub fn new(rig: &'a Rig, home: &'a Home, name: &'static str, access_key: &'static str) -> Result<Self> {
        // All at the same time, so that they differ.
        let listeners =
            [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").and_then(|it| Ok((it.local_addr()?.port(), it))));
        let [group, incremental_transfer, state_transfer] = listeners;
        let ports =
            Ports { group: group?.0, incremental_transfer: incremental_transfer?.0, state_transfer: state_transfer?.0 };
        Ok(Self { rig, home, name, ports, access_key })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.home.data()
    }

    /// Where it runs.
    pub fn home(&self) -> &'a Home {
        self.home
    }

    /// What the last run wrote into its error log.
    pub fn log(&self) -> String {
        self.home.log_text()
    }

    /// Starts it, with further options, lines of a my.cnf, and waits until it has all that the cluster has.
    pub fn start(&self, start: Start<'_>, options: &str) -> Result<Server<'a>> {
        let environment = self.environment();
        let server = self.home.start(&self.options(start, options), Some(&environment))?;
        if !matches!(start, Start::Alone) {
            interrupt::wait_for("the node is synced", PATIENCE, || {
                Ok((status(&server, "wsrep_local_state_comment")? == "Synced").then_some(()))
            })?;
        }
        Ok(server)
    }

    /// Starts it with `--wsrep_recover`, which ends by itself.
    pub fn recover(&self, other: &Node<'_>) -> Result<ExitStatus> {
        self.home.run(&self.options(Start::Joining(other, MARIABACKUP), "wsrep_recover"), &self.environment())
    }

    /// From now on, KMS throttles its requests for new keys, and not those of the other node.
    pub fn throttle(&self) -> Result<()> {
        let fault = json!({"operation": GENERATE, "kind": "throttle", "access_key": self.access_key});
        self.rig.kms.fault(&fault)
    }

    /// The key versions that have a file, each with the file's SHA-256.
    pub fn keys(&self) -> Result<BTreeMap<(u32, u32), String>> {
        load::on_disk(&self.data())
    }

    /// All that the plugin has written into the data folder, key files first of all.
    pub fn key_files(&self) -> Result<Vec<PathBuf>> {
        let names = paths::names_in(&self.data())?;
        Ok(names.iter().filter(|name| name.starts_with("aws-kms-key.")).map(|name| self.data().join(name)).collect())
    }

    /// Waits until the error log has `text`.
    pub fn wait_for_log(&self, text: &str) -> Result<()> {
        let waited = interrupt::wait_for(text, PATIENCE, || Ok(self.log().contains(text).then_some(())));
        waited.with_context(|| format!("{} is not in the error log of the {} node", text, self.name))
    }

    /// Checks that the error log has `text`.
    pub fn check_log_has(&self, text: &str) -> Result<()> {
        ensure!(self.log().contains(text), "the error log of the {} node does not say: {text}", self.name);
        Ok(())
    }

    /// The first node is a majority by itself (`pc.weight`): otherwise it stops serving when the second one ends without having
    /// left, as one does that is refused.
    fn options(&self, start: Start<'_>, more: &str) -> String {
        let Ports { group, incremental_transfer, state_transfer } = self.ports;
        let plugin = self.rig.kms.variables();
        let (address, method) = match start {
            Start::First => ("gcomm://".to_owned(), MARIABACKUP),
            Start::Joining(other, method) => {
                (format!("gcomm://127.0.0.1:{},127.0.0.1:{group}", other.ports.group), method)
            }
            Start::Alone => return format!("{}\n{OPTIONS}\n{plugin}\n{more}", rig::LOAD),
        };
        format!(
            "{load}\n{OPTIONS}\n{plugin}\nwsrep_on = ON\nwsrep_provider = {PROVIDER}\nwsrep_cluster_name = akm\n\
             wsrep_cluster_address = {address}\nwsrep_node_name = {name}\nwsrep_node_address = 127.0.0.1:{group}\n\
             wsrep_sst_receive_address = 127.0.0.1:{state_transfer}\nwsrep_sst_method = {method}\nwsrep_sst_auth = root:\n\
             wsrep_provider_options = \"gmcast.listen_addr=tcp://127.0.0.1:{group};\
             ist.recv_addr=127.0.0.1:{incremental_transfer};gcache.size=8M;pc.weight={weight}\"\n{more}\n[sst]\nsst-syslog = -1",
            load = rig::LOAD,
            name = self.name,
            weight = if self.name == FIRST { 2 } else { 1 },
        )
    }

    fn environment(&self) -> Environment {
        let mut environment = self.rig.environment();
        environment.retain(|(name, _)| name != ACCESS_KEY);
        environment.push((ACCESS_KEY.into(), self.access_key.into()));
        environment
    }
}

/// The value of a status variable.
pub fn status(server: &Server<'_>, variable: &str) -> Result<String> {
    let row = server.sql(&format!("SHOW GLOBAL STATUS LIKE '{variable}'"))?;
    let value = row.trim().split_once('\t').map(|(_, value)| value.to_owned());
    value.with_context(|| format!("there is no status variable {variable}"))
}

/// The method that copies the key files.
pub const MARIABACKUP: &str = "mariabackup";

/// The call of KMS that makes a key.
pub const GENERATE: &str = "GenerateDataKeyWithoutPlaintext";

/// Encryption of all that is written, and everything small.
const OPTIONS: &str = "\
innodb_encrypt_tables = ON
innodb_encrypt_log = ON
innodb_buffer_pool_size = 16M
innodb_log_file_size = 16M
innodb_buffer_pool_dump_at_shutdown = OFF
binlog_format = ROW
skip_stack_trace";

/// The name of the node that begins the cluster.
pub const FIRST: &str = "first";

/// Where Debian's package galera-4 puts it.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";
const ACCESS_KEY: &str = "AWS_ACCESS_KEY_ID";
const PATIENCE: Duration = Duration::from_secs(60);
