package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// pythonClient returns a Python driver's command line, for a row of the matrix.
func pythonClient(driver, module string) func(t *testing.T) []string {
	return func(t *testing.T) []string { return python(t, driver, module) }
}

// Requests that several clients can't send.
const (
	oneValue      = "A parameter has one value."
	ownParameters = "Its parameters are those of the provider's API."
	ownUpload     = "It uploads in multipart bodies."
	jsonOnly      = "It sends JSON only."
	queryOnly     = "It sends no bodies."
)

// everythingTwice is Authlib's fault outside the header.
var everythingTwice = fault{
	why:    "It sends every OAuth parameter twice, which RFC 5849 section 3.1 forbids.",
	remedy: "Leave signature_type at its default, SIGNATURE_TYPE_HEADER.",
	shows: func(seen []*exchange) error {
		for _, x := range seen {
			sent := x.URL.RawQuery + "&" + string(x.body)
			if strings.Count(sent, "oauth_nonce=") != 2 || x.status != http.StatusBadRequest {
				return fmt.Errorf("%d to %s", x.status, sent)
			}
		}
		return nil
	},
}

// flickrToken is flickrapi's only remaining fault.
var flickrToken = fault{
	why:    "It expects Flickr's fullname, username and user_nsid beside the access token.",
	remedy: "Get the token with requests-oauthlib, and give it to `FlickrAPI` as a `FlickrAccessToken`.",
	shows: func(seen []*exchange) error {
		for _, x := range seen {
			if x.status != http.StatusOK || x.wrong != nil {
				return fmt.Errorf("%s: %d %s, %w", x.URL, x.status, x.answer, x.wrong)
			}
		}
		return nil
	},
}

