// Drives the npm package @woocommerce/woocommerce-rest-api as its README says. It signs if the
// shop's URL is http, has no tokens, sends only JSON, and puts wp-json/wc/v3/ before every path.
// The argument "helped" adds the help of docs/clients.md.
'use strict';

const WooCommerceRestApi = require('@woocommerce/woocommerce-rest-api').default;
const { args, run, matrix, unable, formOf } = require('./core');

const ownOnly = {
  serialize: (params) => {
    const own = Object.entries(params).filter(([name]) => name.startsWith('oauth_'));
    return new URLSearchParams(own).toString();
  },
};

const api = new WooCommerceRestApi({
  url: args.root,
  consumerKey: args.consumer,
  consumerSecret: args.consumer_secret,
  axiosConfig: {
    responseType: 'text',
    validateStatus: null,
    ...(process.argv[2] === 'helped' && { paramsSerializer: ownOnly }),
  },
});

async function send(r) {
  const endpoint = new URL(r.url).pathname.slice(1);
  const response = await call(r, endpoint);
  return { status: response.status, body: response.data, path: '/wp-json/wc/v3/' + endpoint };
}

function call(r, endpoint) {
  switch (r.kind) {
    case 'query': return api.get(endpoint, formOf(r.query));
    case 'json': return api.post(endpoint, JSON.parse(r.body));
    default: return unable('it sends JSON only');
  }
}

run({ matrix: matrix({ send }) });
