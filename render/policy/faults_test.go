package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain lets this test program stand in for the policy process where a fault
// is injected; what it does wrong is the user of the request. Verdicts of the
// real process are tested in verdict_test.go.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-memory-limit" {
		os.Exit(faulty(os.Stdin, os.Stdout))
	}
	if len(os.Args) == 3 && os.Args[1] == "run" {
		_, err := (Runner{Path: os.Args[0], User: os.Args[2]}).Test(context.Background(), some())
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func faulty(in io.Reader, out io.Writer) int {
	req, err := DecodeRequest(in)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fault, argument, _ := strings.Cut(req.User, " ")
	answer := honest(req)
	switch fault {
	case "panic":
		panic("boom\x1b[31m\nsecond line")
	case "hang":
		linger(argument)
	case "outlive":
		outlive(argument)
	case "hog":
		return hog()
	case "garbage":
		fmt.Fprint(out, argument)
		return 0
	case "flood":
		_, _ = io.Copy(out, io.LimitReader(zeros{}, MaxVerdict+1))
		return 0
	case "dial":
		return dial(argument)
	case "environment":
		answer.Engine = fmt.Sprintf("%d variables", len(os.Environ()))
	case "drop-objects":
		answer.Objects--
	case "drop-policies":
		answer.Policies = nil
	case "other-policy":
		answer.Policies[0].Digest = Digest([]byte("another"))
	case "count-more":
		answer.Policies[0].Matched = 1
	case "match-elsewhere":
		answer.Policies[0].Matched, answer.Matches[0] = 1, []int{2}
	case "match-nothing":
		answer.Matches = nil
	case "hide-failure":
		answer.Policies[0].Failed = 1
	case "twice":
		_ = Encode(out, answer)
	case "version":
		answer.APIVersion = "millwright.dev/policy-verdict/v0"
	}
	if err := Encode(out, answer); err != nil {
		return 1
	}
	return 0
}

// honest is a well-formed verdict that finds nothing.
func honest(req Request) Verdict {
	v := Verdict{APIVersion: VerdictVersion, Engine: "fault injection", Objects: len(req.Objects)}
	for _, raw := range req.Policies {
		o, _ := Identify(raw)
		v.Policies = append(v.Policies, PolicyResult{Name: o.PolicyName(), Kind: o.Kind, Digest: Digest(raw)})
		v.Matches = append(v.Matches, []int{})
	}
	return v
}

// linger starts a grandchild that would leave a mark if it lived on.
func linger(mark string) {
	_ = exec.Command("/bin/sh", "-c", "sleep 2; : > "+mark).Start()
	time.Sleep(time.Hour)
}

// outlive leaves one mark when it begins and another if it is not ended.
func outlive(mark string) {
	_ = os.WriteFile(mark+".begun", nil, 0o600)
	time.Sleep(2 * time.Second)
	_ = os.WriteFile(mark, nil, 0o600)
}

func hog() int {
	var kept [][]byte
	for range 64 {
		b := make([]byte, 64<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		kept = append(kept, b)
	}
	return len(kept)
}

func dial(address string) int {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		fmt.Fprintln(os.Stderr, "no way out:", err)
		return 1
	}
	_ = conn.Close()
	fmt.Fprintln(os.Stderr, "connected")
	return 1
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

const somePolicy = `{"apiVersion":"policies.kyverno.io/v1","kind":"ValidatingPolicy","metadata":{"name":"p"},"spec":{}}`

func some() []json.RawMessage {
	return []json.RawMessage{
		json.RawMessage(somePolicy),
		json.RawMessage(`{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c","namespace":"n"}}`),
	}
}

func inject(t *testing.T, fault string) Runner {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return Runner{Path: self, Timeout: 20 * time.Second, User: fault}
}

func TestAProcessThatDoesNotAnswerTheQuestionIsNeverAPass(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ fault, want string }{
		"it panics":                             {"panic", "panic: boom"},
		"it prints nothing":                     {"garbage ", "EOF"},
		"it prints words":                       {"garbage all is well", "invalid character"},
		"it prints half a verdict":              {`garbage {"apiVersion":"` + VerdictVersion + `"`, "unexpected EOF"},
		"it prints an unknown field":            {`garbage {"apiVersion":"` + VerdictVersion + `","pass":true}`, "unknown field"},
		"it prints an empty verdict":            {`garbage {"apiVersion":"` + VerdictVersion + `"}`, "on 0 objects"},
		"it prints two verdicts":                {"twice", "follows the document"},
		"it speaks another version":             {"version", "policy-verdict/v0"},
		"it prints more than a verdict may be":  {"flood", "more than"},
		"it left out an object":                 {"drop-objects", "on 1 objects, asked were 2"},
		"it left out a policy":                  {"drop-policies", "on 0 policies, asked were 1"},
		"it tested another policy":              {"other-policy", "is not on policy p"},
		"it counts failures without naming any": {"hide-failure", "names none"},
		"it counts matches without naming any":  {"count-more", "names something else"},
		"it matched what was not asked about":   {"match-elsewhere", "names something else"},
		"it does not say what matched":          {"match-nothing", "what they matched"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := inject(t, c.fault).Test(t.Context(), some())
			if !errors.Is(err, ErrCouldNotTell) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("error %v, want could-not-tell with %q", err, c.want)
			}
			if strings.ContainsAny(err.Error(), "\x1b\n") {
				t.Errorf("control characters of the process reach us: %q", err)
			}
			if v.APIVersion != "" || v.Policies != nil || v.Refusal() == nil {
				t.Errorf("a verdict comes with the error: %+v", v)
			}
		})
	}
}

