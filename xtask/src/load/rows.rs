//! The client that commits rows, and whether they are all there.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::rig::{Server, Session};

/// How many rows each table has.
pub type Counts = [u32; TABLES.len()];

/// How many rows were written.
#[derive(Default)]
pub struct Rows {
    committed: [AtomicU32; TABLES.len()],
    /// With the one that is under way.
    asked_for: [AtomicU32; TABLES.len()],
}

impl Rows {
    /// Makes the tables, each under its key.
    pub fn create(server: &Server<'_>) -> Result<Self> {
        let mut sql = "CREATE DATABASE load_test".to_owned();
        for id in TABLES {
            sql += &format!(
                "; CREATE TABLE load_test.t{id} (id INT UNSIGNED PRIMARY KEY, text VARCHAR(200), KEY (text(20))) \
                 ENCRYPTED=YES ENCRYPTION_KEY_ID={id}"
            );
        }
        server.sql(&sql)?;
        Ok(Self::default())
    }

    /// Writes a row into one table after the other until the connection is lost. A refusal by the server is an error.
    pub fn write_until_lost(&self, mut session: Session) -> Result<()> {
        for table in (0..TABLES.len()).cycle() {
            let row = self.asked_for[table].fetch_add(1, Ordering::SeqCst) + 1;
            let select = format!("SELECT {row}, {TEXT} FROM (SELECT {row} AS id) AS row");
            match session.ask(&format!("INSERT INTO load_test.t{} {select}", TABLES[table]))? {
                Ok(_) => self.committed[table].store(row, Ordering::SeqCst),
                Err(refusal) if refusal.lost_connection() => break,
                Err(refusal) => bail!("the writing client failed by itself: {refusal}"),
            }
        }
        Ok(())
    }

    /// Rows that the client was told of.
    pub fn committed(&self) -> Counts {
        self.committed.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// The same with those that were under way.
    pub fn asked_for(&self) -> Counts {
        self.asked_for.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// Checks that what the client was told is there, whole, and no more than the row that was under way. No client may
    /// be at work.
    pub fn check(&self, server: &Server<'_>) -> Result<()> {
        let found = check(server, self.committed(), self.asked_for())?;
        for (table, count) in found.into_iter().enumerate() {
            self.committed[table].store(count, Ordering::SeqCst);
            self.asked_for[table].store(count, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// Checks that each table has whole rows, `least` to `most` of them; answers how many.
pub fn check(server: &Server<'_>, least: Counts, most: Counts) -> Result<Counts> {
    let mut found = Counts::default();
    for (table, id) in TABLES.iter().enumerate() {
        let sql = format!(
            "SELECT COUNT(*), COALESCE(MAX(id), 0), COALESCE(SUM(text = {TEXT}), 0) FROM load_test.t{id} \
             FORCE INDEX (PRIMARY); CHECK TABLE load_test.t{id}"
        );
        let answer = server.sql(&sql).with_context(|| format!("reading the table under key {id}"))?;
        let counts: Vec<u32> = answer.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [count, last, whole] = counts[..] else { bail!("the table under key {id}: {answer}") };
        let (least, most) = (least[table], most[table]);
        ensure!(count >= least, "the table under key {id} has {count} rows, but {least} were committed");
        ensure!(count <= most, "the table under key {id} has {count} rows, but only {most} were ever written");
        ensure!(
            last == count && whole == count,
            "the table under key {id}: of {count} rows up to {last} only {whole} are whole"
        );
        ensure!(answer.trim_end().ends_with("\tOK"), "CHECK TABLE of the table under key {id}: {answer}");
        found[table] = count;
    }
    Ok(found)
}

/// Checks that every table of the load can be read, also those that were made meanwhile.
pub fn check_all_tables(server: &Server<'_>) -> Result<()> {
    let tables = server.sql("SHOW TABLES IN load_test")?;
    let tables: Vec<String> = tables.lines().map(|name| format!("load_test.{name}")).collect();
    let answer = server.sql(&format!("CHECK TABLE {}", tables.join(", ")))?;
    let bad: Vec<&str> = answer.lines().filter(|line| !line.ends_with("status\tOK")).collect();
    ensure!(bad.is_empty(), "CHECK TABLE: {}", bad.join("\n"));
    Ok(())
}

/// Key ids of the tables: that of system data, an ordinary one, and the ends of what the plugin before this one could
/// name and of what there is.
const TABLES: [u32; 4] = [1, 7, 100_000, 4_294_967_295];

const TEXT: &str = "REPEAT(CONCAT('row ', id, ' '), 10)";
