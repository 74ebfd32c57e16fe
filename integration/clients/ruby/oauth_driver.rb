# Drives the Ruby library oauth as its README says.
#
# Argument: see matrix.rb.

require_relative 'matrix'
require_relative 'oauth_requests'

# A Client is a consumer of the library, and its token.
class Client
  SCHEMES = { 'header' => :header, 'query' => :query_string, 'body' => :body }.freeze

  def initialize(args)
    # The library expects the private key as the secret.
    secret = args['rsa_key'].empty? ? args['consumer_secret'] : args['rsa_key']
    @consumer = OAuth::Consumer.new(
      args['consumer'], secret,
      site: args['root'].chomp('/'),
      scheme: SCHEMES.fetch(args['placement']), signature_method: args['method'],
      request_token_url: args['endpoints']['request_token'],
      authorize_url: args['endpoints']['authorize'],
      access_token_url: args['endpoints']['access_token']
    )
  end

  def request_token(callback)
    @request_token = @consumer.get_request_token(oauth_callback: callback)
    [@request_token.token, @request_token.callback_confirmed?.to_s]
  end

  def authorize_url
    @request_token.authorize_url
  end

  def access_token(verifier)
    @access_token = @request_token.get_access_token(oauth_verifier: verifier)
    [@access_token.token, @access_token.secret]
  end

  def with_token(key, secret)
    @access_token = OAuth::AccessToken.new(@consumer, key, secret)
  end

  def send_case(request)
    send_by(@consumer, @access_token, request)
  end
end

args = JSON.parse(ARGV.fetch(0))
matrix(Client.new(args), args)
