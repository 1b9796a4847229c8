//! What a node gets from the other one, and what it says of its position.

use std::fs;

use anyhow::{Result, bail, ensure};

use super::node::{GENERATE, MARIABACKUP, Start};
use super::{Cluster, create, insert};
use crate::load;
use crate::machine::paths;
use crate::rig::Server;

impl<'a> Cluster<'a> {
    /// `--wsrep_recover` in the empty datadir of the second node.
    pub fn recover_nothing(&self) -> Result<()> {
        self.rig.kms.forget_calls()?;
        let status = self.second.recover(&self.first)?;
        ensure!(status.success(), "the server ended with {status}");
        self.second.check_log_has("WSREP: Recovered position: 00000000-0000-0000-0000-000000000000:-1\n")?;
        let made = paths::names_in(&self.second.data())?;
        let made: Vec<_> = made.iter().filter(|name| !OF_EVERY_START.iter().any(|it| name.starts_with(it))).collect();
        ensure!(made.is_empty(), "the datadir holds {made:?}");
        self.check_no_key_was_asked_for()
    }

    /// The second node has keys and tables of its own, and joins.
    pub fn transfer_over_own_keys(&self, one: &Server<'_>) -> Result<Server<'a>> {
        fs::remove_dir_all(self.second.data())?;
        self.second.home().make_data()?;
        let alone = self.second.start(Start::Alone, "")?;
        alone.sql("CREATE DATABASE galera")?;
        create(&alone, 7)?;
        create(&alone, 9)?;
        alone.stop()?;
        let own = self.second.keys()?;
        ensure!(own.contains_key(&(9, 1)) && own.get(&(7, 1)) != self.first.keys()?.get(&(7, 1)), "{own:?}");

        let two =
            self.second.start(Start::Joining(&self.first, MARIABACKUP), "aws_key_management_allowed_key_ids = 1-99")?;
        self.second.check_log_has("mariabackup SST completed on joiner")?;
        let (first, second) = (self.first.keys()?, self.second.keys()?);
        ensure!(first == second, "the nodes have different keys after the transfer: {first:?} and {second:?}");
        load::check_log(&self.second.log(), |_| false)?;
        self.check_rows(one, &two)?;
        Ok(two)
    }

    /// The second node has no keys any more, and gets the data without them.
    pub fn transfer_by_rsync(&self, one: &Server<'_>) -> Result<Server<'a>> {
        for file in self.second.key_files()? {
            fs::remove_file(&file)?;
        }
        self.rig.kms.forget_calls()?;
        let by_rsync = Start::Joining(&self.first, "rsync");
        if self.second.start(by_rsync, "").is_ok() {
            bail!("the node has joined without its keys");
        }
        let said = "ib_logfile0 is encrypted, but there is no key file in";
        self.second.check_log_has(said)?;
        self.second.check_log_has("wsrep_sst_method is rsync, which does not copy the key files")?;
        ensure!(self.second.key_files()?.is_empty(), "the node has made {:?}", self.second.key_files()?);
        // It is what systemd does next.
        let status = self.second.recover(&self.first)?;
        ensure!(!status.success(), "--wsrep_recover has done without the keys");
        self.second.check_log_has(said)?;
        ensure!(self.second.key_files()?.is_empty(), "--wsrep_recover has made {:?}", self.second.key_files()?);
        self.check_no_key_was_asked_for()?;

        self.second.home().add_files(&self.first.key_files()?)?;
        let two = self.second.start(by_rsync, "")?;
        self.second.check_log_has("rsync SST completed on joiner")?;
        self.second.check_log_has("Set wsrep_sst_method = mariabackup")?;
        load::check_log(&self.second.log(), |line| line.contains("wsrep_sst_method is rsync"))?;
        ensure!(self.first.keys()? == self.second.keys()?, "the nodes have different keys");
        self.check_rows(one, &two)?;
        Ok(two)
    }

    /// The second node is away while a key is rotated and a key id is used for the first time.
    pub fn transfer_what_is_missing(&self, one: &Server<'_>, two: Server<'a>) -> Result<Server<'a>> {
        two.stop()?;
        drop(two);
        one.sql("SET GLOBAL aws_key_management_rotate_key = 7")?;
        insert(one, 7)?;
        create(one, 12)?;
        let two = self.second.start(Start::Joining(&self.first, MARIABACKUP), "")?;
        self.second.check_log_has("IST received")?;
        ensure!(!self.second.log().contains("SST completed on joiner"), "all data was transferred");
        self.check_rows(one, &two)?;
        let (first, second) = (self.first.keys()?, self.second.keys()?);
        ensure!(first.contains_key(&(7, 3)) && !second.contains_key(&(7, 3)), "the rotation went to both nodes");
        let (of_first, of_second) = (first.get(&(12, 1)), second.get(&(12, 1)));
        ensure!(of_first.is_some() && of_second.is_some() && of_first != of_second, "key 12 was not made by each node");
        load::check_log(&self.second.log(), |_| false)?;
        Ok(two)
    }

    /// Both nodes are stopped. The second one says its position, and both start again.
    pub fn restart(&self, one: Server<'a>, two: Server<'a>) -> Result<()> {
        two.stop()?;
        one.stop()?;
        drop((one, two));
        let before = self.second.keys()?;
        let status = self.second.recover(&self.first)?;
        ensure!(status.success(), "the server ended with {status}");
        let log = self.second.log();
        let position =
            log.lines().find_map(|line| line.split_once("WSREP: Recovered position: ")?.1.rsplit(':').next());
        let seqno: i64 = position.unwrap_or_default().parse().unwrap_or(-1);
        ensure!(seqno > 0, "no position was recovered");
        self.second.check_log_has(&format!("loaded {0} of {0} key versions", before.len()))?;
        ensure!(before == self.second.keys()?, "--wsrep_recover has changed the key files");
        load::check_log(&log, |_| false)?;

        let one = self.first.start(Start::First, "")?;
        let two = self.second.start(Start::Joining(&self.first, MARIABACKUP), "")?;
        insert(&two, 1)?;
        self.check_rows(&one, &two)?;
        for node in [&self.first, &self.second] {
            load::check_log(&node.log(), |_| false)?;
        }
        two.stop()?;
        one.stop()
    }

    fn check_no_key_was_asked_for(&self) -> Result<()> {
        let calls = self.rig.kms.calls(GENERATE)?.len();
        ensure!(calls == 0, "KMS was asked for {calls} keys");
        Ok(())
    }
}

/// What every server makes in its datadir, before it looks at anything: logs without contents, and a list of what DDL was
/// under way.
const OF_EVERY_START: [&str; 2] = ["aria_log", "ddl_recovery"];
