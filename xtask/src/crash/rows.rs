//! The rows that the writing client commits, and whether they are all there.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use crate::server::Server;

/// How many rows each table must have.
#[derive(Default)]
pub struct Rows([u32; TABLES.len()]);

/// Makes the tables, each under its key.
pub fn create() -> String {
    let tables = TABLES.iter().map(|id| {
        format!(
            "; CREATE TABLE crash.t{id} (id INT UNSIGNED PRIMARY KEY, text VARCHAR(200), KEY (text(20))) \
             ENCRYPTED=YES ENCRYPTION_KEY_ID={id}"
        )
    });
    ["CREATE DATABASE crash".to_owned()].into_iter().chain(tables).collect()
}

impl Rows {
    /// More rows than a server lives for: a statement and an answer after it in two lines each.
    pub fn inserts(&self) -> String {
        let mut sql = String::new();
        for (table, id) in self.upcoming() {
            let _ = writeln!(
                sql,
                "INSERT INTO crash.t{} SELECT {id}, {TEXT} FROM (SELECT {id} AS id) AS row;",
                TABLES[table]
            );
            sql.push_str("SELECT 'done';\n");
        }
        sql
    }

    /// Checks that what the client was told is there, whole, and no more than the one row that was under way.
    pub fn check(&mut self, server: &Server<'_>, told: &str) -> Result<()> {
        let committed: Vec<usize> = self.upcoming().take(told.lines().count()).map(|(table, _)| table).collect();
        let under_way = self.upcoming().nth(committed.len()).map(|(table, _)| table);
        for table in committed {
            self.0[table] += 1;
        }
        for (table, id) in TABLES.iter().enumerate() {
            let sql = format!(
                "SELECT COUNT(*), COALESCE(MAX(id), 0), COALESCE(SUM(text = {TEXT}), 0) FROM crash.t{id} \
                               FORCE INDEX (PRIMARY); CHECK TABLE crash.t{id}"
            );
            let answer = server.sql(&sql).with_context(|| format!("reading the table under key {id}"))?;
            let counts: Vec<u32> = answer.split_whitespace().map_while(|word| word.parse().ok()).collect();
            let [count, last, whole] = counts[..] else { anyhow::bail!("the table under key {id}: {answer}") };
            let expected = self.0[table];
            ensure!(count >= expected, "the table under key {id} has {count} rows, but {expected} were committed");
            let most = expected + u32::from(under_way == Some(table));
            ensure!(count <= most, "the table under key {id} has {count} rows, but only {most} were ever written");
            ensure!(
                last == count && whole == count,
                "the table under key {id}: of {count} rows up to {last} only {whole} are whole"
            );
            ensure!(answer.trim_end().ends_with("\tOK"), "CHECK TABLE of the table under key {id}: {answer}");
            self.0[table] = count;
        }
        Ok(())
    }

    /// The next rows, in the order in which they are written: the table's index, and the row's id.
    fn upcoming(&self) -> impl Iterator<Item = (usize, u32)> + use<'_> {
        (1..=ROWS_A_TABLE).flat_map(|row| self.0.iter().enumerate().map(move |(table, last)| (table, last + row)))
    }
}

/// Key ids of the tables: that of system data, an ordinary one, and the ends of what the plugin before this one could
/// name and of what there is.
const TABLES: [u32; 4] = [1, 7, 100_000, 4_294_967_295];

const ROWS_A_TABLE: u32 = 500;

const TEXT: &str = "REPEAT(CONCAT('row ', id, ' '), 10)";
