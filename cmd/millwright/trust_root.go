package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"millwright.dev/millwright/gitverify/tufroot"
)

const trustRootLong = `root keeps a Sigstore trusted root in a folder, fetched from a TUF repository and
verified from the repository's initial root on. Verbs use it with
--trusted-root tuf:DIR, and never fetch it themselves.

The initial root is what everything rests on: take it from a place that neither
the repository nor the network to it can write. It is kept in DIR/root.json.`

const trustRootExample = `  millwright trust root refresh --url public-good --dir ~/trust
  millwright trust root refresh --url https://tuf.factory.example --root root.json --dir ~/trust
  millwright trust root show --dir ~/trust
  millwright verify --trusted-root tuf:$HOME/trust ANCHOR..HEAD`

// trustedRootStatus is the answer in JSON.
type trustedRootStatus struct {
	Digest    string        `json:"digest"`
	State     tufroot.State `json:"state"`
	Root      int64         `json:"root"`
	Timestamp int64         `json:"timestamp"`
	Snapshot  int64         `json:"snapshot"`
	Targets   int64         `json:"targets"`
	Expires   time.Time     `json:"expires"`
	Fetched   time.Time     `json:"fetched"`
}

func newTrustRootCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use: "root", Short: "Fetch the trusted root from a TUF repository", Long: trustRootLong, Example: trustRootExample,
		Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newTrustRootRefreshCommand(a), newTrustRootShowCommand(a))
	return cmd
}

func newTrustRootRefreshCommand(a *app) *cobra.Command {
	var (
		url, root, dir, target string
		timeout                time.Duration
		out                    output
	)
	cmd := &cobra.Command{
		Use: "refresh", Short: "Ask the repository for its newest trusted root", Args: cobra.NoArgs, Example: trustRootExample,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if url == "public-good" {
				url = tufroot.PublicGood
			}
			anchor, err := initialRoot(dir, root, url)
			if err != nil {
				return err
			}
			client, err := tufroot.New(tufroot.Options{URL: url, Root: anchor, Dir: dir, Target: target, Timeout: timeout, Clock: a.now})
			if err != nil {
				return usageError{err}
			}
			return a.refreshTrustedRoot(cmd.Context(), client, dir, anchor, out)
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "`URL` of the TUF repository, or public-good")
	cmd.Flags().StringVar(&root, "root", "", "`file` with the repository's initial root.json; needed once for each folder")
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` that keeps what was fetched")
	cmd.Flags().StringVar(&target, "target", tufroot.DefaultTarget, "`name` of the trusted root in the repository")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "when to give up")
	_ = cmd.MarkFlagRequired("url")
	_ = cmd.MarkFlagRequired("dir")
	out.add(cmd)
	return cmd
}

// initialRoot is what a folder rests on. Once it is there it is not replaced
// behind its owner's back.
func initialRoot(dir, given, url string) ([]byte, error) {
	kept, err := readBounded(filepath.Join(dir, anchorFile), maxTrustedRoot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if given == "" {
		switch {
		case err == nil:
			return kept, nil
		case url == tufroot.PublicGood:
			return tufroot.PublicGoodRoot(), nil
		}
		return nil, usageError{fmt.Errorf("%s has no %s yet: give the repository's initial root with --root", dir, anchorFile)}
	}
	anchor, bad := readBounded(given, maxTrustedRoot)
	if bad != nil {
		return nil, bad
	}
	if err == nil && !bytes.Equal(kept, anchor) {
		return nil, usageError{fmt.Errorf("%s holds another initial root: take another folder, or remove that file if you mean it", filepath.Join(dir, anchorFile))}
	}
	return anchor, nil
}

func (a *app) refreshTrustedRoot(ctx context.Context, client *tufroot.Client, dir string, anchor []byte, out output) error {
	if err := client.Refresh(ctx); err != nil {
		return err
	}
	// Only now: a wrong initial root is not kept.
	if err := os.WriteFile(filepath.Join(dir, anchorFile), anchor, 0o600); err != nil {
		return fmt.Errorf("keeping the initial root: %w", err)
	}
	return a.showTrustedRoot(client, out)
}

func newTrustRootShowCommand(a *app) *cobra.Command {
	var (
		dir, target string
		out         output
	)
	cmd := &cobra.Command{
		Use: "show", Short: "Say how fresh a fetched trusted root is, without asking anybody", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			anchor, err := readBounded(filepath.Join(dir, anchorFile), maxTrustedRoot)
			if err != nil {
				return noTrustedRoot(err)
			}
			client, err := tufroot.New(tufroot.Options{Root: anchor, Dir: dir, Target: target, Clock: a.now})
			if err != nil {
				return noTrustedRoot(err)
			}
			return a.showTrustedRoot(client, out)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`directory` that keeps what was fetched")
	cmd.Flags().StringVar(&target, "target", tufroot.DefaultTarget, "`name` of the trusted root in the repository")
	_ = cmd.MarkFlagRequired("dir")
	out.add(cmd)
	return cmd
}

func (a *app) showTrustedRoot(client *tufroot.Client, out output) error {
	data, status, err := client.Current()
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	shown := trustedRootStatus{
		Digest: "sha256:" + hex.EncodeToString(sum[:]), State: status.State(a.now(), grace),
		Root: status.Root, Timestamp: status.Timestamp, Snapshot: status.Snapshot, Targets: status.Targets,
		Expires: status.Expires.UTC(), Fetched: status.Fetched.UTC(),
	}
	if err := a.print(out, shown, shown.text); err != nil {
		return err
	}
	if shown.State == tufroot.Frozen {
		return tufroot.Expired(status.Expires)
	}
	return nil
}

func (s trustedRootStatus) text() string {
	return fmt.Sprintf("%s\n%s until %s, fetched %s; root %d, timestamp %d, snapshot %d, targets %d\n",
		s.Digest, s.State, s.Expires.Format(time.RFC3339), s.Fetched.Format(time.RFC3339), s.Root, s.Timestamp, s.Snapshot, s.Targets)
}
