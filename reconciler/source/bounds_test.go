package source_test

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"millwright.dev/millwright/e2e/gittest"
	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/reconciler/source"
)

// rewrite lets the repositories answer and changes what they said to a method
// while it is switched on.
func rewrite(method string, on *atomic.Bool, change func(body []byte, w http.ResponseWriter)) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != method || !on.Load() {
				next.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			next.ServeHTTP(answer, r)
			w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
			change(answer.Body.Bytes(), w)
		})
	}
}

// drip sends one byte after the other until the client hangs up.
func drip(every time.Duration) func([]byte, http.ResponseWriter) {
	return func(body []byte, w http.ResponseWriter) {
		for i := range body {
			if _, err := w.Write(body[i : i+1]); err != nil {
				return
			}
			if http.NewResponseController(w).Flush() != nil {
				return
			}
			time.Sleep(every)
		}
	}
}

func TestAServerThatDripsIsLeftWhenTheTimeIsUp(t *testing.T) { // row E06
	t.Parallel()
	for name, method := range map[string]string{"in its list of refs": http.MethodGet, "in its pack": http.MethodPost} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &atomic.Bool{}
			on.Store(true)
			f := newForge(t, gittest.Options{Around: rewrite(method, on, drip(time.Second))})
			tip := f.commit("one")
			store, dir := open(t)
			r := remote(f.url)
			r.Timeout = 1500 * time.Millisecond
			begin := time.Now()
			_, err := store.Fetch(t.Context(), r)
			wantReason(t, err, source.ReasonSourceUnreachable)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%v does not say that the time was up", err)
			}
			if took := time.Since(begin); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
			wantNoRemains(t, dir)
			on.Store(false)
			checkout, err := store.Fetch(t.Context(), remote(f.url))
			if err != nil || checkout.Commit != tip {
				t.Errorf("afterwards: %v, %v", checkout.Commit, err)
			}
		})
	}
}

func TestAPackThatIsNotWholeIsNotBelievedAndTheNextOneIs(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func([]byte) []byte{
		"cut in the middle":           func(b []byte) []byte { return b[:len(b)/2] },
		"cut before its checksum":     func(b []byte) []byte { return b[:len(b)-24] },
		"cut after the first answer":  func(b []byte) []byte { return b[:8] },
		"nothing at all":              func([]byte) []byte { return nil },
		"a byte of an object flipped": func(b []byte) []byte { b[bytes.Index(b, []byte("PACK"))+30] ^= 1; return b },
		"a byte of its sum flipped":   func(b []byte) []byte { b[len(b)-6] ^= 1; return b },
		"an error in the side-band":   func([]byte) []byte { return []byte("0008NAK\n000d\x03broken\n\n0000") },
		"fewer objects than it says":  func(b []byte) []byte { b[bytes.Index(b, []byte("PACK"))+11]--; return b },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &atomic.Bool{}
			f := newForge(t, gittest.Options{Around: rewrite(http.MethodPost, on, func(b []byte, w http.ResponseWriter) {
				_, _ = w.Write(change(b))
			})})
			first := f.commit("one")
			store, dir := open(t)
			if _, err := store.Fetch(t.Context(), remote(f.url)); err != nil {
				t.Fatal(err)
			}
			second := f.commit("two")
			on.Store(true)
			checkout, err := store.Fetch(t.Context(), remote(f.url))
			wantReason(t, err, source.ReasonSourceUnreachable)
			if checkout.Commit != "" {
				t.Errorf("it gave commit %s", checkout.Commit)
			}
			wantNoRemains(t, dir)
			if _, _, err := store.Object(t.Context(), first, 1<<20); err != nil {
				t.Errorf("what was here is gone: %v", err)
			}
			on.Store(false)
			checkout, err = store.Fetch(t.Context(), remote(f.url))
			if err != nil || checkout.Commit != second {
				t.Fatalf("afterwards: %v, %v; want %s", checkout.Commit, err, second)
			}
		})
	}
}

