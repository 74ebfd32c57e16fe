// Drives the npm package twitter-api-v2 as its README says. It knows only X's hosts, and speaks
// only HTTPS. One of its plugins and its httpAgent option lead it to the server under test.
'use strict';

const fs = require('node:fs');
const http = require('node:http');
const { TwitterApi } = require('twitter-api-v2');
const { args, endpoints, run, authorize, verifierOf, matrix, unable, formOf } = require('./core');

const toServer = {
  onBeforeRequestConfig({ params }) {
    const [, name] = /^https:\/\/api\.x\.com\/oauth\/(\w+)$/.exec(params.url) || [];
    if (!name) return;
    params.url = endpoints[name];
    params.forceParseMode = 'url'; // the package does this by itself for X's own URLs
  },
};

function client(token) {
  return new TwitterApi({
    appKey: args.consumer,
    appSecret: args.consumer_secret,
    ...(token && { accessToken: token.key, accessSecret: token.secret }),
  }, { httpAgent: http.globalAgent, plugins: [toServer] });
}

async function legs() {
  const link = await client().generateAuthLink(args.callback);
  const url = new URL(link.url);
  const verifier = verifierOf(await authorize(link.oauth_token, endpoints.authorize + url.search));
  const temporary = client({ key: link.oauth_token, secret: link.oauth_token_secret });
  const confirmed = link.oauth_callback_confirmed;
  const { accessToken, accessSecret } = await temporary.login(verifier);
  return { confirmed, key: accessToken, secret: accessSecret };
}

async function send(r, token) {
  const options = { headers: { 'X-Case': r.name }, fullResponse: true, forceParseMode: 'text' };
  const api = client(token);
  try {
    const { data } = await call(api, r, options);
    return { status: 200, body: data };
  } catch (error) {
    if (typeof error.code !== 'number') throw error;
    return { status: error.code, body: error.data };
  }
}

function call(api, r, options) {
  switch (r.kind) {
    case 'query': return api.get(r.url, {}, options);
    case 'form': return api.post(r.url, formOf(r.form), { ...options, forceBodyMode: 'url' });
    case 'json': return api.post(r.url, JSON.parse(r.body), { ...options, forceBodyMode: 'json' });
    case 'multipart': {
      const fields = formOf(r.form);
      for (const [name, , , text] of r.files) fields[name] = Buffer.from(text);
      return api.post(r.url, fields, { ...options, forceBodyMode: 'form-data' });
    }
    case 'upload': {
      const headers = { ...options.headers, 'content-type': r.content_type };
      return api.post(r.url, fs.readFileSync(r.body_file), { ...options, headers, forceBodyMode: 'raw' });
    }
    default: return unable('no such request');
  }
}

run({ matrix: matrix({ legs, send }) });
