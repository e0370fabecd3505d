package sigstoretest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Committer is somebody who uses the real git, and the real gitsign to sign.
type Committer struct {
	Name, Email string
	// Unsigned leaves the signature out.
	Unsigned bool
	// Stamp asks for a timestamp as well. gitsign 0.17.1 makes such commits and
	// cannot verify them: it takes the token for a whole response (RFC 3161
	// §2.4.2). A verifier that knows the difference can.
	Stamp bool
	// Online leaves the log entry out of the signature, as gitsign does unless it
	// is told otherwise (rekorMode=online): it logs a second signature instead, over
	// the object's name, which is found only with [Options].SearchIndex.
	Online bool
}

// Gitsign is the path of the gitsign program.
func (s *Sigstore) Gitsign() string { return s.bin.Path("gitsign") }

// GitsignEnv is the environment in which gitsign signs with the token's
// identity at this Sigstore: without a browser, without TUF, and with all that a
// verifier needs inside the signature (rekorMode=offline). The same environment,
// with any token, is enough for `gitsign verify` and `git verify-commit`.
func (s *Sigstore) GitsignEnv(token string, stamp bool) []string {
	env := []string{
		"GITSIGN_FULCIO_URL=" + s.FulcioURL,
		"GITSIGN_FULCIO_ROOT=" + s.file("fulcio.crt"),
		"GITSIGN_REKOR_URL=" + s.RekorURL,
		"GITSIGN_REKOR_MODE=offline",
		"GITSIGN_TOKEN_PROVIDER=envvar",
		"SIGSTORE_ID_TOKEN=" + token,
		"SIGSTORE_REKOR_PUBLIC_KEY=" + s.RekorKeyPath,
		"SIGSTORE_CT_LOG_PUBLIC_KEY_FILE=" + s.file("ct.pub"),
	}
	if stamp {
		env = append(env, "GITSIGN_TIMESTAMP_SERVER_URL="+s.TimestampURL+"/api/v1/timestamp", "GITSIGN_TIMESTAMP_CERT_CHAIN="+s.file("tsa.crt"))
	}
	return env
}

// Git runs git in dir as the committer, who signs every commit and tag, and
// returns what it prints. No configuration of the machine or the user counts.
//
// Once, on a busy machine, gitsign failed and git kept to itself why. So what it says
// is part of the error, and it gets a second try, which is told on standard error.
func (s *Sigstore) Git(ctx context.Context, dir string, who Committer, args ...string) (string, error) {
	out, err := s.git(ctx, dir, who, args...)
	if err != nil && !who.Unsigned && strings.Contains(err.Error(), "failed to sign the data") && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "sigstoretest: trying again, since: %v\n", err)
		return s.git(ctx, dir, who, args...)
	}
	return out, err
}

func (s *Sigstore) git(ctx context.Context, dir string, who Committer, args ...string) (string, error) {
	said, err := os.CreateTemp(s.dir, "gitsign-*.log")
	if err != nil {
		return "", err
	}
	defer os.Remove(said.Name())
	defer said.Close()
	env, err := s.gitEnv(ctx, who)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir, cmd.Env = dir, append(env, "GITSIGN_LOG="+said.Name())
	// A session of its own: gitsign talks to the terminal when there is one.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		reason, _ := io.ReadAll(said)
		return "", fmt.Errorf("git %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()+stdout.String()+string(reason)))
	}
	return stdout.String(), nil
}

// gitEnv is the environment in which git signs as the committer.
func (s *Sigstore) gitEnv(ctx context.Context, who Committer) ([]string, error) {
	config := map[string]string{
		"user.name": who.Name, "user.email": who.Email, "init.defaultBranch": "main",
		"commit.gpgSign": "false", "core.hooksPath": "/dev/null", "gc.auto": "0",
	}
	env := []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + s.dir, "LC_ALL=C", "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0"}
	if !who.Unsigned {
		token, err := s.Token(ctx, Person, who.Email, 5*time.Minute)
		if err != nil {
			return nil, err
		}
		env = append(env, s.GitsignEnv(token, who.Stamp)...)
		if who.Online {
			env = append(env, "GITSIGN_REKOR_MODE=online") // the last one counts
		}
		config["commit.gpgSign"], config["tag.gpgSign"] = "true", "true"
		config["gpg.format"], config["gpg.x509.program"] = "x509", s.Gitsign()
	}
	n := 0
	for key, value := range config {
		env = append(env, fmt.Sprintf("GIT_CONFIG_KEY_%d=%s", n, key), fmt.Sprintf("GIT_CONFIG_VALUE_%d=%s", n, value))
		n++
	}
	return append(env, fmt.Sprintf("GIT_CONFIG_COUNT=%d", n)), nil
}

// Commit commits all changes in the work tree, even none, and returns the
// commit's id.
func (s *Sigstore) Commit(ctx context.Context, dir string, who Committer, message string) (string, error) {
	if _, err := s.Git(ctx, dir, Committer{Name: who.Name, Email: who.Email, Unsigned: true}, "add", "--all"); err != nil {
		return "", err
	}
	if _, err := s.Git(ctx, dir, who, "commit", "--quiet", "--allow-empty", "--message", message); err != nil {
		return "", err
	}
	id, err := s.Git(ctx, dir, Committer{Unsigned: true}, "rev-parse", "HEAD")
	return strings.TrimSpace(id), err
}
