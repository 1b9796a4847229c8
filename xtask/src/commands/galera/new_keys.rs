//! A key id that is used for the first time, by a statement that all nodes execute.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::node::{Node, status};
use super::{Cluster, create, insert, table};
use crate::interrupt;
use crate::rig::Server;

impl Cluster<'_> {
    /// Each node makes the key for itself.
    pub fn make_in_ddl(&self, one: &Server<'_>, two: &Server<'_>) -> Result<()> {
        create(one, 8)?;
        self.check_rows(one, two)?;
        let (first, second) = (self.first.keys()?, self.second.keys()?);
        let (of_first, of_second) = (first.get(&(8, 1)), second.get(&(8, 1)));
        ensure!(of_first.is_some() && of_second.is_some() && of_first != of_second, "key 8 was not made by each node");
        Ok(())
    }

    /// KMS throttles the second node, which does not do what the first one does; once it has the key, the statement for tables
    /// that may be there mends that.
    pub fn throttle_second(&self, one: &Server<'_>, two: &Server<'_>) -> Result<()> {
        self.second.throttle()?;
        one.sql(&table(10))?;
        self.second.wait_for_log("key 10 version 1: KMS GenerateDataKeyWithoutPlaintext failed: throttled")?;
        self.second.wait_for_log("Ignoring error 'Can't create table `galera`.`t10`")?;
        ensure!(has_table(one, 10)? && !has_table(two, 10)?, "the second node has made the table without its key");
        ensure!(status(two, "wsrep_local_state_comment")? == "Synced", "the second node has left the cluster at once");
        self.rig.kms.clear_faults()?;

        make_key(&self.second, two, 10)?;
        one.sql(&table(10).replace("CREATE TABLE", "CREATE TABLE IF NOT EXISTS"))?;
        insert(one, 10)?;
        self.check_rows(one, two)
    }

    /// KMS throttles the node that executes the statement, which fails there, and not on the other one; once the node has the
    /// key, the same statement mends that.
    pub fn throttle_first(&self, one: &Server<'_>, two: &Server<'_>) -> Result<()> {
        self.first.throttle()?;
        let Err(error) = one.sql(&table(11)) else { bail!("the first node has made the table without its key") };
        let said = format!("{error:#}");
        ensure!(said.contains("Can't create table `galera`.`t11`"), "the statement fails with: {said}");
        self.first.wait_for_log("key 11 version 1: KMS GenerateDataKeyWithoutPlaintext failed: throttled")?;
        interrupt::wait_for("the second node has the table", PATIENCE, || Ok(has_table(two, 11)?.then_some(())))?;
        ensure!(!has_table(one, 11)?, "the first node has made the table without its key");
        self.rig.kms.clear_faults()?;

        make_key(&self.first, one, 11)?;
        create(one, 11)?;
        self.check_rows(one, two)
    }

    /// The second node may not make the key, and does not do what the others do. It has ended then.
    pub fn refuse(&self, one: &Server<'_>, two: Server<'_>) -> Result<()> {
        let said = two.sql(&format!("{}; SHOW WARNINGS", first_use(100)))?;
        ensure!(said.contains("aws_key_management_allowed_key_ids"), "the second node says of key 100: {said}");
        one.sql(&table(100))?;
        self.second.wait_for_log("Ignoring error 'Can't create table `galera`.`t100`")?;
        insert(one, 100)?;
        interrupt::wait_for("the second node leaves the cluster", PATIENCE, || {
            let left = status(&two, "wsrep_local_state_comment")? == "Inconsistent";
            Ok((left && status(one, "wsrep_cluster_size")? == "1").then_some(()))
        })?;
        ensure!(!self.second.keys()?.contains_key(&(100, 1)), "the second node has made the key");
        two.stop()
    }
}

/// Makes the key on one node alone, as before a statement that all nodes execute. A key that failed is tried again after a
/// pause.
fn make_key(node: &Node<'_>, server: &Server<'_>, id: u32) -> Result<()> {
    interrupt::wait_for("the key is made", PATIENCE, || {
        server.sql(&first_use(id))?;
        Ok(node.keys()?.contains_key(&(id, 1)).then_some(()))
    })
}

/// Makes key `id`, and nothing else, and on this node only.
fn first_use(id: u32) -> String {
    format!("SET SESSION innodb_default_encryption_key_id = {id}")
}

fn has_table(server: &Server<'_>, id: u32) -> Result<bool> {
    Ok(server.sql("SHOW TABLES IN galera")?.lines().any(|table| table == format!("t{id}")))
}

const PATIENCE: Duration = Duration::from_secs(30);
