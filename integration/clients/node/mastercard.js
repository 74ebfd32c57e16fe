// Drives the npm package mastercard-oauth1-signer as its README says: it makes the Authorization
// header of a request, and fetch sends the request. It has no tokens. The argument "helped" adds
// the help of docs/clients.md.
'use strict';

const signer = require('mastercard-oauth1-signer');
const { args, run, matrix, bytesOf } = require('./core');

if (process.argv[2] === 'helped') {
  const { getBodyHash } = signer;
  signer.getBodyHash = (payload) => encodeURIComponent(getBodyHash(payload));
}

async function send(r) {
  const { bytes, type } = r.kind === 'form'
    ? { bytes: Buffer.from(new URLSearchParams(r.form).toString()), type: 'application/x-www-form-urlencoded' }
    : await bytesOf(r);
  const headers = {
    Authorization: signer.getAuthorizationHeader(r.url, r.method, bytes, args.consumer, args.rsa_key),
    'X-Case': r.name,
  };
  if (type) headers['Content-Type'] = type;
  const response = await fetch(r.url, { method: r.method, headers, body: bytes });
  return { status: response.status, body: await response.text() };
}

run({ matrix: matrix({ send }) });
