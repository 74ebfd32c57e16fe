# Drives Perl's Net::OAuth::Client, the part of Net::OAuth that sends requests itself, as its
# documentation says.
#
# Argument: see Matrix.pm.

package Client;

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;

use Matrix qw(arguments hash http_request matrix);
use Net::OAuth::Client;

sub new {
    my ($class, $args) = @_;
    my $self = bless { secrets => {} }, $class;
    $self->{client} = Net::OAuth::Client->new(
        $args->{consumer},
        $args->{consumer_secret},
        site              => $args->{root},
        request_token_url => $args->{endpoints}{request_token},
        authorize_url     => $args->{endpoints}{authorize},
        access_token_url  => $args->{endpoints}{access_token},
        # Without a callback it speaks OAuth 1.0, which has no verifier.
        callback          => $args->{callback} eq '' ? undef : $args->{callback},
        debug             => 1, # its errors then show the answer
        session           => sub {
            my ($token, $secret) = @_;
            return @_ > 1 ? $self->{secrets}{$token} = $secret : $self->{secrets}{$token};
        },
    );
    return $self;
}

# request_token does the same as authorize_url, and shows more of the answer. Users may call it
# themselves.
sub request_token {
    my ($self) = @_;
    $self->{request_token} = $self->{client}->get_request_token;
    return @{ $self->{request_token} }{qw(token callback_confirmed)};
}

sub authorize_url {
    my ($self) = @_;
    my $token = $self->{request_token};
    return $self->{client}->authorize_url(map { $_ => $token->{$_} } qw(token token_secret));
}

sub access_token {
    my ($self, $verifier) = @_;
    my $token  = $self->{request_token}{token};
    my $access = $self->{access} = $self->{client}->get_access_token($token, $verifier);
    return ($access->token, $access->token_secret);
}

sub with_token {
    my ($self, $key, $secret) = @_;
    $self->{access} = Net::OAuth::AccessToken->new(
        client       => $self->{client},
        token        => $key,
        token_secret => $secret,
    );
}

sub send_case {
    my ($self, $r) = @_;
    my $request = http_request($r);
    my ($path, %more) = ($request->uri->path_query);
    if ($r->{name} eq 'query') {
        # The module accepts non-ASCII text only as characters, so the query is passed as a hash.
        $path = $request->uri->path;
        $more{extra_params} = hash($r);
    }
    my @rest = ($request->headers, $request->content, %more);
    return $self->{access}->request($r->{method}, $path, @rest);
}

my $args = arguments();
matrix(Client->new($args), $args);
