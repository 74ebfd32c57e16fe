package doctor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// TimestampCase is a timestamp that was refused.
type TimestampCase struct {
	// Timestamp is oauth_timestamp as it was sent.
	Timestamp string
	// Now is the server's time when the request came.
	Now time.Time
	// Window is how far a timestamp may be from Now.
	Window time.Duration
	// Earlier is how far the consumer's latest timestamps were from the server's time, before this
	// one: positive if they were ahead.
	Earlier []time.Duration
}

// Timestamp says why a timestamp is outside the window. It returns a valid Diagnosis for one that
// is not.
func Timestamp(c *TimestampCase) Diagnosis {
	seconds, err := strconv.ParseInt(c.Timestamp, 10, 64)
	if err != nil {
		return mistaken(Mistake{Name: timestampText})
	}
	now := c.Now.Unix()
	for _, unit := range timestampUnits {
		if near(seconds/unit.size, now, day) && !near(seconds, now, day) {
			return mistaken(Mistake{Name: timestampUnit, Signed: unit.name})
		}
	}
	off := seconds - now
	window := int64(c.Window / time.Second)
	if -window <= off && off <= window {
		return Diagnosis{Valid: true}
	}
	m := Mistake{Name: timestampOff, Signed: offText(off), Expected: duration(window)}
	switch {
	case isZone(off):
		m.Name = timestampZone
	case alwaysOff(time.Duration(off)*time.Second, c.Earlier):
		m.Name = clockOff
	}
	return mistaken(m)
}

const day = 24 * 60 * 60

var timestampUnits = []struct {
	name string
	size int64
}{{"milliseconds", 1e3}, {"microseconds", 1e6}, {"nanoseconds", 1e9}}

// near reports whether two numbers are at most most apart. It does not overflow.
func near(a, b, most int64) bool { return a >= b-most && a <= b+most }

// isZone reports whether seconds are the offset of a time zone, but for a minute.
func isZone(off int64) bool {
	const quarter, minute = 15 * 60, 60
	if !near(off, 0, 14*60*60+minute) {
		return false
	}
	quarters := (off + quarter/2) / quarter
	if off < 0 {
		quarters = (off - quarter/2) / quarter
	}
	if quarters == 0 || !near(off, quarters*quarter, minute) {
		return false
	}
	if quarters < 0 {
		quarters = -quarters
	}
	switch quarters {
	case 14, 18, 22, 23, 26, 34, 35, 38, 42, 51: // zones that are not whole hours from UTC, such as India's
		return true
	}
	return quarters%4 == 0
}

// alwaysOff reports whether the earlier timestamps were as far off as this one: three at least, and
// none that differs by more than ten seconds or a twentieth.
func alwaysOff(off time.Duration, earlier []time.Duration) bool {
	most := max(10*time.Second, off.Abs()/20)
	for _, other := range earlier {
		if (other - off).Abs() > most {
			return false
		}
	}
	return len(earlier) >= 3
}

func offText(off int64) string {
	switch {
	case off < 0 && off >= -math.MaxInt32:
		return duration(-off) + " behind"
	case off > 0 && off <= math.MaxInt32:
		return duration(off) + " ahead"
	}
	return "years off"
}

// duration says a number of seconds, and from two minutes on in larger units too.
func duration(seconds int64) string {
	text := fmt.Sprintf("%d seconds", seconds)
	if seconds == 1 {
		text = "1 second"
	}
	if seconds >= 120 {
		units := (time.Duration(seconds) * time.Second).String()
		if strings.HasSuffix(units, "m0s") {
			units = strings.TrimSuffix(units, "0s")
		}
		text += " (" + units + ")"
	}
	return text
}

func mistaken(m ...Mistake) Diagnosis { return Diagnosis{Mistakes: m} }
