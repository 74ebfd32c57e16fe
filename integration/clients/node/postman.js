// Drives the npm package postman-runtime, which sends the requests of Postman and of Newman, with
// the settings of Postman's OAuth 1.0 tab. Postman has no three legs of its own: people send the
// two requests for tokens by hand, and copy the answers.
'use strict';

const { EventEmitter } = require('node:events');
const fs = require('node:fs');
const path = require('node:path');
const runtime = require('postman-runtime');
const { Collection } = require('postman-collection');
const { args, run, threeLegs, matrix } = require('./core');

const bodyHash = process.argv[2] === 'body-hash';

function auth(more, token) {
  const settings = {
    consumerKey: args.consumer,
    consumerSecret: args.consumer_secret,
    privateKey: args.rsa_key,
    token: token?.key,
    tokenSecret: token?.secret,
    signatureMethod: args.method,
    version: '1.0',
    addParamsToHeader: args.placement === 'header', // otherwise to the form, if there is one, and to the query
    includeBodyHash: bodyHash,
    ...more,
  };
  return { type: 'oauth1', oauth1: Object.entries(settings).map(([key, value]) => ({ key, value })) };
}

// sandbox replaces Postman's sandbox for scripts, which starts slowly: no request has a script
// here.
const sandbox = Object.assign(new EventEmitter(), { dispose() {} });

// runAll runs a collection of requests.
function runAll(requests) {
  const collection = new Collection({ item: requests.map((request) => ({ name: request.name, request })) });
  const options = {
    fileResolver: fs,
    requester: { followRedirects: false },
    host: { external: true, instance: sandbox },
  };
  const results = [];
  return new Promise((resolve, reject) => {
    new runtime.Runner().run(collection, options, (error, run) => {
      if (error) return reject(error);
      run.start({
        response(failed, cursor, response, request, item) {
          const result = failed ? { error: failed.message } : { status: response.code, body: response.text() };
          results.push({ name: item.name, ...result });
        },
        done(failed) {
          if (failed) return reject(failed);
          resolve(results);
        },
      });
    });
  });
}

// file writes a file, because Postman's users choose files from the disk.
function file(name, content) {
  const src = path.join(args.dir, name);
  fs.writeFileSync(src, content);
  return src;
}

function bodyOf(r) {
  switch (r.kind) {
    case 'form': return { mode: 'urlencoded', urlencoded: r.form.map(([key, value]) => ({ key, value })) };
    case 'json': return { mode: 'raw', raw: r.body };
    case 'upload': return { mode: 'file', file: { src: r.body_file } };
    case 'multipart': return {
      mode: 'formdata',
      formdata: [
        ...r.form.map(([key, value]) => ({ key, value, type: 'text' })),
        ...r.files.map(([key, name, contentType, text]) => (
          { key, type: 'file', src: file(name, text), contentType }
        )),
      ],
    };
    default: return undefined;
  }
}

async function post(url, more, token) {
  const body = args.placement === 'body' ? { mode: 'urlencoded', urlencoded: [] } : undefined;
  const request = { name: url, method: 'POST', url, body, auth: auth(more, token) };
  const [answer] = await runAll([request]);
  return answer.body;
}

function sendAll(requests, token) {
  return runAll(requests.map((r) => {
    const header = [{ key: 'X-Case', value: r.name }];
    if (r.content_type) header.push({ key: 'Content-Type', value: r.content_type });
    return { name: r.name, method: r.method, url: r.url, header, body: bodyOf(r), auth: auth({}, token) };
  }));
}

run({ matrix: matrix({ legs: () => threeLegs(post), sendAll }) });
