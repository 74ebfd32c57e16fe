# Sends the requests of the matrix with the Ruby library oauth, as its README says.

require 'oauth'
require 'oauth/signature/plaintext'
require 'oauth/signature/rsa/sha1'

def send_by(consumer, access_token, request)
  url = request['url']
  case request['kind']
  when 'query' then access_token.get(url)
  when 'form' then access_token.post(url, request['form'].to_h)
  when 'multipart' then send_multipart(consumer, access_token, request)
  else access_token.post(url, content(request), 'Content-Type' => request['content_type'])
  end
end

# send_multipart builds the body with Net::HTTP, because the library makes no multipart bodies, and
# signs that request.
def send_multipart(consumer, access_token, request)
  uri = URI(request['url'])
  post = Net::HTTP::Post.new(uri.request_uri)
  post.set_form(parts(request), 'multipart/form-data')
  Net::HTTP.start(uri.host, uri.port) do |http|
    post.oauth!(http, consumer, access_token, consumer.options)
    http.request(post)
  end
end
