package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Group is the API group of Kyverno's policies.
const Group = "policies.kyverno.io"

// tested are the kinds that the engine evaluates as at admission.
var tested = map[string]bool{"ValidatingPolicy": true, "NamespacedValidatingPolicy": true}

// untested are the kinds that decide at admission too, but not here, and why.
var untested = map[string]string{
	Group + "/ImageValidatingPolicy":           "asks registries and transparency logs; enforced at admission only",
	Group + "/NamespacedImageValidatingPolicy": "asks registries and transparency logs; enforced at admission only",
	Group + "/MutatingPolicy":                  "changes objects at admission; what it leaves cannot be seen here",
	Group + "/NamespacedMutatingPolicy":        "changes objects at admission; what it leaves cannot be seen here",
	Group + "/PolicyException":                 "exceptions are not honoured before the cluster",
	"kyverno.io/ClusterPolicy":                 "kind of the legacy engine; write a ValidatingPolicy",
	"kyverno.io/Policy":                        "kind of the legacy engine; write a ValidatingPolicy",
	"kyverno.io/PolicyException":               "exceptions are not honoured before the cluster",
}

// question is a request with what its answer is held against.
type question struct {
	request  Request
	expected []PolicyResult
	untested []PolicyResult
}

// ask makes the request out of the rendered objects, in their order.
func ask(user string, objects []json.RawMessage) (question, error) {
	q := question{request: Request{
		APIVersion: RequestVersion, User: user,
		Policies: []json.RawMessage{}, Objects: make([]json.RawMessage, 0, len(objects)),
	}}
	for i, raw := range objects {
		raw, err := compact(raw)
		if err != nil {
			return question{}, fmt.Errorf("rendered object %d: %w", i, err)
		}
		o, err := Identify(raw)
		if err != nil {
			return question{}, fmt.Errorf("rendered object %d: %w", i, err)
		}
		r := PolicyResult{Name: o.PolicyName(), Kind: o.Kind, Digest: Digest(raw)}
		if o.Group == Group && tested[o.Kind] {
			q.request.Policies = append(q.request.Policies, raw)
			q.expected = append(q.expected, r)
		} else if why, ok := untested[o.Group+"/"+o.Kind]; ok {
			r.NotTested = why
			q.untested = append(q.untested, r)
		}
		if raw, err = withoutValues(o, raw); err != nil {
			return question{}, fmt.Errorf("rendered object %s: %w", o, err)
		}
		q.request.Objects = append(q.request.Objects, raw)
	}
	return q, nil
}

// compact takes insignificant space away: a policy's digest is of the bytes that
// travel, and the encoder would take it away too.
func compact(raw json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// withoutValues blanks the values of a Secret: a policy may look at its keys
// and its type, but a message made by a policy must not be able to carry a
// value into a condition, an event or a log.
func withoutValues(o Object, raw json.RawMessage) (json.RawMessage, error) {
	if o.Group != "" || o.Kind != "Secret" {
		return raw, nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var secret map[string]any
	if err := d.Decode(&secret); err != nil {
		return nil, err
	}
	for _, field := range []string{"data", "stringData"} {
		values, ok := secret[field].(map[string]any)
		if !ok {
			delete(secret, field)
			continue
		}
		for key := range values {
			values[key] = ""
		}
	}
	if m, ok := secret["metadata"].(map[string]any); ok {
		if a, ok := m["annotations"].(map[string]any); ok {
			// kubectl keeps a copy of the whole object here.
			delete(a, "kubectl.kubernetes.io/last-applied-configuration")
		}
	}
	return json.Marshal(secret)
}
