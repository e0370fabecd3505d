package reconciler

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"millwright.dev/millwright/gitverify/tufroot"
)

// maxTrustedRoot bounds the trusted root.
const maxTrustedRoot = 1 << 20

// Trust is what signatures are verified against, and how far it may be relied
// upon.
type Trust struct {
	// Data is a Sigstore trusted_root.json: the last good one, whatever the
	// state is.
	Data []byte
	// State is Good, Stale (go on, and say so) or Frozen (take no new revision).
	State tufroot.State
	// Expires is when the metadata that vouches for it does; zero means never.
	Expires time.Time
}

// TrustSource gives the trusted root in force. Every pass asks it, so it
// answers from disk or memory and never from the network.
type TrustSource func() (Trust, error)

// TrustFile reads the trusted root from a file, which never expires: whoever
// writes the file answers for its age.
func TrustFile(path string) TrustSource {
	return func() (Trust, error) {
		file, err := os.Open(filepath.Clean(path))
		if err != nil {
			return Trust{}, fmt.Errorf("opening the trusted root: %w", err)
		}
		defer file.Close()
		data, err := io.ReadAll(io.LimitReader(file, maxTrustedRoot+1))
		if err != nil {
			return Trust{}, fmt.Errorf("reading the trusted root: %w", err)
		}
		if len(data) > maxTrustedRoot {
			return Trust{}, errors.New("reading the trusted root: the file is larger than 1 MiB")
		}
		return Trust{Data: data, State: tufroot.Good}, nil
	}
}

// TrustRepository takes what a client of a TUF repository fetched last. Past
// the expiry of its metadata it goes on for the grace, and then freezes. The
// client is refreshed by somebody else, beside the passes.
func TrustRepository(client *tufroot.Client, grace time.Duration, clock func() time.Time) TrustSource {
	return func() (Trust, error) {
		data, status, err := client.Current()
		if err != nil {
			return Trust{}, err
		}
		return Trust{Data: data, State: status.State(clock(), grace), Expires: status.Expires}, nil
	}
}

// expired says why no new revision is taken: the metadata of the trusted root
// ran out longer ago than the grace (row B28).
func (t Trust) expired() error {
	if t.State != tufroot.Frozen {
		return nil
	}
	return tufroot.Expired(t.Expires)
}
