package tufroot_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/gitverify/tufroot/tuftest"
)

func TestARefreshBringsTheNewTrustedRootAndCurrentAsksNobody(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, _, err := w.client.Current()
	refused(t, err, tufroot.CodeAway)
	w.refresh()
	w.believes(0)
	w.publish(tuftest.Change{Target: w.roots[1]})
	asked := w.repo.Asked()
	w.believes(0)
	if now := w.repo.Asked(); now != asked {
		t.Errorf("Current asked the repository %d times", now-asked)
	}
	w.refresh()
	w.believes(1)
	_, status, err := w.client.Current()
	w.must(err)
	if status.Root != 1 || status.Timestamp != 2 || status.Snapshot != 2 || status.Targets != 2 ||
		!status.Expires.Equal(w.repo.Now.Add(tuftest.Lifetime)) || !status.Fetched.Equal(w.repo.Now) {
		t.Errorf("status: %+v", status)
	}
}

func TestARefreshWithoutNewsFetchesTheTimestampOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refresh()
	asked := w.repo.Asked()
	w.pass(time.Hour)
	w.refresh()
	if now := w.repo.Asked() - asked; now != 2 { // the next root that is not there, and the timestamp
		t.Errorf("%d requests were made, want 2", now)
	}
	_, status, err := w.client.Current()
	w.must(err)
	if !status.Fetched.Equal(w.repo.Now) {
		t.Errorf("the last fetch was at %s, want %s", status.Fetched, w.repo.Now)
	}
}

func TestARefreshThatHasNoNewsSinceTheLastOneStillNoticesExpiry(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refresh()
	w.pass(tuftest.Lifetime + time.Second)
	refused(t, w.client.Refresh(t.Context()), tufroot.CodeExpired)
	w.believes(0)
	w.publish(tuftest.Change{Target: w.roots[1]})
	w.refresh()
	w.believes(1)
}

func TestRowB28WhatExpiredIsKeptForTheGraceAndThenFreezes(t *testing.T) { // row B28
	t.Parallel()
	w := newWorld(t)
	w.refresh()
	const grace = 24 * time.Hour
	for _, step := range []struct {
		after time.Duration
		want  tufroot.State
	}{
		{0, tufroot.Good},
		{tuftest.Lifetime, tufroot.Good},
		{time.Second, tufroot.Stale},
		{grace - time.Second, tufroot.Stale},
		{time.Second, tufroot.Frozen},
	} {
		w.pass(step.after)
		data, status, err := w.client.Current()
		w.must(err)
		if got := status.State(*w.clock.Load(), grace); got != step.want || !bytes.Equal(data, w.roots[0]) {
			t.Errorf("at %s: %s, want %s", w.clock.Load(), got, step.want)
		}
	}
	_, status, err := w.client.Current()
	w.must(err)
	if got := status.State(status.Fetched.Add(-1000*time.Hour), grace); got != tufroot.Good {
		t.Errorf("a clock that runs behind makes a fresh trusted root %s", got)
	}
	status.Fetched = status.Expires.Add(2 * grace)
	if got := status.State(time.Time{}, grace); got != tufroot.Frozen {
		t.Errorf("a clock that was put back makes an expired trusted root %s", got)
	}
	if got := (tufroot.Status{}).State(w.repo.Now, 0); got != tufroot.Good {
		t.Errorf("a file, which has no expiry, is %s", got)
	}
}

func TestRowB28VersionsPushedUpByAThiefAreForgottenWithHisKey(t *testing.T) { // row B28
	t.Parallel()
	for _, role := range []string{tuftest.Timestamp, tuftest.Snapshot} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.refresh()
			w.publish(tuftest.Change{Versions: map[string]int64{tuftest.Timestamp: 1 << 53, tuftest.Snapshot: 1 << 53}})
			w.refresh() // it is signed, and nobody can see that it should not be
			low := tuftest.Change{Target: w.roots[1], Versions: map[string]int64{tuftest.Timestamp: 3, tuftest.Snapshot: 3}}
			w.publish(low)
			refused(t, w.client.Refresh(t.Context()), tufroot.CodeRollback)
			w.believes(0)
			low.Rotate = []string{role}
			w.publish(low)
			w.refresh()
			w.believes(1)
		})
	}
}

