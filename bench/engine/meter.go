package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// tick is the unit of CPU times in /proc, the same on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpuOf is the CPU time of a process and of its children that have ended.
func cpuOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name may hold anything: what is counted begins after its parenthesis.
	_, rest, ok := strings.Cut(string(data[bytes.LastIndexByte(data, ')'):]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 15 {
		return 0, fmt.Errorf("/proc/%d/stat has another form than expected", pid)
	}
	var ticks int64
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// memoryOf is a line of /proc/PID/status that tells kilobytes, in MiB.
func memoryOf(pid int, what string) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == what+":" {
			kib, err := strconv.ParseFloat(fields[1], 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the system does not say how much memory a process has")
}

// childrenOf are the processes that a process started and that are alive.
func childrenOf(pid int) []int {
	var out []int
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has ended
		}
		for word := range strings.FieldsSeq(string(data)) {
			if child, err := strconv.Atoi(word); err == nil {
				out = append(append(out, child), childrenOf(child)...)
			}
		}
	}
	return out
}

// sampler notes the most memory that the children of processes had at one time:
// nobody else remembers it when they are gone.
type sampler struct {
	mu   sync.Mutex
	most float64
	stop context.CancelFunc
	done chan struct{}
}

func sample(pids func() []int) *sampler {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sampler{stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		every := time.NewTicker(50 * time.Millisecond)
		defer every.Stop()
		for ctx.Err() == nil {
			s.look(pids())
			select {
			case <-ctx.Done():
			case <-every.C:
			}
		}
	}()
	return s
}

func (s *sampler) look(pids []int) {
	sum := 0.0
	for _, pid := range pids {
		for _, child := range childrenOf(pid) {
			if now, err := memoryOf(child, "VmRSS"); err == nil {
				sum += now
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = max(s.most, sum)
}

// end stops sampling and says what was the most.
func (s *sampler) end() float64 {
	s.stop()
	<-s.done
	return s.most
}

// request is a kind of request: which they are by verb, code and resource is told in
// the log, by verb in the report.
type request struct{ verb, what, code string }

// requests are numbers of requests.
type requests map[request]float64

// own are the requests that the API server makes of itself all the time, whoever else is
// there: leases, priorities, the schemas, and every few minutes the Services, whose
// addresses it compares with what it gave out. Its answers to those who ask how it is are
// not counted either.
func own(labels string) bool {
	for _, part := range []string{
		`resource="leases"`, `resource="flowschemas"`, `resource="prioritylevelconfigurations"`,
		`subresource="/metrics"`, `subresource="/readyz"`, `subresource="/livez"`, `subresource="/healthz"`,
		`subresource="/openapi/v3"`, `subresource="openapi/v3"`,
	} {
		if strings.Contains(labels, part) {
			return true
		}
	}
	return label(labels, "resource") == "services" && label(labels, "verb") == "LIST"
}

// requestsOf asks the API server how many requests it has answered. A watch is
// counted when it ends.
func requestsOf(ctx context.Context, client rest.Interface) (requests, error) {
	data, err := client.Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the metrics of the API server: %w", err)
	}
	return parseRequests(data)
}

func parseRequests(data []byte) (requests, error) {
	out := requests{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		rest, ok := strings.CutPrefix(lines.Text(), "apiserver_request_total{")
		if !ok {
			continue
		}
		labels, number, ok := strings.Cut(rest, "} ")
		kind := request{verb: label(labels, "verb"), what: label(labels, "resource") + label(labels, "subresource"), code: label(labels, "code")}
		if !ok || kind.verb == "" {
			return nil, errors.New("the metrics of the API server have another form than expected")
		}
		if own(labels) {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return nil, err
		}
		if label(labels, "dry_run") != "" {
			kind.code += " dry"
		}
		out[kind] += n
	}
	return out, lines.Err()
}

// label is the value of a label, "" for one that is not there.
func label(labels, name string) string {
	_, rest, found := strings.Cut(","+labels, ","+name+`="`)
	if !found {
		return ""
	}
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// since is what was added.
func (r requests) since(before requests) requests {
	out := requests{}
	for kind, n := range r {
		if d := n - before[kind]; d != 0 {
			out[kind] = d
		}
	}
	return out
}

// total counts all but watches, which stay open.
func (r requests) total() float64 {
	sum := 0.0
	for kind, n := range r {
		if kind.verb != "WATCH" {
			sum += n
		}
	}
	return sum
}

// writes counts what may change something.
func (r requests) writes() float64 {
	sum, by := 0.0, r.verbs()
	for _, verb := range []string{"APPLY", "POST", "PUT", "PATCH", "DELETE", "DELETECOLLECTION"} {
		sum += by[verb]
	}
	return sum
}

func (r requests) verbs() map[string]float64 {
	out := map[string]float64{}
	for kind, n := range r {
		out[kind.verb] += n
	}
	return out
}

func (r requests) String() string {
	var parts []string
	for verb, n := range r.verbs() {
		parts = append(parts, fmt.Sprintf("%s %.0f", verb, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// each names every kind of request, for who wants to know which they were.
func (r requests) each() string {
	var parts []string
	for kind, n := range r {
		parts = append(parts, fmt.Sprintf("%s %s %s: %.2g", kind.verb, kind.what, kind.code, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
