package Matrix;

# Shared by the Perl drivers: the talk with the Go test, and the way through the matrix.
#
# A driver is started with one argument, a JSON object. It writes JSON objects to standard output,
# one on a line: {"ask": WHAT, ...} waits for one line on standard input, the answer, also JSON;
# {"result": ...} is the last.

use strict;
use warnings;
use Exporter 'import';
use HTTP::Request;
use HTTP::Request::Common ();
use JSON::PP;
use URI;

our @EXPORT_OK = qw(arguments hash http_request matrix token_answer unable);

my $json = JSON::PP->new->utf8->canonical;
$| = 1;

sub arguments { return $json->decode($ARGV[0]) }

sub ask {
    my ($what, %values) = @_;
    print $json->encode({ ask => $what, %values }), "\n";
    my $line = <STDIN> // die "the test has gone\n";
    return $json->decode($line);
}

# unable says that the client has no way to do something.
sub unable { die "unable: $_[0]\n" }

# matrix takes the client through the three legs, unless it has a token, and has it send the
# requests.
#
# A client is an object with these methods: request_token(callback) returns a key and the value that
# confirms the callback; authorize_url; access_token(verifier) returns a key and a secret;
# with_token(key, secret); send_case(request) returns an HTTP::Response and, if the client chose the
# address, its path.
sub matrix {
    my ($client, $args) = @_;
    my %result = (token => $args->{token}, secret => $args->{secret});
    if ($args->{legs} eq '') {
        $client->with_token($args->{token}, $args->{secret});
    }
    else {
        (my $key, $result{confirmed}) = $client->request_token($args->{callback});
        my $answer = ask('authorize', request_token => $key, url => '' . $client->authorize_url);
        my $verifier = $answer->{verifier};
        $verifier //= { URI->new($answer->{redirect})->query_form }->{oauth_verifier};
        @result{qw(token secret)} = $client->access_token($verifier);
    }
    $result{sent} = [];
    for my $r (@{ $args->{requests} }) {
        my %sent = (name => $r->{name});
        my ($response, $path) = eval { $client->send_case($r) };
        if ($response) {
            $sent{status} = $response->code + 0;
            $sent{path} = $path if defined $path;
        }
        else {
            # The client's own fault: the test says whether it expects one.
            chomp($sent{error} = "$@");
        }
        push @{ $result{sent} }, \%sent;
    }
    print $json->encode({ result => \%result }), "\n";
}

# token_answer reads the answer of a token endpoint.
sub token_answer {
    my ($response) = @_;
    die $response->code . ' ' . $response->content unless $response->is_success;
    return { URI->new('?' . $response->content)->query_form };
}

# content returns the body of a request without a form.
sub content {
    my ($r) = @_;
    return bytes($r->{body}) if $r->{body_file} eq '';
    open my $file, '<:raw', $r->{body_file} or die "$r->{body_file}: $!";
    local $/;
    return <$file>;
}

# bytes encodes text that the JSON decoder has decoded, for clients that do not encode it.
sub bytes {
    my ($text) = @_;
    utf8::encode($text);
    return $text;
}

# hash returns the query or the form as a hash, for clients that take nothing else.
sub hash {
    my ($r) = @_;
    my %hash;
    for my $pair (@{ $r->{query} || $r->{form} || [] }) {
        my ($name, $value) = @$pair;
        unable('a hash holds a name once') if exists $hash{$name};
        $hash{$name} = $value;
    }
    return \%hash;
}

# http_request returns the unsigned request, as a user of LWP makes it.
sub http_request {
    my ($r) = @_;
    my @form = map { bytes($_) } map { @$_ } @{ $r->{form} || [] };
    if ($r->{kind} eq 'query') {
        return HTTP::Request->new($r->{method}, $r->{url});
    }
    if ($r->{kind} eq 'form') {
        return HTTP::Request::Common::POST($r->{url}, Content => \@form);
    }
    if ($r->{kind} eq 'multipart') {
        for my $file (@{ $r->{files} }) {
            my ($field, $name, $type, $text) = map { bytes($_) } @$file;
            push @form, $field => [ undef, $name, 'Content-Type' => $type, Content => $text ];
        }
        my @content = (Content_Type => 'form-data', Content => \@form);
        return HTTP::Request::Common::POST($r->{url}, @content);
    }
    my @header = ('Content-Type' => $r->{content_type});
    return HTTP::Request->new($r->{method}, $r->{url}, \@header, content($r));
}

1;
