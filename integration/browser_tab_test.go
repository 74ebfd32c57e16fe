package integration

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A tab is a browser tab with a logged-in user.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func (b *browser) tab(t *testing.T, user string) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	t.Cleanup(cancel)
	tb := &tab{t, ctx}
	if err := chromedp.Do(ctx); err != nil { // binds the tab to a context without a timeout
		t.Fatal(err)
	}
	tb.do(
		command(network.SetExtraHTTPHeaders,
			network.SetExtraHTTPHeadersParams{Headers: network.Headers{"X-Test-User": user}}),
		chromedp.EmulateViewport(1280, 900),
	)
	return tb
}

// do runs the steps in the tab, within patience.
func (tb *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		tb.t.Fatalf("chromium: %v", err)
	}
}

func (tb *tab) open(address string) *tab {
	tb.t.Helper()
	tb.do(chromedp.Navigate(address))
	return tb
}

// press clicks a button, and waits for the next page.
func (tb *tab) press(selector string) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if _, err := chromedp.RunResponse(ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		tb.t.Fatalf("chromium: click %s: %v\n%s", selector, err, tb.text())
	}
}

// doubleClick presses the mouse on a button twice, even if the first click leads to another page.
func (tb *tab) doubleClick(selector string, apart time.Duration) {
	tb.t.Helper()
	type point struct{ X, Y float64 }
	at := script[point](tb, fmt.Sprintf(`(() => {
		const button = document.querySelector(%q);
		button.scrollIntoView({block: "center"});
		const r = button.getBoundingClientRect();
		return {X: r.x + r.width / 2, Y: r.y + r.height / 2};
	})()`, selector))
	mouse := func(kind input.DispatchMouseEventType, count int64) chromedp.Action[chromedp.Void] {
		return command(input.DispatchMouseEvent, input.DispatchMouseEventParams{
			Type: kind, X: at.X, Y: at.Y, Button: input.MouseButtonLeft, Buttons: 1, ClickCount: count,
		})
	}
	tb.do(
		mouse(input.DispatchMouseEventTypeMousePressed, 1), mouse(input.DispatchMouseEventTypeMouseReleased, 1),
		chromedp.Sleep(apart),
		mouse(input.DispatchMouseEventTypeMousePressed, 2), mouse(input.DispatchMouseEventTypeMouseReleased, 2),
	)
}

func (tb *tab) choose(name, value string) {
	tb.t.Helper()
	tb.do(chromedp.Click(chromedp.CSS(fmt.Sprintf("input[name=%q][value=%q]", name, value))))
}

// command is an action that runs a command of the protocol.
func command[P, R any](cmd cdp.Command[P, R], params P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.Call(ctx, cmd, params)
		return err
	})
}

// script returns the value of an expression in the page.
func script[T any](tb *tab, expression string) T {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	value, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		tb.t.Fatalf("chromium: %s: %v", shorten(expression), err)
	}
	return value
}

func shorten(s string) string { return s[:min(len(s), 200)] }

func (tb *tab) text() string    { return script[string](tb, "document.body.innerText") }
func (tb *tab) address() string { return script[string](tb, "location.href") }

func (tb *tab) wantText(want string) {
	tb.t.Helper()
	if got := tb.text(); !strings.Contains(got, want) {
		tb.t.Errorf("%s does not say %q:\n%s", tb.address(), want, got)
	}
}

// waitFor waits until an expression is true. Unlike chromedp's own waiting, it works in a page that
// the back button restored.
func (tb *tab) waitFor(expression string) {
	tb.t.Helper()
	for deadline := time.Now().Add(patience); ; {
		// A page that the browser is leaving evaluates nothing: "Inspected target navigated or
		// closed".
		met, err := chromedp.Run(tb.ctx, chromedp.Evaluate[bool](expression, chromedp.EvalAwaitPromise))
		if err == nil && met {
			return
		}
		if time.Now().After(deadline) {
			tb.t.Fatalf("waited for %s, %v:\n%s", expression, err, tb.text())
		}
		time.Sleep(20 * time.Millisecond)
	}
}
