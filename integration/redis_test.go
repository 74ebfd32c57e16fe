package integration

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/caddy-oauth1/caddy-oauth1/tokenstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore"
	"github.com/caddy-oauth1/caddy-oauth1/tokenstore/redisstore/redislab"
)

// Everything that works on Badger works on Redis. With -suite-on-redis, TestSuiteOnRedis runs this
// test binary once more, with a Redis server for the stores of all sites. A new test comes along by
// itself.

const (
	// redisVariable is an environment variable: the address of a server for the stores of the sites.
	redisVariable = "INTEGRATION_REDIS"
	// binaryVariable is an environment variable: the binary, if it is built already.
	binaryVariable = "INTEGRATION_BINARY"
)

const (
	suiteUsual = "usual"
	suiteAll   = "all"
)

var suiteOnRedis = flag.String("suite-on-redis", "",
	"run the tests again on Redis: "+suiteUsual+" leaves out the slow ones, "+suiteAll+" runs them too")

// notOnRedis are the tests that TestSuiteOnRedis leaves out, with the reason.
var notOnRedis = map[string]string{
	"TestSuiteOnRedis": "it would never end",
	"TestSidecars":     "it is on Redis in any case",

	"TestAttackDamagedStore":                         aboutFiles,
	"TestAttackStoreTakenAway":                       aboutFiles,
	"TestBadDayDiskFull":                             aboutFiles,
	"TestBadDayDiskFullUntilNoNonceCanBeKept":        aboutFiles,
	"TestBadDayDiskFullOfNonces":                     aboutFiles,
	"TestBadDayDiskFullWhileTheStoreGrows":           aboutFiles,
	"TestBadDayGrowingProcess":                       aboutFiles,
	"TestBadDayPowerCut":                             aboutFiles,
	"TestBadDayPowerCutWithSyncOff":                  aboutFiles,
	"TestBadDayStartAfterKill9WithManyTokens":        aboutFiles,
	"TestBadDayFillerProcess":                        aboutFiles,
	"TestBackupAndRestore":                           ownStore,
	"TestScheduledBackup":                            ownStore,
	"TestBackupUnderLoad":                            ownStore,
	"TestBackupMovesAStore":                          ownStore,
	"TestRestoreAfterKill9":                          ownStore,
	"TestAuditTrail":                                 ownStore,
	"TestAuditTrailOnADiskThatHangs":                 ownStore,
	"TestAuditTrailOnAFullDisk":                      ownStore,
	"TestAuditTrailThatMoves":                        ownStore,
	"TestALoadThatFailsIsNotTold":                    ownStore,
	"TestHealthAfterARestore":                        ownStore,
	"TestAuditTrailsOfSidecars":                      "it is on Redis in any case",
	"TestCopiedFolder":                               aboutFiles,
	"TestKeys":                                       aboutFiles,
	"TestMonitoringFullDisk":                         aboutFiles,
	"TestMonitoringMetrics":                          ownStore,
	"TestMonitoringAlerts":                           noStore,
	"TestMonitoringDashboard":                        noStore,
	"TestBesideARunningServer":                       "two servers may have one Redis",
	"TestTheLogTellsWhatWasOpened":                   "the log names Badger's directory",
	"TestManual":                                     ownStore,
	"TestTheManualsLogFilter":                        ownStore,
	"TestCookbook":                                   ownStore,
	"TestCookbookClients":                            ownStore,
	"TestImports":                                    noStore,
	"TestOnlyModuleFilesKnowCaddy":                   noStore,
	"TestCaddymoduleKnowsNoStore":                    noStore,
	"TestPackagesHaveMaps":                           noStore,
	"TestImportRulesPointDown":                       noStore,
	"TestVersion":                                    noStore,
	"TestTheMatrixSeesWhatIsNotSent":                 noStore,
	"TestACellSaysWhatIsClaimed":                     noStore,
	"TestTheJudgeReadsTheExampleOfRFC5849":           noStore,
	"TestTheWireKeepsWhatWentOver":                   noStore,
	"TestAttackReplayWhenTheWindowBecomesWider":      slow,
	"TestAttackReloads":                              slow,
	"TestClients":                                    slow,
	"TestClientsFaultsWithOtherRequests":             slow,
	"TestIMSLTIsOwnFaults":                           slow,
	"TestBrowserAccessibility":                       slow,
	"TestBrowserBranding":                            slow,
	"TestBrowserKeyboard":                            slow,
	"TestBrowserFold":                                slow,
	"TestBrowserLanguages":                           slow,
	"TestBadDayKill9":                                slow,
	"TestUpstreamSeesWhatItWouldSeeBehindPlainCaddy": slow,
	"TestPassThrough":                                slow,
}

const (
	aboutFiles = "it is about Badger's files"
	ownStore   = "its sites have stores of their own"
	noStore    = "it has no site"
	slow       = "slow: only with -suite-on-redis=all"
)

func onRedis() bool { return os.Getenv(redisVariable) != "" }

// defaultStore is the store of a site that names none.
func defaultStore(sync string) string {
	if onRedis() {
		return "store redis {\n\taddress {{.Redis}}\n\tprefix {{.Prefix}}\n\treplicas 0\n\ttimeout 1s\n}"
	}
	if sync != "" {
		sync = "sync " + sync
	}
	return "store badger {\n\tpath {{.Dir}}/store\n\t" + sync + "\n}"
}

