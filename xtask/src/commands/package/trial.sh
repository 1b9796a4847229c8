# Installs, upgrades, removes and purges the .deb, with a server at work; then the .rpm, without one. Run in a root folder that is thrown away (root.sh), as
# root: the folder $1 has a.deb, b.deb of a higher version, and both as .rpm; $2 is the endpoint of a KMS, $3 a master key there. Each
# line that begins with "ok" is a thing that was checked.
set -eu
deb=$1/a.deb next=$1/b.deb rpm=$1/a.rpm next_rpm=$1/b.rpm endpoint=$2 master_key=$3
name=mariadb-plugin-aws-key-management
plugin=/usr/lib/mysql/plugin/aws_key_management.so
option_file=/etc/mysql/mariadb.conf.d/60-aws-key-management.cnf
data=/var/lib/mysql
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

ok() { echo "ok $*"; }
fail() {
    echo "FAILED: $*"
    tail -n 20 /tmp/error.log 2>&1 || true
    exit 1
}
sql() { mariadb --batch --skip-column-names --execute "$1"; }

server=
start_server() {
    # As the unit does: by the user mysql, with all option files of Debian.
    : > /tmp/error.log
    chown mysql /tmp/error.log
    setpriv --reuid mysql --regid mysql --init-groups mariadbd --skip-networking > /tmp/error.log 2>&1 &
    server=$!
    for _ in $(seq 300); do
        sql 'SELECT 1' > /dev/null 2>&1 && return 0
        kill -0 "$server" 2> /dev/null || { server=; return 1; }
        sleep 0.1
    done
    fail "the server does not get ready"
}
stop_server() {
    kill "$server"
    wait "$server" || fail "the server ended with $?"
    server=
}
# An empty datadir, in the place of what is there.
install_db() {
    rm -rf $data
    install -d -o mysql -g mysql $data
    mariadb-install-db --user=mysql --skip-test-db > /tmp/install-db.log 2>&1 || fail "mariadb-install-db: $(cat /tmp/install-db.log)"
}
put_back() {
    dpkg --install "$next" > /tmp/dpkg.log 2>&1 || fail "dpkg --install: $(cat /tmp/dpkg.log)"
    cp "$1" $option_file
}
# The sums of all key files and the manifest; the manifest changes when the server makes a key, and at no other time here.
key_files() { (cd $data && sha256sum aws-kms-key.*); }
is_loaded() { [ "$(sql "SELECT COUNT(*) FROM information_schema.PLUGINS WHERE PLUGIN_NAME='aws_key_management' AND PLUGIN_STATUS='ACTIVE'")" = 1 ]; }
# What a package wants of the services of this system is written down, and not done.
asked_of_services() { cat /tmp/services 2> /dev/null || true; }

# --- A Debian with a server, as it is, and no plugin.
rm -rf /run/mysqld "$plugin" "${plugin%.so}.sql"
install -d -o mysql -g mysql /run/mysqld
rm -f /etc/mysql/mariadb.conf.d/60-aws-key-management.cnf
install_db
cat > /usr/sbin/policy-rc.d <<'POLICY'
#!/bin/sh
echo "$*" >> /tmp/services
exit 101
POLICY
chmod 755 /usr/sbin/policy-rc.d
# A system that runs systemd, as far as packages can tell.
mkdir -p /run/systemd/system
rm -f /usr/bin/systemctl /bin/systemctl
printf '#!/bin/sh\necho "systemctl $*" >> /tmp/services\n' > /usr/bin/systemctl
chmod 755 /usr/bin/systemctl

# --- Installation.
start_server || fail "the server does not start without the plugin"
before=$server
dpkg --install "$deb" > /tmp/dpkg.log 2>&1 || fail "dpkg --install: $(cat /tmp/dpkg.log)"
[ -z "$(dpkg --audit)" ] || fail "dpkg --audit: $(dpkg --audit)"
[ -z "$(dpkg --verify $name)" ] || fail "dpkg --verify: $(dpkg --verify $name)"
ok "installed, with nothing missing that it needs: $(dpkg-query --show --showformat='${Version}' $name)"
[ "$(stat -c '%a %U %G' $plugin)" = '644 root root' ] || fail "the plugin's rights: $(stat -c '%a %U %G' $plugin)"
kill -0 "$before" || fail "the server has ended"
asked_of_services | grep -v 'daemon-reload' && fail "more was asked of services than to read their units again"
ok "the server that runs was left alone: systemd was only told to read its units again"
stop_server
start_server || fail "the server does not start with the option file as it is installed"
is_loaded && fail "the plugin is loaded, before anybody has filled in its option file"
grep -q aws_key_management /tmp/error.log && fail "the log speaks of the plugin"
ok "as it is installed, the option file loads nothing"
stop_server
man --where aws-key-management-verify > /dev/null || fail "no manual page of the tool"
man --where aws_key_management > /dev/null || fail "no manual page of the plugin"

