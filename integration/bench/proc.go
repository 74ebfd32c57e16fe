package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of utime and stime in /proc/PID/stat: USER_HZ, which is 100 on every Linux
// that Go supports.
const clockTick = 10 * time.Millisecond

// procStat holds some fields of /proc/PID/stat.
type procStat struct {
	parent int
	cpu    time.Duration // user and system time in ticks, including ended threads
}

func parseProcStat(text []byte) (procStat, error) {
	// The second field is the program's name in parentheses. The name may hold spaces and
	// parentheses.
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return procStat{}, errors.New("no name")
	}
	fields := strings.Fields(string(text[i+1:])) // from the third field on
	if len(fields) < 13 {
		return procStat{}, fmt.Errorf("%d fields", len(fields)+2)
	}
	var n [3]int64
	for i, field := range [...]string{fields[1], fields[11], fields[12]} {
		var err error
		if n[i], err = strconv.ParseInt(field, 10, 64); err != nil {
			return procStat{}, err
		}
	}
	return procStat{parent: int(n[0]), cpu: time.Duration(n[1]+n[2]) * clockTick}, nil
}

// parseSchedstat returns the first number of a schedstat file: the time on a CPU, in nanoseconds.
func parseSchedstat(text []byte) (time.Duration, error) {
	fields := strings.Fields(string(text))
	if len(fields) < 3 {
		return 0, fmt.Errorf("%d fields", len(fields))
	}
	ns, err := strconv.ParseInt(fields[0], 10, 64)
	return time.Duration(ns), err
}

// cpuTime is the CPU time that a process has used. The sum over its threads is exact to the
// nanosecond, but lacks ended threads. stat includes them, but counts in ticks, rounded down. The
// larger of the two is right.
func cpuTime(pid int) (time.Duration, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return 0, err
	}
	stat, err := parseProcStat(text)
	if err != nil {
		return 0, fmt.Errorf("%s/stat: %w", dir, err)
	}
	threads, err := os.ReadDir(filepath.Join(dir, "task"))
	if err != nil {
		return 0, err
	}
	var exact time.Duration
	for _, thread := range threads {
		text, err := os.ReadFile(filepath.Join(dir, "task", thread.Name(), "schedstat"))
		if errors.Is(err, fs.ErrNotExist) {
			continue // it just ended
		}
		if err != nil {
			return 0, err
		}
		ns, err := parseSchedstat(text)
		if err != nil {
			return 0, fmt.Errorf("%s: schedstat: %w", dir, err)
		}
		exact += ns
	}
	return max(exact, stat.cpu), nil
}

// cpuTimes is the sum of several processes.
func cpuTimes(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, fmt.Errorf("CPU time: %w", err)
		}
		sum += t
	}
	return sum, nil
}

// family returns the process and its descendants.
func family(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := make(map[int][]int)
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // it just ended
		}
		stat, err := parseProcStat(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		children[stat.parent] = append(children[stat.parent], child)
	}
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all, nil
}

// procField returns the value of a "Name: value" line, as in /proc/PID/status, /proc/meminfo and
// /proc/cpuinfo.
func procField(text []byte, name string) (string, bool) {
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(line, ":")
		if ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value), true
		}
	}
	return "", false
}

// kilobytes reads a value such as "512 kB", in bytes.
func kilobytes(value string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSuffix(value, " kB"), 10, 64)
	return n << 10, err
}

// anonymousMemory is RssAnon, in bytes: the memory of the process that no file backs.
func anonymousMemory(pid int) (int64, error) {
	path := fmt.Sprintf("/proc/%d/status", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	value, ok := procField(text, "RssAnon")
	if !ok {
		return 0, fmt.Errorf("%s: no RssAnon", path)
	}
	return kilobytes(value)
}

// machine describes what the benchmark runs on.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if name, ok := procField(text, "model name"); ok {
			model = strings.Join(strings.Fields(name), " ")
		}
	}
	s := fmt.Sprintf("%s, %d cores", model, runtime.NumCPU())
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		if value, ok := procField(text, "MemTotal"); ok {
			if n, err := kilobytes(value); err == nil {
				s += fmt.Sprintf(", %d GB", (n+1<<29)>>30)
			}
		}
	}
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		s += ", Linux " + strings.TrimSpace(string(release))
	}
	return s
}
