# Drives omniauth-oauth as a Rails application does: its strategy for OAuth 1.0a is a part of the
# application's Rack stack. It gets an access token of the library oauth.
#
# Argument: see matrix.rb.

require 'omniauth-oauth'
require 'rack'
require_relative 'matrix'
require_relative 'oauth_requests'

OmniAuth.config.logger = Logger.new($stderr)
OmniAuth.config.request_validation_phase = nil # Rails has its own protection against forged logins
OmniAuth.config.on_failure = lambda do |env|
  raise env['omniauth.error'] || env['omniauth.error.type'].to_s
end

# A Client is a web application with a login, and its only visitor.
class Client
  def initialize(args)
    options = {
      name: 'provider',
      client_options: {
        site: args['root'].chomp('/'),
        scheme: args['placement'] == 'query' ? :query_string : :header,
        request_token_url: args['endpoints']['request_token'],
        authorize_url: args['endpoints']['authorize'],
        access_token_url: args['endpoints']['access_token']
      }
    }
    session = {}
    client = self
    @app = Rack::Builder.app do
      use(Class.new do
        define_method(:initialize) { |app| @app = app }
        define_method(:call) { |env| @app.call(env.merge('rack.session' => session)) }
      end)
      use OmniAuth::Strategies::OAuth, args['consumer'], args['consumer_secret'], options
      run(lambda do |env|
        client.log_in(env['omniauth.auth'])
        [200, {}, []]
      end)
    end
    @session = session
  end

  # request_token begins a login; the callback is the application's own.
  def request_token(_callback)
    @authorize_url = visit('POST', 'https://client.example/auth/provider').location
    begun = @session['oauth']['provider']
    [begun['request_token'], begun['callback_confirmed'].to_s]
  end

  attr_reader :authorize_url

  def access_token(verifier)
    token = @session['oauth']['provider']['request_token']
    query = URI.encode_www_form(oauth_token: token, oauth_verifier: verifier)
    visit('GET', "https://client.example/auth/provider/callback?#{query}")
    [@access_token.token, @access_token.secret]
  end

  def log_in(auth)
    @access_token = auth['extra']['access_token']
  end

  def send_case(request)
    send_by(@access_token.consumer, @access_token, request)
  end

  private

  def visit(method, url)
    Rack::MockRequest.new(@app).request(method, url)
  end
end

args = JSON.parse(ARGV.fetch(0))
matrix(Client.new(args), args)
