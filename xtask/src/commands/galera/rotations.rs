//! Rotations, which are each node's own.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result, ensure};

use super::node::Node;
use super::{Cluster, insert};
use crate::rig::Server;

impl Cluster<'_> {
    /// After a state transfer both nodes have the same keys. With AES_CTR, one of them is to go on with others.
    pub fn part_by_rotation(&self, one: &Server<'_>, two: &Server<'_>) -> Result<()> {
        for server in [one, two] {
            server.sql("SET GLOBAL aws_key_management_encryption_algorithm = AES_CTR")?;
        }
        ensure!(
            latest(&self.first)? == latest(&self.second)?,
            "the nodes have no keys in common, so this shows nothing"
        );
        two.sql("SET GLOBAL aws_key_management_rotate_key = -1")?;
        self.check_nothing_in_common()?;
        one.sql("SET GLOBAL aws_key_management_rotate_key = -1")?;
        self.check_nothing_in_common()?;
        for node in [&self.first, &self.second] {
            let file = fs::read_to_string(node.data().join("aws-kms-key.7.2")).context("the new version of key 7")?;
            ensure!(file.contains("AES_CTR"), "the new version of key 7 does not encrypt with AES_CTR");
        }
        insert(one, 7)?;
        insert(two, 8)?;
        self.check_rows(one, two)
    }

    fn check_nothing_in_common(&self) -> Result<()> {
        let (first, second) = (latest(&self.first)?, latest(&self.second)?);
        let common: Vec<_> = first.iter().filter(|(id, key)| second.get(id) == Some(key)).collect();
        ensure!(common.is_empty(), "both nodes encrypt with {common:?}");
        Ok(())
    }
}

/// The latest version of each key, with its file's SHA-256.
fn latest(node: &Node<'_>) -> Result<BTreeMap<u32, (u32, String)>> {
    // In order, so the highest version of an id comes last and stays.
    Ok(node.keys()?.into_iter().map(|((id, version), sha)| (id, (version, sha))).collect())
}