var pythonClients = []matrixClient{
	{
		name: "requests-oauthlib", from: "Debian python3-requests-oauthlib", what: "any API, with requests",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: pythonClient("requests_driver.py", "requests_oauthlib"),
	},
	{
		name: "oauthlib", from: "Debian python3-oauthlib", what: "any API, with urllib",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: pythonClient("oauthlib_driver.py", "oauthlib"),
	},
	{
		name: "Authlib", from: "Debian python3-authlib", what: "any API, with requests",
		legs: []string{"callback", "oob"}, placements: []string{"header", "query", "body"},
		methods: []string{"HMAC-SHA1", "RSA-SHA1", "PLAINTEXT"},
		program: pythonClient("authlib_driver.py", "authlib.integrations.requests_client"),
		faults:  map[string]fault{"query *": everythingTwice, "body *": everythingTwice},
	},
	{
		name: "launchpadlib", from: "Debian python3-launchpadlib", what: "Launchpad",
		legs: []string{"polling"}, placements: []string{"header"}, methods: []string{"PLAINTEXT"},
		setup: "Its consumers have an empty secret, as with `registration open`. " +
			"Set `service_root` to the root of your site.",
		site: func(t *testing.T) site {
			return site{
				Handler: "reverse_proxy /1.0/* {{.Launchpad}}\nreverse_proxy {{.Upstream}}",
				Vars:    map[string]string{"Launchpad": newLaunchpad(t).Listener.Addr().String()},
			}
		},
		consumer: object{"secret": ""}, // Launchpad's consumers have none
		program:  pythonClient("launchpadlib_driver.py", "launchpadlib"),
		differs: map[string]string{
			"form":     "It adds the operation's name, ws.op.",
			"brackets": "It adds the operation's name, ws.op.",
			"json":     "It sends JSON with PATCH only.",
			"upload":   "It uploads with PUT.",
		},
	},
	{
		name: "mwoauth", from: "Debian python3-mwoauth", what: "MediaWiki",
		legs: []string{"callback", "oob"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		endpoints: endpoints{
			RequestToken: "/w/index.php?title=Special:OAuth/initiate",
			Authorize:    "/w/index.php?title=Special:OAuth/authenticate",
			AccessToken:  "/w/index.php?title=Special:OAuth/token",
		},
		setup: "The site's `endpoints` are MediaWiki's, and the consumer has `default_callback`: mwoauth " +
			"asks with `oob` and expects the browser back.",
		consumer: object{"callbacks": []string{matrixCallback}, "default_callback": true},
		program:  pythonClient("mwoauth_driver.py", "mwoauth"),
	},
	{
		name: "tweepy", from: "Debian python3-tweepy", what: "X (Twitter)",
		legs: []string{"callback", "oob"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		setup: "Its `API` takes `host` and `upload_host`. The URLs of the three legs are in the code of " +
			"`OAuth1UserHandler`: override `_get_oauth_url`.",
		program: pythonClient("tweepy_driver.py", "tweepy"),
		differs: map[string]string{
			"form":      "It sends the parameters of a POST in the query.",
			"json":      "It sends X's own JSON.",
			"multipart": "It sends the file alone.",
		},
		unable: map[string]string{"repeated": oneValue, "brackets": ownParameters, "upload": ownUpload},
	},
	{
		name: "python-twitter", from: "Debian python3-twitter", what: "X (Twitter)",
		placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		setup:   "Its `Api` takes `base_url` and `upload_url`.",
		program: pythonClient("twitter_driver.py", "twitter"),
		differs: map[string]string{
			"query":     "It adds a parameter of its own, tweet_mode.",
			"multipart": "It sends the file alone.",
		},
		unable: map[string]string{"repeated": oneValue, "upload": ownUpload},
	},
	{
		name: "Twython", from: "Debian python3-twython", what: "X (Twitter)",
		legs: []string{"callback", "oob"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		setup:   "Its URLs are attributes of a `Twython`.",
		program: pythonClient("twython_driver.py", "twython"),
		unable:  map[string]string{"repeated": oneValue, "upload": ownUpload},
	},
	{
		name: "flickrapi", from: "Debian python3-flickrapi", what: "Flickr",
		legs: []string{"callback", "oob"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		setup:   "Its URLs are attributes of `FlickrAPI` and `flickrapi.auth.OAuthFlickrInterface`.",
		program: pythonClient("flickr_driver.py", "flickrapi"),
		faults: map[string]fault{
			"callback": flickrToken, "oob": flickrToken,
			"multipart": {
				why:    "It signs the fields of a multipart body, as Flickr has it.",
				remedy: "Upload with requests-oauthlib.",
			},
		},
		differs: map[string]string{
			"query":    "Its calls are POSTs with parameters in the query.",
			"repeated": "Its calls are POSTs with parameters in the query.",
		},
		unable: map[string]string{"form": queryOnly, "brackets": queryOnly, "json": queryOnly, "upload": queryOnly},
	},
	{
		name: "jira", from: "Debian python3-jira", what: "Jira",
		placements: []string{"header"}, methods: []string{"RSA-SHA1"},
		program: pythonClient("jira_driver.py", "jira"),
		differs: map[string]string{"multipart": "It sends the file alone."},
		unable:  map[string]string{"form": jsonOnly, "brackets": jsonOnly},
	},
	{
		name: "social-auth-core", from: "Debian python3-social-auth-core",
		what: "logins of web sites, in Django, Flask and others",
		legs: []string{"callback"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		program: pythonClient("social_driver.py", "social_core"),
		unable: map[string]string{
			"form": queryOnly, "brackets": queryOnly, "json": queryOnly, "multipart": queryOnly, "upload": queryOnly,
		},
	},
	{
		name: "discogs-client", from: "Debian python3-discogs-client", what: "Discogs",
		legs: []string{"callback", "oob"}, placements: []string{"header"}, methods: []string{"HMAC-SHA1"},
		setup:   "Its URLs are attributes of its `Client`. For a code to type in, call `get_authorize_url('oob')`.",
		program: pythonClient("discogs_driver.py", "discogs_client"),
		unable: map[string]string{
			"form": jsonOnly, "brackets": jsonOnly, "multipart": jsonOnly, "upload": jsonOnly,
		},
	},
}
