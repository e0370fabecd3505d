package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/publicgood"
	"millwright.dev/millwright/gitverify/tufroot"
	"millwright.dev/millwright/reconciler"
)

const (
	// trustedRootUsage is the help of every --trusted-root.
	trustedRootUsage = "Sigstore trusted_root.json `file`; public-good for the one this program has of the public Sigstore; tuf:DIR for a folder of 'millwright trust root refresh'"
	maxTrustedRoot   = 1 << 20
	// grace is how long an expired TUF folder is used, as in the controller.
	grace = 168 * time.Hour
	// anchorFile is the initial root of a folder, which is believed as it is.
	anchorFile = "root.json"
)

// loadTrustedRoot reads the trusted root that a flag names. Nothing is asked
// over the network.
func (a *app) loadTrustedRoot(name string) ([]byte, error) {
	if name == "public-good" {
		return publicgood.JSON()
	}
	if dir, ok := strings.CutPrefix(name, "tuf:"); ok {
		return a.fetchedTrustedRoot(dir)
	}
	return readBounded(name, maxTrustedRoot)
}

// parseTrustedRoot does the same for the verbs that verify commits.
func (a *app) parseTrustedRoot(name string) (gitverify.TrustedRoot, error) {
	data, err := a.loadTrustedRoot(name)
	if err != nil {
		return gitverify.TrustedRoot{}, noTrustedRoot(err)
	}
	trusted, err := gitverify.ParseTrustedRoot(data)
	if err != nil {
		return gitverify.TrustedRoot{}, noTrustedRoot(fmt.Errorf("reading %s: %w", name, err))
	}
	return trusted, nil
}

// trustSource does the same for the verbs that do what the controller does.
func (a *app) trustSource(name string) reconciler.TrustSource {
	return func() (reconciler.Trust, error) {
		data, err := a.loadTrustedRoot(name)
		return reconciler.Trust{Data: data, State: tufroot.Good}, err
	}
}

// fetchedTrustedRoot is the newest one of a folder, unless it is too old.
func (a *app) fetchedTrustedRoot(dir string) ([]byte, error) {
	anchor, err := readBounded(filepath.Join(dir, anchorFile), maxTrustedRoot)
	if err != nil {
		return nil, err
	}
	client, err := tufroot.New(tufroot.Options{Root: anchor, Dir: dir, Clock: a.now})
	if err != nil {
		return nil, err
	}
	data, status, err := client.Current()
	if err != nil {
		return nil, err
	}
	switch status.State(a.now(), grace) {
	case tufroot.Frozen:
		return nil, tufroot.Expired(status.Expires)
	case tufroot.Stale:
		a.say("warning: the trusted root in %s expired at %s: run millwright trust root refresh\n", dir, status.Expires.UTC().Format(time.RFC3339))
	case tufroot.Good:
	}
	return data, nil
}
