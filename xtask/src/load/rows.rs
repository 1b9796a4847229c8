//! The client that commits rows, and whether they are all there.

use anyhow::{Context, Result, bail, ensure};

use crate::rig::{Server, Session};

/// How many rows each table must have.
#[derive(Clone, Default)]
pub struct Rows {
    committed: [u32; TABLES.len()],
    /// The table that may have one row more: no answer came.
    doubtful: Option<usize>,
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
    pub fn write_until_lost(&mut self, mut session: Session) -> Result<()> {
        for table in (0..TABLES.len()).cycle() {
            let row = self.committed[table] + 1;
            let select = format!("SELECT {row}, {TEXT} FROM (SELECT {row} AS id) AS row");
            match session.ask(&format!("INSERT INTO load_test.t{} {select}", TABLES[table]))? {
                Ok(_) => self.committed[table] = row,
                Err(refusal) if refusal.lost_connection() => {
                    self.doubtful = Some(table);
                    break;
                }
                Err(refusal) => bail!("the writing client failed by itself: {refusal}"),
            }
        }
        Ok(())
    }

    /// Checks that what the client was told is there, whole, and no more than the one row that was under way.
    pub fn check(&mut self, server: &Server<'_>) -> Result<()> {
        let doubtful = self.doubtful.take();
        for (table, id) in TABLES.iter().enumerate() {
            let sql = format!(
                "SELECT COUNT(*), COALESCE(MAX(id), 0), COALESCE(SUM(text = {TEXT}), 0) FROM load_test.t{id} \
                 FORCE INDEX (PRIMARY); CHECK TABLE load_test.t{id}"
            );
            let answer = server.sql(&sql).with_context(|| format!("reading the table under key {id}"))?;
            let counts: Vec<u32> = answer.split_whitespace().map_while(|word| word.parse().ok()).collect();
            let [count, last, whole] = counts[..] else { bail!("the table under key {id}: {answer}") };
            let expected = self.committed[table];
            ensure!(count >= expected, "the table under key {id} has {count} rows, but {expected} were committed");
            let most = expected + u32::from(doubtful == Some(table));
            ensure!(count <= most, "the table under key {id} has {count} rows, but only {most} were ever written");
            ensure!(
                last == count && whole == count,
                "the table under key {id}: of {count} rows up to {last} only {whole} are whole"
            );
            ensure!(answer.trim_end().ends_with("\tOK"), "CHECK TABLE of the table under key {id}: {answer}");
            self.committed[table] = count;
        }
        Ok(())
    }
}

/// Key ids of the tables: that of system data, an ordinary one, and the ends of what the plugin before this one could
/// name and of what there is.
const TABLES: [u32; 4] = [1, 7, 100_000, 4_294_967_295];

const TEXT: &str = "REPEAT(CONCAT('row ', id, ' '), 10)";
