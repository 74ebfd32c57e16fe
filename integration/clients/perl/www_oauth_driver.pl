# Drives Perl's WWW::OAuth as its documentation says: it signs the requests that LWP sends.
#
# Argument: see Matrix.pm.

package Client;

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;

use Crypt::OpenSSL::RSA;
use Digest::SHA 'hmac_sha256';
use HTTP::Request;
use LWP::UserAgent;
use MIME::Base64;
use Matrix qw(arguments http_request matrix token_answer);
use URI::Escape 'uri_escape_utf8';
use WWW::OAuth;

# signer implements the methods that the module leaves to its users. According to the documentation
# a Crypt::OpenSSL::RSA object can replace it, but the signature of that lacks the base64.
sub signer {
    my ($args) = @_;
    if ($args->{method} eq 'RSA-SHA1') {
        my $key = Crypt::OpenSSL::RSA->new_private_key($args->{rsa_key});
        $key->use_sha1_hash;
        return sub { encode_base64($key->sign($_[0]), '') };
    }
    if ($args->{method} eq 'HMAC-SHA256') {
        return sub {
            my ($base, @secrets) = @_;
            my $key = join '&', map { uri_escape_utf8($_ // '') } @secrets;
            return encode_base64(hmac_sha256($base, $key), '');
        };
    }
    return;
}

sub new {
    my ($class, $args) = @_;
    my $signer = signer($args);
    my $oauth  = WWW::OAuth->new(
        client_id        => $args->{consumer},
        client_secret    => $args->{consumer_secret},
        signature_method => $args->{method},
        $signer ? (signer => $signer) : (),
    );
    my $ua = LWP::UserAgent->new;
    return bless { endpoints => $args->{endpoints}, oauth => $oauth, ua => $ua }, $class;
}

sub token_request {
    my ($self, $endpoint, %more) = @_;
    my $url     = $self->{endpoints}{$endpoint};
    my $request = HTTP::Request->new(POST => $url, [ 'Content-Length' => 0 ]);
    my $signed  = $self->{oauth}->authenticate($request, \%more);
    my $answer  = token_answer($signed->request_with($self->{ua}));
    $self->with_token(@{$answer}{qw(oauth_token oauth_token_secret)});
    return $answer;
}

sub request_token {
    my ($self, $callback) = @_;
    my $answer = $self->token_request('request_token', oauth_callback => $callback);
    return @{$answer}{qw(oauth_token oauth_callback_confirmed)};
}

sub authorize_url {
    my ($self) = @_;
    return $self->{endpoints}{authorize} . '?oauth_token=' . uri_escape_utf8($self->{oauth}->token);
}

sub access_token {
    my ($self, $verifier) = @_;
    my $answer = $self->token_request('access_token', oauth_verifier => $verifier);
    return @{$answer}{qw(oauth_token oauth_token_secret)};
}

sub with_token {
    my ($self, $key, $secret) = @_;
    $self->{oauth}->token($key)->token_secret($secret);
}

sub send_case {
    my ($self, $r) = @_;
    return $self->{oauth}->authenticate(http_request($r))->request_with($self->{ua});
}

my $args = arguments();
matrix(Client->new($args), $args);
