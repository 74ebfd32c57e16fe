# Drives the Ruby library oauth as its README says.
#
# Argument: see matrix.rb.

require 'oauth'
require 'oauth/signature/plaintext'
require 'oauth/signature/rsa/sha1'
require_relative 'matrix'

# A Client is a consumer of the library, and the token that it has got.
class Client
  SCHEMES = { 'header' => :header, 'query' => :query_string, 'body' => :body }.freeze

  def initialize(args)
    # The library takes the private key for the secret.
    secret = args['rsa_key'].empty? ? args['consumer_secret'] : args['rsa_key']
    @consumer = OAuth::Consumer.new(
      args['consumer'], secret,
      site: args['root'].chomp('/'), scheme: SCHEMES.fetch(args['placement']), signature_method: args['method'],
      request_token_url: args['endpoints']['request_token'], authorize_url: args['endpoints']['authorize'],
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
    url = request['url']
    case request['kind']
    when 'query' then @access_token.get(url)
    when 'form' then @access_token.post(url, request['form'].to_h)
    when 'multipart' then send_multipart(request)
    else @access_token.post(url, content(request), 'Content-Type' => request['content_type'])
    end
  end

  # send_multipart leaves the body to Net::HTTP, as the library makes none of this kind, and signs that request.
  def send_multipart(request)
    uri = URI(request['url'])
    post = Net::HTTP::Post.new(uri.request_uri)
    post.set_form(parts(request), 'multipart/form-data')
    Net::HTTP.start(uri.host, uri.port) do |http|
      post.oauth!(http, @consumer, @access_token, @consumer.options)
      http.request(post)
    end
  end
end

args = JSON.parse(ARGV.fetch(0))
matrix(Client.new(args), args)
