// Drives the npm package request with its oauth option, as its README says.
'use strict';

const request = require('request');
const { args, run, threeLegs, matrix, formOf, bytesOf } = require('./core');

function oauth(token, more) {
  return {
    consumer_key: args.consumer,
    ...(args.rsa_key ? { private_key: args.rsa_key } : { consumer_secret: args.consumer_secret }),
    ...(token && { token: token.key, token_secret: token.secret }),
    signature_method: args.method,
    transport_method: args.placement,
    ...more,
  };
}

function call(options) {
  // Each request has a connection of its own: the rest of a request (see cutOff in
  // ../../matrix_npm_test.go) would spoil the next one.
  return new Promise((resolve, reject) => {
    request({ ...options, pool: false }, (error, response, body) => {
      if (error) return reject(error);
      resolve({ status: response.statusCode, body });
    });
  });
}

async function post(url, more, token) {
  const form = args.placement === 'body' ? {} : undefined;
  return (await call({ method: 'POST', url, form, oauth: oauth(token, more) })).body;
}

async function send(r, token) {
  const options = { method: r.method, url: r.url, headers: { 'X-Case': r.name }, oauth: oauth(token) };
  if (r.kind === 'form') {
    options.form = formOf(r.form);
  } else if (r.kind === 'multipart') {
    options.formData = formOf(r.form);
    for (const [name, filename, contentType, text] of r.files) {
      options.formData[name] = { value: Buffer.from(text), options: { filename, contentType } };
    }
  } else {
    const { bytes, type } = await bytesOf(r);
    options.body = bytes;
    if (type) options.headers['Content-Type'] = type;
  }
  return call(options);
}

run({ matrix: matrix({ legs: () => threeLegs(post), send }) });
