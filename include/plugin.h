/*
  What the plugin uses of the server's interface, for bindgen. Everything comes from the server's own headers; the
  server's macros that declare a system variable are used here to name the structs that they would make, because
  bindgen does not see macros.
*/
#include <mysql/plugin_encryption.h>
/* A macro in MariaDB 10.5, a type since. */
#ifdef MYSQL_THD
#undef MYSQL_THD
typedef void *MYSQL_THD;
#endif
/* UDF_INIT and UDF_ARGS. */
#include <mysql.h>

typedef DECLARE_MYSQL_SYSVAR_BASIC(of_bool, char);
typedef DECLARE_MYSQL_SYSVAR_BASIC(of_string, char *);
typedef DECLARE_MYSQL_SYSVAR_SIMPLE(of_int, int);
typedef DECLARE_MYSQL_SYSVAR_SIMPLE(of_longlong, long long);
typedef DECLARE_MYSQL_SYSVAR_TYPELIB(of_enum, unsigned long);
