package main

import (
	"os"
	"slices"
	"testing"
	"time"
)

func TestParseProcStat(t *testing.T) {
	t.Parallel()
	const tail = " S 41 4242 4242 0 -1 4194560 5000 600 1 0 250 75 9 9 20 0 12 0 292030 1300000000 9000 18446744073709551615"
	want := procStat{parent: 41, cpu: 3250 * time.Millisecond}
	for name, text := range map[string]string{
		"a simple name":                 "4242 (caddy)" + tail,
		"a name with spaces":            "4242 (tmux: server 1)" + tail,
		"a name with parentheses":       "4242 (a) S 1 (b)" + tail,
		"a name that looks like fields": "4242 () R 9 9 9 9 9 9 9 9 9 9 9 9 9 9)" + tail,
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseProcStat([]byte(text))
			if err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		})
	}
	for name, text := range map[string]string{
		"nothing": "", "no name": "4242 S 41", "cut short": "4242 (caddy) S 41 4242", "no numbers": "1 (a) S x" + tail[5:],
	} {
		t.Run(name+" is an error", func(t *testing.T) {
			if got, err := parseProcStat([]byte(text)); err == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestParseSchedstat(t *testing.T) {
	t.Parallel()
	if got, err := parseSchedstat([]byte("1057988 1827519 9\n")); err != nil || got != 1057988 {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "1 2", "x 2 3"} {
		if got, err := parseSchedstat([]byte(text)); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
}

func TestProcField(t *testing.T) {
	t.Parallel()
	text := []byte("Name:\tcaddy\nVmRSS:\t    2048 kB\nRssAnon:\t     156 kB\nmodel name\t: A CPU: fast\n")
	for name, want := range map[string]string{"RssAnon": "156 kB", "model name": "A CPU: fast", "Name": "caddy"} {
		if got, ok := procField(text, name); !ok || got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	if got, ok := procField(text, "Rss"); ok {
		t.Errorf("Rss: got %q, want none", got)
	}
	if got, err := kilobytes("156 kB"); err != nil || got != 156<<10 {
		t.Errorf("kilobytes: got %d, %v", got, err)
	}
}

func TestOwnProcess(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip(err)
	}
	before, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for start := time.Now(); time.Since(start) < 30*time.Millisecond; {
	}
	after, err := cpuTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("CPU time went from %v to %v", before, after)
	}
	pids, err := family(os.Getppid())
	if err != nil || !slices.Contains(pids, os.Getpid()) {
		t.Errorf("our parent's family is %v, %v, without us", pids, err)
	}
	if n, err := anonymousMemory(os.Getpid()); err != nil || n < 1<<20 {
		t.Errorf("anonymous memory: %d bytes, %v", n, err)
	}
}
