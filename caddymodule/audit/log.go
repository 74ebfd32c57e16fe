package audit

import (
	"errors"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A Log is a Sink that writes to a logger.
type Log struct{ Logger *zap.Logger }

// Strict: a log may lose lines.
func (Log) Strict() bool { return false }

// Write logs the lines. A line that no log takes is an error.
func (l Log) Write(lines []*Line) error {
	var failed writeErrors
	core, name := l.Logger.Core(), l.Logger.Name()
	for _, line := range lines {
		entry := zapcore.Entry{
			Level: zapcore.InfoLevel, Time: time.Now(), LoggerName: name, Message: line.Event,
		}
		checked := core.Check(entry, nil)
		if checked == nil {
			failed = append(failed, "no log takes lines of level INFO from the logger "+name)
			continue
		}
		checked.ErrorOutput = &failed
		checked.Write(zap.Inline(line))
	}
	if len(failed) > 0 {
		return errors.New(strings.Join(failed, "; "))
	}
	return nil
}

// writeErrors collects what zap has to say about an entry that it could not write.
type writeErrors []string

// Write adds an error.
func (w *writeErrors) Write(text []byte) (int, error) {
	*w = append(*w, strings.TrimSpace(string(text)))
	return len(text), nil
}

// Sync does nothing.
func (*writeErrors) Sync() error { return nil }
