// Drives the npm package oauth as its documentation says. It talks with the Go test that runs it as the Python drivers do:
// see ../python/driver.py.
//
// Argument: {"do": "requests" or "flow", "root", "consumer", "consumer_secret", "method", ...}
'use strict';

const readline = require('node:readline');
const { OAuth } = require('oauth');

const args = JSON.parse(process.argv[2]);
const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function say(object) {
  process.stdout.write(JSON.stringify(object) + '\n');
}

async function ask(what, values) {
  say({ ask: what, ...values });
  const { value, done } = await lines.next();
  if (done) throw new Error('the test has gone');
  return JSON.parse(value);
}

function client(callback) {
  return new OAuth(args.root + '+request-token', args.root + '+access-token', args.consumer,
    args.rsa_key || args.consumer_secret, args.version || '1.0A', callback, args.method);
}

// form makes the object that the package takes for a form: an array where a name is repeated.
function form(pairs) {
  const object = {};
  for (const [name, value] of pairs) {
    object[name] = name in object ? [].concat(object[name], value) : value;
  }
  return object;
}

function send(oauth, r) {
  return new Promise((resolve) => {
    const done = (error, data, response) => {
      if (error && !error.statusCode) return resolve({ name: r.name, error: String(error) });
      resolve({ name: r.name, status: response.statusCode, body: data });
    };
    const tok = [r.url, args.token, args.secret];
    try {
      switch (r.method) {
        case 'GET': return oauth.get(...tok, done);
        case 'DELETE': return oauth.delete(...tok, done);
        case 'POST': case 'PUT':
          if (r.form) return oauth[r.method.toLowerCase()](...tok, form(r.form), done);
          return oauth[r.method.toLowerCase()](...tok, r.body, r.content_type || 'text/plain', done);
        default: return resolve({ name: r.name, error: 'the package has no ' + r.method });
      }
    } catch (error) {
      resolve({ name: r.name, error: String(error) });
    }
  });
}

async function requests() {
  const results = [];
  for (const r of args.requests) {
    const oauth = client();
    oauth._headers['X-Case'] = r.name;
    results.push(await send(oauth, r));
  }
  return results;
}

async function flow() {
  const oauth = client(args.callback);
  const promise = (f) => new Promise((resolve, reject) => f((error, ...values) => (error ? reject(error) : resolve(values))));
  const [token, secret, more] = await promise((done) => oauth.getOAuthRequestToken(done));
  const answer = await ask('authorize', { request_token: token, url: args.root + '+authorize-token?oauth_token=' + token });
  const result = { confirmed: more.oauth_callback_confirmed };
  try {
    await promise((done) => oauth.getOAuthAccessToken(token, secret, 'wrong', done));
  } catch (error) {
    result.wrong_verifier = { status: error.statusCode, body: error.data };
  }
  let verifier = answer.verifier;
  if (answer.redirect) {
    const query = new URL(answer.redirect).searchParams;
    result.redirect_token = query.get('oauth_token');
    verifier = query.get('oauth_verifier');
  }
  const [accessToken, accessSecret] = await promise((done) => oauth.getOAuthAccessToken(token, secret, verifier, done));
  const [body, response] = await promise((done) => oauth.get(args.root + 'api/me?n=1', accessToken, accessSecret, done));
  return { ...result, access_token: accessToken, status: response.statusCode, body };
}

({ requests, flow })[args.do]().then(
  (result) => { say({ result }); process.exit(0); },
  (error) => { console.error(error); process.exit(1); },
);