// A store on new servers refuses requests for its first seconds, and timestamps from before for the
// whole window. So the sites have stores whose servers seem to have been started long ago: the
// states of the slices are copies, made by other scripts than the store's.
const (
	readyStore = "ready"
	siteCount  = "sites"

	longAgo = `local states = redis.call('KEYS', ARGV[1] .. ':s{*')
for _, key in ipairs(states) do
	redis.call('HINCRBY', key, 'floor', -7200)
end
return #states`

	copyStates = `local n = redis.call('INCR', ARGV[2])
for _, key in ipairs(redis.call('KEYS', ARGV[1] .. ':s{*')) do
	redis.call('COPY', key, 'site' .. n .. string.sub(key, 1 + #ARGV[1]))
end
return n`
)

var redisClient = sync.OnceValues(func() (rueidis.Client, error) {
	return rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{os.Getenv(redisVariable)}})
})

// readyPrefix returns the prefix of a store that is empty and accepts requests at once.
func readyPrefix(t testing.TB) string {
	t.Helper()
	c, err := redisClient()
	if err != nil {
		t.Fatal(err)
	}
	n, err := c.Do(t.Context(), c.B().Eval().Script(copyStates).Numkeys(0).Arg(readyStore, siteCount).Build()).AsInt64()
	if err != nil {
		t.Fatal(err)
	}
	return "site" + strconv.FormatInt(n, 10)
}

// startReadyStore makes the store that readyPrefix copies.
func startReadyStore(t *testing.T, lab *redislab.Lab) {
	t.Helper()
	s, err := redisstore.Open(redisstore.Options{Addresses: lab.Addresses(), Prefix: readyStore, Timeout: patience,
		Lead: 5 * time.Second, MaxStale: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var later *tokenstore.LaterError
	if err := s.Check(t.Context()); err != nil && !errors.As(err, &later) {
		t.Fatal(err)
	}
	if n := lab.Nodes[0].Must(t, "EVAL", longAgo, "0", readyStore); n != int64(64) {
		t.Fatalf("%v slices have a state, want 64", n)
	}
}

func TestSuiteOnRedis(t *testing.T) {
	switch *suiteOnRedis {
	case suiteUsual, suiteAll:
	case "":
		t.Skip("takes minutes: give -suite-on-redis=" + suiteUsual)
	default:
		t.Fatalf("-suite-on-redis=%s: must be %s or %s", *suiteOnRedis, suiteUsual, suiteAll)
	}
	names := testsOnRedis(t)
	lab := redislab.Single(t, redislab.Options{})
	startReadyStore(t, lab)

	again := exec.Command("go", "tool", "test2json", os.Args[0], "-test.v=test2json", "-test.timeout=25m",
		"-test.run=^("+strings.Join(names, "|")+")$")
	again.Env = append(os.Environ(), redisVariable+"="+lab.Addresses()[0], binaryVariable+"="+requireBinary(t))
	results, err := runTests(again)
	if len(results) == 0 {
		t.Fatalf("no test was run: %v", err)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			switch r := results[name]; {
			case r == nil:
				t.Error("it was not run")
			case r.outcome == "skip":
				t.Skip(r.output.String())
			case r.outcome != "pass":
				t.Errorf("%s\n%s", r.outcome, r.output.String())
			}
		})
	}
	sites, err := strconv.Atoi(fmt.Sprint(lab.Nodes[0].Must(t, "GET", siteCount)))
	if err != nil || sites < len(names) {
		t.Errorf("%d tests had %d sites on Redis (%v)", len(names), sites, err)
	}
}

// testsOnRedis returns the names of the tests that are to be run on Redis.
func testsOnRedis(t *testing.T) (names []string) {
	t.Helper()
	list, err := exec.Command(os.Args[0], "-test.list=^Test").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(list))
	for name := range notOnRedis {
		if !slices.Contains(all, name) {
			t.Errorf("there is no %s to leave out", name)
		}
	}
	for _, name := range all {
		if reason := notOnRedis[name]; reason == "" || reason == slow && *suiteOnRedis == suiteAll {
			names = append(names, name)
		}
	}
	return names
}

// A testResult is what came of a test and its subtests.
type testResult struct {
	outcome string // pass, fail, skip; "did not end"
	output  strings.Builder
}

// runTests runs a command that writes events of tests.
func runTests(cmd *exec.Cmd) (map[string]*testResult, error) {
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := redislab.StartBound(cmd); err != nil {
		return nil, err
	}
	results := map[string]*testResult{}
	for d := json.NewDecoder(events); ; {
		var e struct{ Action, Test, Output string }
		if err = d.Decode(&e); err != nil {
			break
		}
		name, _, sub := strings.Cut(e.Test, "/")
		if name == "" {
			continue
		}
		r := results[name]
		if r == nil {
			r = &testResult{outcome: "did not end"}
			results[name] = r
		}
		r.output.WriteString(e.Output)
		if !sub && slices.Contains([]string{"pass", "fail", "skip"}, e.Action) {
			r.outcome = e.Action
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return results, errors.Join(err, cmd.Wait())
}