func TestAProcessThatHangsIsEndedWithAllItStartedAtTheDeadline(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "alive")
	r := inject(t, "hang "+mark)
	r.Timeout = 500 * time.Millisecond
	begin := time.Now()
	_, err := r.Test(t.Context(), some())
	if !errors.Is(err, ErrCouldNotTell) || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want could-not-tell by deadline", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("the deadline of %s took %s", r.Timeout, took)
	}
	time.Sleep(2500 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Error("what the process started lived on")
	}
}

func TestTheProcessDoesNotOutliveUs(t *testing.T) {
	t.Parallel()
	mark := filepath.Join(t.TempDir(), "alive")
	us := exec.CommandContext(t.Context(), inject(t, "").Path, "run", "outlive "+mark)
	if err := us.Start(); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err := os.Stat(mark + ".begun"); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if err := us.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = us.Wait()
	if _, err := os.Stat(mark + ".begun"); err != nil {
		t.Fatal("the process never started")
	}
	time.Sleep(2500 * time.Millisecond)
	if _, err := os.Stat(mark); err == nil {
		t.Error("the process lived on after us")
	}
}

func TestAProcessThatEatsMemoryIsNotAPass(t *testing.T) {
	t.Parallel()
	r := inject(t, "hog")
	r.MemoryLimit = 64 << 20
	_, err := r.Test(t.Context(), some())
	if !errors.Is(err, ErrCouldNotTell) || !strings.Contains(err.Error(), "exit status") {
		t.Fatalf("error %v, want could-not-tell of a process that died", err)
	}
}

// Many clusters do not let a pod make namespaces.
func TestWithoutNamespacesTheProcessIsStillBoundAndItsAnswerTaken(t *testing.T) {
	t.Parallel()
	r := inject(t, "").withDefaults()
	q, err := ask(r.User, some())
	if err != nil {
		t.Fatal(err)
	}
	in := func() ([]byte, error) { return q.request.document(), nil }
	out, started, err := r.attempt(t.Context(), in, IsolationProcess)
	if err != nil || !started {
		t.Fatalf("started %v, error %v", started, err)
	}
	v, err := DecodeVerdict(bytes.NewReader(out))
	if err != nil {
		t.Fatal(err)
	}
	if err := q.answeredBy(v); err != nil {
		t.Error(err)
	}
}

func TestARequestIsWrittenAsTheEncoderWouldWriteIt(t *testing.T) {
	t.Parallel()
	q, err := ask("user\"s", append(some(), json.RawMessage(`{ "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "PHM+"} }`)))
	if err != nil {
		t.Fatal(err)
	}
	q.request.Policies = append(q.request.Policies, q.request.Objects...)
	more := q.request
	more.More = true
	rest := Rest{APIVersion: RestVersion, Objects: q.request.Objects}
	for _, c := range []struct {
		document any
		got      []byte
	}{{q.request, q.request.document()}, {more, more.document()}, {rest, rest.document()}} {
		var want bytes.Buffer
		if err := Encode(&want, c.document); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(c.got, want.Bytes()) {
			t.Errorf("%s\ninstead of\n%s", c.got, want.Bytes())
		}
	}
}

func TestTheTwoSidesOfThePipeShareOneFile(t *testing.T) {
	t.Parallel()
	ours, err := os.ReadFile("wire.go")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := os.ReadFile("../../cmd/millwright-policy/internal/policy/wire.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours, theirs) {
		t.Error("run go generate ./render/policy")
	}
}

func TestAMissingProgramIsCouldNotTell(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"", "millwright-policy", "./millwright-policy"} {
		if _, err := (Runner{Path: path}).Test(t.Context(), some()); !errors.Is(err, ErrCouldNotTell) {
			t.Errorf("path %q: error %v", path, err)
		}
	}
	r := Runner{Path: filepath.Join(t.TempDir(), "none")}
	if _, err := r.Test(t.Context(), some()); !errors.Is(err, ErrCouldNotTell) || !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("error %v", err)
	}
}

func TestTheProcessGetsNoEnvironment(t *testing.T) {
	t.Parallel()
	v, err := inject(t, "environment").Test(t.Context(), some())
	if err != nil {
		t.Fatal(err)
	}
	if v.Engine != "0 variables" {
		t.Errorf("the process sees %s", v.Engine)
	}
}

func TestTheProcessReachesNoServerWhenTheVerdictSaysNetns(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	v, err := inject(t, "").Test(t.Context(), some())
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	_, err = inject(t, "dial 127.0.0.1:"+strconv.Itoa(port)).Test(t.Context(), some())
	want := "no way out"
	if v.Isolation != IsolationNetns {
		want = "connected" // this kernel does not let us; the verdict says so
	}
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("under isolation %q: %v, want %q", v.Isolation, err, want)
	}
}
