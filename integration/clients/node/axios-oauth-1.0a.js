// Drives the npm package axios-oauth-1.0a as its README says: an interceptor signs the requests of
// an axios client. The argument "helped" adds the help of docs/clients.md.
'use strict';

const axios = require('axios');
const { default: addOAuthInterceptor } = require('axios-oauth-1.0a');
const { args, run, threeLegs, matrix, multipart, bytesOf } = require('./core');

const helped = process.argv[2] === 'helped';

function client(token, more) {
  const api = axios.create({ responseType: 'text', validateStatus: null });
  addOAuthInterceptor(api, {
    algorithm: args.method,
    key: args.consumer,
    secret: args.consumer_secret,
    ...(token && { token: token.key, tokenSecret: token.secret }),
    ...more,
  });
  return api;
}

async function post(url, more, token) {
  return (await client(token, more).post(url)).data;
}

async function send(r, token) {
  const headers = { 'X-Case': r.name };
  const options = {};
  let data;
  switch (r.kind) {
    case 'form':
      data = new URLSearchParams(r.form);
      if (helped) data = data.toString();
      headers['content-type'] = 'application/x-www-form-urlencoded';
      break;
    case 'json':
      data = JSON.parse(r.body);
      break;
    case 'multipart':
      data = multipart(r);
      if (helped) options.includeBodyHash = false;
      break;
    case 'upload':
      data = (await bytesOf(r)).bytes;
      headers['content-type'] = r.content_type;
      break;
  }
  const response = await client(token, options).request({ method: r.method, url: r.url, headers, data });
  return { status: response.status, body: response.data };
}

run({ matrix: matrix({ legs: () => threeLegs(post), send }) });
