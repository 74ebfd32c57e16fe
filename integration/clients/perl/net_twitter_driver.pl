# Drives Perl's Net::Twitter as its documentation says, with the addresses of another service in its
# options.
#
# It knows only Twitter's methods. Each kind of request is one of the methods that send such a
# request.
#
# Argument: see Matrix.pm.

package Client;

use strict;
use warnings;
use FindBin;
use lib $FindBin::Bin;

use Matrix qw(arguments hash matrix token_answer unable);
use Net::Twitter;

sub new {
    my ($class, $args) = @_;
    (my $root = $args->{root}) =~ s,/$,,;
    my $nt = Net::Twitter->new(
        traits          => [ 'API::RESTv1_1', 'OAuth' ],
        consumer_key    => $args->{consumer},
        consumer_secret => $args->{consumer_secret},
        ssl             => 0,
        apiurl          => $root,
        oauth_urls      => {
            request_token_url  => $args->{endpoints}{request_token},
            authorization_url  => $args->{endpoints}{authorize},
            authentication_url => $args->{endpoints}{authorize},
            access_token_url   => $args->{endpoints}{access_token},
            xauth_url          => $args->{endpoints}{access_token},
        },
    );
    my $self = bless { nt => $nt }, $class;
    # The module returns only the content of an answer. This handler keeps the rest.
    $nt->ua->add_handler(response_done => sub { $self->{response} = $_[0]; return });
    return $self;
}

# request_token is a part of get_authorization_url.
sub request_token {
    my ($self, $callback) = @_;
    my @callback = $callback eq 'oob' ? () : (callback => $callback);
    $self->{url} = $self->{nt}->get_authorization_url(@callback);
    my $answer = token_answer($self->{response});
    return ($self->{nt}->request_token, $answer->{oauth_callback_confirmed});
}

sub authorize_url { return $_[0]{url} }

sub access_token {
    my ($self, $verifier) = @_;
    my ($key, $secret) = $self->{nt}->request_access_token(verifier => $verifier);
    return ($key, $secret);
}

sub with_token {
    my ($self, $key, $secret) = @_;
    $self->{nt}->access_token($key);
    $self->{nt}->access_token_secret($secret);
}

# The methods send any parameters that they are given. They stand here by the kind of request, or by
# its name.
my %methods = (
    brackets => sub { $_[0]->update_profile(hash($_[1])) },
    query => sub { $_[0]->search(hash($_[1])) },
    form  => sub { $_[0]->update(hash($_[1])) },
    json  => sub {
        $_[0]->create_media_metadata({ media_id => '1', alt_text => { text => "b&c=d \x{fc}" } });
    },
    multipart => sub {
        my ($nt, $r) = @_;
        my ($field, $name, $type, $text) = @{ $r->{files}[0] };
        utf8::encode($text);
        my @file = (undef, $name, 'Content-Type' => $type, Content => $text);
        $nt->update_with_media({ %{ hash($r) }, $field => \@file });
    },
);

sub send_case {
    my ($self, $r) = @_;
    my $method = $methods{ $r->{name} } // $methods{ $r->{kind} };
    unable('X takes a photo as multipart only') unless $method;
    delete $self->{response};
    eval { $method->($self->{nt}, $r); 1 } or $self->{response} or die $@;
    return ($self->{response}, $self->{response}->request->uri->path);
}

my $args = arguments();
matrix(Client->new($args), $args);