func TestAPageOfAProxyIsNamedForWhatItIs(t *testing.T) { // row E13
	t.Parallel()
	page := func(_ []byte, w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write([]byte("<html>Please log in \x1b[31m</html>"))
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			on := &atomic.Bool{}
			on.Store(true)
			f := newForge(t, gittest.Options{Around: rewrite(method, on, page)})
			f.commit("one")
			store, _ := open(t)
			_, err := store.Fetch(t.Context(), remote(f.url))
			text := wantReason(t, err, source.ReasonSourceUnreachable)
			if !strings.Contains(text, "text/html") || !strings.Contains(text, "proxy") {
				t.Errorf("the message does not help: %s", text)
			}
		})
	}
}

func TestWhatAServerWritesIntoAnErrorIsShortAndPlain(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{Around: func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("\x1b[31mno\r\n" + strings.Repeat("x", 1<<20)))
		})
	}})
	store, _ := open(t)
	_, err := store.Fetch(t.Context(), remote(f.url))
	text := wantReason(t, err, source.ReasonSourceUnauthorized)
	if len(text) > 1100 || strings.ContainsAny(text, "\x1b\r\n") {
		t.Errorf("%d bytes: %.80q", len(text), text)
	}
}

func TestAPackOverTheLimitIsNotTaken(t *testing.T) { // row E04
	t.Parallel()
	f := newForge(t, gittest.Options{})
	tip := f.commit(string(noise(64 << 10)))
	s := newSSH(t, f)
	for name, r := range map[string]source.Remote{
		"over http": remote(f.url), "over ssh": sshRemote(s, "factory"), "from a file": remote("file://" + f.server.Path("factory")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, dir := open(t)
			r.MaxPack = 16 << 10
			_, err := store.Fetch(t.Context(), r)
			if text := wantReason(t, err, source.ReasonSourceUnsupported); !strings.Contains(text, "limit of 16384 bytes") {
				t.Errorf("the message does not name the limit: %s", text)
			}
			wantNoRemains(t, dir)
			r.MaxPack = 1 << 20
			checkout, err := store.Fetch(t.Context(), r)
			if err != nil || checkout.Commit != tip {
				t.Errorf("within the limit: %v, %v", checkout.Commit, err)
			}
		})
	}
}

func TestAPackThatUnfoldsToTooMuchIsNotTaken(t *testing.T) { // row E04
	t.Parallel()
	f := newForge(t, gittest.Options{})
	f.commit(strings.Repeat("\x00", 8<<20)) // deflates to 8 KiB
	store, dir := open(t)
	r := remote(f.url)
	r.MaxPack = 64 << 10
	_, err := store.Fetch(t.Context(), r)
	if text := wantReason(t, err, source.ReasonSourceUnsupported); !strings.Contains(text, "unfolds") {
		t.Errorf("the message does not say why: %s", text)
	}
	wantNoRemains(t, dir)
}

