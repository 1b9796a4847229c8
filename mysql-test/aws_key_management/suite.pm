package My::Suite::AwsKeyManagement;

# Starts a KMS emulator for each worker of mysql-test-run: one process for each group [kms_emulator.N] of the test's
# configuration. It lives as long as the test, over restarts of the servers.

use strict;
use warnings;
use HTTP::Tiny;
use My::File::Path;
use My::SafeProcess;

our @ISA = qw(My::Suite);

return "needs KMS_EMULATOR_PYTHON and KMS_EMULATOR_SCRIPT in the environment (see README.md)"
  unless -x ($ENV{KMS_EMULATOR_PYTHON} || '') and -f ($ENV{KMS_EMULATOR_SCRIPT} || '');
return "needs AWS_KEY_MANAGEMENT_TOOL in the environment (see README.md)"
  unless -x ($ENV{AWS_KEY_MANAGEMENT_TOOL} || '');
return "needs aws_key_management.so in the server's plugin folder" unless $ENV{AWS_KEY_MANAGEMENT_SO};

# Nothing of this machine's AWS settings or proxies may reach the servers or the emulator.
delete @ENV{grep { /^AWS_(?!KEY_MANAGEMENT_(SO|TOOL)$)|_proxy$/i } keys %ENV};

# Each with one master key in us-east-1 behind it.
my @aliases = ('alias/mariadb-test', 'alias/mariadb-other');

sub emulator_start {
  my ($emulator, $test) = @_;
  return if $emulator->{proc};

  my $folder = "$::opt_vardir/" . $emulator->name();
  mkpath($folder);
  mkpath($ENV{HOME});
  my $log = "$::opt_vardir/log/" . $emulator->name() . '.log';
  my $args;
  &::mtr_init_args(\$args);
  &::mtr_add_arg($args, $_)
    for $ENV{KMS_EMULATOR_SCRIPT}, '--die-with-parent', '--port', $emulator->value('port'),
        '--state', "$folder/state.json", map { ('--key', $_) } @aliases;
  $emulator->{proc} = My::SafeProcess->new(
    name   => $emulator->name(),
    path   => $ENV{KMS_EMULATOR_PYTHON},
    args   => \$args,
    output => $log,
    error  => $log,
    append => 1,
    nocore => 1,
  );
  # The hooks WAIT run after all servers were started, and a server may need its keys before that.
  for (1 .. 600) {
    return if answers($emulator);
    &::mtr_milli_sleep(50);
  }
  &::mtr_error($emulator->name() . " does not answer; see $log");
}

# Every test begins with new servers: without key files, without faults, with all master keys enabled.
sub start_test {
  my ($self, $test) = @_;
  for my $server (&::mysqlds()) {
    my $order = $server->value('datadir') . '/mtr/force_restart';
    open(my $file, '>', $order) or &::mtr_error("cannot write $order: $!");
  }
  return $self->SUPER::start_test($test);
}

sub answers {
  my ($emulator) = @_;
  my $url = 'http://127.0.0.1:' . $emulator->value('port') . '/_emulator/keys';
  return HTTP::Tiny->new(timeout => 10)->get($url)->{success};
}

sub servers {
  # Below 300, the place of the servers, so that the emulator is there before them.
  return (qr/^kms_emulator\./ => {SORT => 200, START => \&emulator_start});
}

# A result that is another one in some version has include/server_version.inc in its test, and a file for that version:
# r/NAME,mariadb_11_8.rdiff. Those of MariaDB 10.11 are the results themselves.
sub skip_combinations {
  my %since = (mariadb_10_5 => 0, mariadb_10_11 => 100600, mariadb_11_8 => 110000);
  my ($version) = grep { $::mysql_version_id >= $since{$_} } sort { $since{$b} <=> $since{$a} } keys %since;
  return ('include/server_version.combinations' => [grep { $_ ne $version } keys %since]);
}

sub is_default { 0 }

bless {};
