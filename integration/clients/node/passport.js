// Drives the npm package passport-oauth1 as its README says: a web server whose users log in
// through the provider. The driver is the browser, too. The name in the callback's URL leads to
// this server, as it would behind a proxy.
'use strict';

const http = require('node:http');
const passport = require('passport');
const OAuth1Strategy = require('passport-oauth1');
const { args, endpoints, run, authorize, matrix } = require('./core');
const { send } = require('./driver');

let granted;

// Strategies for one provider are subclasses, which may use _oauth to ask the provider's API.
class Strategy extends OAuth1Strategy {
  constructor() {
    super({
      requestTokenURL: endpoints.request_token,
      accessTokenURL: endpoints.access_token,
      userAuthorizationURL: endpoints.authorize,
      consumerKey: args.consumer,
      consumerSecret: args.rsa_key || args.consumer_secret,
      callbackURL: args.callback,
      signatureMethod: args.method,
    }, (key, secret, profile, done) => {
      granted = { key, secret };
      done(null, { id: 1 });
    });
  }

  api() {
    return this._oauth;
  }
}

const strategy = new Strategy();
passport.use(strategy);

const session = {}; // the session of the only browser
const app = http.createServer((req, res) => {
  req.query = Object.fromEntries(new URL(req.url, args.callback).searchParams);
  req.session = session;
  passport.authenticate('oauth', { session: false })(req, res, (error) => {
    res.statusCode = error ? 500 : 200;
    if (error) console.error(error);
    res.end(req.user ? 'logged in' : 'not logged in');
  });
});

async function legs() {
  await new Promise((resolve) => app.listen(0, '127.0.0.1', resolve));
  const visit = (path) => fetch(`http://127.0.0.1:${app.address().port}${path}`, { redirect: 'manual' });
  const first = await visit('/login');
  const url = new URL(first.headers.get('location'));
  const { redirect } = await authorize(url.searchParams.get('oauth_token'), url.href);
  if (!redirect.startsWith(args.callback)) throw new Error('sent to ' + redirect);
  const back = new URL(redirect);
  const page = await (await visit(back.pathname + back.search)).text();
  if (page !== 'logged in') throw new Error(page);
  // The strategy adds the callback to the authorize URL if the answer did not confirm it.
  return { ...granted, confirmed: url.searchParams.has('oauth_callback') ? undefined : 'true' };
}

run({ matrix: matrix({ legs, send: (r, token) => send(strategy.api(), r, token.key, token.secret) }) });
