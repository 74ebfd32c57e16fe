// What all drivers here share: the talk with the Go test that runs them (../../matrix_test.go says
// what is sent), the three legs of clients that leave them to their user, and bodies that a client
// takes as bytes.
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

// run does one of the jobs and tells the test what came of it.
function run(jobs) {
  jobs[args.do]().then(
    (result) => say({ result }, () => process.exit(0)), // it may be longer than a pipe holds
    (error) => { console.error(error); process.exit(1); },
  );
}

// authorize has the user decide about a request token, and returns the answer: {"verifier"} or
// {"redirect"}.
function authorize(token, url = endpoints.authorize + '?oauth_token=' + encodeURIComponent(token)) {
  return ask('authorize', { request_token: token, url });
}

// verifierOf takes the verifier from the answer, as a client does at its callback.
function verifierOf(answer) {
  return answer.redirect ? new URL(answer.redirect).searchParams.get('oauth_verifier') : answer.verifier;
}

// threeLegs are those of a client that only signs: post sends a POST with the OAuth parameters to
// an endpoint and returns the body of the answer.
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

// matrix is the job of the matrix: the three legs where the test wants them, then each request with
// the access token. A client is {legs, send}: legs() gives the token, send(request, token) gives
// {status, body}. One that sends them all at once brings sendAll(requests, token) instead.
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

// formOf makes the object that most clients take for a form: an array where a name is repeated.
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

// bytesOf gives the body of a request, other than a form, as {bytes, type}.
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
