package localfactory

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

// Person is somebody who runs commands. Those who can sign have an identity at
// the site's Sigstore.
type Person struct {
	Name string
	// Email is the identity in the certificates that Fulcio gives to them.
	Email string

	dir string // where the commands run
	env []string
}

// Operator looks after the cluster and signs nothing.
func (s *Site) Operator() Person {
	return Person{dir: s.Dir, env: s.environment("HOME=" + s.Path("people"))}
}

// Person makes somebody who can sign with the real gitsign, and works in the
// folder "factory" of the site.
func (s *Site) Person(ctx context.Context, name string) (Person, error) {
	p := Person{Name: name, Email: name + "@factory.test", dir: s.Path("factory")}
	home := s.Path("people", name)
	for _, dir := range []string{home, p.dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Person{}, err
		}
	}
	config := fmt.Sprintf("[user]\n\tname = %s\n\temail = %s\n[gpg]\n\tformat = x509\n[gpg \"x509\"]\n\tprogram = gitsign\n"+
		"[init]\n\tdefaultBranch = main\n[gc]\n\tauto = 0\n[advice]\n\tdetachedHead = false\n", name, p.Email)
	if err := os.WriteFile(filepath.Join(home, ".gitconfig"), []byte(config), 0o600); err != nil {
		return Person{}, err
	}
	token, err := s.Sigstore.Token(ctx, sigstoretest.Person, p.Email, lifetime)
	if err != nil {
		return Person{}, fmt.Errorf("giving %s a token: %w", name, err)
	}
	env := append([]string{"HOME=" + home}, s.Sigstore.GitsignEnv(token, false)...)
	p.env = s.environment(env...)
	return p, writeEnvironment(filepath.Join(home, "env.sh"), p.env)
}

// environment is all that a command of the site knows of the machine.
func (s *Site) environment(more ...string) []string {
	return append([]string{
		"PATH=" + s.Path("bin") + ":" + programsOf("git") + ":/usr/bin:/bin",
		"KUBECONFIG=" + s.Path("kubeconfig"), "LC_ALL=C", "TZ=UTC", "TERM=dumb",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
		// cosign and gitsign must not look for the public Sigstore.
		"TUF_ROOT=" + s.Path("people", "tuf"), "SIGSTORE_NO_CACHE=true",
	}, more...)
}

// programsOf is the folder of a program of the machine.
func programsOf(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return "/usr/local/bin"
	}
	return filepath.Dir(path)
}

// writeEnvironment writes a file for a shell to read, so that whoever keeps the
// site running can become that person.
func writeEnvironment(path string, env []string) error {
	var b strings.Builder
	for _, v := range env {
		name, value, _ := strings.Cut(v, "=")
		fmt.Fprintf(&b, "export %s='%s'\n", name, value)
	}
	return os.WriteFile(path, []byte(b.String()), 0o600)
}

// Result is what a command printed, both streams as a terminal shows them, and
// how it ended.
type Result struct {
	Output string
	Exit   int
}

// Run runs a command as the person. An error means that it could not be run;
// its exit code is for the caller to judge.
func (s *Site) Run(ctx context.Context, who Person, args ...string) (Result, error) {
	path, err := s.lookUp(args[0])
	if err != nil {
		return Result{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args[1:]...)
	cmd.Dir, cmd.Env, cmd.WaitDelay = who.dir, who.env, 2*time.Second
	// A session of its own: gitsign talks to the terminal when there is one, and
	// what git starts must end with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		return Result{Output: out.String(), Exit: exit.ExitCode()}, nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("running %s: %w\n%s", strings.Join(args, " "), err, out.String())
	}
	return Result{Output: out.String()}, nil
}

// Must is Run for commands that succeed.
func (s *Site) Must(ctx context.Context, who Person, args ...string) (string, error) {
	r, err := s.Run(ctx, who, args...)
	if err != nil {
		return "", err
	}
	if r.Exit != 0 {
		return "", fmt.Errorf("%s: exit code %d\n%s", strings.Join(args, " "), r.Exit, r.Output)
	}
	return strings.TrimSpace(r.Output), nil
}

// lookUp finds a program of the site, or git.
func (s *Site) lookUp(name string) (string, error) {
	if path := s.Path("bin", name); exists(path) {
		return path, nil
	}
	return exec.LookPath(name)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// With is the person with other settings in the environment.
func (p Person) With(env ...string) Person {
	p.env = append(append([]string{}, p.env...), env...)
	return p
}
