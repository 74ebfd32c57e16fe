# Shared by the Ruby drivers: the talk with the Go test, and the way through the matrix.
#
# A driver is started with one argument, a JSON object. It writes JSON objects to standard output,
# one on a line: {"ask": WHAT, ...} waits for one line on standard input, the answer, also JSON;
# {"result": ...} is the last.

require 'json'
require 'net/http'
require 'uri'

$stdout.sync = true

def ask(what, values)
  puts JSON.generate({ 'ask' => what }.merge(values))
  JSON.parse($stdin.gets || abort('the test has gone'))
end

# matrix takes the client through the three legs, unless it has a token, and has it send the
# requests.
#
# A client is an object with these methods: request_token(callback) returns a key and the value that
# confirms the callback; authorize_url; access_token(verifier) returns a key and a secret;
# with_token(key, secret); send_case(request) returns a Net::HTTPResponse.
def matrix(client, args)
  result = args.slice('token', 'secret')
  if args['callback'].empty?
    client.with_token(*result.values)
  else
    key, result['confirmed'] = client.request_token(args['callback'])
    answer = ask('authorize', 'request_token' => key, 'url' => client.authorize_url)
    verifier = answer['verifier'] || parameter(URI(answer['redirect']).query, 'oauth_verifier')
    result['token'], result['secret'] = client.access_token(verifier)
  end
  result['sent'] = args['requests'].map do |r|
    response = client.send_case(r)
    { 'name' => r['name'], 'status' => response.code.to_i }
  rescue StandardError => e # the client's own fault: the test says whether it expects one
    { 'name' => r['name'], 'error' => "#{e.class}: #{e.message}" }
  end
  puts JSON.generate('result' => result)
end

# parameter returns the value of a name in a query or a form.
def parameter(query, name)
  URI.decode_www_form(query).to_h[name]
end

# content returns the body of a request without a form.
def content(request)
  request['body_file'].empty? ? request['body'] : File.binread(request['body_file'])
end

# parts returns the parts of a multipart request in Net::HTTP's form.
def parts(request)
  files = request['files'].map do |field, name, type, text|
    [field, text, { filename: name, content_type: type }]
  end
  request['form'] + files
end
