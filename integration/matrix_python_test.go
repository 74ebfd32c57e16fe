package integration

import "testing"

// pythonClient is a Python driver's command line, for a row of the matrix.
func pythonClient(driver, module string) func(t *testing.T) []string {
	return func(t *testing.T) []string { return python(t, driver, module) }
}

var pythonClients = []matrixClient{
	{
		name: "requests-oauthlib", from: "Debian python3-requests-oauthlib", what: "any API, with requests",
		legs: []string{"callback", "oob"}, methods: everyMethod, placements: []string{"header", "query", "body"},
		program: pythonClient("requests_driver.py", "requests_oauthlib"),
	},
}
