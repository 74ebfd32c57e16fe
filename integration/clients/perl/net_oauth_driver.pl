# Drives Perl's Net::OAuth as its documentation says: it signs the requests that LWP sends.
#
# Argument: see Matrix.pm.

package Client;

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;

use Crypt::OpenSSL::RSA;
use HTTP::Request;
use LWP::UserAgent;
use Matrix qw(arguments hash http_request matrix token_answer unable);
use Net::OAuth;
use URI;

$Net::OAuth::PROTOCOL_VERSION = Net::OAuth::PROTOCOL_VERSION_1_0A;

sub new {
    my ($class, $args) = @_;
    my $self = bless { args => $args, ua => LWP::UserAgent->new }, $class;
    if ($args->{rsa_key} ne '') {
        $self->{key} = Crypt::OpenSSL::RSA->new_private_key($args->{rsa_key});
        $self->{key}->use_sha1_hash;
    }
    return $self;
}

# message makes a signed message of a type.
sub message {
    my ($self, $type, $method, $url, %more) = @_;
    my $message = Net::OAuth->request($type)->new(
        consumer_key     => $self->{args}{consumer},
        consumer_secret  => $self->{args}{consumer_secret},
        signature_method => $self->{args}{method},
        request_method   => $method,
        request_url      => $url,
        timestamp        => time,
        nonce            => int(rand(2**32)),
        %more,
    );
    $message->sign($self->{key} // ());
    return $message;
}

# carry puts the message where it belongs: into the header, the URL or the form.
sub carry {
    my ($self, $message, $request) = @_;
    my $placement = $self->{args}{placement};
    if ($placement eq 'header') {
        $request->header(Authorization => $message->to_authorization_header);
    }
    elsif ($placement eq 'query') {
        $request->uri($message->to_url);
    }
    else {
        $request->header('Content-Type' => 'application/x-www-form-urlencoded');
        $request->content($message->to_post_body);
    }
    $request->content_length(length $request->content) if $request->method eq 'POST';
    return $self->{ua}->request($request);
}

sub token_request {
    my ($self, $type, $endpoint, %more) = @_;
    my $url     = $self->{args}{endpoints}{$endpoint};
    my $message = $self->message($type, 'POST', $url, %more);
    my $answer  = token_answer($self->carry($message, HTTP::Request->new(POST => $url)));
    $self->with_token(@{$answer}{qw(oauth_token oauth_token_secret)});
    return $answer;
}

sub request_token {
    my ($self, $callback) = @_;
    my $answer = $self->token_request('request token', 'request_token', callback => $callback);
    return @{$answer}{qw(oauth_token oauth_callback_confirmed)};
}

sub authorize_url {
    my ($self) = @_;
    my $message = Net::OAuth->request('user auth')->new(token => $self->{token}{token});
    return $message->to_url($self->{args}{endpoints}{authorize});
}

sub access_token {
    my ($self, $verifier) = @_;
    my %more   = (%{ $self->{token} }, verifier => $verifier);
    my $answer = $self->token_request('access token', 'access_token', %more);
    return @{$answer}{qw(oauth_token oauth_token_secret)};
}

sub with_token {
    my ($self, $key, $secret) = @_;
    $self->{token} = { token => $key, token_secret => $secret };
}

sub send_case {
    my ($self, $r) = @_;
    if ($self->{args}{placement} eq 'query' && $r->{kind} eq 'form') {
        unable('to_url puts the form into the query');
    }

    my $request = http_request($r);
    my $url     = URI->new($r->{url});
    my $extra   = {};
    if ($r->{name} eq 'query') {
        # The module accepts non-ASCII text only as characters, so the query is passed as a hash.
        $extra = hash($r);
        $url->query(undef);
    }
    elsif ($r->{kind} eq 'form') {
        $extra = hash($r);
    }
    my %more    = (%{ $self->{token} }, extra_params => $extra);
    my $message = $self->message('protected resource', $r->{method}, $url, %more);
    return $self->carry($message, $request);
}

my $args = arguments();
matrix(Client->new($args), $args);
