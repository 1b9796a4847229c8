//! `cargo xtask galera`: a Galera cluster of two nodes on this machine, with a KMS that both use: what a node gets from the
//! other one, what it makes by itself, and what is said when that is not the same.

mod new_keys;
mod node;
mod rotations;
mod transfers;

use anyhow::{Context, Result, ensure};

use self::node::{Node, Start};
use crate::machine::{packages, paths};
use crate::rig::{self, Home, Installation, Rig, Server};
use crate::tally::Tally;
use crate::terminal;

/// Installs what is missing, builds the plugin, and takes the cluster through its life; an error at the first thing that is
/// not as it should be.
pub fn run(tally: &mut Tally) -> Result<()> {
    packages::ensure(&[packages::GALERA])?;
    let plugin = rig::prepare()?;
    let installation = || Ok::<_, anyhow::Error>(Installation::of_the_system()?.unprivileged());
    Rig::of(installation()?, &plugin)?.keep_after_failure().run(|rig| {
        let folder = paths::emptied(&rig.folder().join("second"))?;
        let second = Home::without_data(installation()?, &folder, &plugin)?;
        second.empty_data()?;
        let nodes = Cluster {
            first: Node::new(rig, &rig.home, node::FIRST, "AKIAFIRST")?,
            second: Node::new(rig, &second, "second", "AKIASECOND")?,
            rig,
        };
        second.explain(nodes.live(tally))
    })
}

/// Both nodes.
struct Cluster<'a> {
    rig: &'a Rig,
    first: Node<'a>,
    second: Node<'a>,
}

impl Cluster<'_> {
    /// In an order in which as little as possible has to be transferred.
    fn live(&self, tally: &mut Tally) -> Result<()> {
        let mut is_shown = |claim: &str| {
            terminal::detail(claim);
            tally.passed += 1;
        };
        let one = self.first.start(Start::First, "")?;
        one.sql("CREATE DATABASE galera")?;
        create(&one, 1)?;
        create(&one, 7)?;

        self.recover_nothing()?;
        is_shown("--wsrep_recover in an empty datadir makes nothing, and says that there is no position");
        let two = self.transfer_over_own_keys(&one)?;
        is_shown("a state transfer by mariabackup replaces the keys that a node had of its own");
        self.make_in_ddl(&one, &two)?;
        is_shown("each node makes its own key for a new key id in DDL");
        self.throttle_second(&one, &two)?;
        self.throttle_first(&one, &two)?;
        is_shown("a node whose KMS throttles lacks the table, says why, and gets it once it has the key");
        self.refuse(&one, two)?;
        is_shown(
            "a node that may not make the key says so before the DDL; with the table's first row it leaves the cluster",
        );
        let two = self.transfer_by_rsync(&one)?;
        is_shown("after a state transfer by rsync no key is made; with the donor's key files the node joins");
        self.part_by_rotation(&one, &two)?;
        is_shown("after a rotation with AES_CTR the nodes have no key in common that encrypts");
        let two = self.transfer_what_is_missing(&one, two)?;
        is_shown("a node that was away for a rotation and a new key id gets the rest, and makes the key");
        self.restart(one, two)?;
        is_shown("--wsrep_recover says the position and changes no file; the whole cluster comes up again");
        Ok(())
    }

    /// Checks that both have the same rows, and can read all of them. What one node has committed, the other one has applied
    /// when it answers.
    fn check_rows(&self, one: &Server<'_>, two: &Server<'_>) -> Result<()> {
        let tables = one.sql("SHOW TABLES IN galera")?;
        let tables: Vec<String> = tables.lines().map(|table| format!("galera.{table}")).collect();
        ensure!(tables.len() > 1, "there are only the tables {tables:?}");
        let tables = tables.join(", ");
        let question = format!("SET SESSION wsrep_sync_wait = 15; CHECKSUM TABLE {tables}");
        let (of_one, of_two) = (one.sql(&question)?, two.sql(&question)?);
        ensure!(of_one == of_two && !of_one.contains("NULL"), "the rows of the nodes differ:\n{of_one}\nand\n{of_two}");
        for server in [one, two] {
            let checked = server.sql(&format!("CHECK TABLE {tables}"))?;
            let bad: Vec<&str> = checked.lines().filter(|line| !line.ends_with("status\tOK")).collect();
            ensure!(bad.is_empty(), "CHECK TABLE: {}", bad.join("\n"));
        }
        Ok(())
    }
}

/// Makes a table under key `id`, with rows.
fn create(server: &Server<'_>, id: u32) -> Result<()> {
    server.sql(&table(id))?;
    insert(server, id)
}

/// The statement that makes a table under key `id`.
fn table(id: u32) -> String {
    format!(
        "CREATE TABLE galera.t{id} (id INT PRIMARY KEY AUTO_INCREMENT, text VARCHAR(200)) ENCRYPTED=YES ENCRYPTION_KEY_ID={id}"
    )
}

/// Adds rows to a table.
fn insert(server: &Server<'_>, id: u32) -> Result<()> {
    let rows = format!("INSERT INTO galera.t{id} (text) SELECT REPEAT(CONCAT('row ', seq), 10) FROM seq_1_to_500");
    server
        .sql(&format!("USE galera; {rows}"))
        .map(drop)
        .with_context(|| format!("writing into the table under key {id}"))
}
