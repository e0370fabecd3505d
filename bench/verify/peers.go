package main

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"millwright.dev/millwright/gitverify"
	"millwright.dev/millwright/gitverify/forgekey/forgekeytest"
)

// peer is a tool that verifies commits one by one: a command for a commit, or
// one git log for several.
type peer struct {
	name    string
	dir     string
	env     []string
	program string
	args    []string
	// each means that the last argument is a commit, and the command is run for
	// every one of them; otherwise the command prints a letter for each commit.
	each    []gitverify.ID
	commits int
}

// run gives wall and CPU seconds for each commit. All of them must be good, or
// something else than verifying was measured.
func (p peer) run(ctx context.Context) (wall, used float64, err error) {
	runs := [][]string{p.args}
	if p.each != nil {
		runs = nil
		for _, id := range p.each {
			runs = append(runs, append(append([]string{}, p.args...), string(id)))
		}
	}
	begin := time.Now()
	for _, args := range runs {
		cmd := exec.CommandContext(ctx, p.program, args...)
		cmd.Dir, cmd.Env = p.dir, p.env
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // gitsign talks to the terminal when there is one
		out, err := cmd.Output()
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", p.name, err)
		}
		if good := strings.Count(string(out), "G\n"); p.each == nil && good != p.commits {
			return 0, 0, fmt.Errorf("%s: %d of %d commits are good:\n%s", p.name, good, p.commits, out)
		}
		used += (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	n := float64(p.commits)
	return time.Since(begin).Seconds() / n, used / n, nil
}

// gitLog is git log with a configuration, over the newest n commits.
func gitLog(n int, tip gitverify.ID, config ...string) []string {
	var args []string
	for _, c := range config {
		args = append(args, "-c", c)
	}
	return append(args, "log", "--format=%G?", fmt.Sprintf("-%d", n), string(tip))
}

// gitsignEnv is the environment in which gitsign trusts a Sigstore and asks
// nobody: what it would ask is on a port where nobody listens.
func gitsignEnv(home string, trustedRoot []byte) ([]string, error) {
	type chain struct{ Certificates []struct{ RawBytes []byte } }
	var tr struct {
		Tlogs, Ctlogs          []struct{ PublicKey struct{ RawBytes []byte } }
		CertificateAuthorities []struct{ CertChain chain }
	}
	if err := json.Unmarshal(trustedRoot, &tr); err != nil {
		return nil, err
	}
	write := func(name, kind string, der []byte) (string, error) {
		path := filepath.Join(home, name)
		return path, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
	}
	const nobody = "http://127.0.0.1:1"
	env := append(plainEnv(home), "GITSIGN_FULCIO_URL="+nobody, "GITSIGN_REKOR_URL="+nobody, "TUF_MIRROR="+nobody, "TUF_ROOT="+home)
	for _, f := range []struct {
		variable, name, kind string
		der                  []byte
	}{
		{"GITSIGN_FULCIO_ROOT", "fulcio.crt", "CERTIFICATE", tr.CertificateAuthorities[0].CertChain.Certificates[0].RawBytes},
		{"SIGSTORE_REKOR_PUBLIC_KEY", "rekor.pub", "PUBLIC KEY", tr.Tlogs[0].PublicKey.RawBytes},
		{"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE", "ct.pub", "PUBLIC KEY", tr.Ctlogs[0].PublicKey.RawBytes},
	} {
		path, err := write(f.name, f.kind, f.der)
		if err != nil {
			return nil, err
		}
		env = append(env, f.variable+"="+path)
	}
	return env, nil
}

// forgePeer makes a history that is signed with a key of the kind, "ssh" or
// "pgp", and the git log that verifies it; without a program where there is none.
func forgePeer(ctx context.Context, dir, kind string, n int) (peer, error) {
	program := map[string]string{"ssh": "ssh-keygen", "pgp": "gpg"}[kind]
	p := peer{name: fmt.Sprintf("`git log --format=%%G?` with %s, %d commits", program, n), dir: dir, env: plainEnv(dir), commits: n}
	path, err := exec.LookPath(program)
	if errors.Is(err, exec.ErrNotFound) {
		return p, nil
	}
	if err != nil {
		return p, err
	}
	forge, err := forgekeytest.New(kind)
	if err != nil {
		return peer{}, err
	}
	h := newHistory("")
	if err := h.grow(ctx, n, forge.SignCommit); err != nil {
		return peer{}, err
	}
	if err := h.write(ctx, dir); err != nil {
		return peer{}, err
	}
	key, tip := forge.Key("forge"), h.line[len(h.line)-1]
	p.program = "git"
	if kind == "ssh" {
		allowed := filepath.Join(dir, "allowed_signers")
		p.args = gitLog(n, tip, "gpg.format=ssh", "gpg.ssh.program="+path, "gpg.ssh.allowedSignersFile="+allowed)
		return p, os.WriteFile(allowed, []byte("alice@factory.test "+key.PublicKey), 0o600)
	}
	p.args = gitLog(n, tip, "gpg.program="+path)
	if err := os.Mkdir(filepath.Join(dir, "gnupg"), 0o700); err != nil {
		return peer{}, err
	}
	for _, args := range [][]string{{"--import"}, {"--import-ownertrust"}} {
		in := key.PublicKey
		if args[0] != "--import" {
			in = strings.ReplaceAll(key.Fingerprint, " ", "") + ":6:\n"
		}
		cmd := exec.CommandContext(ctx, path, append([]string{"--batch", "--no-autostart"}, args...)...)
		cmd.Env, cmd.Stdin = p.env, strings.NewReader(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			return peer{}, fmt.Errorf("gpg %s: %w\n%s", args[0], err, out)
		}
	}
	return p, nil
}
