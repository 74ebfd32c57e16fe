// Drives the npm package ims-lti. As the platform it signs the form of an LTI 1.1 launch with the
// package's signer (the package has no other part of a platform); as the tool it sends an outcome,
// XML with a body hash. There are no tokens.
'use strict';

const crypto = require('node:crypto');
const diagnostics = require('node:diagnostics_channel');
const url = require('node:url');
const lti = require('ims-lti');
const { args, run, matrix, unable } = require('./core');

async function launch(r) {
  const params = {
    lti_message_type: 'basic-lti-launch-request',
    lti_version: 'LTI-1p0',
    resource_link_id: '429785226',
    user_id: '29123',
    roles: 'Instructor,urn:lti:sysrole:ims/lis/User',
    lis_person_name_full: 'Jane Q. Públic',
    oauth_callback: 'about:blank',
    oauth_consumer_key: args.consumer,
    oauth_nonce: crypto.randomUUID(),
    oauth_signature_method: 'HMAC-SHA1',
    oauth_timestamp: String(Math.floor(Date.now() / 1000)),
    oauth_version: '1.0',
  };
  // The names of a launch's own parameters consist of letters, digits and _.
  for (const [name, value] of r.form) params['custom_' + name.replace(/\W/g, '_')] = value;
  const { signer } = new lti.Provider(args.consumer, args.consumer_secret);
  params.oauth_signature = signer.build_signature_raw(
    r.url, url.parse(r.url, true), 'POST', params, args.consumer_secret,
  );
  const response = await fetch(r.url, {
    method: 'POST', headers: { 'X-Case': r.name }, body: new URLSearchParams(params),
  });
  return { status: response.status, body: await response.text() };
}

// outcome reports a score. The package returns no status, and offers no way to set a header.
async function outcome(r) {
  let status;
  const finished = ({ response }) => { status = response.statusCode; };
  diagnostics.subscribe('http.client.response.finish', finished);
  const service = new lti.OutcomeService({
    consumer_key: args.consumer,
    consumer_secret: args.consumer_secret,
    service_url: r.url,
    source_did: args.source || '12345:a&b<c',
  });
  const error = await new Promise((resolve) => service.send_replace_result(0.9, resolve));
  diagnostics.unsubscribe('http.client.response.finish', finished);
  if (!status) throw error;
  return { status, body: '' };
}

async function send(r) {
  switch (r.kind) {
    case 'form': return launch(r);
    case 'json': return outcome(r);
    default: return unable('it sends launches and outcomes only');
  }
}

run({ matrix: matrix({ send }) });
