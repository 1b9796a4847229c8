# For the perl blocks of tests: speaks to the KMS emulator, whose README.md describes the control endpoints.

use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;

# The answer of a control endpoint, decoded. KMS_PORT is set by tests with more than one emulator.
sub kms {
  my ($method, $path, $body) = @_;
  my $port = $ENV{KMS_PORT} || $ENV{KMS_EMULATOR_PORT};
  my $answer = HTTP::Tiny->new(timeout => 30)
    ->request($method, "http://127.0.0.1:$port/_emulator/$path", defined $body ? {content => $body} : {});
  die "$method $path: $answer->{status} $answer->{content}\n" unless $answer->{success};
  return decode_json($answer->{content});
}

1;