func TestARootThatHoldsIsRememberedEvenIfTheRestDoesNot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.refresh()
	stolen := w.repo.Files() // signed by keys that are revoked next
	w.publish(tuftest.Change{Target: w.roots[1], Rotate: []string{tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets}})
	rotated := w.repo.Files()
	w.repo.Put("timestamp.json", []byte("{}"))
	refused(t, w.client.Refresh(t.Context()), tufroot.CodeMalformed)
	w.believes(0)
	// The thief hides the new root and goes on with the old keys.
	w.repo.Serve(stolen)
	refused(t, w.client.Refresh(t.Context()), tufroot.CodeSignature)
	w.believes(0)
	w.repo.Serve(rotated)
	w.refresh()
	w.believes(1)
}

func TestAClientCatchesUpWithManyRotationsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.options.Root
	for range 20 {
		w.publish(tuftest.Change{Target: w.roots[1], Rotate: []string{tuftest.Root, tuftest.Timestamp}})
	}
	w.refresh()
	w.believes(1)
	// A newer initial root continues the same cache, and an older one, too.
	w.options.Root = w.repo.Files()["15.root.json"]
	w.restart()
	w.believes(1)
	w.publish(tuftest.Change{Target: w.roots[0], Rotate: []string{tuftest.Root}})
	w.refresh()
	w.believes(0)
	w.options.Root = first
	w.restart()
	if _, _, err := w.client.Current(); err == nil {
		t.Error("a chain that begins after the initial root is believed")
	}
	w.refresh()
	w.believes(0)
}

func TestRotationsWithoutEndAreRefused(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("hundreds of roots are made and verified")
	}
	w := newWorld(t)
	for range 257 {
		w.publish(tuftest.Change{Rotate: []string{tuftest.Root}})
	}
	w.options.Timeout = time.Minute
	w.restart()
	refused(t, w.client.Refresh(t.Context()), tufroot.CodeSize)
	w.options.Root = w.repo.Files()["2.root.json"]
	w.restart()
	w.refresh()
	w.believes(0)
}

func TestTheRepositoryOfSomebodyElseIsRefused(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	w.refresh()
	w.options.URL = other.repo.URL()
	w.restart()
	refused(t, w.client.Refresh(t.Context()), tufroot.CodeSignature)
	w.believes(0)
	w.options.Root = other.repo.InitialRoot()
	w.restart()
	_, _, err := w.client.Current()
	refused(t, err, tufroot.CodeSignature)
	w.refresh()
	w.roots = other.roots
	w.believes(0)
}

func TestABrokenCacheIsRefusedAndReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.publish(tuftest.Change{Target: w.roots[1], Rotate: []string{tuftest.Root}})
	w.refresh()
	good := w.cache()
	file := filepath.Join(w.options.Dir, "tuf.json")
	step := max(1, len(good)/97)
	for at := 0; at < len(good); at += step {
		broken := bytes.Clone(good)
		broken[at] ^= 1
		w.must(os.WriteFile(file, broken, 0o600))
		data, status, err := w.client.Current()
		if err == nil && (!bytes.Equal(data, w.roots[1]) || status.Root != 2) {
			t.Fatalf("a flipped bit at %d makes another trusted root: %+v", at, status)
		}
	}
	for name, c := range map[string]struct {
		broken []byte
		code   string
	}{
		"empty":            {nil, tufroot.CodeMalformed},
		"cut":              {good[:len(good)/2], tufroot.CodeMalformed},
		"with a tail":      {append(bytes.Clone(good), "{}"...), tufroot.CodeMalformed},
		"without anything": {[]byte("null"), tufroot.CodeAway},
		"of another shape": {[]byte(`{"trusted": true}`), tufroot.CodeMalformed},
		"full of roots":    {[]byte(`{"roots": [""` + strings.Repeat(`,""`, 256) + `], "target": "e30="}`), tufroot.CodeSize},
		"huge":             {bytes.Repeat([]byte(" "), 16<<20+1), tufroot.CodeSize},
	} {
		w.must(os.WriteFile(file, c.broken, 0o600))
		_, _, err := w.client.Current()
		if refused(t, err, c.code); t.Failed() {
			t.Fatal(name)
		}
		w.refresh()
		w.believes(1)
	}
	left, err := os.ReadDir(w.options.Dir)
	w.must(err)
	if len(left) != 1 {
		t.Errorf("the folder has %d files", len(left))
	}
}

func TestVersionsBelowOneAreRefusedByAClientThatKnowsNoneYet(t *testing.T) {
	t.Parallel()
	for _, role := range []string{tuftest.Timestamp, tuftest.Snapshot, tuftest.Targets} {
		w := newWorld(t)
		w.publish(tuftest.Change{Versions: map[string]int64{role: -1}})
		refused(t, w.client.Refresh(t.Context()), tufroot.CodeMalformed)
		w.publish(tuftest.Change{Versions: map[string]int64{role: 1}})
		w.refresh()
		w.believes(0)
	}
}

