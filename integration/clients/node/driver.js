// Drives the npm package oauth as its README says, except for the version: the README has 1.0A,
// which is not in RFC 5849.
'use strict';

const { OAuth } = require('oauth');
const { args, endpoints, run, authorize, verifierOf, matrix, formOf, bytesOf } = require('./core');

function client(callback) {
  return new OAuth(endpoints.request_token, endpoints.access_token, args.consumer,
    args.rsa_key || args.consumer_secret, args.version || '1.0', callback, args.method);
}

async function send(oauth, r, token, secret) {
  const { bytes = '', type = 'text/plain' } = await bytesOf(r);
  const body = r.form && !r.files ? [formOf(r.form)] : [bytes, type];
  oauth._headers['X-Case'] = r.name;
  return new Promise((resolve, reject) => {
    const done = (error, data, response) => {
      if (error && !error.statusCode) return reject(error);
      resolve({ status: response.statusCode, body: data });
    };
    const tok = [r.url, token, secret];
    switch (r.method) {
      case 'GET': return oauth.get(...tok, done);
      case 'DELETE': return oauth.delete(...tok, done);
      case 'POST': case 'PUT':
        return oauth[r.method.toLowerCase()](...tok, ...body, done);
      default: return reject(new Error('the package has no ' + r.method));
    }
  });
}

async function requests() {
  const results = [];
  for (const r of args.requests) {
    try {
      results.push({ name: r.name, ...await send(client(), r, args.token, args.secret) });
    } catch (error) {
      results.push({ name: r.name, error: String(error) });
    }
  }
  return results;
}

const promise = (f) => new Promise((resolve, reject) => {
  f((error, ...values) => (error ? reject(error) : resolve(values)));
});

async function flow() {
  const oauth = client(args.callback);
  const [token, secret, more] = await promise((done) => oauth.getOAuthRequestToken(done));
  const answer = await authorize(token);
  const result = { confirmed: more.oauth_callback_confirmed };
  try {
    await promise((done) => oauth.getOAuthAccessToken(token, secret, 'wrong', done));
  } catch (error) {
    result.wrong_verifier = { status: error.statusCode, body: error.data };
  }
  if (answer.redirect) result.redirect_token = new URL(answer.redirect).searchParams.get('oauth_token');
  const verifier = verifierOf(answer);
  const granted = await promise((done) => oauth.getOAuthAccessToken(token, secret, verifier, done));
  const me = args.root + 'api/me?n=1';
  const [body, response] = await promise((done) => oauth.get(me, granted[0], granted[1], done));
  return { ...result, access_token: granted[0], status: response.statusCode, body };
}

async function legs() {
  const oauth = client(args.callback);
  const [token, tokenSecret, more] = await promise((done) => oauth.getOAuthRequestToken(done));
  const verifier = verifierOf(await authorize(token));
  const granted = await promise((done) => oauth.getOAuthAccessToken(token, tokenSecret, verifier, done));
  return { confirmed: more.oauth_callback_confirmed, key: granted[0], secret: granted[1] };
}

module.exports = { send };

if (require.main === module) {
  const sendWith = (r, token) => send(client(), r, token.key, token.secret);
  run({ requests, flow, matrix: matrix({ legs, send: sendWith }) });
}