func TestAPackMadeToHurtIsNotTaken(t *testing.T) { // row E04
	t.Parallel()
	// Headers of gitformat-pack: a blob of 1 TiB, and a delta whose base has one
	// byte and whose result is to have 1 TiB.
	const blob, delta = 3, 7
	tera := []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x20}
	hugeBlob := append([]byte{0x80 | blob<<4, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10}, deflate(t, []byte("x"))...)
	instructions := append(append([]byte{1}, tera...), 0x90, 1)
	hugeDelta := append([]byte{byte(delta<<4 | len(instructions))}, make([]byte, 20)...)
	hugeDelta = append(hugeDelta, deflate(t, instructions)...)
	endless := append([]byte{byte(delta<<4 | 12)}, make([]byte, 20)...)
	endless = append(endless, deflate(t, bytes.Repeat([]byte{0xff}, 12))...)
	more := append([]byte{blob<<4 | 1}, deflate(t, bytes.Repeat([]byte("x"), 1<<20))...)
	for name, c := range map[string]struct {
		reason, says string
		pack         []byte
	}{
		"a blob of a terabyte":              {source.ReasonSourceUnsupported, "an object of", pack(1, hugeBlob)},
		"a delta that makes a terabyte":     {source.ReasonSourceUnsupported, "an object of", pack(1, hugeDelta)},
		"a delta whose size has no end":     {source.ReasonSourceUnsupported, "an object of", pack(1, endless)},
		"a blob larger than it says":        {source.ReasonSourceUnreachable, "not whole", pack(1, more)},
		"four thousand million objects":     {source.ReasonSourceUnsupported, "objects", pack(1<<32-1, nil)},
		"no objects":                        {source.ReasonSourceUnreachable, "without the object", pack(0, nil)},
		"bytes after its end":               {source.ReasonSourceUnreachable, "after its end", append(pack(0, nil), "more"...)},
		"a version that nobody has written": {source.ReasonSourceUnreachable, "not whole", []byte("PACK\x00\x00\x00\x09\x00\x00\x00\x00")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := &atomic.Bool{}
			on.Store(true)
			f := newForge(t, gittest.Options{Around: rewrite(http.MethodPost, on, func(_ []byte, w http.ResponseWriter) {
				_, _ = fmt.Fprintf(w, "0008NAK\n%04x\x01%s0000", len(c.pack)+5, c.pack)
			})})
			tip := f.commit("one")
			store, dir := open(t)
			_, err := store.Fetch(t.Context(), remote(f.url))
			if text := wantReason(t, err, c.reason); !strings.Contains(text, c.says) {
				t.Errorf("the message does not say why: %s", text)
			}
			wantNoRemains(t, dir)
			on.Store(false)
			checkout, err := store.Fetch(t.Context(), remote(f.url))
			if err != nil || checkout.Commit != tip {
				t.Errorf("afterwards: %v, %v", checkout.Commit, err)
			}
		})
	}
}

// pack frames objects as a pack that claims to hold count of them.
func pack(count uint32, objects []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte("PACK\x00\x00\x00\x02"), count)
	b = append(b, objects...)
	sum := sha1.Sum(b)
	return append(b, sum[:]...)
}

func deflate(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := zlib.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAPackOfDeltasIsTakenWhole(t *testing.T) {
	t.Parallel()
	f := newForge(t, gittest.Options{})
	var lines strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&lines, "line %d of a file that changes little\n", i)
	}
	for i := range 4 {
		f.commit(strings.Replace(lines.String(), "line 1000 ", fmt.Sprintf("line %d ", -i), 1))
	}
	bare := f.server.Path("factory")
	git(t, bare, "repack", "-q", "-a", "-d", "-f")
	if deltas := git(t, bare, "cat-file", "--batch-all-objects", "--batch-check=%(deltabase)"); strings.Count(deltas, strings.Repeat("0", 40)) > 10 {
		t.Fatalf("the pack holds no deltas, so that nothing is tried: %s", deltas)
	}
	s := newSSH(t, f)
	for name, r := range map[string]source.Remote{
		"over http": remote(f.url), "over ssh": sshRemote(s, "factory"), "from a file": remote("file://" + bare),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _ := open(t)
			if _, err := store.Fetch(t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(git(t, bare, "cat-file", "--batch-all-objects", "--batch-check=%(objectname) %(objecttype) %(objectsize)")) {
				id, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
				kind, body, err := store.Object(t.Context(), gitverify.ID(id), 1<<20)
				if got := fmt.Sprintf("%s %d", kind, len(body)); err != nil || got != rest {
					t.Errorf("object %s: %s, %v; want %s", id, got, err, rest)
				}
			}
		})
	}
}

func TestWhatAnEndedProcessLeftIsSweptAway(t *testing.T) {
	t.Parallel()
	_, dir := open(t)
	if err := os.MkdirAll(filepath.Join(dir, "objects", "pack"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{"incoming-1.pack", "objects/pack/tmp_pack_1", "objects/pack/tmp_obj_1"} {
		if err := os.WriteFile(filepath.Join(dir, left), []byte("PACK"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := source.Open(dir); err != nil {
		t.Fatal(err)
	}
	wantNoRemains(t, dir)
}

// wantNoRemains looks for what a fetch that failed must not leave on the disk.
func wantNoRemains(t *testing.T, dir string) {
	t.Helper()
	for _, pattern := range []string{"incoming-*", "objects/pack/tmp_*"} {
		left, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
}
