package Matrix;

# What the Perl drivers share: how they talk with the Go test that runs them, and their way through
# the matrix.
#
# A driver is started with one argument, a JSON object. It writes JSON objects to standard output, a
# line each: {"ask": WHAT, ...} waits for one line on standard input, the answer, also JSON;
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
# A client is an object with the methods request_token(callback), which returns a key and what
# confirms the callback; authorize_url; access_token(verifier), which returns a key and a secret;
# with_token(key, secret); and send_case(request), which returns an HTTP::Response and, where the
# client chose the address, its path.
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

# token_answer reads what a token endpoint answers.
sub token_answer {
    my ($response) = @_;
    die $response->code . ' ' . $response->content unless $response->is_success;
    return { URI->new('?' . $response->content)->query_form };
}

# content is the body of a request that is no form.
sub content {
    my ($r) = @_;
    return bytes($r->{body}) if $r->{body_file} eq '';
    open my $file, '<:raw', $r->{body_file} or die "$r->{body_file}: $!";
    local $/;
    return <$file>;
}

# bytes encodes what the JSON decoder has decoded, for those who encode nothing themselves.
sub bytes {
    my ($text) = @_;
    utf8::encode($text);
    return $text;
}

# hash is the query or the form as a hash, for those who take no more.
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

# http_request is the request as a user of LWP makes it, to be signed.
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
