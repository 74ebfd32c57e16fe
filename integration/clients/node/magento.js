// Drives the npm package magento-api-rest as its README says. The token is given. It sends only
// JSON, and puts rest/V1/ before every path.
'use strict';

const Magento = require('magento-api-rest').default;
const { args, run, matrix, unable, formOf } = require('./core');

async function send(r, token) {
  const client = new Magento({
    url: args.root,
    consumerKey: args.consumer,
    consumerSecret: args.consumer_secret,
    accessToken: token.key,
    tokenSecret: token.secret,
    sha: args.method === 'HMAC-SHA256' ? 256 : 1,
    axiosConfig: {
      transformResponse: (text) => text,
      validateStatus: null,
      // headers in axiosConfig would replace the package's own, including the signature.
      transformRequest: (data, headers) => {
        headers['X-Case'] = r.name;
        return data && JSON.stringify(data);
      },
    },
  });
  const endpoint = new URL(r.url).pathname.slice(1);
  const response = await call(client, r, endpoint);
  return { status: response.status, body: response.data, path: '/rest/V1/' + endpoint };
}

function call(client, r, endpoint) {
  switch (r.name) {
    case 'query': return client.get(endpoint, { ...formOf(r.query), $sort: { q: 'DESC' }, $perPage: 10 });
    case 'json': return client.post(endpoint, JSON.parse(r.body));
    default: return unable('it sends search criteria and JSON only');
  }
}

run({ matrix: matrix({ send }) });
