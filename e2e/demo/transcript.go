package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"time"
)

// varying is what differs from one demonstration to the next, in the order in
// which it is replaced.
func varying() []struct{ pattern, by string } {
	return []struct{ pattern, by string }{
		{`127\.0\.0\.1:\d+`, "127.0.0.1:PORT"},
		{`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b`, "UID"},
		{`\b[0-9a-f]{64}\b`, "DIGEST"},
		{`\b[0-9a-f]{40}\b`, "COMMIT"},
		{`\b[0-9a-f]{12}\b`, "SHORT"},
		{`\b[0-9a-f]{7}\b`, "SHORT"},
		{`\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`, "TIME"},
		{`\b\d\d:\d\d:\d\dZ`, "TIME"},
		{`\b\d+(\.\d+)?( s|s|ms| ms| seconds)\b`, "SECONDS"},
		{`\b\d+m(\d+s)?\b`, "SECONDS"},
		{`index: \d+`, "index: N"},
		{`\blog \d+`, "log N"},
		{`[ \t]{2,}`, "  "},
		{` +\n`, "\n"},
	}
}

// normalise replaces what varies in a transcript, so that what remains is what
// the demonstration promises.
func normalise(text string) string {
	for _, v := range varying() {
		text = regexp.MustCompile(v.pattern).ReplaceAllString(text, v.by)
	}
	return text
}

// timings are what the demonstration measured, in seconds.
type timings struct {
	names   []string
	seconds map[string]float64
}

func newTimings() *timings { return &timings{seconds: map[string]float64{}} }

func (t *timings) took(what string, d time.Duration) {
	t.names = append(t.names, what)
	t.seconds[what] = float64(d.Round(time.Millisecond)) / float64(time.Second)
}

// write keeps what the flags ask to keep.
func (d *demo) write() error {
	if d.options.transcript != "" {
		if err := os.WriteFile(d.options.transcript, []byte(normalise(d.screen.copy.String())), 0o600); err != nil {
			return fmt.Errorf("writing the transcript: %w", err)
		}
	}
	if d.options.timings == "" {
		return nil
	}
	data, err := json.MarshalIndent(d.times.seconds, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(d.options.timings, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("writing the timings: %w", err)
	}
	return nil
}
