package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// request is one that the API server answered, as its audit log has it.
type request struct {
	object

	verb, subresource string
	dry, ours         bool
	code              int
	received, done    time.Time
}

// line is a line of the audit log.
type line struct {
	Stage, Verb, RequestURI, UserAgent string
	ObjectRef                          struct{ Resource, Namespace, Name, Subresource string }
	ResponseStatus                     struct{ Code int }
	RequestReceivedTimestamp           time.Time
	StageTimestamp                     time.Time
}

// readRequests reads the audit log from a time on, in the order of arrival. The
// API server begins another file when one is large; their names sort by time, the
// newest last. Watches are left out: they last.
func readRequests(path string, since time.Time) ([]request, error) {
	files, err := filepath.Glob(strings.TrimSuffix(path, ".log") + "*.log")
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var out []request
	for _, file := range files {
		if out, err = readFile(out, file, since); err != nil {
			return nil, fmt.Errorf("reading the audit log: %w", err)
		}
	}
	slices.SortStableFunc(out, func(a, b request) int { return a.received.Compare(b.received) })
	return out, nil
}

func readFile(out []request, file string, since time.Time) ([]request, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 4<<20)
	for lines.Scan() {
		var l line
		if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
			return nil, err
		}
		if l.Stage != "ResponseComplete" || l.Verb == "watch" || l.RequestReceivedTimestamp.Before(since) {
			continue
		}
		o := l.ObjectRef
		out = append(out, request{
			object: object{o.Resource, o.Namespace, o.Name}, verb: l.Verb, subresource: o.Subresource,
			dry: strings.Contains(l.RequestURI, "dryRun="), ours: strings.HasPrefix(l.UserAgent, "millwright-controller/"),
			code: l.ResponseStatus.Code, received: l.RequestReceivedTimestamp, done: l.StageTimestamp,
		})
	}
	return out, lines.Err()
}

// wrote says that the API server carried out a write.
func (r request) wrote() bool {
	return !r.dry && r.code >= 200 && r.code < 300 && slices.Contains([]string{"create", "update", "patch", "delete"}, r.verb)
}

// The writes of a revision, in their order.
func (r request) verdict() bool { return r.wrote() && r.verb == "create" && isVerdict(r.object) }

func (r request) intent() bool {
	return r.wrote() && r.resource == factories && r.subresource == "status"
}

func (r request) change() bool {
	return r.wrote() && r.namespace == declared && r.resource != "events"
}

func (r request) record() bool {
	return r.wrote() && r.verb == "create" && r.resource == records && !isVerdict(r.object)
}

func (r request) stored() bool {
	return r.wrote() && r.resource == records && r.subresource == "status" && !isVerdict(r.object)
}

func isVerdict(o object) bool { return o.resource == records && strings.Contains(o.name, "-verdict-") }

// between are the controller's requests that arrived in a time.
func between(all []request, from, to time.Time) []request {
	first, _ := slices.BinarySearchFunc(all, from, func(r request, t time.Time) int { return r.received.Compare(t) })
	var out []request
	for _, r := range all[first:] {
		if r.received.After(to) {
			break
		}
		if r.ours {
			out = append(out, r)
		}
	}
	return out
}

// redundant are the writes of which no new version came, by object: of those that
// the controller wrote, whoever else did.
func redundant(all []request, versions map[object]int) map[object]int {
	written, ours := map[object]int{}, map[object]bool{}
	for _, r := range all {
		if r.wrote() && r.resource != "events" {
			written[r.object]++
			ours[r.object] = ours[r.object] || r.ours
		}
	}
	out := map[object]int{}
	for o, n := range written {
		if o.resource == namespaces {
			n -= versions[object{namespaces, "", o.name}]
		} else {
			n -= versions[o]
		}
		if ours[o] && n > 0 {
			out[o] = n
		}
	}
	return out
}

// byKind counts requests by verb and kind, the most frequent first.
func byKind(all []request) []string {
	counts := map[string]int{}
	for _, r := range all {
		name := r.verb + " " + cmp.Or(strings.Trim(r.resource+"/"+r.subresource, "/"), "other")
		if r.dry {
			name += " (dry run)"
		}
		counts[name]++
	}
	var names []string
	for name := range counts {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, counts[name])
	}
	return names
}
