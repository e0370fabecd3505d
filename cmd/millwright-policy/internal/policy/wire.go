package policy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

//go:generate cp wire.go ../../cmd/millwright-policy/internal/policy/wire.go

// Versions of the documents on the pipe. A side that meets another version
// stops: an answer to a question that was not asked proves nothing.
const (
	RequestVersion = "millwright.dev/policy-request/v1"
	RestVersion    = "millwright.dev/policy-request-rest/v1"
	VerdictVersion = "millwright.dev/policy-verdict/v1"
)

// Limits of the documents on the pipe and of what a policy may make us print.
const (
	MaxRequest    = 64 << 20
	MaxVerdict    = 8 << 20
	MaxViolations = 500
	MaxMessage    = 1024
)

// DefaultUser is who the objects are created by, as far as a policy can see.
const DefaultUser = "system:serviceaccount:millwright-system:millwright-controller"

// TektonRule is the rule of violations that Tekton's own validation finds; the
// policy of such a violation is [TektonPolicy].
const (
	TektonPolicy = "millwright/tekton"
	TektonRule   = "tekton/validate"
)

// Request is what the policy process reads on standard input.
type Request struct {
	APIVersion string `json:"apiVersion"`
	// User is the account that the objects are said to be created by.
	User string `json:"user"`
	// Policies are the objects that are tested as policies.
	Policies []json.RawMessage `json:"policies"`
	// Objects is everything that was rendered, the policies included.
	Objects []json.RawMessage `json:"objects"`
	// More says that a [Rest] follows, perhaps much later. The process makes its
	// tests ready meanwhile. It answers once, to both together.
	More bool `json:"more,omitempty"`
}

// Rest has more objects of a request, none of which is tested as a policy.
type Rest struct {
	APIVersion string            `json:"apiVersion"`
	Objects    []json.RawMessage `json:"objects"`
}

// Object names a rendered object.
type Object struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

// String is group/kind/namespace/name without the parts that are empty.
func (o Object) String() string {
	parts := make([]string, 0, 4)
	for _, p := range []string{o.Group, o.Kind, o.Namespace, o.Name} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/")
}

// Violation is one policy's no to one object.
type Violation struct {
	// Policy is the policy's name, namespace/name for a namespaced one.
	Policy string `json:"policy"`
	// Rule is the position of the expression that said no, or a built-in rule.
	Rule    string `json:"rule"`
	Object  Object `json:"object"`
	Message string `json:"message"`
}

// String is the violation on one line.
func (v Violation) String() string {
	return fmt.Sprintf("%s: %s (%s): %s", v.Object, v.Policy, v.Rule, v.Message)
}

// PolicyResult says what became of one policy.
type PolicyResult struct {
	Name string `json:"name"`
	Kind string `json:"kind"`
	// Digest is "sha256:<hex>" of the policy's bytes as they were rendered,
	// without insignificant space.
	Digest string `json:"digest"`
	// Matched counts the objects that the policy applied to. A policy that
	// matches nothing has passed without having said anything.
	Matched int `json:"matched"`
	Failed  int `json:"failed"`
	Errors  int `json:"errors"`
	// Invalid says why the policy is not one: unknown field, expression that
	// does not compile. Such a policy refuses the revision.
	Invalid string `json:"invalid,omitempty"`
	// NotTested says why the policy cannot be tested without the cluster. It
	// will be enforced there; nothing was learnt about it here.
	NotTested string `json:"notTested,omitempty"`
}

// Verdict is what the policy process writes on standard output.
type Verdict struct {
	APIVersion string `json:"apiVersion"`
	// Engine names the modules that decided, with their versions.
	Engine string `json:"engine"`
	// Isolation is how the process was held: "netns" in user and network
	// namespaces of its own, "process" where the kernel does not allow that;
	// then "+landlock" ("+landlock-fs") if it gave up files and connections
	// (files) itself.
	Isolation string         `json:"isolation"`
	Objects   int            `json:"objects"`
	Policies  []PolicyResult `json:"policies"`
	// Violations refuse the revision.
	Violations []Violation `json:"violations"`
	// Warnings come from policies that only warn or audit.
	Warnings []Violation `json:"warnings"`
	// Omitted counts violations and warnings beyond [MaxViolations].
	Omitted int `json:"omitted"`
	// Matches has for each policy the places in the request of the objects that it
	// matched, each as often as that is counted. It is for who asked, and not part
	// of what is told of a revision.
	Matches [][]int `json:"matches,omitempty"`
}

// DecodeRequest reads one request with its rest, and nothing after it.
func DecodeRequest(r io.Reader) (Request, error) {
	req, rest, err := OpenRequest(r)
	if err != nil {
		return Request{}, err
	}
	more, err := rest()
	req.Objects, req.More = append(req.Objects, more...), false
	return req, err
}

