# The keys in SQL: a function of the plugin's library, and two views over it. To be run once by an administrator, with the
# plugin loaded:
#
#     mariadb < aws_key_management.sql
#
# Running it again is how to upgrade: nothing is lost. docs/operation.md, "The keys in SQL", says what the columns mean and
# how to remove them.
#
# Whoever reads the views needs the PROCESS privilege, and SELECT on the views.

# Each server has its own function, as it has its own plugin: nothing of this is replicated.
SET SESSION sql_log_bin = 0;

# The keys as JSON, in every version of the server.
CREATE FUNCTION IF NOT EXISTS aws_key_management_keys RETURNS STRING SONAME 'aws_key_management.so';

# The views need JSON_TABLE, so MariaDB 10.6: what stands in these comments, earlier versions leave out. They are in the
# schema that holds the server's views for administrators, which mariadb-dump leaves alone.

/*M!100600 CREATE DATABASE IF NOT EXISTS sys */;

# One row for each key version that there is or was.
/*M!100600 CREATE OR REPLACE SQL SECURITY INVOKER VIEW sys.aws_key_management_key_versions AS
SELECT k.*
FROM JSON_TABLE(aws_key_management_keys(), '$[*]' COLUMNS (
  KEY_ID INT UNSIGNED PATH '$.KEY_ID',
  KEY_VERSION INT UNSIGNED PATH '$.KEY_VERSION',
  IS_LATEST BOOLEAN PATH '$.IS_LATEST',
  STATE VARCHAR(20) PATH '$.STATE',
  ALGORITHM VARCHAR(20) PATH '$.ALGORITHM',
  KEY_BITS INT UNSIGNED PATH '$.KEY_BITS',
  CREATED DATETIME PATH '$.CREATED',
  CREATED_BY VARCHAR(400) PATH '$.CREATED_BY',
  MASTER_KEY VARCHAR(2048) PATH '$.MASTER_KEY',
  WRAPS INT UNSIGNED PATH '$.WRAPS',
  CONTEXT TEXT PATH '$.CONTEXT',
  LAST_VERIFIED DATETIME PATH '$.LAST_VERIFIED',
  ERROR TEXT PATH '$.ERROR'
)) AS k */;

# The same versions, with the number of InnoDB tablespaces that may hold pages of each. A tablespace tells the lowest version
# of its pages, and all from there on count; if some of its pages are not encrypted yet, the lowest is 0, and all versions
# count; they do too while its pages are being encrypted anew or written to the disk. It rather counts one too many than too few.
#
# It counts what the server has opened. All tablespaces are, if the plugin was there when the server started; one that was
# installed later, or a file that cannot be opened, leaves some out.
#
# NOT COUNTED: the redo log, which from MariaDB 10.8 on keeps the version that it was made with, and which SQL does not tell;
# binary logs; Aria tables; temporary files; backups. A version with 0 tablespaces may still be needed by one of these.
/*M!100600 CREATE OR REPLACE SQL SECURITY INVOKER VIEW sys.aws_key_management_key_usage AS
SELECT v.KEY_ID, v.KEY_VERSION, v.IS_LATEST, v.STATE, v.CREATED, v.MASTER_KEY, COUNT(t.SPACE) AS TABLESPACES
FROM sys.aws_key_management_key_versions AS v
LEFT JOIN information_schema.INNODB_TABLESPACES_ENCRYPTION AS t
  ON t.CURRENT_KEY_ID = v.KEY_ID
  AND (t.ROTATING_OR_FLUSHING OR v.KEY_VERSION >= t.MIN_KEY_VERSION)
  AND NOT (t.ENCRYPTION_SCHEME = 0 AND t.MIN_KEY_VERSION = 0)
GROUP BY v.KEY_ID, v.KEY_VERSION, v.IS_LATEST, v.STATE, v.CREATED, v.MASTER_KEY */;
