// Drives the npm package oauth-1.0a as its README says: it signs the requests, and axios or node's
// http sends them. The first argument says which.
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const axios = require('axios');
const OAuth = require('oauth-1.0a');
const { args, run, threeLegs, matrix, formOf, multipart, bytesOf } = require('./core');

// The package leaves the hash to its user.
function hash(base, key) {
  const [kind, name] = args.method.toLowerCase().split('-');
  if (kind === 'rsa') return crypto.createSign(name).update(base).sign(args.rsa_key, 'base64');
  return crypto.createHmac(name, key).update(base).digest('base64');
}

const oauth = OAuth({
  consumer: { key: args.consumer, secret: args.consumer_secret || '' },
  signature_method: args.method,
  hash_function: args.method === 'PLAINTEXT' ? undefined : hash,
});

// sign returns the request with its OAuth parameters in the place that the test wants.
function sign(method, url, form, token) {
  // authorize writes into its data argument.
  const signed = oauth.authorize({ method, url, data: { ...form } }, token);
  if (args.placement === 'header') return { method, url, form, headers: oauth.toHeader(signed) };
  if (args.placement === 'body') return { method, url, form: signed, headers: {} };
  const query = new URLSearchParams(Object.entries(signed).filter(([name]) => name.startsWith('oauth_')));
  return { method, url: url + (url.includes('?') ? '&' : '?') + query, form, headers: {} };
}

function encode(form) {
  const pairs = Object.entries(form).flatMap(([name, value]) => [].concat(value).map((v) => [name, v]));
  return new URLSearchParams(pairs);
}

const transports = {
  async axios({ method, url, headers, form, data }) {
    const response = await axios({
      method, url, headers, data: form ? encode(form) : data,
      responseType: 'text', validateStatus: null,
    });
    return { status: response.status, body: response.data };
  },
  http({ method, url, headers, form, data }) {
    if (form) {
      headers = { ...headers, 'Content-Type': 'application/x-www-form-urlencoded' };
      data = encode(form).toString();
    }
    return new Promise((resolve, reject) => {
      http.request(url, { method, headers }, async (response) => {
        let body = '';
        for await (const chunk of response.setEncoding('utf8')) body += chunk;
        resolve({ status: response.statusCode, body });
      }).on('error', reject).end(data);
    });
  },
};
const transport = process.argv[2];
const call = transports[transport];

async function post(url, { callback, verifier }, token) {
  // A callback or a verifier is data for the package, and toHeader puts it into the header.
  const data = callback ? { oauth_callback: callback } : { oauth_verifier: verifier };
  const signed = sign('POST', url, data, token);
  if (args.placement !== 'body') delete signed.form;
  return (await call(signed)).body;
}

async function send(r, token) {
  const signed = sign(r.method, r.url, r.form && r.kind === 'form' ? formOf(r.form) : undefined, token);
  signed.headers['X-Case'] = r.name;
  if (r.kind === 'multipart' && transport === 'axios') {
    signed.data = multipart(r);
  } else if (r.kind !== 'form') {
    const { bytes, type } = await bytesOf(r);
    signed.data = bytes;
    if (type) signed.headers['Content-Type'] = type;
  }
  return call(signed);
}

run({ matrix: matrix({ legs: () => threeLegs(post), send }) });
