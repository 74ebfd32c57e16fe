// Drives the npm package magento-api-rest as its README says. It is given a token, speaks JSON only, and puts rest/V1/
// before every path.
'use strict';

const Magento = require('magento-api-rest').default;
const { args, run, matrix, unable } = require('./core');

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
      // headers in axiosConfig would take the place of the package's own, the signature among them.
      transformRequest: (data, headers) => {
        headers['X-Case'] = r.name;
        return data && JSON.stringify(data);
      },
    },
  });
  let response;
  if (r.kind === 'query') {
    response = await client.get('items', { q: 'a b/ü', empty: '', z: "1/2~!*'()", $sort: { q: 'DESC' }, $perPage: 10 });
  } else if (r.kind === 'json') {
    response = await client.post('items', JSON.parse(r.body));
  } else {
    unable('it speaks JSON only');
  }
  return { status: response.status, body: response.data };
}

run({ matrix: matrix({ send }) });
