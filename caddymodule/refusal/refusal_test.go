package refusal

import "testing"

// TestProblemWords: the words of OAuth Problem Reporting tell a client what to do next. A rejected
// key is invalid for good, and a refused key for a while.
func TestProblemWords(t *testing.T) {
	for _, p := range []*Problem{DisabledConsumer, ExpiredConsumer} {
		if p.Word != "consumer_key_rejected" {
			t.Errorf("%s is %s: it does not pass by waiting", p.Reason, p.Word)
		}
	}
	for _, p := range []*Problem{Store, Unrecorded, Stopping, NoncesFull, TokenNonces, EndpointNonces, TooManyWaiting, TooManyInAll, TooManyConsumers} {
		if p.Status != 503 || p.Word != "consumer_key_refused" || p.Kind != KindLimit && p.Kind != KindStore && p.Kind != KindStopping {
			t.Errorf("%s is %d %s: it passes by waiting", p.Reason, p.Status, p.Word)
		}
	}
}