# --- The option file, filled in as it says: the # before settings taken away, the master key and the region named.
sed -i -e 's/^#\([a-z_]* =\)/\1/' \
    -e "s|^\(aws_key_management_master_key_id =\)|\1 $master_key|" \
    -e 's|^\(aws_key_management_region =\)|\1 us-east-1|' $option_file
printf 'aws_key_management_endpoint_url = %s\n' "$endpoint" >> $option_file
start_server || fail "the server does not start with the option file filled in"
is_loaded || fail "the plugin is not loaded"
sql "CREATE DATABASE shop; USE shop; CREATE TABLE shop.one (id INT PRIMARY KEY, text VARCHAR(50)) ENCRYPTED=YES;
     INSERT INTO shop.one SELECT seq, CONCAT('row ', seq) FROM seq_1_to_1000"
mariadb < ${plugin%.so}.sql
[ "$(sql 'SELECT COUNT(*) >= 1 FROM sys.aws_key_management_key_versions')" = 1 ] || fail "the view shows no key"
ok "with the option file filled in, the server encrypts; the statements beside the plugin make its views"
/usr/bin/aws-key-management list $data > /tmp/list || fail "aws-key-management list: $(cat /tmp/list)"
ok "the tool lists the keys"

# --- Upgrade, while the server runs.
keys=$(key_files)
: > /tmp/services
before=$server
dpkg --install "$next" > /tmp/dpkg.log 2>&1 || fail "dpkg --install: $(cat /tmp/dpkg.log)"
[ "$server" = "$before" ] && kill -0 "$server" || fail "the server has ended"
asked_of_services | grep -v 'daemon-reload' && fail "more was asked of services than to read their units again"
grep -q "aws_key_management.so (deleted)" "/proc/$server/maps" || fail "the server does not have the old plugin mapped any more"
grep -q '^aws_key_management_region = us-east-1' $option_file || fail "the operator's option file was replaced"
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
sql "CREATE TABLE shop.seven (id INT) ENCRYPTED=YES ENCRYPTION_KEY_ID=7; INSERT INTO shop.seven VALUES (7);
     SET GLOBAL aws_key_management_rotate_key = 1"
[ "$(sql 'SELECT COUNT(*) FROM shop.one')" = 1000 ] || fail "rows"
ok "an upgrade leaves the option file, the keys and the server alone; that goes on with the plugin it has, and makes keys"
stop_server
start_server || fail "the server does not start with the new plugin"
grep -q "aws_key_management.so$" "/proc/$server/maps" || fail "the server has no plugin mapped"
[ "$(sql 'SELECT COUNT(*) FROM shop.one JOIN shop.seven')" = 1000 ] || fail "rows"
ok "a restart loads the new one, and all rows are there"

# --- Without systemd, Debian's mariadb-server answers any package with an option file by a restart: docs/install.md.
rm -r /run/systemd
: > /tmp/services
dpkg --install "$next" > /tmp/dpkg.log 2>&1 || fail "dpkg --install: $(cat /tmp/dpkg.log)"
kill -0 "$server" || fail "the server has ended"
grep -q "mariadb (*restart" /tmp/services || fail "Debian asks for no restart, but: $(asked_of_services)"
ok "without systemd, Debian asks for a restart of the server, and policy-rc.d can refuse it"
mkdir -p /run/systemd/system

# --- Removal, while the server runs.
keys=$(key_files)
dpkg --remove $name > /tmp/dpkg.log 2>&1 || fail "dpkg --remove: $(cat /tmp/dpkg.log)"
grep -q "key files in the datadir stay .* as long as $option_file asks for the plugin" /tmp/dpkg.log ||
    fail "it was not said what a removal means: $(cat /tmp/dpkg.log)"
grep -q 'is deleted' /tmp/dpkg.log && fail "a removal says what a purge does"
kill -0 "$server" || fail "the server has ended"
[ ! -e $plugin ] && [ ! -e /usr/bin/aws-key-management ] || fail "files are left"
[ -e $option_file ] || fail "the operator's option file is gone"
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
[ "$(sql 'SELECT COUNT(*) FROM shop.one')" = 1000 ] || fail "rows"
ok "a removal leaves keys, option file and the server that runs, and says what comes next"
stop_server
if start_server; then fail "the server starts without the plugin"; fi
grep -q 'aws_key_management' /tmp/error.log || fail "the log does not name what is missing"
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
ok "without the plugin, the server does not start, and names it"
dpkg --install "$next" > /tmp/dpkg.log 2>&1 || fail "dpkg --install: $(cat /tmp/dpkg.log)"
start_server || fail "the server does not start after the package is back"
[ "$(sql 'SELECT COUNT(*) FROM shop.one JOIN shop.seven')" = 1000 ] || fail "rows"
ok "with the package back, all rows are there"
stop_server

# --- Purge.
keys=$(key_files)
cp $option_file /tmp/settings
files=$(dpkg --listfiles $name)
dpkg --purge $name > /tmp/dpkg.log 2>&1 || fail "dpkg --purge: $(cat /tmp/dpkg.log)"
for file in $files; do
    [ -d "$file" ] || [ ! -e "$file" ] || fail "$file is left"
