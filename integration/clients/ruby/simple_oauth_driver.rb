# Drives the Ruby library simple_oauth as its README says: it makes an Authorization header, and
# Net::HTTP sends the requests.
#
# Argument: see matrix.rb.

require 'simple_oauth'
require_relative 'matrix'

# A Client signs requests with simple_oauth, and Net::HTTP sends them.
class Client
  def initialize(args)
    @endpoints = args['endpoints']
    # The library expects the private key as the secret.
    secret = args['rsa_key'].empty? ? args['consumer_secret'] : args['rsa_key']
    @options = {
      consumer_key: args['consumer'], consumer_secret: secret, signature_method: args['method']
    }
  end

  def request_token(callback)
    answer = token_request('request_token', callback: callback)
    [answer['oauth_token'], answer['oauth_callback_confirmed']]
  end

  def authorize_url
    "#{@endpoints['authorize']}?#{URI.encode_www_form(oauth_token: @options[:token])}"
  end

  def access_token(verifier)
    token_request('access_token', verifier: verifier).values_at('oauth_token', 'oauth_token_secret')
  end

  def with_token(key, secret)
    @options = @options.merge(token: key, token_secret: secret)
  end

  def send_case(request)
    uri = URI(request['url'])
    http_request = Net::HTTP.const_get(request['method'].capitalize).new(uri.request_uri)
    form = {}
    case request['kind']
    when 'form' then http_request.set_form_data(form = request['form'].to_h)
    when 'multipart' then http_request.set_form(parts(request), 'multipart/form-data')
    when 'json', 'upload'
      http_request.content_type = request['content_type']
      http_request.body = content(request)
    end
    perform(uri, http_request, form, @options)
  end

  private

  def perform(uri, http_request, form, options)
    header = SimpleOAuth::Header.new(http_request.method, uri, form, options)
    http_request['Authorization'] = header.to_s
    Net::HTTP.start(uri.host, uri.port) { |http| http.request(http_request) }
  end

  def token_request(endpoint, more)
    uri = URI(@endpoints[endpoint])
    response = perform(uri, Net::HTTP::Post.new(uri.request_uri), {}, @options.merge(more))
    raise "#{response.code} #{response.body}" unless response.is_a?(Net::HTTPOK)

    answer = URI.decode_www_form(response.body).to_h
    with_token(answer['oauth_token'], answer['oauth_token_secret'])
    answer
  end
end

args = JSON.parse(ARGV.fetch(0))
matrix(Client.new(args), args)
