package policy

import (
	"bytes"
	"encoding/json"
	"fmt"

	"millwright.dev/millwright/internal/parallel"
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
	all, errs := make([]about, len(objects)), make([]error, len(objects))
	parallel.Each(len(objects), func(i int) { all[i], errs[i] = aboutOf(objects[i]) })
	q := question{request: Request{
		APIVersion: RequestVersion, User: user,
		Policies: []json.RawMessage{}, Objects: make([]json.RawMessage, 0, len(objects)),
	}}
	for i, a := range all {
		if errs[i] != nil {
			return question{}, fmt.Errorf("rendered object %d: %w", i, errs[i])
		}
		r := PolicyResult{Name: a.object.PolicyName(), Kind: a.object.Kind, Digest: a.digest}
		if a.object.Group == Group && tested[a.object.Kind] {
			q.request.Policies = append(q.request.Policies, a.raw)
			q.expected = append(q.expected, r)
		} else if why, ok := untested[a.object.Group+"/"+a.object.Kind]; ok {
			r.NotTested = why
			q.untested = append(q.untested, r)
		}
		q.request.Objects = append(q.request.Objects, a.raw)
	}
	return q, nil
}

// about is an object as it is asked about, and the digest of its bytes.
type about struct {
	object Object
	raw    json.RawMessage
	digest string
}

func aboutOf(raw json.RawMessage) (about, error) {
	raw, err := compact(raw)
	if err != nil {
		return about{}, err
	}
	o, err := Identify(raw)
	if err != nil {
		return about{}, err
	}
	a := about{object: o, digest: Digest(raw)}
	if a.raw, err = withoutValues(o, raw); err != nil {
		return about{}, fmt.Errorf("%s: %w", o, err)
	}
	return a, nil
}

// document is a request as [Encode] would write it. Its objects are compact already,
// and megabytes: the encoder would go over them again.
func (r Request) document() []byte {
	user, _ := json.Marshal(r.User) // text always can be
	b := make([]byte, 0, size(r.Policies)+size(r.Objects)+1<<10)
	b = append(append(b, `{"apiVersion":"`+RequestVersion+`","user":`...), user...)
	b = appendList(appendList(b, "policies", r.Policies), "objects", r.Objects)
	if r.More {
		b = append(b, `,"more":true`...)
	}
	return append(b, "}\n"...)
}

// document is the rest of a request, as that of a [Request] is.
func (r Rest) document() []byte {
	b := make([]byte, 0, size(r.Objects)+1<<10)
	b = append(b, `{"apiVersion":"`+RestVersion+`"`...)
	return append(appendList(b, "objects", r.Objects), "}\n"...)
}

func appendList(b []byte, name string, list []json.RawMessage) []byte {
	b = append(b, `,"`+name+`":[`...)
	for i, raw := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, raw...)
	}
	return append(b, ']')
}

func size(list []json.RawMessage) int {
	n := 0
	for _, raw := range list {
		n += len(raw) + len(",")
	}
	return n
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
