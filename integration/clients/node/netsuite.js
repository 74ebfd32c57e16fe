// Drives the npm package netsuite-rest as its README says. The token is given. It puts
// services/rest/ before every path.
'use strict';

const NetsuiteRest = require('netsuite-rest');
const { args, run, matrix, unable, bytesOf } = require('./core');

async function send(r, token) {
  const api = new NetsuiteRest({
    consumer_key: args.consumer,
    consumer_secret_key: args.consumer_secret,
    token: token.key,
    token_secret: token.secret,
    realm: 'TSTDRV1234567',
    base_url: args.root.replace(/\/$/, ''),
  });
  if (r.kind === 'form') unable('it signs no forms');
  const { pathname, search } = new URL(r.url);
  const { bytes, type } = await bytesOf(r);
  const heads = { 'X-Case': r.name, ...(type && { 'Content-Type': type }) };
  const response = await api.request({
    path: (pathname + search).slice(1), method: r.method, body: bytes, heads,
  });
  return { status: response.statusCode, body: response.body, path: '/services/rest' + pathname };
}

run({ matrix: matrix({ send }) });
