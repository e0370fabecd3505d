package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"millwright.dev/millwright/gitverify/sigstoretest"
)

// cosign is the peer: it signs statements that our controller signed, one process
// for each, at the same Sigstore.
type cosign struct {
	program, dir, statement string
	env                     []string
	// withKey is how it signs with a key, keyless with a certificate of Fulcio.
	withKey, keyless []string
}

// newCosign gives it a key, a token, and a statement.
func newCosign(ctx context.Context, f *floor, dir string, statement []byte) (*cosign, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := f.site.Sigstore
	services := []string{"--rekor-url", s.RekorURL, "--timestamp-server-url", s.TimestampURL + "/api/v1/timestamp"}
	withKey := services
	if f.key != "" { // as our controller signs then
		withKey = []string{"--tlog-upload=false"}
	}
	c := &cosign{
		program: f.site.Path("bin", "cosign"), dir: dir, statement: filepath.Join(dir, "statement.json"),
		withKey: append([]string{"--key", filepath.Join(dir, "cosign.key")}, withKey...),
		keyless: append([]string{
			"--fulcio-url", s.FulcioURL, "--oidc-issuer", s.IssuerURL(sigstoretest.Workload), "--identity-token", f.site.Path("controller", "token"),
		}, services...),
		env: []string{
			"HOME=" + dir, "PATH=/usr/bin:/bin", "COSIGN_PASSWORD=", "TUF_ROOT=" + filepath.Join(dir, "tuf"), "SIGSTORE_NO_CACHE=true",
		},
	}
	// It must not look for the public Sigstore: gitsign is told the same.
	for _, setting := range s.GitsignEnv("", false) {
		name, value, _ := strings.Cut(setting, "=")
		switch name {
		case "SIGSTORE_REKOR_PUBLIC_KEY", "SIGSTORE_CT_LOG_PUBLIC_KEY_FILE":
			c.env = append(c.env, setting)
		case "GITSIGN_FULCIO_ROOT":
			c.env = append(c.env, "SIGSTORE_ROOT_FILE="+value)
		}
	}
	if err := os.WriteFile(c.statement, statement, 0o600); err != nil {
		return nil, err
	}
	return c, c.run(ctx, "generate-key-pair")
}

// attest makes a number of attestations, one after the other, and says how many
// seconds that took. Each must leave a bundle.
func (c *cosign) attest(ctx context.Context, signer []string, times int) (float64, error) {
	began := time.Now()
	for i := range times {
		bundle := filepath.Join(c.dir, fmt.Sprintf("bundle-%d.json", i))
		args := []string{"attest-blob", "--yes", "--statement", c.statement, "--new-bundle-format", "--bundle", bundle}
		if err := c.run(ctx, append(args, signer...)...); err != nil {
			return 0, err
		}
	}
	took := time.Since(began).Seconds()
	for i := range times {
		bundle := filepath.Join(c.dir, fmt.Sprintf("bundle-%d.json", i))
		data, err := os.ReadFile(bundle)
		if err != nil {
			return 0, err
		}
		if !bytes.Contains(data, []byte("dsseEnvelope")) {
			return 0, errors.New("cosign left a bundle without an envelope")
		}
		if err := os.Remove(bundle); err != nil {
			return 0, err
		}
	}
	return took, nil
}

func (c *cosign) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = c.dir, c.env, 2*time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it asks on the terminal when there is one
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("cosign %s: %w\n%s", args[0], err, out)
	}
	return nil
}