done
[ ! -e /usr/share/doc/$name ] || fail "the folder of documents is left"
dpkg-query --show $name > /dev/null 2>&1 && fail "dpkg still knows the package"
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
[ ! -e $option_file ] || fail "$option_file is left"
grep -q "$option_file is deleted; the key files in the datadir are not" /tmp/dpkg.log ||
    fail "it was not said what a purge means: $(cat /tmp/dpkg.log)"
ok "a purge takes all files of the package, its option file too, and no key, and says what comes next"
if start_server; then fail "with an encrypted redo log, the server starts without the plugin and its settings"; fi
grep -q 'InnoDB.*redo log encryption key' /tmp/error.log || fail "it is not the redo log that keeps the server from starting"
put_back /tmp/settings
start_server || fail "the server does not start after package and settings are back"
[ "$(sql 'SELECT COUNT(*) FROM shop.one JOIN shop.seven')" = 1000 ] || fail "rows"
stop_server
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
ok "after a purge, a server whose redo log is encrypted does not start; with package and settings back, all rows are there"

# --- The same, where redo log and system tablespace are not encrypted.
dpkg --purge $name > /tmp/dpkg.log 2>&1 || fail "dpkg --purge: $(cat /tmp/dpkg.log)"
install_db
sed -e '/^innodb_encrypt_log/d' -e '/^innodb_encryption_threads/d' /tmp/settings > /tmp/only-tables
put_back /tmp/only-tables
fill="SELECT seq, CONCAT('row ', seq, ' in the clear') FROM seq_1_to_1000"
start_server || fail "the server does not start in a new datadir"
sql "CREATE DATABASE shop; USE shop; CREATE TABLE shop.before (id INT PRIMARY KEY, text VARCHAR(50)); INSERT INTO shop.before $fill"
stop_server
grep -q 'row 999 in the clear' $data/shop/before.ibd && fail "the table is not encrypted"
keys=$(key_files)
dpkg --purge $name > /tmp/dpkg.log 2>&1 || fail "dpkg --purge: $(cat /tmp/dpkg.log)"
start_server || fail "nothing but a table is encrypted, and the server does not start"
if sql 'SELECT COUNT(*) FROM shop.before' > /tmp/select.log 2>&1; then fail "the table can be read: $(cat /tmp/select.log)"; fi
grep -q -i 'corrupt' /tmp/select.log || fail "the table is not called corrupted: $(cat /tmp/select.log)"
sql "USE shop; CREATE TABLE shop.after (id INT PRIMARY KEY, text VARCHAR(50)); INSERT INTO shop.after $fill"
stop_server
grep -q 'row 999 in the clear' $data/shop/after.ibd || fail "the new table is encrypted"
put_back /tmp/only-tables
start_server || fail "the server does not start after package and settings are back"
[ "$(sql 'SELECT COUNT(*) FROM shop.before JOIN shop.after USING (id)')" = 1000 ] || fail "rows"
stop_server
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
ok "another one starts, calls its table corrupted, and writes a new one in the clear; with both back, all rows are there"
dpkg --purge $name > /tmp/dpkg.log 2>&1 || fail "dpkg --purge: $(cat /tmp/dpkg.log)"

# --- The .rpm, by Debian's rpm, whose database knows nothing of what it needs.
rpm_file=/etc/my.cnf.d/aws-key-management.cnf
rpm_() { rpm --force-debian --nodeps "$@" > /tmp/rpm.log 2>&1 || fail "rpm $*: $(cat /tmp/rpm.log)"; }
rpm_ --install "$rpm"
rpm --verify --nodeps $name > /tmp/rpm.log || fail "rpm --verify: $(cat /tmp/rpm.log)"
rpm_plugin=$(rpm --query --list $name | grep 'aws_key_management\.so$')
exec 3< "$rpm_plugin"
echo '# mine' >> $rpm_file
rpm_ --upgrade "$next_rpm"
grep -q '^# mine' $rpm_file || fail "the operator's option file was replaced"
[ "$(stat -L -c %i /proc/self/fd/3)" != "$(stat -c %i "$rpm_plugin")" ] || fail "the plugin was overwritten, and not replaced"
grep -q 'key files in the datadir\|rpmsave' /tmp/rpm.log && fail "an upgrade says what a removal does"
rpm_ --erase $name
grep -q 'key files in the datadir stay' /tmp/rpm.log || fail "it was not said what a removal means: $(cat /tmp/rpm.log)"
grep -q "its settings are now in $rpm_file.rpmsave" /tmp/rpm.log || fail "it was not said where the settings are: $(cat /tmp/rpm.log)"
[ ! -e "$rpm_plugin" ] && [ -e $rpm_file.rpmsave ] || fail "after the removal: $(ls "$rpm_plugin" $rpm_file*)"
[ "$(key_files)" = "$keys" ] || fail "key files have changed"
ok "the .rpm: an upgrade replaces the plugin by a rename and leaves the option file; a removal saves that and says where, and touches no key"
