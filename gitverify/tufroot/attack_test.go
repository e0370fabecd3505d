package tufroot_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
)

// attack is what a repository does to a client that has a good trusted root.
// The honest twin differs in nothing but the attacked property.
type attack struct {
	honest, hostile func(*world)
	code            string
}

func change(c tuftest.Change) func(*world) { return func(w *world) { w.publish(c) } }

// update is an honest publication of the second trusted root.
func update(w *world) { w.publish(tuftest.Change{Target: w.roots[1]}) }

// expiring publishes with metadata of a role that ends at an offset from now.
func expiring(role string, d time.Duration) func(*world) {
	return func(w *world) {
		c := tuftest.Change{Target: w.roots[1], Expires: map[string]time.Time{role: w.repo.Now.Add(d)}}
		if role == tuftest.Root {
			c.Rotate = []string{tuftest.Root}
		}
		w.publish(c)
	}
}

func signedBy(role string, n int) func(*world) {
	return func(w *world) {
		c := tuftest.Change{Target: w.roots[1], Signers: map[string]int{role: n}}
		if role == tuftest.Root {
			c.Rotate = []string{tuftest.Root}
		}
		w.publish(c)
	}
}

// follows publishes metadata of a role that names a version of the
// specification.
func follows(role, spec string) func(*world) {
	c := tuftest.Change{Spec: map[string]string{role: spec}}
	if role == tuftest.Root {
		c.Rotate = []string{tuftest.Root}
	}
	return change(c)
}

// broken publishes and then answers for the newest file of a role.
func broken(role string, answer func(good []byte) http.HandlerFunc) func(*world) {
	return func(w *world) {
		w.publish(tuftest.Change{Target: w.roots[1], Rotate: []string{tuftest.Root}})
		name := w.repo.Newest(role)
		w.repo.Fault(name, answer(w.repo.Files()[name]))
	}
}

func whole(good []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(good) }
}

func cut(good []byte) http.HandlerFunc { return whole(good[:len(good)/2]) }

func status(code int) func([]byte) http.HandlerFunc {
	return func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
}

// hungUp promises all of it and sends a part.
func hungUp(good []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(good)))
		_, _ = w.Write(good[:len(good)/2])
	}
}

func endless(good []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		_, _ = w.Write(good)
		for req.Context().Err() == nil {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<16)); err != nil {
				return
			}
		}
	}
}