// OpenRequest reads a request, and returns what reads its rest. Nothing follows.
func OpenRequest(r io.Reader) (req Request, rest func() ([]json.RawMessage, error), err error) {
	s := newStream(r, MaxRequest)
	if err := s.next(&req); err != nil {
		return Request{}, nil, fmt.Errorf("read policy request: %w", err)
	}
	if req.APIVersion != RequestVersion {
		return Request{}, nil, fmt.Errorf("read policy request: version %q, want %q", Printable(req.APIVersion), RequestVersion)
	}
	return req, func() ([]json.RawMessage, error) {
		var more Rest
		if req.More {
			if err := s.next(&more); err != nil {
				return nil, fmt.Errorf("read the rest of a policy request: %w", err)
			}
			if more.APIVersion != RestVersion {
				return nil, fmt.Errorf("read the rest of a policy request: version %q, want %q", Printable(more.APIVersion), RestVersion)
			}
		}
		if err := s.end(); err != nil {
			return nil, fmt.Errorf("read policy request: %w", err)
		}
		return more.Objects, nil
	}, nil
}

// DecodeVerdict reads one verdict and nothing after it.
func DecodeVerdict(r io.Reader) (Verdict, error) {
	var v Verdict
	if err := decode(r, MaxVerdict, &v); err != nil {
		return Verdict{}, fmt.Errorf("read policy verdict: %w", err)
	}
	if v.APIVersion != VerdictVersion {
		return Verdict{}, fmt.Errorf("read policy verdict: version %q, want %q", Printable(v.APIVersion), VerdictVersion)
	}
	return v, nil
}

// decode reads one document and nothing after it.
func decode(r io.Reader, limit int64, into any) error {
	s := newStream(r, limit)
	if err := s.next(into); err != nil {
		return err
	}
	return s.end()
}

// stream reads documents that follow each other. It refuses unknown fields, a
// document too many and more than limit bytes: both ends are ours, so anything
// unexpected means that they are not a pair.
type stream struct {
	from  *io.LimitedReader
	json  *json.Decoder
	limit int64
}

func newStream(r io.Reader, limit int64) stream {
	lr := &io.LimitedReader{R: r, N: limit + 1}
	d := json.NewDecoder(lr)
	d.DisallowUnknownFields()
	return stream{lr, d, limit}
}

func (s stream) next(into any) error {
	err := s.json.Decode(into)
	if s.from.N <= 0 {
		return fmt.Errorf("larger than %d bytes", s.limit)
	}
	return err
}

func (s stream) end() error {
	if _, err := s.json.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the document")
	}
	return nil
}

// Encode writes a document with a newline at its end.
func Encode(w io.Writer, document any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(document); err != nil {
		return fmt.Errorf("encode policy document: %w", err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write policy document: %w", err)
	}
	return nil
}

// Printable makes text from a policy or a process fit for a terminal and a
// condition: one line, no control characters, at most [MaxMessage] bytes.
func Printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if b.Len() >= MaxMessage {
			b.WriteString("…")
			break
		}
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			b.WriteByte(' ')
		case r < 0x20 || r == 0x7f || (r >= 0x80 && r < 0xa0) || r == 0xfffd || (r >= 0x2028 && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069):
			b.WriteByte('?')
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// Identify reads the name of an object out of its JSON. Field names are matched
// exactly, as the API server does: encoding/json alone would take "KIND" for
// "kind", and an object could go by two names.
func Identify(raw json.RawMessage) (Object, error) {
	var top map[string]json.RawMessage
	if err := json.Unmarshal(raw, &top); err != nil {
		return Object{}, fmt.Errorf("not an object: %w", err)
	}
	var meta map[string]json.RawMessage
	if err := json.Unmarshal(top["metadata"], &meta); err != nil {
		return Object{}, fmt.Errorf("metadata is not an object: %w", err)
	}
	var fields [4]string
	for i, raw := range []json.RawMessage{top["apiVersion"], top["kind"], meta["namespace"], meta["name"]} {
		if raw == nil {
			continue
		}
		if err := json.Unmarshal(raw, &fields[i]); err != nil {
			return Object{}, fmt.Errorf("apiVersion, kind, namespace and name must be text: %w", err)
		}
	}
	version, o := fields[0], Object{Kind: fields[1], Namespace: fields[2], Name: fields[3]}
	if version == "" || o.Kind == "" || o.Name == "" {
		return Object{}, errors.New("apiVersion, kind or name is missing")
	}
	if group, _, found := strings.Cut(version, "/"); found {
		o.Group = group
	}
	return o, nil
}

// Digest is "sha256:<hex>" of a policy's bytes.
func Digest(raw json.RawMessage) string {
	sum := sha256.Sum256(raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// PolicyName is the name that results and violations use for a policy.
func (o Object) PolicyName() string {
	if o.Namespace == "" {
		return o.Name
	}
	return o.Namespace + "/" + o.Name
}
