//! What the demo says to the server.

/// Loads the plugin, as lines of a my.cnf.
pub const PLUGIN: &str = "\
plugin_load_add = aws_key_management
aws_key_management = FORCE_PLUS_PERMANENT
";

/// Encrypts whatever the server can encrypt, as lines of a my.cnf.
pub const ENCRYPTION: &str = include_str!("encryption.cnf");

/// Shows the plugin.
pub const SHOW_PLUGIN: &str = "SELECT PLUGIN_NAME, PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_MATURITY, LOAD_OPTION \
                               FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'aws_key_management'";

/// Makes the tables.
pub const CREATE: [&str; 5] = [
    "CREATE DATABASE demo",
    "CREATE TABLE demo.customers (id INT PRIMARY KEY, text VARCHAR(100)) ENGINE=InnoDB ENCRYPTED=YES",
    "CREATE TABLE demo.patients (id INT PRIMARY KEY, text VARCHAR(100)) ENGINE=InnoDB ENCRYPTED=YES ENCRYPTION_KEY_ID=7",
    "CREATE TABLE demo.notes (id INT PRIMARY KEY, text VARCHAR(100)) ENGINE=Aria",
    "CREATE TABLE demo.control (id INT PRIMARY KEY, text VARCHAR(100)) ENGINE=InnoDB ENCRYPTED=NO",
];

/// The tables' names.
pub const TABLES: [&str; 4] = ["customers", "patients", "notes", "control"];

/// The text in each row.
pub const TEXT: &str = "Jane Roe, blood group AB, card 4929 1234 5678 9012";

/// Rows in each table.
pub const ROWS: u32 = 20_000;

/// Fills a table.
pub fn fill(table: &str) -> String {
    format!("INSERT INTO demo.{table} SELECT seq, '{TEXT}' FROM demo.seq_1_to_{ROWS}")
}

/// A checksum of the rows of each table.
pub const CHECKSUMS: &str = "CHECKSUM TABLE demo.customers, demo.patients, demo.notes, demo.control";

/// The oldest key version among the pages of the table under key 7, and the version for new pages.
pub const VERSIONS: &str = "SELECT MIN_KEY_VERSION, CURRENT_KEY_VERSION \
                            FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE NAME = 'demo/patients'";

/// The same for a person.
pub const SHOW_VERSIONS: &str = "SELECT NAME, CURRENT_KEY_ID, MIN_KEY_VERSION, CURRENT_KEY_VERSION \
                                 FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE NAME = 'demo/patients'";

/// Makes a new version of key 7.
pub const ROTATE: &str = "SET GLOBAL aws_key_management_rotate_key = 7";

/// The key versions, with how many InnoDB tablespaces may hold pages of each.
pub const KEY_USAGE: &str = "SELECT KEY_ID, KEY_VERSION, IS_LATEST, STATE, CREATED, TABLESPACES \
                             FROM sys.aws_key_management_key_usage";

/// Whether a restart would work, and what KMS was asked.
pub const STATUS: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Aws_key_management_keys', \
                          'Aws_key_management_key_versions', 'Aws_key_management_restart_ready', \
                          'Aws_key_management_fully_wrapped', 'Aws_key_management_kms_calls', \
                          'Aws_key_management_rotations')";

/// Proves all key files.
pub const VERIFY_ALL: &str = "SET GLOBAL aws_key_management_verify_keys = -1";

/// Wraps all key versions anew.
pub const REWRAP_ALL: &str = "SET GLOBAL aws_key_management_rewrap_key = -1";

/// Sets the master key.
pub fn master_key(name: &str) -> String {
    format!("SET GLOBAL aws_key_management_master_key_id = '{name}'")
}

/// Shows some rows.
pub const SHOW_ROWS: &str = "SELECT * FROM demo.patients LIMIT 3";

/// Counts the rows of a table that have the text.
pub fn intact_rows(table: &str) -> String {
    format!("SELECT COUNT(*) FROM demo.{table} WHERE text = '{TEXT}'")
}