// dripping sends a byte now and then, for ever.
func dripping([]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		for req.Context().Err() == nil {
			_, _ = w.Write([]byte(" "))
			_ = http.NewResponseController(w).Flush()
			select {
			case <-req.Context().Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

func elsewhere(to string) func([]byte) http.HandlerFunc {
	return func([]byte) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) { http.Redirect(w, req, to, http.StatusFound) }
	}
}

// mixed publishes twice and serves the older file of a role under the newer
// name.
func mixed(role string) func(*world) {
	return func(w *world) {
		older := w.repo.Files()[w.repo.Newest(role)]
		update(w)
		w.repo.Put(w.repo.Newest(role), older)
	}
}

// instead serves something else under the newest name of a role.
func instead(role, text string) func(*world) {
	return func(w *world) { broken(role, func([]byte) http.HandlerFunc { return whole([]byte(text)) })(w) }
}

// twice repeats the signatures of one key until they are enough.
func twice(w *world) {
	w.publish(tuftest.Change{Rotate: []string{tuftest.Root}, Signers: map[string]int{tuftest.Root: 1}})
	name := w.repo.Newest(tuftest.Root)
	var root map[string]any
	w.must(json.Unmarshal(w.repo.Files()[name], &root))
	signatures, ok := root["signatures"].([]any)
	if !ok {
		w.Fatal("the root has no signatures")
	}
	root["signatures"] = append(signatures, signatures...)
	data, err := json.Marshal(root)
	w.must(err)
	w.repo.Put(name, data)
}

func attacks() map[string]attack {
	hour := time.Hour
	table := map[string]attack{
		"a repository that stands still until its metadata expires": {
			func(w *world) { w.pass(tuftest.Lifetime - hour) },
			func(w *world) { w.pass(tuftest.Lifetime + hour) }, tufroot.CodeExpired,
		},
		"an old state of everything": {
			func(w *world) { w.repo.Serve(w.repo.Files()) },
			func(w *world) { w.repo.Serve(w.saved) }, tufroot.CodeRollback,
		},
		"a timestamp of a lower version": {
			change(tuftest.Change{Versions: map[string]int64{tuftest.Timestamp: 9}}),
			change(tuftest.Change{Versions: map[string]int64{tuftest.Timestamp: 1}}), tufroot.CodeRollback,
		},
		"a snapshot of a lower version": {
			change(tuftest.Change{Versions: map[string]int64{tuftest.Snapshot: 9}}),
			change(tuftest.Change{Versions: map[string]int64{tuftest.Snapshot: 1}}), tufroot.CodeRollback,
		},
		"targets of a lower version": {
			change(tuftest.Change{Versions: map[string]int64{tuftest.Targets: 9}}),
			change(tuftest.Change{Versions: map[string]int64{tuftest.Targets: 1}}), tufroot.CodeRollback,
		},
		"the first root as the next one": {
			change(tuftest.Change{Rotate: []string{tuftest.Root}}),
			func(w *world) { w.repo.Put("2.root.json", w.repo.InitialRoot()) }, tufroot.CodeRollback,
		},
		"a root whose version is fast-forwarded": {
			change(tuftest.Change{Rotate: []string{tuftest.Root}}),
			change(tuftest.Change{Rotate: []string{tuftest.Root}, Versions: map[string]int64{tuftest.Root: 1 << 40}}), tufroot.CodeMismatch,
		},
		"a root of a thief's own keys": {
			change(tuftest.Change{Rotate: []string{tuftest.Root}}),
			change(tuftest.Change{Rotate: []string{tuftest.Root}, Forget: true}), tufroot.CodeSignature,
		},
		"a root that one key signed twice": {change(tuftest.Change{Rotate: []string{tuftest.Root}}), twice, tufroot.CodeMalformed},
		"a target that is no trusted root": {
			update, change(tuftest.Change{Target: []byte(`{"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}`)}), tufroot.CodeMalformed,
		},
		"targets without the trusted root": {
			update, change(tuftest.Change{Target: []byte("{}"), Name: "other.json"}), tufroot.CodeMalformed,
		},
		"a root that nobody signed": {
			change(tuftest.Change{Rotate: []string{tuftest.Root}}),
			instead(tuftest.Root, `{"signed": {"_type": "root"}, "signatures": []}`), tufroot.CodeSignature,
		},
		"a redirect to another host": {
			func(w *world) { w.redirect(w.repo.URL()) },
			func(w *world) { w.redirect("http://localhost.elsewhere.example") }, tufroot.CodeAway,
		},
		"a network that drips": {broken(tuftest.Timestamp, whole), func(w *world) {
			w.options.Timeout = 300 * time.Millisecond
			w.restart()
			broken(tuftest.Timestamp, dripping)(w)
		}, tufroot.CodeAway},
	}
	perRole(table)
	return table
}

// redirect moves the timestamp to a place below a URL.
func (w *world) redirect(to string) {
	update(w)
	w.repo.Put("moved.json", w.repo.Files()["timestamp.json"])
	w.repo.Fault("timestamp.json", elsewhere(to+"/moved.json")(nil))
}

// perRole adds what can be done to every piece of metadata.
func perRole(table map[string]attack) {
	honest := broken(tuftest.Timestamp, whole)
	for _, role := range []string{tuftest.Root, tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets} {
		table["expired "+role] = attack{expiring(role, time.Hour), expiring(role, -time.Hour), tufroot.CodeExpired}
	}
	for _, role := range []string{tuftest.Root, tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets} {
		table[role+" of another major version of the specification"] = attack{follows(role, "1.1"), follows(role, "2.0"), tufroot.CodeMalformed}
	}
	for _, role := range []string{tuftest.Timestamp, tuftest.Snapshot} {
		table[role+" that says nothing of what is below"] = attack{update, change(tuftest.Change{Silent: []string{role}}), tufroot.CodeMalformed}
	}
	for role, enough := range map[string]int{tuftest.Root: 2, tuftest.Timestamp: 1, tuftest.Snapshot: 1, tuftest.Targets: 2} {
		table[role+" below its threshold"] = attack{signedBy(role, enough), signedBy(role, enough-1), tufroot.CodeSignature}
	}
	for _, role := range []string{tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets, tuftest.Target} {
		table["no "+role] = attack{honest, broken(role, status(http.StatusNotFound)), tufroot.CodeAway}
	}
	for _, role := range []string{tuftest.Root, tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets, tuftest.Target} {
		table["a server error instead of "+role] = attack{honest, broken(role, status(http.StatusInternalServerError)), tufroot.CodeAway}
		table["a connection that ends within "+role] = attack{honest, broken(role, hungUp), tufroot.CodeAway}
		table["endless "+role] = attack{honest, broken(role, endless), tufroot.CodeSize}
	}
	for role, code := range map[string]string{
		tuftest.Root: tufroot.CodeMalformed, tuftest.Timestamp: tufroot.CodeMalformed,
		tuftest.Snapshot: tufroot.CodeMismatch, tuftest.Targets: tufroot.CodeMismatch, tuftest.Target: tufroot.CodeMismatch,
	} {
		table["truncated "+role] = attack{honest, broken(role, cut), code}
		for _, text := range []string{"", "null", "{}", `{"signed": null}`, `{"signed": {"_type": "mirrors"}}`, strings.Repeat("[", 200)} {
			table[fmt.Sprintf("%.40q instead of %s", text, role)] = attack{honest, instead(role, text), code}
		}
	}
	for _, role := range []string{tuftest.Snapshot, tuftest.Targets, tuftest.Target} {
		table["the "+role+" of another publication"] = attack{update, mixed(role), tufroot.CodeMismatch}
	}
}

func TestRowB28NothingButAnHonestRepositoryChangesTheTrustedRoot(t *testing.T) { // row B28
	t.Parallel()
	for name, a := range attacks() {
		t.Run("B28 "+name, func(t *testing.T) {
			t.Parallel()
			prepare := func() *world {
				w := newWorld(t)
				w.refresh()
				w.saved = w.repo.Files()
				w.publish(tuftest.Change{Target: w.roots[0]})
				w.refresh()
				w.believes(0)
				return w
			}
			good := prepare()
			a.honest(good)
			good.refresh()

			w := prepare()
			before, _, err := w.client.Current()
			w.must(err)
			files := w.cache()
			a.hostile(w)
			refused(t, w.client.Refresh(t.Context()), a.code)
			if !bytes.Equal(w.current(), before) {
				t.Error("what was refused changed the trusted root")
			}
			if w.repo.Newest(tuftest.Root) == "1.root.json" && !bytes.Equal(w.cache(), files) {
				t.Error("what was refused changed the cache")
			}
		})
	}
}
