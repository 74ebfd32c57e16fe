// Drives the npm package jira-client as its README says. The token is given. It has a method for
// each part of Jira's API.
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const JiraApi = require('jira-client');
const { args, run, matrix, unable } = require('./core');

const { hostname, port } = new URL(args.root);

// Each of its requests goes to a path of its own.
const calls = {
  query: ['/rest/api/2/user/search', (jira) => jira.searchUsers({
    username: 'a b+c&d/ü', query: '', maxResults: 10,
  })],
  json: ['/rest/api/2/issue', (jira, r) => jira.addNewIssue(JSON.parse(r.body))],
  multipart: ['/rest/api/2/issue/PROJ-1/attachments', (jira, r) => {
    const [, name, , text] = r.files[0];
    const file = path.join(args.dir, name);
    fs.writeFileSync(file, text);
    return jira.addAttachmentOnIssue('PROJ-1', fs.createReadStream(file));
  }],
};

async function send(r, token) {
  const jira = new JiraApi({
    protocol: 'http',
    host: hostname,
    port,
    oauth: {
      consumer_key: args.consumer,
      consumer_secret: args.rsa_key || args.consumer_secret,
      access_token: token.key,
      access_token_secret: token.secret,
      signature_method: args.method,
    },
  });
  if (!calls[r.name]) unable('it sends what Jira knows');
  const [where, call] = calls[r.name];
  return { status: 200, body: JSON.stringify(await call(jira, r)), path: where };
}

run({ matrix: matrix({ send }) });
