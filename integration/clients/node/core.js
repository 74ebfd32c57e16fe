// Shared by all drivers here: the talk with the Go test (../../matrix_test.go has the messages),
// the three legs for clients that only sign, and bodies for clients that take bytes.
'use strict';

const fs = require('node:fs');
const readline = require('node:readline');

const args = JSON.parse(process.argv.at(-1));
const endpoints = args.endpoints || {
  request_token: args.root + '+request-token',
  authorize: args.root + '+authorize-token',
  access_token: args.root + '+access-token',
};

let lines;

function say(object, done) {
  process.stdout.write(JSON.stringify(object) + '\n', done);
}

async function ask(what, values) {
  lines ??= readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  say({ ask: what, ...values });
  const { value, done } = await lines.next();
  if (done) throw new Error('the test has gone');
  return JSON.parse(value);
}

// run does one of the jobs and tells the test the result.
function run(jobs) {
  jobs[args.do]().then(
    (result) => say({ result }, () => process.exit(0)), // the result may be longer than a pipe's buffer
    (error) => { console.error(error); process.exit(1); },
  );
}

// authorize has the user decide about a request token, and returns the answer: {"verifier"} or
// {"redirect"}.
function authorize(token, url = endpoints.authorize + '?oauth_token=' + encodeURIComponent(token)) {
  return ask('authorize', { request_token: token, url });
}

// verifierOf returns the verifier in the answer, as a client does at its callback.
function verifierOf(answer) {
  return answer.redirect ? new URL(answer.redirect).searchParams.get('oauth_verifier') : answer.verifier;
}

// threeLegs are the three legs for a client that only signs: post sends a POST with the OAuth
// parameters to an endpoint and returns the body of the answer.
async function threeLegs(post) {
  const first = new URLSearchParams(await post(endpoints.request_token, { callback: args.callback }));
  const temporary = { key: first.get('oauth_token'), secret: first.get('oauth_token_secret') };
  const verifier = verifierOf(await authorize(temporary.key));
  const last = new URLSearchParams(await post(endpoints.access_token, { verifier }, temporary));
  return {
    confirmed: first.get('oauth_callback_confirmed'),
    key: last.get('oauth_token'),
    secret: last.get('oauth_token_secret'),
  };
}

// matrix is the job of the matrix: the three legs if the test wants them, and then each request
// with the access token. A client is {legs, send}: legs() returns the token, send(request, token)
// returns {status, body}. A client that sends all requests together has sendAll(requests, token)
// instead.
function matrix({ legs, send, sendAll = oneByOne(send) }) {
  return async () => {
    const { confirmed, ...token } = args.legs ? await legs() : { key: args.token, secret: args.secret };
    const sent = args.requests.length ? await sendAll(args.requests, token) : [];
    return { confirmed, token: token.key, secret: token.secret, sent };
  };
}

function oneByOne(send) {
  return async (requests, token) => {
    const sent = [];
    for (const r of requests) {
      try {
        sent.push({ name: r.name, ...await send(r, token) });
      } catch (error) {
        sent.push({ name: r.name, error: error?.message || JSON.stringify(error) });
      }
    }
    return sent;
  };
}

// unable says that the client has no way to send such a request.
function unable(why) {
  throw new Error('unable: ' + why);
}

// formOf makes the form object that most clients expect: repeated names have an array.
function formOf(pairs) {
  const object = {};
  for (const [name, value] of pairs) {
    object[name] = name in object ? [].concat(object[name], value) : value;
  }
  return object;
}

// multipart makes the form of a multipart request.
function multipart(r) {
  const form = new FormData();
  for (const [name, value] of r.form || []) form.append(name, value);
  for (const [name, filename, type, text] of r.files) form.append(name, new Blob([text], { type }), filename);
  return form;
}

// bytesOf returns the body of a request without a form as {bytes, type}.
async function bytesOf(r) {
  if (r.kind === 'multipart') {
    const encoded = new Response(multipart(r));
    return { bytes: Buffer.from(await encoded.arrayBuffer()), type: encoded.headers.get('content-type') };
  }
  if (r.body_file) return { bytes: fs.readFileSync(r.body_file), type: r.content_type };
  return { bytes: r.body ? Buffer.from(r.body) : undefined, type: r.content_type || undefined };
}

module.exports = {
  args, endpoints, run, authorize, verifierOf, threeLegs, matrix, unable, formOf, multipart, bytesOf,
};
