# Drives Perl's LWP::Authen::OAuth as its documentation says: it is an LWP::UserAgent that signs.
#
# Argument: see Matrix.pm.

package Client;

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;

use LWP::Authen::OAuth;
use Matrix qw(arguments http_request matrix token_answer);

sub new {
    my ($class, $args) = @_;
    my $ua = LWP::Authen::OAuth->new(
        oauth_consumer_key    => $args->{consumer},
        oauth_consumer_secret => $args->{consumer_secret},
    );
    return bless { endpoints => $args->{endpoints}, ua => $ua }, $class;
}

# token_request requests a token. Parameters that the documentation has its users add go into the
# form, all others into the header.
sub token_request {
    my ($self, $endpoint, %more) = @_;
    my $response = $self->{ua}->post($self->{endpoints}{$endpoint}, \%more);
    my $answer   = token_answer($response);
    $self->{ua}->oauth_update_from_response($response);
    return $answer;
}

sub request_token {
    my ($self, $callback) = @_;
    my $answer = $self->token_request('request_token', oauth_callback => $callback);
    return @{$answer}{qw(oauth_token oauth_callback_confirmed)};
}

sub authorize_url {
    my ($self) = @_;
    return $self->{endpoints}{authorize} . '?oauth_token=' . $self->{ua}->oauth_token;
}

sub access_token {
    my ($self, $verifier) = @_;
    $self->token_request('access_token', oauth_verifier => $verifier);
    return ($self->{ua}->oauth_token, $self->{ua}->oauth_token_secret);
}

sub with_token {
    my ($self, $key, $secret) = @_;
    $self->{ua}->oauth_token($key);
    $self->{ua}->oauth_token_secret($secret);
}

sub send_case {
    my ($self, $r) = @_;
    return $self->{ua}->request(http_request($r));
}

my $args = arguments();
matrix(Client->new($args), $args);