func TestAClientThatSawNothingYetRefusesAsWell(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change tuftest.Change
		code   string
	}{
		"a silent timestamp":  {tuftest.Change{Silent: []string{tuftest.Timestamp}}, tufroot.CodeMalformed},
		"a silent snapshot":   {tuftest.Change{Silent: []string{tuftest.Snapshot}}, tufroot.CodeMalformed},
		"too few signatures":  {tuftest.Change{Signers: map[string]int{tuftest.Targets: 1}}, tufroot.CodeSignature},
		"expired metadata":    {tuftest.Change{Expires: map[string]time.Time{tuftest.Snapshot: time.Unix(1, 0)}}, tufroot.CodeExpired},
		"a root by strangers": {tuftest.Change{Rotate: []string{tuftest.Root}, Forget: true}, tufroot.CodeSignature},
	} {
		w := newWorld(t)
		w.publish(c.change)
		err := w.client.Refresh(t.Context())
		refused(t, err, c.code)
		_, _, err = w.client.Current()
		refused(t, err, tufroot.CodeAway)
		if t.Failed() {
			t.Fatal(name)
		}
	}
}

func TestARefreshThatCannotStoreSaysSoAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(os.WriteFile(w.options.Dir, nil, 0o600)) // a file where the folder should be
	if err := w.client.Refresh(t.Context()); err == nil {
		t.Error("storing into a file that should be a folder went well")
	}
}

func TestOnlyURLsThatNobodyOnTheWayCanChangeAreFollowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for url, ok := range map[string]bool{
		"https://tuf.factory.example":        true,
		"https://tuf.factory.example/a/b":    true,
		"http://127.0.0.1:8080":              true,
		"http://[::1]:8080":                  true,
		"http://localhost:8080":              true,
		"":                                   true, // nothing to ask; for reading a cache
		"http://tuf.factory.example":         false,
		"http://localhost.factory.example":   false,
		"https://user:secret@tuf.example":    false,
		"https://tuf.factory.example/?a=b":   false,
		"https://tuf.factory.example/#a":     false,
		"file:///srv/tuf":                    false,
		"ftp://tuf.factory.example":          false,
		"https://":                           false,
		"https://tuf.factory.example/%zz":    false,
		"http://127.0.0.1.factory.example:1": false,
	} {
		o := w.options
		o.URL = url
		_, err := tufroot.New(o)
		if (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
		if err != nil && bytes.Contains([]byte(err.Error()), []byte("secret")) {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, spoil := range map[string]func(*tufroot.Options){
		"no folder":          func(o *tufroot.Options) { o.Dir = "" },
		"no clock":           func(o *tufroot.Options) { o.Clock = nil },
		"no root":            func(o *tufroot.Options) { o.Root = nil },
		"a root of no role":  func(o *tufroot.Options) { o.Root = w.repo.Files()["timestamp.json"] },
		"a huge root":        func(o *tufroot.Options) { o.Root = append(bytes.Clone(o.Root), bytes.Repeat([]byte(" "), 512<<10)...) },
		"a target elsewhere": func(o *tufroot.Options) { o.Target = "../trusted_root.json" },
	} {
		o := w.options
		spoil(&o)
		if _, err := tufroot.New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestRunRefreshesAtOnceAndEndsWithItsContext(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	told, ended := make(chan error, 10), make(chan struct{})
	go func() {
		defer close(ended)
		w.client.Run(ctx, time.Second, func(s tufroot.Status, err error) {
			if err == nil && s.Root != 1 {
				err = errors.New("the status is empty")
			}
			told <- err
		})
	}()
	w.must(<-told)
	w.believes(0)
	w.repo.Fault("timestamp.json", status(http.StatusBadGateway)(nil))
	if err := <-told; err == nil {
		t.Error("a refresh that failed is told as a good one")
	}
	w.repo.Fault("timestamp.json", nil)
	w.must(<-told)
	cancel()
	<-ended
}

func TestThePublicGoodRepositoryCanBeFollowedFromItsEmbeddedRoot(t *testing.T) {
	t.Parallel()
	client, err := tufroot.New(tufroot.Options{URL: tufroot.PublicGood, Root: tufroot.PublicGoodRoot(), Dir: t.TempDir(), Clock: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody is asked here: what there is to say without a cache is that.
	_, _, err = client.Current()
	refused(t, err, tufroot.CodeAway)
}
